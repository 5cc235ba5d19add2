//! The agent: a program behind a socket that has keys and signs with them.
//!
//! Its protocol (draft-ietf-sshm-ssh-agent) is spoken here, for the library gives up all of the agent's
//! keys because of one that it cannot read, and drops a part of the signatures of hardware tokens.

use std::io;
use std::path::Path;
use std::time::Duration;

use russh::keys::agent::AgentSessionBinding;
use russh::keys::{HashAlg, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may be, in bytes; as in OpenSSH.
const ANSWER_LIMIT: usize = 256 * 1024;
/// How many keys are looked at; as in OpenSSH.
const KEY_LIMIT: usize = 2048;
/// How long the agent may take for what needs nobody's consent.
const PATIENCE: Duration = Duration::from_secs(10);

const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;

const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

pub(super) struct Agent {
    stream: UnixStream,
}

/// A key of the agent.
pub(super) struct AgentKey {
    /// The key or the certificate, as the agent knows it.
    pub blob: Vec<u8>,
    pub key: PublicKey,
    pub comment: String,
}

impl Agent {
    /// Opens the socket, and tells the agent which server its signatures are for: there may be keys that
    /// are only for some.
    pub(super) async fn connect(
        socket: &Path,
        binding: Option<&AgentSessionBinding>,
    ) -> io::Result<Self> {
        let stream = in_time(UnixStream::connect(socket)).await?;
        let mut agent = Self { stream };
        if let Some(binding) = binding {
            let mut request = vec![EXTENSION];
            put(&mut request, b"session-bind@openssh.com");
            put(&mut request, binding.host_key());
            put(&mut request, binding.session_id());
            put(&mut request, binding.signature());
            // Not for forwarding.
            request.push(0);
            // An agent that does not know this refuses, and has no such keys.
            let _known = in_time(agent.ask(&request)).await?.first() == Some(&SUCCESS);
        }
        Ok(agent)
    }

    /// The agent's keys. Those of kinds that are not known are left out.
    pub(super) async fn keys(&mut self) -> io::Result<Vec<AgentKey>> {
        let answer = in_time(self.ask(&[REQUEST_IDENTITIES])).await?;
        let mut rest = match answer.split_first() {
            Some((&IDENTITIES_ANSWER, rest)) => rest,
            _ => return Err(nonsense()),
        };
        let count = take_number(&mut rest)? as usize;
        if count > KEY_LIMIT {
            return Err(nonsense());
        }
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = take(&mut rest)?;
            let comment = String::from_utf8_lossy(take(&mut rest)?).into_owned();
            if let Ok(key) = russh::keys::key::parse_public_key(blob) {
                keys.push(AgentKey { blob: blob.to_vec(), key, comment });
            }
        }
        Ok(keys)
    }

    /// A signature, as it goes over the wire. The agent may ask somebody first, so this can take long.
    pub(super) async fn sign(
        &mut self,
        blob: &[u8],
        data: &[u8],
        hash: Option<HashAlg>,
    ) -> io::Result<Vec<u8>> {
        let (flags, wanted): (u32, Option<&[u8]>) = match hash {
            Some(HashAlg::Sha256) => (RSA_SHA2_256, Some(b"rsa-sha2-256")),
            Some(HashAlg::Sha512) => (RSA_SHA2_512, Some(b"rsa-sha2-512")),
            _ => (0, None),
        };
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, blob);
        put(&mut request, data);
        request.extend(flags.to_be_bytes());
        let answer = self.ask(&request).await?;
        let mut rest = match answer.split_first() {
            Some((&SIGN_RESPONSE, rest)) => rest,
            _ => return Err(io::Error::other("the agent refuses to sign")),
        };
        let signature = take(&mut rest)?;
        if wanted.is_some_and(|wanted| take(&mut &*signature).ok() != Some(wanted)) {
            return Err(io::Error::other("the agent signs with SHA-1 only"));
        }
        Ok(signature.to_vec())
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(4 + request.len());
        put(&mut message, request);
        self.stream.write_all(&message).await?;
        let length = self.stream.read_u32().await? as usize;
        if length > ANSWER_LIMIT {
            return Err(nonsense());
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Adds a length and bytes.
pub(super) fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    let length =
        u32::try_from(bytes.len()).expect("what is sent to an agent is far shorter than 4 GiB");
    message.extend(length.to_be_bytes());
    message.extend(bytes);
}

fn take_number(rest: &mut &[u8]) -> io::Result<u32> {
    let (number, after) = rest.split_first_chunk().ok_or_else(nonsense)?;
    *rest = after;
    Ok(u32::from_be_bytes(*number))
}

fn take<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let length = take_number(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(length).ok_or_else(nonsense)?;
    *rest = after;
    Ok(bytes)
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer of the agent makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// An agent that gives one answer.
    async fn answering(answer: Vec<u8>) -> (tempfile::TempDir, Agent) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 5];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        let agent = Agent::connect(&socket, None).await.unwrap();
        (folder, agent)
    }

    fn message(parts: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::new();
        put(&mut message, &parts.concat());
        message
    }

    #[tokio::test]
    async fn an_agent_that_talks_nonsense_is_an_error_and_costs_no_memory() {
        for answer in [
            u32::MAX.to_be_bytes().to_vec(),
            message(&[]),
            message(&[&[5]]),
            message(&[&[12]]),
            message(&[&[12], &[0, 0, 0, 1]]),
            message(&[&[12], &u32::MAX.to_be_bytes()]),
            message(&[&[12], &[0, 0, 0, 1], &u32::MAX.to_be_bytes()]),
            vec![0, 0, 1],
        ] {
            let (_folder, mut agent) = answering(answer.clone()).await;
            assert!(agent.keys().await.is_err(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_key_of_an_unknown_kind_does_not_hide_the_others() {
        let good = PublicKey::from_openssh(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        )
        .unwrap();
        let mut body = vec![12, 0, 0, 0, 2];
        put(&mut body, b"no key at all");
        put(&mut body, b"\xff");
        put(&mut body, &good.to_bytes().unwrap());
        put(&mut body, b"good");
        let (_folder, mut agent) = answering(message(&[&body])).await;
        let keys = agent.keys().await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].comment, "good");
    }
}
