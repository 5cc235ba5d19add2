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

/// The same for a plaintext of at most `limit` bytes that is read piece by piece. It is opened once or
/// twice.
pub(super) fn read_stream<S: Sink, R: Read>(
    id: Id,
    limit: u64,
    open: impl Fn() -> io::Result<R>,
    sink: impl Fn() -> S,
) -> Result<S> {
    let open =
        || open().map(|text| Capped { text, limit, read: 0 }).map_err(|error| damaged(id, &error));
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

/// Ends with an error where a file grows beyond its limit, as a decompression bomb does.
struct Capped<R> {
    text: R,
    limit: u64,
    read: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.read += read as u64;
        if self.read > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!("it has more than {limit} bytes of plaintext")));
        }
        Ok(read)
    }
}

/// The file's text may be anything, so only the beginning of what is said of it is kept.
fn damaged(id: Id, detail: &dyn std::fmt::Display) -> Error {
    const LONGEST: usize = 200;
    let detail: String = detail.to_string().chars().take(LONGEST).collect();
    Error::damaged(Handle::new(FileType::Index, id), detail)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::blob::BlobHandle;

    fn any_id() -> impl Strategy<Value = Id> {
        any::<[u8; 32]>().prop_map(Id::from_bytes)
    }

    fn any_blob() -> impl Strategy<Value = BlobEntry> {
        let number = || prop_oneof![0..100u32, any::<u32>()];
        let parts = (any_id(), any::<bool>(), number(), number(), number());
        parts.prop_map(|(id, tree, offset, length, uncompressed_length)| BlobEntry {
            handle: if tree { BlobHandle::tree(id) } else { BlobHandle::data(id) },
            offset,
            length,
            uncompressed_length,
        })
    }

    fn any_file() -> impl Strategy<Value = IndexFile> {
        let pack =
            (any_id(), vec(any_blob(), 0..6)).prop_map(|(pack, blobs)| PackBlobs { pack, blobs });
        vec(pack, 0..5).prop_map(|packs| IndexFile { packs })
    }

    fn quickly(text: &[u8]) -> Option<IndexFile> {
        let mut file = IndexFile::default();
        Scanner::new(&mut file).scan(text, true).ok().map(|_| file)
    }

    fn generally(text: &[u8]) -> Option<IndexFile> {
        let mut file = IndexFile::default();
        general::parse(serde_json::de::SliceRead::new(text), &mut file).ok().map(|()| file)
    }

    /// A reader that gives out a few bytes at a time.
    struct Trickle<'t>(&'t [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(5) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = buffer.len().min(self.1 * 7 % 300 + 1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn from_stream(text: &[u8]) -> Result<IndexFile> {
        read_stream(Id::default(), 1 << 30, || Ok(Trickle(text, 0)), IndexFile::default)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_quickly_generally_and_from_a_stream(file in any_file()) {
            let text = file.encode();
            prop_assert_eq!(from_stream(&text).unwrap(), file.clone());
            prop_assert_eq!(generally(&text), Some(file.clone()));
            prop_assert_eq!(quickly(&text), Some(file));
        }

        #[test]
        fn the_encoding_has_gos_order_and_omissions(file in any_file()) {
            let blob = |blob: &BlobEntry| {
                let BlobEntry { handle, offset, length, uncompressed_length } = blob;
                let optional = match uncompressed_length {
                    0 => String::new(),
                    length => format!(r#","uncompressed_length":{length}"#),
                };
                let BlobHandle { id, blob_type } = handle;
                format!(r#"{{"id":"{id}","type":"{blob_type}","offset":{offset},"length":{length}{optional}}}"#)
            };
            let pack = |pack: &PackBlobs| {
                let blobs = pack.blobs.iter().map(blob).collect::<Vec<_>>().join(",");
                format!(r#"{{"id":"{}","blobs":[{blobs}]}}"#, pack.pack)
            };
            let packs = file.packs.iter().map(pack).collect::<Vec<_>>().join(",");
            prop_assert_eq!(String::from_utf8(file.encode()).unwrap(), format!("{{\"packs\":[{packs}]}}\n"));
        }

        /// The quick way may give up on anything, but what it takes it must take as JSON has it.
        #[test]
        fn both_ways_agree_on_a_text_with_an_error_in_it(
            file in any_file(),
            place: prop::sample::Index,
            with in prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                prop::sample::select(vec!["", " ", "\n", ",", "]}", "}", "0", "00", "-", ".", "e1", "\"", "A", "f"])
                    .prop_map(|text| text.as_bytes().to_vec()),
            ],
            length in 0..3usize,
        ) {
            let mut text = file.encode();
            let begin = place.index(text.len());
            let end = (begin + length).min(text.len());
            text.splice(begin..end, with);
            if let Some(quick) = quickly(&text) {
                prop_assert_eq!(generally(&text), Some(quick));
            }
            prop_assert_eq!(from_stream(&text).ok(), generally(&text));
        }

        #[test]
        fn anything_at_all_is_an_error_or_a_file(text in vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(IndexFile::decode(Id::default(), &text).ok(), generally(&text));
        }
    }

    fn example() -> (IndexFile, String) {
        let (pack, data, tree) = (Id::of(b"pack"), Id::of(b"data"), Id::of(b"tree"));
        let text = format!(
            r#"{{"packs":[{{"id":"{pack}","blobs":[{{"id":"{data}","type":"data","offset":0,"length":132}},{{"id":"{tree}","type":"tree","offset":132,"length":50,"uncompressed_length":100}}]}}]}}"#
        );
        let blobs = vec![
            BlobEntry {
                handle: BlobHandle::data(data),
                offset: 0,
                length: 132,
                uncompressed_length: 0,
            },
            BlobEntry {
                handle: BlobHandle::tree(tree),
                offset: 132,
                length: 50,
                uncompressed_length: 100,
            },
        ];
        (IndexFile { packs: vec![PackBlobs { pack, blobs }] }, text)
    }

    #[test]
    fn the_file_is_written_as_go_writes_it() {
        let (file, text) = example();
        assert_eq!(String::from_utf8(file.encode()).unwrap(), text + "\n");
        assert_eq!(IndexFile::default().encode(), b"{\"packs\":[]}\n");
    }

    #[test]
    fn a_file_of_another_program_is_read_whatever_its_order_spaces_and_keys() {
        let (file, text) = example();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        // Keys sorted, and white space.
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let nested = "[".repeat(100_000) + &"]".repeat(100_000);
        for other in [
            pretty,
            text.replacen("{", r#"{"packs_to_delete":[{"id":"?","time":null}],"#, 1),
            text.replacen("{", &format!(r#"{{"deep":{nested},"#), 1),
            text.replace(r#""blobs":"#, r#""size":17,"time":"2024-01-01","blobs":"#),
            text.replace(r#""length":132}"#, r#""length":132,"uncompressed_length":0}"#),
            text.replace(r#""data""#, r#""da\u0074a""#),
            text.replacen("{", r#"{"supersedes":null,"#, 1),
        ] {
            assert_eq!(
                IndexFile::decode(Id::default(), other.as_bytes()).unwrap(),
                file,
                "{other:.200}"
            );
            assert_eq!(from_stream(other.as_bytes()).unwrap(), file, "{other:.200}");
        }
        for empty in [r#"{"packs":null}"#, r#"{ "packs" : [ ] }"#] {
            let file = IndexFile::decode(Id::default(), empty.as_bytes()).unwrap();
            assert_eq!(file, IndexFile::default());
        }
    }

    #[test]
    fn a_file_that_is_no_index_is_damaged() {
        let (_, text) = example();
        let pack = Id::of(b"pack").to_hex();
        for bad in [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            "[".repeat(1_000_000),
            r#"{"packs":"#.repeat(100_000),
            text.replace(&pack, &pack.to_uppercase()),
            text.replace(&pack, &pack[1..]),
            text.replace(&pack, &"é".repeat(40_000)),
            text.replace(r#""data""#, r#""blob""#),
            text.replace(r#""data""#, "0"),
            text.replace(r#""type":"data","#, ""),
            text.replace(r#""length":132"#, r#""length":132,"length":132"#),
            text.replace(r#""offset":132"#, r#""offset":4294967296"#),
            text.replace(r#""offset":132"#, r#""offset":-1"#),
            text.replace(r#""offset":132"#, r#""offset":1.0"#),
            text.replace(r#""offset":132"#, r#""offset":1e400"#),
            text.replace(r#""offset":132"#, &format!(r#""offset":{}"#, "9".repeat(100_000))),
            text.replace(r#""offset":132"#, r#""offset":"132""#),
            text.replace("]}]}", "]},]}"),
            text.replace("]}]}", "]}]}]}"),
            format!("{text}{text}"),
            format!("{text}\0"),
        ] {
            assert_ne!(bad, text);
            let error = IndexFile::decode(Id::of(b"file"), bad.as_bytes()).unwrap_err();
            let handle = Handle::new(FileType::Index, Id::of(b"file"));
            assert!(matches!(&error, Error::Damaged { what, .. } if *what == handle.into()));
            assert!(error.to_string().len() < 1000, "the message is short");
            assert!(from_stream(bad.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_file_that_ends_too_early_is_damaged_wherever_it_ends() {
        let (_, text) = example();
        for end in 0..text.len() {
            assert!(IndexFile::decode(Id::default(), &text.as_bytes()[..end]).is_err(), "{end}");
            assert!(from_stream(&text.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_stream_that_fails_or_never_ends_is_damage() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no such frame"))
            }
        }
        let (_, text) = example();
        let broken = || Ok(text.as_bytes().chain(Broken));
        let error = read_stream(Id::default(), 1000, broken, IndexFile::default).unwrap_err();
        assert!(error.to_string().contains("no such frame"), "{error}");

        for end in [b'\n', b' ', b'x'] {
            let endless = || Ok(text.as_bytes().chain(io::repeat(end)));
            let file = read_stream(Id::default(), 1 << 20, endless, IndexFile::default);
            assert!(matches!(file, Err(Error::Damaged { .. })), "{file:?}");
        }
        let unknown = || Ok(b"{\"x".chain(io::repeat(b'x')));
        let error = read_stream(Id::default(), 1 << 20, unknown, IndexFile::default).unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn the_size_of_a_pack_follows_from_its_blobs() {
        let (file, _) = example();
        assert_eq!(file.packs[0].file_size(), 132 + 50 + 37 + 41 + 36);
    }
}
