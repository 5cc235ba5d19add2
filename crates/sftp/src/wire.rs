//! The bytes between us and one SFTP server: do they move, and can the library read them?
//!
//! `russh-sftp` ends a whole session when a status has a number of a later version of the protocol (some
//! servers send "file exists" or "disk full" as such, whatever was agreed on) or lacks its text (some
//! old servers). Such answers are put right here, before the library sees them. A packet's length is
//! checked before there is memory for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest packet that is read, without its length field. OpenSSH's own limit, and far above the
/// 34,000 bytes that the protocol asks for.
pub(crate) const LONGEST_PACKET: u32 = 256 << 10;

/// The longest status. Servers send a sentence.
const LONGEST_STATUS: u32 = 16 << 10;

/// `SSH_FXP_STATUS`.
const STATUS: u8 = 101;

/// Whether a session is alive. Shared by those who use it and those who watch it.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Instant,
    /// When bytes moved last, in milliseconds since it began.
    moved: AtomicU64,
    /// How many requests wait for an answer.
    waiting: AtomicUsize,
    /// Why it ended, once it has.
    ended: watch::Sender<Option<String>>,
    /// Wakes the reader, so that it learns of the end.
    reader: AtomicWaker,
    over: AtomicBool,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            ended: watch::Sender::new(None),
            reader: AtomicWaker::new(),
            over: AtomicBool::new(false),
        })
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    fn moves(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// For how long nothing has moved although somebody waits. Nothing where nobody does.
    fn silence(&self) -> Duration {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(moved)
    }

    /// Counts one who waits for an answer, until what this gives is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            // What happened before was nobody's concern.
            self.moves();
        }
        Waiting(self)
    }

    /// Ends the session, for this reason unless it has ended already.
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert_with(|| reason.into());
            first
        });
        self.over.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Why it ended.
    pub(crate) fn reason(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for the end, and says why it came.
    pub(crate) async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Ends the session when somebody waits and nothing has moved for this long.
    pub(crate) async fn watch(self: Arc<Self>, patience: Duration) {
        let interval = (patience / 8).clamp(Duration::from_millis(20), Duration::from_secs(5));
        while !self.is_over() {
            tokio::time::sleep(interval).await;
            if self.silence() > patience {
                let seconds = patience.as_secs_f32();
                self.end(format!("the server has not answered for {seconds} seconds"));
            }
        }
    }
}

/// Somebody waits for an answer.
pub(crate) struct Waiting<'a>(&'a Pulse);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream to an SFTP server.
pub(crate) struct Wire<S> {
    stream: S,
    pulse: Arc<Pulse>,
    state: State,
}

/// Where in the server's packets we are.
enum State {
    /// In the length and type of a packet: these bytes of them are there.
    Head([u8; 5], usize),
    /// In a status, which is read whole.
    Status { body: Vec<u8>, length: usize },
    /// These bytes are to be handed on, and then so many as they come.
    Pass { ready: Vec<u8>, given: usize, left: usize },
}

