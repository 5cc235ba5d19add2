//! A command that runs on a server.

use std::fmt;

use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncWriteExt, DuplexStream, copy, duplex};
use tokio::task::JoinHandle;

use crate::connect::{Connection, Connector};
use crate::error::Error;
use crate::failure::Failure;

/// How many bytes wait in each stream for whoever is to read them.
const WAITING: usize = 64 << 10;

/// A command that runs on a server, over a connection of its own.
///
/// Its parts may go separate ways. What the command says comes in its order over one line, so who reads only one
/// of [`output`](Self::output) and [`errors`](Self::errors) has to drop the other, or it fills up.
#[derive(Debug)]
pub struct Command {
    /// What it reads. Dropped, it has ended.
    pub input: DuplexStream,
    /// What it writes to standard output.
    pub output: DuplexStream,
    /// What it writes to standard error.
    pub errors: DuplexStream,
    /// How it ends.
    pub end: End,
}

/// The end of a command. Dropped, it closes the connection: the command's input ends, and what becomes of it is
/// the command's own affair. SSH servers stop none.
pub struct End(JoinHandle<Option<u32>>);

impl Command {
    /// Opens a connection and starts a command. The account's shell on the server takes the line apart; it is part
    /// of the program, so nothing from outside can be in it.
    ///
    /// Dropping the future closes what is open.
    ///
    /// # Errors
    /// Those of [`Connector::connect`], and that the server runs no commands. That there is no such command is no
    /// error but an end.
    pub async fn start(connector: &Connector, line: &'static str) -> Result<Self, Error> {
        let connection = connector.connect().await?;
        let mut channel = connection.handle.channel_open_session().await?;
        channel.exec(true, line).await?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure) => {
                    return Err(Failure::Refused("it runs no commands".to_owned()).into());
                }
                Some(_) => {}
                None => return Err(Failure::Lost("it was closed".to_owned()).into()),
            }
        }
        let [(input, stdin), (output, stdout), (errors, stderr)] =
            [(); 3].map(|()| duplex(WAITING));
        let end = End(tokio::spawn(move_all(connection, channel, stdin, stdout, stderr)));
        Ok(Self { input, output, errors, end })
    }
}

impl End {
    /// Waits for the end, and gives the command's exit status. There is none if a signal ended the command, or the
    /// connection broke.
    pub async fn wait(mut self) -> Option<u32> {
        (&mut self.0).await.ok().flatten()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("is_over", &self.0.is_finished()).finish()
    }
}

/// Moves what is said between a command and those who deal with it, until it ends.
async fn move_all(
    _connection: Connection,
    channel: Channel<Msg>,
    mut stdin: DuplexStream,
    mut stdout: DuplexStream,
    mut stderr: DuplexStream,
) -> Option<u32> {
    let (mut from, to) = channel.split();
    let send = async {
        // What nobody takes any more is lost, and the end tells why.
        let _ = copy(&mut stdin, &mut to.make_writer()).await;
        let _ = to.eof().await;
        std::future::pending().await
    };
    let receive = async {
        let mut status = None;
        while let Some(message) = from.wait().await {
            match message {
                // What nobody wants is dropped.
                ChannelMsg::Data { data } => drop(stdout.write_all(&data).await),
                ChannelMsg::ExtendedData { data, .. } => drop(stderr.write_all(&data).await),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        status
    };
    tokio::select! {
        status = receive => status,
        never = send => never,
    }
}
