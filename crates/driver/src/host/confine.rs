//! What a backup may take of its host: `nice`, the priority of its reads, and a systemd slice.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::action;
use crate::exit::{Failure, Result};
use crate::host::job;
use crate::host::message::Bounds;
use crate::opennebula::datastore::Confinement;

/// How long to wait for somebody else who writes the slice: as long as upstream.
const SLICE_PATIENCE: Duration = Duration::from_secs(180);
/// How often to look.
const SLICE_PAUSE: Duration = Duration::from_millis(100);

impl Confinement {
    /// Whether it takes systemd to set these bounds.
    pub fn needs_slice(&self) -> bool {
        self.cpu_quota.is_some()
            || self.max_riops.is_some()
            || self.max_wiops.is_some()
            || self.memory_max_mb.is_some()
    }
}

/// Lowers the priority of this thread, and of all threads and processes that it is going to start.
pub fn be_nice(confinement: &Confinement) -> Result {
    let failed = |what, error: &dyn std::fmt::Display| {
        Failure::new(format_args!("cannot set {what} for the backup: {error}"))
    };
    if let Some(nice) = confinement.nice {
        rustix::process::nice(nice.into()).map_err(|error| failed("RESTIC_NICE", &error))?;
    }
    if let Some(level) = confinement.ionice {
        best_effort(level).map_err(|error| failed("RESTIC_IONICE", &error))?;
    }
    Ok(())
}

/// Puts this thread's reads and writes into the best effort class, as `ionice -c2` does.
#[allow(unsafe_code, reason = "there is no other way to make this call")]
fn best_effort(level: u8) -> io::Result<()> {
    /// From `linux/ioprio.h`: one process or thread; this one is 0.
    const WHO_PROCESS: libc::c_int = 1;
    /// From `linux/ioprio.h`: the best effort class, in the place of the class.
    const BEST_EFFORT: libc::c_int = 2 << 13;
    // SAFETY: the call takes three numbers and touches no memory.
    let done = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS,
            0 as libc::c_int,
            BEST_EFFORT | libc::c_int::from(level.min(7)),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes `systemd-run`, which runs this program once more, in the slice of the datastore. Returns only
/// if that fails.
pub fn start_in_slice(bounds: &Bounds) -> Failure {
    match slice_command(bounds) {
        Err(failure) => failure,
        Ok(mut command) => {
            let error = command.exec();
            failed(format_args!("cannot run systemd-run: {error}"))
        }
    }
}

fn slice_command(bounds: &Bounds) -> Result<Command> {
    // The user's systemd is found by this, which a login over ssh sets only with pam_systemd.
    let runtime = env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw())),
        PathBuf::from,
    );
    write_slice(bounds, &runtime)?;
    be_nice(&bounds.confinement)?;
    let program = env::current_exe()
        .map_err(|error| failed(format_args!("cannot tell where this program is: {error}")))?;
    let mut command = Command::new("systemd-run");
    command.args(["--user", "--quiet", "--pipe", "--collect", "--wait"]);
    command.arg(format!("--slice={}", slice_name(bounds)));
    if let Some(nice) = bounds.confinement.nice {
        command.arg(format!("--property=Nice={nice}"));
    }
    if let Some(level) = bounds.confinement.ionice {
        command.args(["--property=IOSchedulingClass=best-effort"]);
        command.arg(format!("--property=IOSchedulingPriority={level}"));
    }
    if let Some(agent) = env::var_os("SSH_AUTH_SOCK") {
        let mut variable = std::ffi::OsString::from("--setenv=SSH_AUTH_SOCK=");
        variable.push(agent);
        command.arg(variable);
    }
    command.arg(program).args([action::COMMAND, job::ACTION, job::BOUNDED]);
    with_bus(&mut command, &runtime);
    Ok(command)
}

