//! Gives a host the program, where `onehost sync` has not yet done so, or has brought another version.

use std::fs::File;
use std::io::Read;

use crate::exit::{Failure, Result};
use crate::host::link::{Link, Log};
use crate::host::ssh::{Agent, Host, PROGRAM};

/// This program, even if its file was replaced meanwhile.
const MYSELF: &str = "/proc/self/exe";
/// How much is sent at a time.
const PIECE: usize = 1 << 18;

/// Copies this program to a host. It is there as a whole, or not at all, whatever happens on the way.
pub async fn deploy(host: &Host, log: &Log) -> Result {
    let (name, program) = (host.name(), host.program());
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!(
            "cannot copy this program to {name}:{program} ({why}); onehost sync does that as well"
        ))
    };
    let mut file = File::open(MYSELF).map_err(|error| failed(&error))?;
    let size = file.metadata().map_err(|error| failed(&error))?.len();
    log.note(format_args!("copying this program to {name}:{program}"));
    let mut link = Link::open(host.command(&script(host, size), Agent::Kept), log)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(|error| failed(&error))? {
            0 => break,
            length => link.send(&piece[..length]).await,
        }
    }
    let ending = link.end().await;
    match ending.is_success() {
        true => Ok(()),
        false => Err(failed(&ending.reason())),
    }
}

/// What the host's shell runs, whichever that is. A connection that breaks looks like the end of the
/// file, so the size is compared.
fn script(host: &Host, size: u64) -> String {
    let folder = host.folder();
    format!(
        "exec sh -c 'umask 022; mkdir -p {folder} && new=$(mktemp {folder}/.{PROGRAM}.XXXXXXXX) || exit 1; \
         trap \"rm -f $new\" EXIT; cat > $new && test $(wc -c < $new) -eq {size} && chmod 755 $new && \
         mv -f $new {folder}/{PROGRAM}'"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::environment::Environment;
    use crate::host::ssh::SCRIPTS_REMOTE_DIR;

    /// Does on this machine what a host's shell does.
    fn receive(folder: &std::path::Path, content: &[u8], size: u64) -> bool {
        let remote = folder.to_str().unwrap();
        let host = Host::new("node1", &Environment::of(&[(SCRIPTS_REMOTE_DIR, remote)])).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &script(&host, size)]).stdin(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn a_program_arrives_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("datastore/restic");
        assert!(receive(folder.path(), b"first", 5));
        let program = place.join(PROGRAM);
        assert_eq!(std::fs::read(&program).unwrap(), b"first");
        assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        // A connection breaks.
        assert!(!receive(folder.path(), b"sec", 6));
        assert_eq!(std::fs::read(&program).unwrap(), b"first");
        assert!(receive(folder.path(), b"second", 6));
        assert_eq!(std::fs::read(&program).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "nothing is left over");
    }
}
