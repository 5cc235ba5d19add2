//! The real programs, and a folder for them to work in.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tempfile::TempDir;
use virtual_disk::commit::Commit;
use virtual_disk::{Chain, LocalFile, Source, SourceError};

/// A name for a backing file that is not there any more, as incremental backups have it.
pub const DANGLING: &str = "nbd+unix:///vda?socket=/var/lib/one/datastores/100/1/backup.socket";

/// A folder with disks.
pub struct Disks {
    folder: TempDir,
}

impl Disks {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an empty disk that stands on no other. `options` as for `qemu-img create -o`.
    pub fn create(&self, name: &str, size: u64, options: &str) {
        self.img(["create", "-q", "-f", "qcow2", "-o", options, name, &size.to_string()]);
    }

    /// Makes an empty change to a disk.
    pub fn create_on(&self, backing: &str, name: &str, size: u64, options: &str) {
        let format = if backing.ends_with(".raw") { "raw" } else { "qcow2" };
        let size = size.to_string();
        self.img([
            "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, "-o", options, name, &size,
        ]);
    }

    /// Runs commands of qemu-io, one after the other. Only writing compressed may fail: QEMU does not write
    /// where there is something already.
    pub fn io(&self, name: &str, commands: &[impl AsRef<str>]) {
        if commands.is_empty() {
            return;
        }
        let format = if name.ends_with(".raw") { "raw" } else { "qcow2" };
        let mut arguments = vec!["-f", format];
        for command in commands {
            arguments.extend(["-c", command.as_ref()]);
        }
        arguments.push(name);
        let compresses = commands.iter().any(|command| command.as_ref().contains(" -c "));
        if let Err(said) = self.run("qemu-io", &arguments) {
            assert!(compresses && said.contains("write failed: Input/output"), "{said}");
        }
    }

    /// Runs qemu-img, which has to succeed. Returns what it said.
    pub fn img<const N: usize>(&self, arguments: [&str; N]) -> String {
        self.run("qemu-img", &arguments).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Runs a program in the folder. If it fails, says so with what it said.
    pub fn run(&self, program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<String, String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap_or_else(|error| {
                panic!("{program} cannot be run ({error}); dev/setup installs qemu-utils")
            });
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref()).collect();
        Err(format!("{program} {arguments:?}: {}\n{said}", output.status))
    }

    /// The content of a disk, as QEMU reads it.
    pub fn content(&self, name: &str) -> Bytes {
        let format = if name.ends_with(".raw") { "raw" } else { "qcow2" };
        let raw = self.path("content");
        self.img(["convert", "-f", format, "-O", "raw", name, "content"]);
        let content = fs::read(&raw).unwrap();
        fs::remove_file(raw).unwrap();
        content.into()
    }

    /// The content of a snapshot in a disk.
    pub fn snapshot(&self, name: &str, snapshot: &str) -> Bytes {
        let selected = format!("snapshot.name={snapshot}");
        self.img(["convert", "-f", "qcow2", "-l", &selected, "-O", "raw", name, "content.raw"]);
        read(&self.path("content.raw"))
    }

    /// Makes a file what a commit makes of another one.
    pub async fn apply(&self, commit: &Commit, old: &str, new: &str) {
        std::fs::copy(self.path(old), self.path(new)).unwrap();
        let file = File::options().write(true).open(self.path(new)).unwrap();
        let old = file.metadata().unwrap().len();
        assert!(commit.len() >= old, "it became shorter");
        let mut end = 0;
        for range in commit.changes() {
            assert!(range.start < range.end && (end == 0 || end < range.start), "{range:?}");
            end = range.end;
            let length = (range.end - range.start) as usize;
            let content = commit.read_at(range.start, length).await.unwrap();
            assert_eq!(content.len(), length);
            file.write_all_at(&content, range.start).unwrap();
        }
        assert!(end <= commit.len());
        assert_eq!(file.metadata().unwrap().len(), commit.len(), "something new is not a change");
    }

    /// That QEMU finds nothing wrong with a file: no errors, no leaks.
    pub fn assert_clean(&self, name: &str) {
        let said = self.img(["check", "-f", "qcow2", name]);
        assert!(said.contains("No errors were found"), "{said}");
    }

    /// Makes files forget or mistake what they stand on.
    pub fn rebase(&self, names: &[&str], backing: &str) {
        for name in names {
            self.img(["rebase", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing, name]);
        }
    }

    pub fn source(&self, name: &str) -> Arc<dyn Source> {
        Arc::new(LocalFile::open(self.path(name)).unwrap())
    }

    pub async fn chain(&self, names: &[&str]) -> Chain {
        Chain::open(names.iter().map(|name| self.source(name)).collect()).await.unwrap()
    }

    /// Streams a disk into a file.
    pub async fn stream(&self, chain: &Chain, name: &str) {
        let file = File::create(self.path(name)).unwrap();
        let written = chain.stream().map_ok(|bytes| (&file).write_all(&bytes).unwrap());
        written.try_collect::<()>().await.unwrap();
    }
}

/// All bytes of a file.
pub fn read(path: &Path) -> Bytes {
    fs::read(path).unwrap().into()
}

/// That two disks are the same, and where they are not.
pub fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "another size");
    if found != expected {
        let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
        let at = at.unwrap();
        panic!("other content at {at}: {:#x} instead of {:#x}", found[at], expected[at]);
    }
}

/// What a disk has, read whole.
pub async fn all(chain: &Chain) -> Bytes {
    chain.read_at(0, chain.virtual_size() as usize).await.unwrap()
}

/// All that a stream gives, in one piece.
pub async fn collected(chain: &Chain) -> Vec<u8> {
    let stream = chain.stream().map(|piece| piece.unwrap());
    stream.collect::<Vec<_>>().await.concat()
}

/// A source that keeps account of what is read from it.
pub struct Counting {
    source: Arc<dyn Source>,
    /// Offset and length of each read.
    pub reads: Mutex<Vec<(u64, usize)>>,
}

impl Counting {
    pub fn new(source: Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self { source, reads: Mutex::default() })
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> usize {
        self.reads.lock().unwrap().iter().map(|(_, length)| length).sum()
    }

    /// How many reads there were.
    pub fn count(&self) -> usize {
        self.reads.lock().unwrap().len()
    }
}

#[async_trait::async_trait]
impl Source for Counting {
    fn len(&self) -> u64 {
        self.source.len()
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        self.reads.lock().unwrap().push((offset, length));
        self.source.read_at(offset, length).await
    }
}
