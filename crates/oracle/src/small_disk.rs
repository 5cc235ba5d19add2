//! A small file system of one's own, for what happens when it is full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory, which is there until this is dropped.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one with these options of `tmpfs`, as in `size=2m`. Where that is not allowed there is none, and the
    /// test is to be skipped.
    #[expect(clippy::print_stdout, reason = "who runs the test is to know that it was skipped")]
    pub fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("one-restic-disk-").tempdir();
        let disk = Self(folder.unwrap_or_else(|error| panic!("no folder in TMPDIR: {error}")));
        let mounted = disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
        if !mounted {
            println!("skipped: only root can mount a small file system");
        }
        mounted.then_some(disk)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets nobody write to it from now on.
    pub fn make_read_only(&self) {
        assert!(self.run("mount", &["-o", "remount,ro"]), "it cannot be made read-only");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let output = Command::new(program).args(arguments).arg(self.path()).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}
