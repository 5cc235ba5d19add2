//! What a connection runs over: TCP, or a channel of another connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::oneshot;

use super::Connection;
use crate::config::{Family, HostConfig};
use crate::error::Error;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the host: to its addresses in turn, until one answers.
pub(super) async fn dial(config: &HostConfig) -> Result<Box<dyn Stream>, Error> {
    let (host, server) = (&config.host, config.server());
    let not_resolved = |cause| Error::NameNotResolved { host: host.clone(), cause };
    let found = lookup_host((host.as_str(), config.port)).await.map_err(not_resolved)?;
    let suits = |address: &SocketAddr| match config.family {
        Family::Any => config.bind_address.is_none_or(|own| own.is_ipv4() == address.is_ipv4()),
        Family::Inet => address.is_ipv4(),
        Family::Inet6 => address.is_ipv6(),
    };
    let mut failure = None;
    for address in found.filter(suits) {
        match dial_address(config, address).await {
            Ok(stream) => {
                // Without it small packets wait for one another.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(match failure {
        None => not_resolved(io::Error::new(
            io::ErrorKind::NotFound,
            "it has no address of the wanted kind",
        )),
        Some(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            Error::ConnectionRefused { server }
        }
        Some(cause) => Error::Unreachable { server, cause },
    })
}

async fn dial_address(config: &HostConfig, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(own) = config.bind_address {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    socket.connect(address).await
}

/// Lets the host at the other end of a connection connect to the next.
pub(super) async fn forward(
    config: &HostConfig,
    through: Connection,
) -> Result<Box<dyn Stream>, Error> {
    let Connection { handle, facts } = through;
    let channel =
        handle.channel_open_direct_tcpip(&config.host, config.port.into(), "127.0.0.1", 0).await;
    match channel {
        Ok(channel) => Ok(Box::new(Kept { stream: channel.into_stream(), _kept: handle })),
        Err(russh::Error::ChannelOpenFailure(reason)) => Err(Error::NotForwarded {
            server: config.server(),
            over: facts.server,
            cause: format!("{reason:?}"),
        }),
        Err(error) => Err(Error::LoginBroken { server: facts.server, cause: error.to_string() }),
    }
}

/// A stream, and what has to live as long as it does.
struct Kept<S, K> {
    stream: S,
    _kept: K,
}

/// A stream that ends when its guard is dropped.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    cut: Option<oneshot::Receiver<()>>,
}

/// Cuts its line when it is dropped, unless it was disarmed.
pub(super) struct Guard(oneshot::Sender<()>);

impl Line {
    pub(super) fn guarded(stream: Box<dyn Stream>) -> (Self, Guard) {
        let (guard, cut) = oneshot::channel();
        (Self { stream, cut: Some(cut) }, Guard(guard))
    }
}

impl Guard {
    pub(super) fn disarm(self) {
        // If the line is gone already, there is nothing to tell.
        let _ = self.0.send(());
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(cut) = &mut self.cut {
            match Pin::new(cut).poll(context) {
                Poll::Ready(Ok(())) => self.cut = None,
                // Nothing read is the end.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin, K: Unpin> AsyncRead for Kept<S, K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin, K: Unpin> AsyncWrite for Kept<S, K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
