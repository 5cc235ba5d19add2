//! What is fuzzed: a function a decoder. It is given any bytes, and panics where a promise is broken.
//!
//! The fuzz targets call these, and so does a test on stable Rust, with every file of the corpus. What is
//! sealed in a repository is sealed here: nobody guesses a MAC, and whoever has the key may store anything.

#![allow(dead_code, reason = "a fuzz target uses one of these, the test on stable Rust all")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, LazyLock};

use restic_repo::backend::Backend;
use restic_repo::backend::mem::Mem;
use restic_repo::codec::Decoder;
use restic_repo::config::{Config, VERSIONS};
use restic_repo::crypto;
use restic_repo::identity::Identity;
use restic_repo::index::{Builder, IndexFile};
use restic_repo::key::{Password, ScryptParams};
use restic_repo::lock::{self, LockFile};
use restic_repo::pack;
use restic_repo::progress::Silent;
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::snapshot::Snapshot;
use restic_repo::tree::Tree;
use restic_repo::{BlobHandle, FileType, Handle, Id, Result};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in the corpus.
pub const ALL: &[(&str, Target)] = &[
    ("blob", blob),
    ("config", config),
    ("index", index),
    ("key", key),
    ("lock", lock),
    ("pack_header", pack_header),
    ("snapshot", snapshot),
    ("tree", tree),
];

/// A tree that can be read can be written, and what was written says the same.
pub fn tree(bytes: &[u8]) {
    if let Ok(tree) = Tree::decode(bytes) {
        let written = tree.encode();
        let again = Tree::decode(&written).expect("what we wrote, we read");
        assert_eq!(again.encode(), written, "a second round changed the bytes");
    }
}

/// So can a snapshot.
pub fn snapshot(bytes: &[u8]) {
    if let Ok(snapshot) = Snapshot::decode(bytes) {
        let written = snapshot.encode();
        let again = Snapshot::decode(&written).expect("what we wrote, we read");
        assert_eq!(again, snapshot, "a second round changed the snapshot");
        assert_eq!(again.encode(), written, "a second round changed the bytes");
    }
}

/// An index file says the same in the quick way and in the slow one, whole and in pieces, and when it was
/// written again.
pub fn index(bytes: &[u8]) {
    let id = Id::default();
    let quick = IndexFile::decode(id, bytes).ok();
    // A space is enough to leave the quick way.
    let spaced = [b" ", bytes].concat();
    assert_eq!(IndexFile::decode(id, &spaced).ok(), quick, "it depends on the way");
    if let Some(file) = &quick {
        assert_eq!(IndexFile::decode(id, &file.encode()).as_ref().ok(), Some(file));
    }

    let (whole, pieces) = (Builder::new(2), Builder::new(2));
    let taken = whole.add_file(id, bytes).is_ok();
    let streamed = pieces.add_stream(id, || Ok(Pieces(bytes))).is_ok();
    assert_eq!((taken, streamed), (quick.is_some(), quick.is_some()), "it depends on the reader");
    let (whole, pieces) = (whole.finish(), pieces.finish());
    assert!(whole.packs().iter().eq(pieces.packs().iter()), "it depends on the reader");
}

/// A reader that gives little at a time.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(7);
        self.0.read(&mut buffer[..length])
    }
}

