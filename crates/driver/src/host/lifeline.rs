//! How the host's half learns that nobody wants its work any more.
//!
//! `sshd` kills nothing when a connection without a terminal ends, so a backup would go on, and hold its
//! lock, long after the front-end forgot about it. What does happen is that standard input ends. And where
//! a network falls silent without a word, not even that: then the lines stop that are due all the time.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// How often the front-end's half writes a line.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long it may be silent until it counts as gone.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Standard input, or what stands for it, as a sign of life.
#[derive(Debug)]
pub struct Lifeline {
    heard: mpsc::UnboundedReceiver<()>,
    patience: Duration,
}

impl Lifeline {
    /// Holds on to a stream. It is read, on a thread of its own, and what it says does not matter.
    pub fn hold(mut stream: impl Read + Send + 'static, patience: Duration) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Err(error) if error.kind() != ErrorKind::Interrupted => return,
                    Ok(_) | Err(_) => {}
                }
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
        Self { heard, patience }
    }

    /// Waits until there is nobody at the other end.
    pub async fn broken(&mut self) {
        while let Ok(Some(())) = timeout(self.patience, self.heard.recv()).await {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write, pipe};
    use std::time::Instant;

    use super::*;

    fn lifeline(patience: Duration) -> (PipeWriter, Lifeline) {
        let (reader, writer) = pipe().unwrap();
        (writer, Lifeline::hold(reader, patience))
    }

    #[tokio::test]
    async fn it_breaks_when_the_other_end_is_closed() {
        let (mut writer, mut lifeline) = lifeline(SILENCE);
        writer.write_all(b"\n\n").unwrap();
        let still = timeout(Duration::from_millis(50), lifeline.broken()).await;
        assert!(still.is_err(), "it is held");
        drop(writer);
        let began = Instant::now();
        lifeline.broken().await;
        assert!(began.elapsed() < SILENCE);
    }

    #[tokio::test]
    async fn it_breaks_when_nothing_is_heard_for_too_long() {
        let (_writer, mut lifeline) = lifeline(Duration::from_millis(30));
        lifeline.broken().await;
    }
}
