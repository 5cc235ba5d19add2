//! Opening an SSH connection.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::{PrivateKeyWithHashAlg, PublicKey, load_secret_key};

use crate::config::ConfigFiles;
use crate::error::Error;
use crate::location::Location;
use crate::user::User;

/// All it takes to open one authenticated connection, again and again.
#[derive(Clone, Debug)]
pub struct Connector {
    address: (String, u16),
    user: String,
    host_key: PublicKey,
    key_file: PathBuf,
}

/// An open connection.
pub struct Connection {
    /// To open channels with. The connection ends when this and all channels are dropped.
    pub handle: client::Handle<Client>,
}

impl Connector {
    /// To this server, which has this key, as this user, who has this key.
    pub fn new(location: &Location, files: &ConfigFiles, me: &User) -> Result<Self, Error> {
        let path = match files {
            ConfigFiles::Usual => me.home.join(".ssh/config"),
            ConfigFiles::Only(path) => path.clone(),
        };
        let text = std::fs::read_to_string(path).map_err(russh::Error::from)?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        let known = std::fs::read_to_string(value("UserKnownHostsFile"));
        let known = known.map_err(russh::Error::from)?;
        let host_key = known.trim().split_once(' ').map(|(_, key)| key.parse());
        Ok(Self {
            address: (value("HostName"), value("Port").parse().unwrap_or(22)),
            user: location.user.clone().unwrap_or(value("User")),
            host_key: host_key.and_then(Result::ok).ok_or(Error::Refused)?,
            key_file: value("IdentityFile").into(),
        })
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection, Error> {
        use russh::cipher::{AES_128_GCM, AES_256_CTR, AES_256_GCM, CHACHA20_POLY1305};
        let preferred = russh::Preferred {
            cipher: Cow::Borrowed(&[AES_256_GCM, AES_128_GCM, CHACHA20_POLY1305, AES_256_CTR]),
            ..Default::default()
        };
        let config = client::Config {
            nodelay: true,
            window_size: 32 << 20,
            preferred,
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_max: 3,
            inactivity_timeout: Some(Duration::from_secs(90)),
            ..Default::default()
        };
        let client = Client { host_key: self.host_key.clone() };
        let mut handle = client::connect(Arc::new(config), self.address.clone(), client).await?;
        let key = load_secret_key(&self.key_file, None).map_err(russh::Error::from)?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        match handle.authenticate_publickey(self.user.clone(), key).await?.success() {
            true => Ok(Connection { handle }),
            false => Err(Error::Refused),
        }
    }
}

/// Our side of a connection: decides whether the server is who it should be.
pub struct Client {
    host_key: PublicKey,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(match presented {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                key.key_data() == self.host_key.key_data()
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}
