//! What a command prints, as a file to back up.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The standard output of a command. Its end is only an end if the command succeeded: half of a dump
/// must not become a backup.
#[derive(Debug)]
pub struct CommandOutput {
    child: Child,
    output: ChildStdout,
}

impl CommandOutput {
    /// Starts a command. Its standard error is the operator's to see.
    pub fn start(program: &OsString, arguments: &[OsString]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output })
    }
}

impl Read for CommandOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(0),
            false => Err(io::Error::other(format!("the command failed: {status}"))),
        }
    }
}

impl Drop for CommandOutput {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> io::Result<String> {
        let arguments = ["-c".into(), script.into()];
        let mut text = String::new();
        CommandOutput::start(&"sh".into(), &arguments)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn the_output_ends_well_only_if_the_command_does() {
        assert_eq!(run("echo all").unwrap(), "all\n");
        assert!(run("echo half; exit 3").unwrap_err().to_string().contains("exit status: 3"));
    }
}
