//! Our side of a connection: what the library tells us and asks us.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{DisconnectReason, Handler, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};

use crate::error::Error;
use crate::host_key::{Fingerprint, HostKeys, Trust};

/// What the SSH library calls. It checks the server's key, and keeps what is said.
#[derive(Debug)]
pub struct Client {
    keys: HostKeys,
    seen: Seen,
}

impl Client {
    pub(super) fn new(keys: HostKeys, seen: Seen) -> Self {
        Self { keys, seen }
    }
}

impl Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Error> {
        let trust = self.keys.check(offered)?;
        self.seen.lock().trust = Some((Fingerprint::of(offered.public_key().key_data()), trust));
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &russh::Names,
        session: &mut Session,
    ) -> Result<(), Error> {
        let version = String::from_utf8_lossy(session.remote_sshid());
        self.seen.lock().negotiated = Negotiated {
            key_exchange: names.kex.as_ref().to_owned(),
            cipher: names.cipher.as_ref().to_owned(),
            version: printable(&version),
        };
        Ok(())
    }

    /// What the server says after a login, while it is asked for a channel. Its answer is held back until this is
    /// acknowledged (Nagle's algorithm), for which a kernel that has nothing else to send takes 40 ms. So it gets
    /// something to send: a message that asks for nothing.
    async fn openssh_ext_host_keys_announced(
        &mut self,
        _keys: Vec<PublicKey>,
        session: &mut Session,
    ) -> Result<(), Error> {
        Ok(session.send_keepalive(false)?)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                self.seen.lock().disconnect = Some(printable(&said.message));
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// What was seen of a connection, for who opens it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    trust: Option<(Fingerprint, Trust)>,
    negotiated: Negotiated,
    disconnect: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Negotiated {
    pub key_exchange: String,
    pub cipher: String,
    pub version: String,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trust(&self) -> Option<(Fingerprint, Trust)> {
        self.lock().trust.clone()
    }

    pub(super) fn negotiated(&self) -> Negotiated {
        self.lock().negotiated.clone()
    }

    /// What the server said when it hung up.
    pub(crate) fn disconnect(&self) -> Option<String> {
        self.lock().disconnect.clone()
    }
}

/// What a server says, safe for a terminal and not too long.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
