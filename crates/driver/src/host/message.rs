//! What the two halves of a backup say to each other: lines of JSON.
//!
//! The host's half begins with a [`Hello`]. The other answers with [`Bounds`], then with the [`Job`],
//! then with an empty line now and then. The host's half ends with an [`Outcome`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use restic_repo::Compression;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};
use crate::opennebula::datastore::Confinement;
use crate::password::Secret;

/// More than any message takes.
pub const MAX_LINE: usize = 1 << 20;

/// The host's half is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the program.
    pub one_restic: String,
}

/// What the host's half has to know before it can take what is secret: it may have to start itself once
/// more, within the bounds of a systemd slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// What it may take of its host.
    pub confinement: Confinement,
    /// The datastore, which the slice is named after.
    pub datastore: u64,
    /// The folder of the disks, whose device the limits of reads and writes are for.
    pub folder: String,
}

/// A backup to be made on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Where the repository is.
    pub repository: String,
    /// What opens it.
    #[serde(with = "secret")]
    pub password: Secret,
    /// The folder that has the disks and the description of the VM.
    pub folder: String,
    /// The disks of the VM that are to be in it.
    pub disks: Vec<u64>,
    /// The tags of the snapshot.
    pub tags: Vec<String>,
    /// Bytes a second, in each direction.
    pub bandwidth: Option<u64>,
    /// How hard to compress.
    #[serde(with = "mode")]
    pub compression: Compression,
    /// Threads that compute.
    pub workers: Option<usize>,
    /// Options of the storage.
    pub options: BTreeMap<String, String>,
}

/// How a backup on a host ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is made.
    Done(Done),
    /// There is no repository, yet.
    NoRepository(String),
    /// Somebody wanted it to stop.
    Cancelled,
    /// It failed, for this reason.
    Failed(String),
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The beginning of the snapshot's id, as OpenNebula keeps it.
    pub snapshot: String,
    /// All bytes of the files in it.
    pub bytes: u64,
    /// Whether its disks are in Ceph's format.
    pub is_rbd: bool,
}

/// Standard input as it is. What the standard library gives reads ahead, and another program may read
/// what follows.
pub fn input() -> Result<File> {
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    input.map_err(|error| Failure::new(format_args!("cannot read standard input: {error}")))
}

/// A message as a line.
pub fn line<T: Serialize>(message: &T) -> Zeroizing<Vec<u8>> {
    let json = serde_json::to_vec(message).expect("messages have no maps but those of texts");
    let mut line = Zeroizing::new(json);
    line.push(b'\n');
    line
}

/// Says a message on standard output, to the other half.
pub fn say<T: Serialize>(message: &T) -> Result {
    let mut output = io::stdout().lock();
    let line = line(message);
    output.write_all(&line).and_then(|()| output.flush()).map_err(|error| Failure::output(&error))
}

/// Reads a message, and not one byte more: somebody else may read what follows.
pub fn read<T: DeserializeOwned>(input: impl Read) -> Result<T> {
    // What serde says of a value that does not fit could show a part of it.
    serde_json::from_slice(&read_line(input)?)
        .map_err(|_| cannot_read(&"it is not the message of this version"))
}

/// Reads a line, whatever it says, and not one byte more.
pub fn read_line(mut input: impl Read) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(1 << 14));
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Err(cannot_read(&"it has ended")),
            Ok(_) if byte[0] == b'\n' => return Ok(line),
            Ok(_) if line.len() == MAX_LINE => return Err(cannot_read(&"the line is too long")),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot_read(&error)),
        }
    }
}

fn cannot_read(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format_args!(
        "cannot read what to do from standard input ({error}); it is the front-end of OpenNebula who \
         starts this command"
    ))
}

/// A secret in a message.
pub(crate) mod secret {
    use super::{Deserialize, Deserializer, Secret, Serializer};

    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// How hard to compress, in a message.
pub(crate) mod mode {
    use super::{Compression, Deserialize, Deserializer, Serializer};

    const NAMES: [(Compression, &str); 5] = [
        (Compression::Auto, "auto"),
        (Compression::Off, "off"),
        (Compression::Fastest, "fastest"),
        (Compression::Better, "better"),
        (Compression::Max, "max"),
    ];

    pub fn serialize<S: Serializer>(mode: &Compression, to: S) -> Result<S::Ok, S::Error> {
        let name = NAMES.iter().find(|(known, _)| known == mode).map_or("auto", |(_, name)| name);
        to.serialize_str(name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Compression, D::Error> {
        let name = String::deserialize(from)?;
        let found = NAMES.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode);
        found.ok_or_else(|| serde::de::Error::custom("no mode of compression"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            repository: "sftp:oneadmin@backup:/srv/5".to_owned(),
            password: Secret::new("ge\"heim\n"),
            folder: "/a 'b'/$c\n/backup".to_owned(),
            disks: vec![0, 2],
            tags: vec!["one-5".to_owned()],
            bandwidth: Some(1024),
            compression: Compression::Max,
            workers: None,
            options: BTreeMap::from([("sftp.connections".to_owned(), "8".to_owned())]),
        }
    }

    #[test]
    fn a_job_is_one_line_whatever_is_in_it_and_comes_out_as_it_went_in() {
        let sent = line(&job());
        assert_eq!(sent.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(read::<Job>(&sent[..]).unwrap(), job());
        assert!(!format!("{:?}", job()).contains("heim"));
    }

    #[test]
    fn what_follows_a_message_is_left_to_others() {
        let mut both = line(&Hello { one_restic: "1".to_owned() }).to_vec();
        both.extend_from_slice(b"next");
        let mut input = &both[..];
        assert_eq!(read::<Hello>(&mut input).unwrap().one_restic, "1");
        assert_eq!(input, b"next");
    }

    #[test]
    fn what_is_no_message_is_refused_and_not_shown() {
        for text in ["", "{}", "{\"password\":\"geheim\"}\n", "geheim\n", "\n"] {
            let failure = read::<Job>(text.as_bytes()).unwrap_err();
            assert!(!failure.message().contains("geheim"), "{failure}");
        }
        let endless = read::<Job>(io::repeat(b'x')).unwrap_err();
        assert!(endless.message().contains("too long"), "{endless}");
    }
}
