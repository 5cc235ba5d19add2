//! Passwords: read from files, asked for at the terminal.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use restic_repo::key::Password;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};
use crate::text_file;

/// How often somebody at a terminal may try, as in restic.
pub const TRIES: u32 = 3;

/// The password itself.
pub type Bytes = Zeroizing<Vec<u8>>;

/// A secret text that is passed on: it is never shown, and zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret of this text, which is moved, not copied.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for those who need it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A password of these bytes, which are moved, not copied.
pub fn from_bytes(mut bytes: Bytes) -> Password {
    Password::new(std::mem::take(&mut *bytes))
}

/// The password in a file: without a byte order mark, from UTF-16 if it has the mark of that, and
/// without white space around it.
pub fn from_file(path: &Path) -> Result<Bytes> {
    let text = text_file::read(path).map_err(|error| {
        Failure::new(format_args!("cannot read the password file {}: {error}", path.display()))
    })?;
    Ok(text_file::trim(&text).to_vec().into())
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a password: at a terminal without showing what is typed, else the first line of standard
/// input is taken.
///
/// Dropped while it waits, it leaves the terminal as it was.
pub async fn ask(prompt: &str) -> Result<Password> {
    ask_for_bytes(prompt).await.map(from_bytes)
}

/// Asks for a new password, twice if there is somebody to ask.
pub async fn ask_twice(prompt: &str) -> Result<Password> {
    let first = ask_for_bytes(prompt).await?;
    if can_ask() && ask_for_bytes("enter password again: ").await? != first {
        return Err(Failure::new("the two passwords are not the same; try again"));
    }
    Ok(from_bytes(first))
}

async fn ask_for_bytes(prompt: &str) -> Result<Bytes> {
    let cannot = |error: io::Error| Failure::new(format_args!("cannot read the password: {error}"));
    let hidden = if can_ask() { Some(Hidden::begin(prompt).map_err(cannot)?) } else { None };
    // Not a thread of the runtime's, which would wait for it when the program is told to stop.
    let (sender, line) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(read_line()));
    let line = line.await;
    drop(hidden);
    let line = line.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(cannot)?;
    if line.is_empty() {
        return Err(Failure::new(
            "the password is empty; give one with --password-file, --password-command or \
             RESTIC_PASSWORD, or say that there is none with --insecure-no-password",
        ));
    }
    Ok(line)
}

/// One line of standard input, without what ends it.
fn read_line() -> io::Result<Bytes> {
    let mut line = Zeroizing::new(Vec::with_capacity(1024));
    io::stdin().lock().read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// While it exists, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin(prompt: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is typed by the operator, and shown.
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &hidden)?;
        let guard = Self(before);
        let mut stderr = io::stderr().lock();
        stderr.write_all(prompt.as_bytes())?;
        stderr.flush()?;
        Ok(guard)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone cannot be set back.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