/// A pack's header is read exactly if it is a list of whole entries, and then says where every blob is.
pub fn pack_header(bytes: &[u8]) {
    if let Ok(length) = pack::header_length(bytes, bytes.len() as u64) {
        assert!(length as usize + pack::TRAILER_LENGTH <= bytes.len(), "longer than the file");
    }

    let key = REPOSITORY.repository.key();
    let sealed = key.seal(bytes).expect("there is randomness");
    let lengths = blob_lengths(bytes).filter(|lengths| !lengths.is_empty());
    let blobs = lengths.iter().flatten().map(|&length| u64::from(length)).sum();
    let expected = lengths.filter(|_| blobs <= u64::from(u32::MAX));
    let found = pack::parse_header(key, &sealed, blobs).ok();
    let found_lengths = found.as_ref().map(|all| all.iter().map(|blob| blob.length).collect());
    assert_eq!(found_lengths, expected, "other blobs than are named");
    let Some(found) = found else { return };
    let mut end = 0;
    for blob in &found {
        assert_eq!(blob.offset, end, "a gap between blobs");
        end += blob.length;
    }
    // A compressed blob of no length has a longer entry than one that is not compressed.
    let size = blobs + sealed.len() as u64 + pack::TRAILER_LENGTH as u64;
    assert!(pack::size_of(&found) <= size, "larger than the file");
    let beyond = pack::parse_header(key, &sealed, blobs + 1);
    assert!(beyond.is_err(), "the blobs do not fill the file");
}

/// The sealed lengths that a header names, if it is a list of whole entries.
fn blob_lengths(mut header: &[u8]) -> Option<Vec<u32>> {
    let mut lengths = Vec::new();
    while let [kind, rest @ ..] = header {
        let length = if *kind < 2 { pack::ENTRY_LENGTH } else { pack::COMPRESSED_ENTRY_LENGTH };
        header = header.get(length..).filter(|_| *kind < 4)?;
        lengths.push(u32::from_le_bytes(*rest.first_chunk()?));
    }
    Some(lengths)
}

/// A blob gives what is in its frames, whatever somebody claims its length to be: the first four bytes.
/// Bombs are left to other tests; here they would only take time.
pub fn blob(bytes: &[u8]) {
    let Some((claim, stored)) = bytes.split_first_chunk() else { return };
    let claim = u32::from_le_bytes(*claim);
    let expected = match claim {
        0 => Some(stored.to_vec()),
        _ => match decompress(stored) {
            Some(plaintext) if plaintext.len() > LARGE => return,
            plaintext => plaintext,
        },
    };
    let key = REPOSITORY.repository.key();
    let sealed = key.seal(stored).expect("there is randomness");
    assert_eq!(sealed.len(), stored.len() + crypto::OVERHEAD);
    let handle = BlobHandle::data(expected.as_deref().map(Id::of).unwrap_or_default());
    let mut decoder = Decoder::new(key.clone()).expect("there is memory");
    let mut plaintext = b"what was there before".to_vec();
    let decoded = decoder.decode(handle, &sealed, claim, &mut plaintext);
    assert_eq!(decoded.ok().map(|()| plaintext), expected, "not what is in the frames");
    let other = BlobHandle::data(Id::of(b"something else"));
    assert!(
        decoder.decode(other, &sealed, claim, &mut Vec::new()).is_err(),
        "not what was asked for"
    );
}

/// More than this is a bomb, in bytes.
const LARGE: usize = 1 << 20;

/// The plain way, piece by piece; of what is large, the beginning.
fn decompress(frames: &[u8]) -> Option<Vec<u8>> {
    let mut plaintext = Vec::new();
    let frames = zstd::stream::read::Decoder::with_buffer(frames).ok()?;
    frames.take(LARGE as u64 + 1).read_to_end(&mut plaintext).ok()?;
    Some(plaintext)
}

/// A repository opens or does not, whatever its config says; if it does, we know how to work in it.
pub fn config(bytes: &[u8]) {
    let stored = REPOSITORY.repository.key().seal(bytes).expect("there is randomness");
    let Ok(opened) = REPOSITORY.open_with(Handle::CONFIG, stored) else { return };
    let config = opened.config();
    assert!(VERSIONS.contains(&config.version), "unknown version");
    assert!(config.chunker_polynomial.is_irreducible(), "it would not cut well");
    let written = serde_json::to_vec(config).expect("it is plain data");
    let again: Config = serde_json::from_slice(&written).expect("what we wrote, we read");
    assert_eq!(again, *config);
}

