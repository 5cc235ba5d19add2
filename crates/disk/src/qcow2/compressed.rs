//! Compressed clusters.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::header::Compression;

/// The largest window that a zstd frame may ask for, in bytes, as the logarithm to base 2. A cluster has
/// no more than 2 MiB, so a compressor has no use for more; this bounds the memory that decoding takes.
const WINDOW_LOG_MAX: u32 = 22;

/// The cluster of `length` bytes that `stored` begins with, or nothing if that is not what it holds. What
/// follows behind it belongs to others.
pub(crate) fn decompress(
    compression: Compression,
    stored: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    let mut cluster = vec![0; length];
    let filled = match compression {
        Compression::Zlib => inflate(stored, &mut cluster),
        Compression::Zstd => unzstd(stored, &mut cluster)?,
    };
    (filled == length).then_some(cluster)
}

/// Raw deflate, without a zlib header.
fn inflate(stored: &[u8], cluster: &mut [u8]) -> usize {
    let mut inflater = flate2::Decompress::new(false);
    // Whatever it says, what counts is whether the cluster is full: QEMU does not ask for an end mark.
    let _ = inflater.decompress(stored, cluster, flate2::FlushDecompress::Finish);
    inflater.total_out() as usize
}

fn unzstd(stored: &[u8], cluster: &mut [u8]) -> Option<usize> {
    let mut decoder = Decoder::new().ok()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).ok()?;
    let mut input = InBuffer::around(stored);
    let length = cluster.len();
    let mut output = OutBuffer::around(cluster);
    // Each round takes or gives something, or is the last.
    while output.pos() < length {
        let before = (input.pos(), output.pos());
        decoder.run(&mut input, &mut output).ok()?;
        if (input.pos(), output.pos()) == before {
            break;
        }
    }
    Some(output.pos())
}
