//! Signs what the server asks for, with a key file's key or through the agent.

use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey};

use super::agent::{Agent, put};

pub(super) enum Signer<'a> {
    Key(Arc<PrivateKey>),
    Agent {
        agent: &'a mut Agent,
        /// The key as the agent knows it.
        blob: Vec<u8>,
    },
    /// The key is encrypted: being asked for it tells that the server would accept it.
    Locked,
}

#[derive(Debug)]
pub(super) enum CannotSign {
    /// There is nobody left to sign for.
    Disconnected,
    Because(String),
}

impl From<russh::SendError> for CannotSign {
    fn from(_: russh::SendError) -> Self {
        Self::Disconnected
    }
}

impl russh::Signer for Signer<'_> {
    type Error = CannotSign;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, CannotSign> {
        let signature = match self {
            Self::Key(key) => {
                sign(key, hash, &data).map_err(|error| CannotSign::Because(error.to_string()))?
            }
            Self::Agent { agent, blob } => {
                let signature = agent.sign(blob, &data, hash).await;
                signature.map_err(|error| CannotSign::Because(error.to_string()))?
            }
            Self::Locked => return Err(CannotSign::Because("it is encrypted".to_owned())),
        };
        // What the library sends is what was signed, and the signature.
        put(&mut data, &signature);
        Ok(data)
    }
}

fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    data: &[u8],
) -> Result<Vec<u8>, russh::keys::ssh_key::Error> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(rsa) => (rsa, hash).try_sign(data)?,
        other => other.try_sign(data)?,
    };
    Ok(signature.encode_vec()?)
}
