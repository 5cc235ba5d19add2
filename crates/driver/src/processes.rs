//! The processes of this user on this machine: finding some by their arguments, and stopping them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process. What is known of it stays true of it: its number does not become that of another one.
#[derive(Debug)]
pub struct Process {
    handle: OwnedFd,
    folder: PathBuf,
    arguments: Vec<OsString>,
}

/// The processes of this user, without this one. Some may end while they are looked at.
pub fn mine() -> impl Iterator<Item = Process> {
    let me = (rustix::process::geteuid().as_raw(), std::process::id());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let is_mine = entry.metadata().is_ok_and(|found| found.uid() == me.0);
        if !is_mine || number == me.1 {
            return None;
        }
        // Held first and read then: so what is read is the process that is held.
        let pid = Pid::from_raw(i32::try_from(number).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let folder = entry.path();
        let line = fs::read(folder.join("cmdline")).ok()?;
        Some(Process { handle, folder, arguments: split(&line) })
    })
}

impl Process {
    /// Its arguments, the name of the program first.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Whether it is in this folder, by whatever path.
    pub fn is_in(&self, folder: &Path) -> bool {
        let place = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let wanted = place(folder);
        wanted.is_some() && place(&self.folder.join("cwd")) == wanted
    }

    /// Asks it to stop. One that has ended meanwhile needs no asking.
    pub fn terminate(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::TERM);
    }
}

/// The last part of an argument that is a path.
pub fn name(argument: &OsStr) -> &OsStr {
    Path::new(argument).file_name().unwrap_or(argument)
}

/// The arguments in `/proc/PID/cmdline`, each of which ends with a zero.
fn split(line: &[u8]) -> Vec<OsString> {
    let Some(line) = line.strip_suffix(&[0]) else { return Vec::new() };
    line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_arguments_and_folder_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .args(["1000", "0.125"])
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        // It has these arguments once it is that program.
        let found = loop {
            let is_it = |process: &Process| process.is_in(folder.path());
            match mine().find(is_it) {
                Some(process) if process.arguments() == ["sleep", "1000", "0.125"] => {
                    break process;
                }
                _ => std::thread::yield_now(),
            }
        };
        assert!(!found.is_in(Path::new("/")));
        assert!(!found.is_in(Path::new("/nowhere")));
        found.terminate();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        found.terminate();
    }

    #[test]
    fn arguments_may_be_empty() {
        assert_eq!(split(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert!(split(b"").is_empty());
        assert_eq!(name(OsStr::new("/usr/bin/ruby")), "ruby");
        assert_eq!(name(OsStr::new("backup")), "backup");
    }
}
