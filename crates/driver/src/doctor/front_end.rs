//! The machine that OpenNebula runs on, which is this one.

use std::path::Path;

use tokio::process::Command;

use crate::action;
use crate::command::version::OWN_VERSION;
use crate::doctor::Doctor;
use crate::exit::{Failure, Result};
use crate::opennebula::api::Api;
use crate::opennebula::auth::ServerAdmin;
use crate::opennebula::installation::Installation;

/// Whom OpenNebula runs as.
const USER: &str = "oneadmin";

/// What `ssh-add -l` ends with if the agent has no key.
const NO_KEYS: i32 = 1;

/// Looks at the front-end. Gives OpenNebula's API, if it can be asked.
pub async fn examine(doctor: &mut Doctor<'_>) -> Option<Api> {
    let session = doctor.session;
    let me = session.identity().username;
    if me != USER {
        doctor.doubtful(format!(
            "this runs as {me}; what counts is what {USER} may do: sudo -u {USER} one-restic doctor"
        ));
    }
    let installation = Installation::of(&session.environment);
    let driver = installation.driver();
    doctor.expect(drivers(&installation), |()| {
        format!("the drivers in {} are those of one-restic {OWN_VERSION}", driver.display())
    });
    doctor.expect(agent().await, |keys| format!("the SSH agent has {keys}"));
    doctor.expect(ServerAdmin::load(&session.environment, &installation), |_| {
        "restores can be made in the name of users".to_owned()
    });
    doctor.expect(Api::of(&session.environment), |_| {
        "there is a user for OpenNebula's API".to_owned()
    })
}

/// Whether what OpenNebula will call is this program.
fn drivers(installation: &Installation) -> Result {
    let driver = installation.driver();
    let wrong = |path: &Path, why: &str| {
        Failure::new(format_args!(
            "{} {why}; install one-restic on this front-end (again, if OpenNebula was upgraded)",
            path.display()
        ))
    };
    let scripts = action::INSTALLED.iter().map(|action| driver.join(action));
    for script in scripts.chain([installation.downloader()]) {
        match std::fs::read(&script) {
            Err(error) => return Err(wrong(&script, &format!("cannot be read: {error}"))),
            Ok(text) if !is_ours(&text) => return Err(wrong(&script, "is not one-restic's")),
            Ok(_) => {}
        }
    }
    let program = driver.join("restic");
    let ours = std::env::current_exe().and_then(std::fs::read);
    match (std::fs::read(&program), ours) {
        (Err(error), _) => Err(wrong(&program, &format!("cannot be read: {error}"))),
        (Ok(there), Ok(here)) if there != here => Err(wrong(&program, "is not this program")),
        _ => Ok(()),
    }
}

/// Whether a script calls this program.
fn is_ours(text: &[u8]) -> bool {
    let calls = format!("/restic\" {} ", action::COMMAND);
    String::from_utf8_lossy(text).contains(&calls)
}

/// How many keys the SSH agent has. Backups need it: it is forwarded to the hosts.
async fn agent() -> Result<String> {
    let remedy = format!(
        "OpenNebula starts one for {USER} (systemctl status opennebula-ssh-agent); in a shell, set \
         SSH_AUTH_SOCK=/var/run/one/ssh-agent.sock"
    );
    let asked = Command::new("ssh-add").arg("-l").output().await.map_err(|error| {
        Failure::new(format_args!("ssh-add cannot be run: {error}; install the OpenSSH client"))
    })?;
    let keys = asked.stdout.iter().filter(|byte| **byte == b'\n').count();
    match asked.status.code() {
        Some(0) if keys == 1 => Ok("one key".to_owned()),
        Some(0) => Ok(format!("{keys} keys")),
        Some(NO_KEYS) => Err(Failure::new(format_args!(
            "the SSH agent has no key: ssh-add, as {USER}, or restart opennebula-ssh-agent"
        ))),
        _ => Err(Failure::new(format_args!("there is no SSH agent; {remedy}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");

    #[test]
    fn what_is_packaged_is_known_as_ours() {
        for script in ["action", "restic_downloader.rb"] {
            let text = std::fs::read(format!("{PACKAGING}/{script}")).unwrap();
            assert!(is_ours(&text), "{script}");
        }
        assert!(!is_ours(b"#!/usr/bin/env ruby\nrequire 'restic'\n"));
    }

    #[test]
    fn all_actions_are_packaged() {
        let build = std::fs::read_to_string(format!("{PACKAGING}/build")).unwrap();
        let list = build.split_once("actions=(").unwrap().1.split_once(')').unwrap().0;
        let mut packaged: Vec<_> = list.split_whitespace().collect();
        packaged.sort_unstable();
        assert_eq!(packaged, action::INSTALLED);
    }
}
