//! Files of known hosts: which keys a host is known to have, and adding one.
//!
//! A line has a marker perhaps, names, the key's type, the key, and perhaps a comment. Names are patterns
//! with commas in between, or one name as a salted hash. What cannot be read is skipped, as OpenSSH does.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use crate::pattern::host_list_fits;

mod hashed;

/// How long a file may be, in bytes: a hundred thousand hosts and more.
const SIZE_LIMIT: u64 = 64 << 20;

/// What a line says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It is the host's.
    Key,
    /// `@cert-authority`: it signs certificates of the host.
    Authority,
    /// `@revoked`: it must not be accepted from the host any more, neither as its key nor as an authority.
    Revoked,
}

/// A line that is about the host in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the line says about the key.
    pub marker: Marker,
    /// The key.
    pub key: KeyData,
    /// The file.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
}

/// The name under which a host is on record: the port belongs to it, if it is not the usual one.
pub fn name_of(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// The lines of a file that are about the name. A file that does not exist has none.
///
/// # Errors
///
/// If the file is there and cannot be read, or is larger than 64 MiB.
pub fn read(path: &Path, name: &str) -> io::Result<Vec<Record>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::other(format!("it is longer than {SIZE_LIMIT} bytes")));
    }
    Ok(parse(&bytes, path, name))
}

/// The lines of a text that are about the name.
pub fn parse(bytes: &[u8], path: &Path, name: &str) -> Vec<Record> {
    let file: Arc<Path> = path.into();
    let text = String::from_utf8_lossy(bytes);
    let record = |(at, line)| {
        let (marker, key) = parse_line(line, name)?;
        Some(Record { marker, key, file: file.clone(), line: at + 1 })
    };
    text.split('\n').enumerate().filter_map(record).collect()
}

fn parse_line(line: &str, name: &str) -> Option<(Marker, KeyData)> {
    let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
    let mut names = words.next()?;
    let marker = match names {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        _ if names.starts_with(['@', '#']) => return None,
        _ => Marker::Key,
    };
    if marker != Marker::Key {
        names = words.next()?;
    }
    let known = match names.starts_with('|') {
        true => hashed::fits(name, names),
        false => host_list_fits(name, names),
    };
    if !known {
        return None;
    }
    let (kind, key) = (words.next()?, words.next()?);
    // A certificate is never on record, its authority is.
    if kind.contains("-cert-v") {
        return None;
    }
    let blob = STANDARD.decode(key).ok()?;
    let key = russh::keys::key::parse_public_key(&blob).ok()?;
    (key.algorithm().as_str() == kind).then(|| (marker, key.key_data().clone()))
}

/// Adds a host's key at the end of a file, which is made if need be, and so is a folder `.ssh` for it.
///
/// # Errors
///
/// If the file cannot be written.
pub fn add(path: &Path, name: &str, key: &PublicKey, hashed: bool) -> io::Result<()> {
    let name = if hashed { hashed::hash(name)? } else { name.to_owned() };
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(io::Error::other)?;
    if let Some(folder) = path.parent()
        && folder.file_name().is_some_and(|name| name == ".ssh")
        && !folder.exists()
    {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // One write, so that lines of several programs do not mix.
    let line = format!("{}{name} {key}\n", if ends_within_line(&mut file)? { "\n" } else { "" });
    file.write_all(line.as_bytes())?;
    file.sync_data().or_else(|error| match error.kind() {
        // /dev/null, for those who do not want a record.
        io::ErrorKind::InvalidInput => Ok(()),
        _ => Err(error),
    })
}

fn ends_within_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The lines of several files that are about a name.
pub(crate) fn read_all<'a>(
    files: impl IntoIterator<Item = &'a PathBuf>,
    name: &str,
) -> Result<Vec<Record>, (PathBuf, io::Error)> {
    let mut records = Vec::new();
    for file in files {
        records.extend(read(file, name).map_err(|error| (file.clone(), error))?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