/// A key file opens the repository or does not; and can be listed or is passed over. It takes no more
/// time than we allow it.
pub fn key(bytes: &[u8]) {
    let handle = Handle::new(FileType::Key, Id::of(bytes));
    let files = BTreeMap::from([(handle, bytes.to_vec().into())]);
    let listed = wait(REPOSITORY.on(files).keys(&Silent)).expect("a bad key is passed over");
    assert!(listed.len() <= 1);
    if !takes_time(bytes) {
        let _ = REPOSITORY.open_with(handle, bytes.to_vec());
    }
}

/// Whether scrypt is allowed to take long with these parameters. What is more than we allow is refused
/// at once.
fn takes_time(key: &[u8]) -> bool {
    let json: serde_json::Value = serde_json::from_slice(key).unwrap_or_default();
    let factor = |name: &str| json[name].as_u64().unwrap_or(0);
    let work = factor("N").saturating_mul(factor("r")).saturating_mul(factor("p"));
    (1 << 12..=1 << 26).contains(&work)
}

/// A lock can be read or is an error, is listed once, and is removed if it is stale. The bytes are what is
/// stored before sealing, so this is also the way of all unpacked files.
pub fn lock(bytes: &[u8]) {
    let sealed = REPOSITORY.repository.key().seal(bytes).expect("there is randomness");
    let id = Id::of(&sealed);
    let files = BTreeMap::from([(Handle::new(FileType::Lock, id), sealed.into())]);
    let repository = REPOSITORY.on(files);
    let read = wait(repository.load_unpacked(FileType::Lock, id)).ok();
    let read = read.and_then(|json| serde_json::from_slice::<LockFile>(&json).ok());
    if let Some(lock) = &read {
        let written = serde_json::to_vec(lock).expect("it is plain data");
        let again: LockFile = serde_json::from_slice(&written).expect("what we wrote, we read");
        assert_eq!(again, *lock, "a second round changed the lock");
    }
    let listed = wait(lock::list(&repository)).expect("memory can be read");
    let holder = matches!(&listed[..], [(found, Ok(_))] if *found == id);
    assert_eq!(holder, read.is_some(), "{listed:?}");
    let stale = read.is_some_and(|lock| lock.is_stale("here"));
    let removed = wait(lock::remove_stale(&repository, "here")).expect("memory can be written");
    assert_eq!(removed.removed.len(), usize::from(stale));
}

/// A repository that costs nothing to open.
struct Prepared {
    files: BTreeMap<Handle, bytes::Bytes>,
    repository: Repository,
}

static REPOSITORY: LazyLock<Prepared> = LazyLock::new(|| {
    let mem = Mem::new();
    let identity = Identity { username: "u".into(), hostname: "here".into(), uid: 1000, gid: 1000 };
    let scrypt = Some(ScryptParams { n: 2, r: 1, p: 1 });
    let init = InitOptions { scrypt, ..InitOptions::new(identity) };
    let password = Password::new("geheim");
    let made = Repository::init(Arc::new(mem.clone()), &password, init, Options::default());
    let repository = wait(made).expect("memory can be written");
    Prepared { files: mem.files(), repository }
});

impl Prepared {
    /// Opens it with one file in place of the one of this type.
    fn open_with(&self, handle: Handle, stored: Vec<u8>) -> Result<Repository> {
        let mut files = self.files.clone();
        files.retain(|other, _| other.file_type != handle.file_type);
        files.insert(handle, stored.into());
        let backend: Arc<dyn Backend> = Arc::new(Mem::from_files(files));
        wait(Repository::open(backend, &Password::new("geheim"), None, Options::default(), &Silent))
    }

    /// The open repository over other files.
    fn on(&self, files: BTreeMap<Handle, bytes::Bytes>) -> Repository {
        self.repository.with_backend(Arc::new(Mem::from_files(files)))
    }
}

/// Runs what is async to its end.
fn wait<T>(work: impl Future<Output = T>) -> T {
    // Never dropped: a runtime that is dropped while a process ends may wait for ever.
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime needs little")
    });
    RUNTIME.block_on(work)
}
