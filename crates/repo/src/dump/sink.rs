//! Where a dump goes.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::{self, JoinHandle};

use crate::error::{Error, Result};

/// How many pieces may wait to be written. A blob, the largest piece, has a MiB or so.
const WAITING: usize = 4;
/// Pieces shorter than this, in bytes, are put together: handing each over would cost more.
const SMALL: usize = 64 << 10;

/// Writes on a thread of its own, so that it does not keep anything else waiting.
///
/// What goes wrong is told as by [`dump_file`](super::dump_file), by whichever call comes next.
#[derive(Debug)]
pub struct Sink<W> {
    pieces: mpsc::Sender<Bytes>,
    small: BytesMut,
    writer: JoinHandle<std::io::Result<W>>,
}

impl<W: Write + Send + 'static> Sink<W> {
    /// A sink that writes to `out`. To be called inside of the runtime.
    pub fn new(mut out: W) -> Self {
        let (pieces, mut received) = mpsc::channel::<Bytes>(WAITING);
        let writer = task::spawn_blocking(move || {
            while let Some(piece) = received.blocking_recv() {
                out.write_all(&piece)?;
            }
            out.flush()?;
            Ok(out)
        });
        Self { pieces, small: BytesMut::new(), writer }
    }

    /// Writes a piece, sooner or later.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        if piece.len() < SMALL {
            return self.write_small(&piece).await;
        }
        self.hand_over_small().await?;
        self.hand_over(piece).await
    }

    /// Writes a piece that is copied.
    pub async fn write_small(&mut self, piece: &[u8]) -> Result<()> {
        self.small.extend_from_slice(piece);
        if self.small.len() >= SMALL { self.hand_over_small().await } else { Ok(()) }
    }

    async fn hand_over_small(&mut self) -> Result<()> {
        if self.small.is_empty() {
            return Ok(());
        }
        let piece = self.small.split().freeze();
        self.hand_over(piece).await
    }

    async fn hand_over(&mut self, piece: Bytes) -> Result<()> {
        match self.pieces.send(piece).await {
            Ok(()) => Ok(()),
            // It has failed, and tells why.
            Err(_) => Err(self.end().await.err().unwrap_or(Error::Cancelled)),
        }
    }

    /// Writes what is left, and gives back where it went.
    pub async fn finish(mut self) -> Result<W> {
        self.hand_over_small().await?;
        self.pieces = mpsc::channel(1).0;
        self.end().await
    }

    async fn end(&mut self) -> Result<W> {
        match (&mut self.writer).await {
            Ok(written) => written.map_err(|error| Error::io("write", "output", error)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::Cancelled),
        }
    }
}
