//! `backup_cancel`

use std::ffi::OsStr;
use std::sync::Arc;

use crate::exit::{Failure, Result};
use crate::host::link::Log;
use crate::host::run;
use crate::host::ssh::Host;
use crate::opennebula::action_data::{self, ActionData};
use crate::opennebula::installation::Installation;
use crate::opennebula::place::Place;
use crate::opennebula::vm::Vm;
use crate::processes::{self, Process};
use crate::session::Session;

/// The programs that work on a backup: the action of this datastore, and what comes before it: the
/// disks are exported by the VM's own datastore, whose drivers clean up when they are stopped.
const PROGRAMS: [&str; 3] = ["backup", "prebackup", "prebackup_live"];
/// How many words may come before the name of such a program, as in `ruby -W0 …/prebackup` or
/// `…/restic datastore backup`.
const MAX_WORDS_BEFORE: usize = 4;

/// Stops the backup of a VM, whatever it is at, and no other. That there is none is no failure: it may
/// have ended by itself.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let [place, deploy_id] = arguments else {
        return Err(Failure::new("backup_cancel takes the arguments host:folder and deploy id"));
    };
    let place = Place::parse(place)?;
    let mut found = 0;
    for process in processes::mine().filter(|process| is_backup(process, &place, deploy_id)) {
        process.terminate();
        found += 1;
    }
    let data = ActionData::of_stdin().await?;
    let document = data.document()?;
    let vm = Vm::parse(action_data::part(&document, "VM")?)?;
    let log = Log { terminal: Arc::clone(&session.terminal), vm: Some(vm.id) };
    log.note(format_args!("cancelling the backup: {found} programs are told to stop"));
    // The host's half ends by itself when the front-end's does. This is for one that was left alone.
    let host = Host::new(place.reader(Some(&vm)), &session.environment)?;
    let folder = place.backup_folder(&Installation::of(&session.environment))?;
    run::stop_job(&host, &folder, &log).await;
    Ok(())
}

/// Whether a process works on the backup of this VM. Its arguments are looked at one by one and as a
/// whole: VM 5 is not VM 54, and whoever has the same words in one argument means something else.
fn is_backup(process: &Process, place: &Place, deploy_id: &str) -> bool {
    let words = process.arguments();
    words.iter().take(MAX_WORDS_BEFORE + 1).enumerate().any(|(at, word)| {
        let [where_, _disks, deployed, ..] = &words[at + 1..] else { return false };
        PROGRAMS.iter().any(|program| processes::name(word) == OsStr::new(program))
            && deployed == deploy_id
            && where_.to_str().and_then(|text| Place::parse(text).ok()).as_ref() == Some(place)
    })
}
