//! One index file: some packs, and the blobs in each.

use std::io::{self, Read};

use super::general;
use super::scan::{Misfit, Scanner, Sink};
use crate::backend::FileInfo;
use crate::blob::{BlobEntry, BlobType};
use crate::error::{Error, Result};
use crate::handle::{FileType, Handle};
use crate::id::Id;

/// With so many blobs an index file is full, as for restic since 0.17.
pub const FULL: usize = 50_000;

/// What an index file lists.
///
/// All blobs of a pack belong in one file: restic's `check` calls it damage when two files say
/// different things of one pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexFile {
    /// The packs, in the order of the file. It means nothing.
    pub packs: Vec<PackBlobs>,
}

/// A pack and the blobs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackBlobs {
    /// The pack's name.
    pub pack: Id,
    /// Its blobs. In an index file they are in any order.
    pub blobs: Vec<BlobEntry>,
}

impl IndexFile {
    /// Decodes the plaintext of the index file `id`, which is only needed to name it in an error.
    ///
    /// [`super::Builder`] is the way to load a whole index; this keeps one file as it is.
    pub fn decode(id: Id, plaintext: &[u8]) -> Result<Self> {
        read_slice(id, plaintext, Self::default)
    }

    /// The file's plaintext, byte for byte as restic writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(32 + self.packs.len() * 96 + self.blob_count() * 168);
        json.extend_from_slice(br#"{"packs":["#);
        for (number, pack) in self.packs.iter().enumerate() {
            json.extend_from_slice(if number == 0 { br#"{"id":""# } else { br#",{"id":""# });
            json.extend_from_slice(&pack.pack.hex_digits());
            json.extend_from_slice(br#"","blobs":["#);
            for (number, blob) in pack.blobs.iter().enumerate() {
                encode_blob(&mut json, blob, number == 0);
            }
            json.extend_from_slice(b"]}");
        }
        json.extend_from_slice(b"]}\n");
        json
    }

    /// Takes packs until the file is full or there are no more; nothing if there are none.
    pub fn fill(packs: &mut impl Iterator<Item = PackBlobs>) -> Option<Self> {
        let mut file = Self::default();
        let mut blobs = 0;
        while blobs < FULL
            && let Some(pack) = packs.next()
        {
            blobs += pack.blobs.len();
            file.packs.push(pack);
        }
        (!file.packs.is_empty()).then_some(file)
    }

    /// How many blobs the file lists.
    pub fn blob_count(&self) -> usize {
        self.packs.iter().map(|pack| pack.blobs.len()).sum()
    }
}

fn encode_blob(json: &mut Vec<u8>, blob: &BlobEntry, first: bool) {
    json.extend_from_slice(if first { br#"{"id":""# } else { br#",{"id":""# });
    json.extend_from_slice(&blob.handle.id.hex_digits());
    json.extend_from_slice(match blob.handle.blob_type {
        BlobType::Data => br#"","type":"data","offset":"#,
        BlobType::Tree => br#"","type":"tree","offset":"#,
    });
    encode_number(json, blob.offset);
    json.extend_from_slice(br#","length":"#);
    encode_number(json, blob.length);
    if blob.is_compressed() {
        json.extend_from_slice(br#","uncompressed_length":"#);
        encode_number(json, blob.uncompressed_length);
    }
    json.push(b'}');
}

fn encode_number(json: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0; 10];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return json.extend_from_slice(&digits[begin..]);
        }
    }
}

impl PackBlobs {
    /// The size that a pack with these blobs has: the blobs, the sealed header with 37 or 41 bytes a
    /// blob, and the header's length.
    pub fn file_size(&self) -> u64 {
        EMPTY_PACK_SIZE + self.blobs.iter().map(stored_size).sum::<u64>()
    }

    /// The pack as a listing should show it.
    pub fn file_info(&self) -> FileInfo {
        FileInfo { id: self.pack, size: self.file_size() }
    }
}

/// What a pack without blobs would amount to: its header's nonce, MAC and length.
pub(super) const EMPTY_PACK_SIZE: u64 = crate::crypto::OVERHEAD as u64 + 4;

/// What a blob adds to its pack: itself, and its entry in the header.
pub(super) fn stored_size(blob: &BlobEntry) -> u64 {
    u64::from(blob.length) + if blob.is_compressed() { 41 } else { 37 }
}

impl Sink for IndexFile {
    fn pack(&mut self, id: Id) {
        self.packs.push(PackBlobs { pack: id, blobs: Vec::new() });
    }

    fn blob(&mut self, entry: BlobEntry) {
        if let Some(pack) = self.packs.last_mut() {
            pack.blobs.push(entry);
        }
    }
}

/// Hands what the plaintext of an index file lists to a sink, and returns the sink.
pub(super) fn read_slice<S: Sink>(id: Id, text: &[u8], sink: impl Fn() -> S) -> Result<S> {
    let mut quick = sink();
    if Scanner::new(&mut quick).scan(text, true).is_ok() {
        return Ok(quick);
    }
    let mut general = sink();
    general::parse(serde_json::de::SliceRead::new(text), &mut general)
        .map_err(|error| damaged(id, &error))?;
    Ok(general)
}

/// The same for a plaintext that is read piece by piece. It is opened once or twice.
pub(super) fn read_stream<S: Sink, R: Read>(
    id: Id,
    open: impl Fn() -> io::Result<R>,
    sink: impl Fn() -> S,
) -> Result<S> {
    let open = || open().map(Capped::new).map_err(|error| damaged(id, &error));
    let mut quick = sink();
    let scanned = scan_stream(&mut open()?, &mut quick).map_err(|error| damaged(id, &error))?;
    if scanned.is_ok() {
        return Ok(quick);
    }
    let mut general = sink();
    let text = io::BufReader::with_capacity(WINDOW, open()?);
    general::parse(serde_json::de::IoRead::new(text), &mut general)
        .map_err(|error| damaged(id, &error))?;
    Ok(general)
}

/// How much of a file is in memory at once, in bytes: it should stay in a core's own cache between
/// decompressing and scanning.
const WINDOW: usize = 128 << 10;

fn scan_stream<S: Sink>(text: &mut impl Read, sink: &mut S) -> io::Result<Result<(), Misfit>> {
    let mut scanner = Scanner::new(sink);
    let mut window = vec![0; WINDOW];
    let mut filled = 0;
    loop {
        let read = match text.read(&mut window[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        filled += read;
        match scanner.scan(&window[..filled], read == 0) {
            Err(misfit) => return Ok(Err(misfit)),
            Ok(_) if read == 0 => return Ok(Ok(())),
            Ok(scanned) => {
                window.copy_within(scanned..filled, 0);
                filled -= scanned;
            }
        }
    }
}

/// Ends with an error where a file grows beyond what any index file may be, as a decompression bomb
/// does.
struct Capped<R> {
    text: R,
    left: u64,
}

impl<R> Capped<R> {
    fn new(text: R) -> Self {
        Self { text, left: FileType::Index.size_limit() }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let limit = FileType::Index.size_limit() >> 20;
            io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {limit} MiB"))
        })?;
        Ok(read)
    }
}

/// The file's text may be anything, so only the beginning of what is said of it is kept.
fn damaged(id: Id, detail: &dyn std::fmt::Display) -> Error {
    const LONGEST: usize = 200;
    let detail: String = detail.to_string().chars().take(LONGEST).collect();
    Error::damaged(Handle::new(FileType::Index, id), detail)
}
