//! A bad network: between a client and a server on the loopback interface.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Hands TCP connections on, as badly as it is told to. It ends when it is dropped, with all connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
}

/// What all connections have in common.
#[derive(Debug)]
struct Network {
    server: u16,
    state: Mutex<State>,
    over: AtomicBool,
    stalled: AtomicBool,
    refusing: AtomicBool,
    /// How much was handed on in all, both ways.
    bytes: AtomicU64,
    connections: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// How long a byte is under way, one way.
    delay: Duration,
    /// Bytes a second each way; nothing for no limit.
    rate: Option<u64>,
    /// After how many bytes, both ways together, the next connections break.
    cuts: VecDeque<u64>,
    open: Vec<TcpStream>,
}

/// How often those who wait look whether it is time.
const TICK: Duration = Duration::from_millis(2);

impl Proxy {
    /// A proxy to a server's port, which hands everything on at once.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let network = Arc::new(Network {
            server,
            state: Mutex::default(),
            over: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let proxy = Self { port, network: Arc::clone(&network) };
        thread::spawn(move || network.accept(port, listener));
        proxy
    }

    /// The port to connect to on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on every byte is under way for so long, each way.
    pub fn delay(&self, delay: Duration) {
        self.network.state().delay = delay;
    }

    /// From now on so many bytes a second pass, each way and on each connection.
    pub fn throttle(&self, rate: u64) {
        self.network.state().rate = Some(rate);
    }

    /// Breaks the next connections after so many bytes each; those after them last.
    pub fn cut_next(&self, after: impl IntoIterator<Item = u64>) {
        self.network.state().cuts.extend(after);
    }

    /// Breaks all connections there are.
    pub fn cut(&self) {
        for stream in self.network.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Nothing passes any more, and nobody is told.
    pub fn stall(&self, stalled: bool) {
        self.network.stalled.store(stalled, Ordering::Relaxed);
    }

    /// New connections are refused, or not any more.
    pub fn refuse(&self, refusing: bool) {
        self.network.refusing.store(refusing, Ordering::Relaxed);
        // The listener notices at its next tick.
        thread::sleep(10 * TICK);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.network.connections.load(Ordering::Relaxed)
    }

    /// How many bytes have passed, both ways together.
    pub fn bytes(&self) -> u64 {
        self.network.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.over.store(true, Ordering::Relaxed);
        self.cut();
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn accept(self: Arc<Self>, port: u16, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.is_over() {
            if self.refusing.load(Ordering::Relaxed) {
                listener = None;
                thread::sleep(TICK);
                continue;
            }
            let listener = listener.get_or_insert_with(|| {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is still ours")
            });
            listener.set_nonblocking(true).expect("a listener can be told not to wait");
            match listener.accept() {
                Ok((client, _)) => self.clone().connect(client),
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_nonblocking(false);
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server)) else { return };
        let left = {
            let mut state = self.state();
            state.open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
            Arc::new(AtomicU64::new(state.cuts.pop_front().unwrap_or(u64::MAX)))
        };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let _ = to.set_nodelay(true);
            let (sender, receiver) = sync_channel(4096);
            let network = Arc::clone(&self);
            thread::spawn(move || network.take(from, &sender));
            let (network, left) = (Arc::clone(&self), Arc::clone(&left));
            thread::spawn(move || network.give(to, &receiver, &left));
        }
    }

    /// Takes bytes from one side, and notes when they came.
    fn take(&self, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now(), buffer[..count].to_vec())).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
    }

    /// Gives them to the other side when it is time.
    fn give(&self, mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>, left: &AtomicU64) {
        while let Ok((came, bytes)) = receiver.recv() {
            let (delay, rate) = {
                let state = self.state();
                (state.delay, state.rate)
            };
            thread::sleep((came + delay).saturating_duration_since(Instant::now()));
            if let Some(rate) = rate {
                thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
            }
            while self.stalled.load(Ordering::Relaxed) && !self.is_over() {
                thread::sleep(TICK);
            }
            let allowed = left.load(Ordering::Relaxed).min(bytes.len() as u64);
            let rest = left.fetch_sub(allowed, Ordering::Relaxed) - allowed;
            self.bytes.fetch_add(allowed, Ordering::Relaxed);
            let broken = to.write_all(&bytes[..allowed as usize]).is_err();
            if broken || rest == 0 || self.is_over() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut reader, &mut { stream });
                });
            }
        });
        port
    }

    fn say(proxy: &Proxy, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))?;
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn what_goes_in_comes_out_unless_it_is_cut() {
        let proxy = Proxy::to(echo());
        assert_eq!(say(&proxy, b"hello").unwrap(), b"hello");
        proxy.cut_next([7]);
        assert!(say(&proxy, b"hello").is_err(), "10 bytes would have passed");
        assert_eq!(say(&proxy, b"hello").unwrap(), b"hello");
        proxy.refuse(true);
        assert!(say(&proxy, b"hello").is_err());
        proxy.refuse(false);
        assert_eq!(say(&proxy, b"hello").unwrap(), b"hello");
        proxy.delay(Duration::from_millis(20));
        let began = Instant::now();
        assert_eq!(say(&proxy, b"hello").unwrap(), b"hello");
        assert!(began.elapsed() >= Duration::from_millis(40));
    }
}
