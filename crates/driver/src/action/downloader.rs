//! `restic_downloader`: tells OpenNebula's `downloader.sh` how to get a disk out of a backup.

use std::path::Path;

use crate::action::stream::Disk;
use crate::exit::{Failure, Result};
use crate::session::Session;

/// Prints the command that writes a disk to standard output, and the one that tidies up behind it.
///
/// `downloader.sh` learns of a failure only from a command that is missing, and it runs the command twice. So
/// whether there is such a disk is found out here, before any command is printed.
pub async fn run(session: &Session, arguments: &[String]) -> Result {
    let disk = Disk::find(session, arguments).await?;
    let repository = disk.open(session).await?;
    disk.files(&repository).await?;
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(format_args!("cannot tell where this program is: {error}"))
    })?;
    let command = command(&program, &disk.url.to_string())?;
    session.terminal.print(format!("command={command}\nclean_command=\"true\""));
    Ok(())
}

/// The command in the form that `downloader.sh` expects: in double quotes, for one `eval` that makes a
/// variable of it and a second one that runs it.
fn command(program: &Path, url: &str) -> Result<String> {
    let program = program
        .to_str()
        .filter(|path| !path.contains(char::is_control))
        .ok_or_else(|| Failure::new("this program is in a folder whose name no shell could use"))?;
    let words = format!("{} {} stream {}", word(program), crate::action::COMMAND, word(url));
    let mut quoted = String::from("\"");
    for c in words.chars() {
        if matches!(c, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Ok(quoted)
}

/// A word for a shell, whatever is in it.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the command of these words comes to in bash, where all it does is to print them.
    fn evaluated(url: &str) -> String {
        let command = command(Path::new("/opt/o'n$e `x`/one-restic"), url).unwrap();
        assert!(!command.contains('\n'));
        let script = format!(
            "eval 'x=1'; defs='command='{}; eval \"$defs\"; show() {{ printf '%s|' \"$@\"; }}; eval \"show \
             $command\"",
            word(&command)
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn no_text_gets_out_of_its_quotes() {
        for url in [
            "restic://102//0:66c01fd7/var/lib/one/datastores/100/0/backup/disk.0.0",
            "a b  c",
            "'; id; '",
            "\"; id; \"",
            "$(id) `id` ${HOME} \\$x \\\\ \\' !! * ~ # & | > <",
            "ümläut\u{2028}",
        ] {
            let expected = format!("/opt/o'n$e `x`/one-restic|datastore|stream|{url}|");
            assert_eq!(evaluated(url), expected);
        }
    }

    #[test]
    fn the_usual_command_can_be_read() {
        assert_eq!(
            command(Path::new("/usr/bin/one-restic"), "restic://1//0:66c01fd7/x").unwrap(),
            "\"'/usr/bin/one-restic' datastore stream 'restic://1//0:66c01fd7/x'\""
        );
        assert!(command(Path::new("/a\nb"), "x").is_err());
    }
}