impl State {
    const START: Self = Self::Head([0; 5], 0);
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, state: State::START }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Pass { ready, given, left } => {
                    if *given < ready.len() {
                        let count = buf.remaining().min(ready.len() - *given);
                        buf.put_slice(&ready[*given..*given + count]);
                        *given += count;
                        return Poll::Ready(Ok(()));
                    }
                    if *left == 0 {
                        self.state = State::START;
                        continue;
                    }
                    let room = buf.remaining().min(*left);
                    let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
                    let count = part.filled().len();
                    *left -= count;
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                State::Head(head, have) => {
                    let mut part = ReadBuf::new(&mut head[*have..]);
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
                    if part.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    *have += part.filled().len();
                    if *have == head.len() {
                        self.state = begin(*head)?;
                    }
                }
                State::Status { body, length } => {
                    let mut part = [0; 512];
                    let room = part.len().min(*length - body.len());
                    let mut part = ReadBuf::new(&mut part[..room]);
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
                    if part.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    body.extend_from_slice(part.filled());
                    if body.len() == *length {
                        let ready = mend(body)?;
                        self.state = State::Pass { ready, given: 0, left: 0 };
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.pulse.reader.register(cx.waker());
        if this.pulse.is_over() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = ready!(this.poll_inner(cx, buf));
        match &outcome {
            Err(error) => this.pulse.end(error.to_string()),
            Ok(()) if buf.filled().len() == before && buf.remaining() > 0 => {
                this.pulse.end("it was closed");
            }
            Ok(()) => this.pulse.moves(),
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        match &outcome {
            Ok(_) => self.pulse.moves(),
            Err(error) => self.pulse.end(error.to_string()),
        }
        Poll::Ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Both halves are gone: nobody will read or write any more.
impl<S> Drop for Wire<S> {
    fn drop(&mut self) {
        self.pulse.end("what the server sent could not be understood");
    }
}

/// What follows a packet's length and type.
fn begin(head: [u8; 5]) -> io::Result<State> {
    let [a, b, c, d, kind] = head;
    let length = u32::from_be_bytes([a, b, c, d]);
    let longest = if kind == STATUS { LONGEST_STATUS } else { LONGEST_PACKET };
    if length == 0 || length > longest {
        return Err(nonsense(format_args!("a packet of {length} bytes")));
    }
    let length = length as usize - 1;
    Ok(match kind {
        STATUS if length > 0 => State::Status { body: Vec::with_capacity(length), length },
        _ => State::Pass { ready: head.to_vec(), given: 0, left: length },
    })
}

/// A status as the library understands it: a number of version 3 of the protocol, and two texts. The
/// number that the server sent is in the second, which otherwise names the language of the first.
fn mend(mut body: &[u8]) -> io::Result<Vec<u8>> {
    let short = |_| nonsense("a status without a number");
    let id = body.try_get_u32().map_err(short)?;
    let sent = body.try_get_u32().map_err(short)?;
    let text = match body.try_get_u32() {
        Ok(length) if body.len() >= length as usize => &body[..length as usize],
        _ => &[],
    };
    let code = if sent <= HIGHEST_CODE { sent } else { FAILURE };
    let number = sent.to_string();
    let mut packet = vec![0, 0, 0, 0, STATUS];
    packet.extend(id.to_be_bytes());
    packet.extend(code.to_be_bytes());
    for text in [text, number.as_bytes()] {
        packet.extend((text.len() as u32).to_be_bytes());
        packet.extend(text);
    }
    let length = packet.len() as u32 - 4;
    packet[..4].copy_from_slice(&length.to_be_bytes());
    Ok(packet)
}

/// `SSH_FX_OP_UNSUPPORTED`, the highest number of a status in version 3 of the protocol.
const HIGHEST_CODE: u32 = 8;

/// `SSH_FX_FAILURE`.
const FAILURE: u32 = 4;

fn nonsense(what: impl std::fmt::Display) -> io::Error {
    let text = format!("the server does not keep to the SFTP protocol: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes out when these bytes come in, in pieces of this size.
    fn through(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(piece);
            let pulse = Pulse::new();
            let mut wire = Wire::new(near, pulse.clone());
            let bytes = bytes.to_vec();
            let writer = tokio::spawn(async move {
                let _ = far.write_all(&bytes).await;
            });
            let mut out = Vec::new();
            let mut part = [0; 100];
            while let Ok(count @ 1..) = wire.read(&mut part).await {
                out.extend_from_slice(&part[..count]);
            }
            writer.abort();
            (out, pulse.reason())
        })
    }

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = (body.len() as u32 + 1).to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend_from_slice(body);
        packet
    }

    fn status(id: u32, code: u32, texts: &[&[u8]]) -> Vec<u8> {
        let mut body = [id.to_be_bytes(), code.to_be_bytes()].concat();
        for text in texts {
            body.extend((text.len() as u32).to_be_bytes());
            body.extend(*text);
        }
        packet(STATUS, &body)
    }

    #[test]
    fn a_status_of_a_later_version_becomes_a_failure_that_keeps_its_number() {
        for (sent, code) in [(0, 0), (1, 1), (8, 8), (9, 4), (11, 4), (14, 4), (u32::MAX, 4)] {
            let number = sent.to_string();
            let (out, _) = through(&status(7, sent, &[b"text", b"en"]), 64);
            assert_eq!(out, status(7, code, &[b"text", number.as_bytes()]));
        }
    }

    #[test]
    fn a_status_without_texts_gets_empty_ones() {
        assert_eq!(through(&status(7, 2, &[]), 64).0, status(7, 2, &[b"", b"2"]));
        assert_eq!(through(&status(7, 2, &[b"gone"]), 64).0, status(7, 2, &[b"gone", b"2"]));
        // A text that pretends to be longer than its packet.
        let mut lying = status(7, 2, &[b"gone"]);
        lying[13..17].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(through(&lying, 64).0, status(7, 2, &[b"", b"2"]));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_there_is_memory_for_them() {
        for length in [0, LONGEST_PACKET + 1, u32::MAX] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(103);
            let (out, reason) = through(&bytes, 64);
            assert_eq!(out, b"");
            assert!(reason.unwrap().contains("does not keep to the SFTP protocol"));
        }
        let mut bytes = (LONGEST_STATUS + 1).to_be_bytes().to_vec();
        bytes.push(STATUS);
        assert!(through(&bytes, 64).1.unwrap().contains("16385 bytes"));
    }

    proptest! {
        #[test]
        fn whatever_is_no_status_comes_out_as_it_went_in(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            piece in 1..50_usize,
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| packet(103, body)).collect();
            prop_assert_eq!(through(&bytes, piece).0, bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, kind in 100..106_u8, piece in 1..50_usize) {
            through(&bytes, piece);
            through(&packet(kind, &bytes), piece);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_session_only_while_somebody_waits() {
        let pulse = Pulse::new();
        let watch = tokio::spawn(pulse.clone().watch(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(!pulse.is_over(), "nobody waits");
        let waiting = pulse.wait();
        tokio::time::sleep(Duration::from_secs(50)).await;
        pulse.moves();
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert!(!pulse.is_over(), "something moved");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(pulse.ended().await, "the server has not answered for 60 seconds");
        drop(waiting);
        watch.await.unwrap();
    }
}
