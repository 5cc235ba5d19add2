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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deflate(plain: &[u8]) -> Vec<u8> {
        let mut packer = flate2::Compress::new(flate2::Compression::fast(), false);
        let mut packed = Vec::with_capacity(plain.len() + 100);
        packer.compress_vec(plain, &mut packed, flate2::FlushCompress::Finish).unwrap();
        packed
    }

    proptest! {
        #[test]
        fn a_cluster_is_what_was_compressed_whatever_follows(
            plain in prop::collection::vec(0..4u8, 512),
            behind in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let zlib = [&deflate(&plain)[..], &behind].concat();
            prop_assert_eq!(decompress(Compression::Zlib, &zlib, 512), Some(plain.clone()));
            let zstd = [&zstd::bulk::compress(&plain, 3).unwrap()[..], &behind].concat();
            prop_assert_eq!(decompress(Compression::Zstd, &zstd, 512), Some(plain));
        }

        #[test]
        fn any_bytes_are_a_cluster_or_none(stored in prop::collection::vec(any::<u8>(), 0..600)) {
            for compression in [Compression::Zlib, Compression::Zstd] {
                if let Some(cluster) = decompress(compression, &stored, 4096) {
                    prop_assert_eq!(cluster.len(), 4096);
                }
            }
        }
    }

    #[test]
    fn less_than_a_cluster_is_none_and_more_is_cut() {
        let plain = [7; 1024];
        let packed = [
            (Compression::Zlib, deflate(&plain)),
            (Compression::Zstd, zstd::bulk::compress(&plain, 3).unwrap()),
        ];
        for (compression, packed) in packed {
            assert_eq!(decompress(compression, &packed, 2048), None);
            assert_eq!(decompress(compression, &packed, 512), Some(vec![7; 512]));
            assert_eq!(decompress(compression, &packed[..packed.len() / 2], 1024), None);
            assert_eq!(decompress(compression, &[], 1024), None);
        }
    }

    #[test]
    fn a_frame_that_asks_for_much_memory_is_none() {
        // A window of 128 MiB: the frame's header, and one block of one byte that repeats.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x03, 0x10, 0x00, 7];
        assert_eq!(decompress(Compression::Zstd, &frame, 512), None);
        let modest = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 6 << 3, 0x03, 0x10, 0x00, 7];
        assert_eq!(decompress(Compression::Zstd, &modest, 512), Some(vec![7; 512]));
    }
}