/// Writes the file of the slice and has systemd read it. Others may be about to do the same.
fn write_slice(bounds: &Bounds, runtime: &Path) -> Result {
    let home = env::var_os("HOME").ok_or_else(|| failed("HOME is not set"))?;
    let folder = Path::new(&home).join(".config/systemd/user");
    let at = |path: &Path, error: io::Error| failed(format_args!("{}: {error}", path.display()));
    fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
    let lock = folder.join(".lock");
    let opened = File::options().create(true).truncate(false).write(true).open(&lock);
    let opened = opened.map_err(|error| at(&lock, error))?;
    let began = Instant::now();
    while let Err(error) = flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        if began.elapsed() > SLICE_PATIENCE {
            return Err(at(&lock, error.into()));
        }
        std::thread::sleep(SLICE_PAUSE);
    }
    let slice = folder.join(slice_name(bounds));
    fs::write(&slice, slice_text(bounds)?).map_err(|error| at(&slice, error))?;
    let mut reload = Command::new("systemctl");
    reload.args(["--user", "daemon-reload"]);
    with_bus(&mut reload, runtime);
    let output =
        reload.output().map_err(|error| failed(format_args!("cannot run systemctl: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format_args!("systemctl --user daemon-reload: {}", said.trim())))
}

fn with_bus(command: &mut Command, runtime: &Path) {
    command.env("XDG_RUNTIME_DIR", runtime);
    if env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() {
        let bus = runtime.join("bus");
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
    }
}

fn slice_name(bounds: &Bounds) -> String {
    format!("backup.{}.slice", bounds.datastore)
}

/// The content of the slice's file. What has no limit gets none, even if it had one before.
fn slice_text(bounds: &Bounds) -> Result<String> {
    let Bounds { confinement, folder, .. } = bounds;
    let limit = |key: &str, value: Option<String>| format!("{key}={}\n", value.unwrap_or_default());
    let of_device = |limit: Option<u64>| limit.map(|limit| format!("{folder} {limit}"));
    let has_device_limit = confinement.max_riops.or(confinement.max_wiops).is_some();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if has_device_limit && !folder.chars().all(is_plain) {
        return Err(failed(format_args!(
            "the folder {folder:?} has characters that a limit of reads or writes cannot be set for"
        )));
    }
    Ok([
        "[Slice]\n".to_owned(),
        limit("CPUQuota", confinement.cpu_quota.map(|quota| format!("{quota}%"))),
        limit("MemoryMax", confinement.memory_max_mb.map(|size| format!("{size}M"))),
        limit("IOReadIOPSMax", of_device(confinement.max_riops)),
        limit("IOWriteIOPSMax", of_device(confinement.max_wiops)),
    ]
    .concat())
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(format_args!(
        "cannot set the limits of RESTIC_CPU_QUOTA, RESTIC_MEMORY_MAX_MB, RESTIC_MAX_RIOPS and \
         RESTIC_MAX_WIOPS: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(confinement: Confinement, folder: &str) -> Bounds {
        Bounds { confinement, datastore: 100, folder: folder.to_owned() }
    }

    #[test]
    fn a_slice_has_the_limits_that_are_set() {
        let quota = Confinement { cpu_quota: Some(50), max_riops: Some(200), ..Default::default() };
        assert!(quota.needs_slice());
        assert_eq!(
            slice_text(&bounds(quota, "/ds/0/5")).unwrap(),
            "[Slice]\nCPUQuota=50%\nMemoryMax=\nIOReadIOPSMax=/ds/0/5 200\nIOWriteIOPSMax=\n"
        );
        let memory = Confinement { memory_max_mb: Some(512), ..Default::default() };
        let text = slice_text(&bounds(memory, "/any thing\n")).unwrap();
        assert_eq!(text, "[Slice]\nCPUQuota=\nMemoryMax=512M\nIOReadIOPSMax=\nIOWriteIOPSMax=\n");
    }

    #[test]
    fn a_folder_cannot_add_lines_to_a_slice() {
        let limits = Confinement { max_wiops: Some(1), ..Default::default() };
        for folder in ["/a\nCPUQuota=1%", "/a b", "/%h", "/a\"b"] {
            assert!(slice_text(&bounds(limits.clone(), folder)).is_err(), "{folder:?}");
        }
    }

    #[test]
    fn nice_needs_no_slice_and_is_taken_over_by_later_threads() {
        let nice = Confinement { nice: Some(3), ionice: Some(7), ..Default::default() };
        assert!(!nice.needs_slice());
        // A thread of its own, since it cannot be taken back.
        let found = std::thread::spawn(move || {
            let before = rustix::process::nice(0).unwrap();
            be_nice(&nice).unwrap();
            let after = std::thread::spawn(|| rustix::process::nice(0).unwrap()).join().unwrap();
            (before, after)
        });
        let (before, after) = found.join().unwrap();
        assert_eq!(after, (before + 3).min(19));
    }
}
