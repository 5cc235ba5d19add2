//! What the tests stand on: a repository's folder behind a real SSH server, and maybe a bad network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use restic_oracle::{Proxy, Sshd, SshdOptions};
use restic_repo::Id;
use restic_repo::backend::suite::Subject;
use restic_sftp::{ConfigFiles, Connector, Error, Event, Location, Options, Sftp, User};
use tempfile::TempDir;

/// A server, and a folder on it for a repository, which is not there yet.
pub struct Testbed {
    pub server: Sshd,
    pub proxy: Proxy,
    folder: TempDir,
}

impl Testbed {
    pub fn new() -> Self {
        Self::with(&SshdOptions::internal(""))
    }

    pub fn with(options: &SshdOptions) -> Self {
        Self::around(Sshd::with(options))
    }

    pub fn around(server: Sshd) -> Self {
        let proxy = Proxy::to(server.port());
        Self { server, proxy, folder: tempfile::tempdir().unwrap() }
    }

    /// The repository's folder, as this machine sees it.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// A backend that reaches the server directly.
    pub async fn sftp(&self) -> Sftp {
        self.direct(&self.path(), Options::default()).await.unwrap()
    }

    /// One for another folder, with other options.
    pub async fn direct(&self, path: &Path, options: Options) -> Result<Sftp, Error> {
        self.connect(self.server.port(), path, options).await
    }

    /// A backend behind the bad network.
    pub async fn proxied(&self, options: Options) -> Result<Sftp, Error> {
        self.connect(self.proxy.port(), &self.path(), options).await
    }

    async fn connect(&self, port: u16, path: &Path, options: Options) -> Result<Sftp, Error> {
        let location = location(path);
        Sftp::connect(&location, self.connector(port)?, options).await
    }

    /// What opens connections on this port.
    pub fn connector(&self, port: u16) -> Result<Connector, Error> {
        let files = ConfigFiles::Only(self.server.client_config_through(port));
        Connector::new(&location(&self.path()), &files, &User::current()?)
    }

    /// The subject of the suite.
    pub async fn subject(self) -> Subject {
        let sftp = self.sftp().await;
        let path = self.path();
        Subject::new(Arc::new(sftp)).in_folder(path).keeping(self)
    }
}

fn location(path: &Path) -> Location {
    let path = path.to_str().unwrap().to_owned();
    Location { user: None, host: "testbed".to_owned(), port: None, path }
}

/// What was told of the connections.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    /// Options that do not wait for long, and tell.
    pub fn impatient(&self) -> Options {
        let events = Arc::clone(&self.0);
        Options {
            stall: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            observer: Arc::new(move |event| events.lock().unwrap().push(event.clone())),
            ..Options::default()
        }
    }

    pub fn reconnects(&self) -> usize {
        let is_new = |event: &&Event| matches!(event, Event::Reconnected { .. });
        self.0.lock().unwrap().iter().filter(is_new).count()
    }

    pub fn losses(&self) -> Vec<String> {
        let reason = |event: &Event| match event {
            Event::Lost { reason } => Some(reason.clone()),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(reason).collect()
    }
}

/// Bytes that are different for every seed, and their hash.
pub fn sample(seed: u64, length: usize) -> (Id, bytes::Bytes) {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        data.extend(step().to_le_bytes());
    }
    data.truncate(length);
    (Id::of(&data), data.into())
}

/// All files below a folder, by their paths in it.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
