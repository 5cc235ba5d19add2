//! `cat`

use std::path::Path;

use std::sync::Arc;

use clap::Args;
use restic_repo::lock::Gate;
use restic_repo::progress::Silent;
use restic_repo::repository::Repository;
use restic_repo::snapshot::{Filter, resolve};
use restic_repo::walk;
use restic_repo::{BlobHandle, FileType, Id};
use serde::Serialize;

use crate::exit::{Failure, Result};
use crate::session::{Contents, Intent, Session, find_snapshot};

/// Prints what is stored in the repository, decrypted.
#[derive(Args, Debug)]
pub struct Cat {
    /// masterkey, config, pack ID, blob ID, snapshot ID, index ID, key ID, lock ID, tree SNAPSHOT:FOLDER
    #[arg(value_name = "TYPE [ID]")]
    arguments: Vec<String>,
}

/// What is to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The config.
    Config,
    /// The master key.
    MasterKey,
    /// A file of this type.
    File(FileType, Id),
    /// A snapshot, by the beginning of its id.
    Snapshot(String),
    /// A blob of either type.
    Blob(Id),
    /// The tree of a snapshot or of a folder in it.
    Tree(String),
}

const TYPES: &str = "config, index, snapshot, key, masterkey, lock, pack, blob and tree";

impl Cat {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let object = self.object()?;
        let repository = session.open().await?;
        let show = async |gate: Gate| {
            let bytes = load(session, &repository, &object).await?;
            gate.pass().await?;
            session.terminal.lend(|output| output.write_all(&bytes))
        };
        session.gated(&repository, Intent::Read, show).await
    }

    fn object(&self) -> Result<Object> {
        let Some((kind, rest)) = self.arguments.split_first() else {
            return Err(Failure::new(format_args!("no type is given; there are {TYPES}")));
        };
        let name = || match rest {
            [name] => Ok(name),
            _ => Err(Failure::new(format_args!("cat {kind} needs one id"))),
        };
        let id = || {
            name()?.parse::<Id>().map_err(|error| {
                Failure::new(format_args!("{error}; see `list` for the ids there are"))
            })
        };
        Ok(match kind.as_str() {
            "config" => Object::Config,
            "masterkey" => Object::MasterKey,
            "index" => Object::File(FileType::Index, id()?),
            "key" => Object::File(FileType::Key, id()?),
            "lock" => Object::File(FileType::Lock, id()?),
            "pack" => Object::File(FileType::Pack, id()?),
            "blob" => Object::Blob(id()?),
            "snapshot" => Object::Snapshot(name()?.clone()),
            "tree" => Object::Tree(name()?.clone()),
            other => {
                return Err(Failure::new(format_args!("there is no type {other:?}, only {TYPES}")));
            }
        })
    }
}

/// What is printed of an object: JSON for people to read, packs and blobs as they are.
async fn load(session: &Session, repository: &Repository, object: &Object) -> Result<Vec<u8>> {
    Ok(match object {
        Object::Config => pretty(&repository.config())?,
        Object::MasterKey => reindent(&repository.key().to_json())?,
        &Object::File(FileType::Pack, id) => {
            repository.load_raw(FileType::Pack, id).await?.to_vec()
        }
        &Object::File(FileType::Key, id) => {
            reindent(&repository.load_raw(FileType::Key, id).await?)?
        }
        &Object::File(file_type, id) => reindent(&repository.load_unpacked(file_type, id).await?)?,
        Object::Snapshot(query) => {
            let all = repository.readable_snapshots(&Silent).await?;
            let id = resolve(&all, &Filter::default(), query)?.0;
            reindent(&repository.load_unpacked(FileType::Snapshot, id).await?)?
        }
        &Object::Blob(id) => {
            let index = repository.load_index(&Silent).await?;
            let handle = [BlobHandle::data(id), BlobHandle::tree(id)];
            let found = handle.into_iter().find(|handle| index.contains(handle));
            repository.load_blob(&index, found.unwrap_or(BlobHandle::data(id))).await?
        }
        Object::Tree(query) => {
            let Contents { snapshots, index } = session.contents(repository).await?;
            let index = Arc::new(index);
            let (entry, folder) = find_snapshot(&snapshots, &Filter::default(), query)?;
            let folder = Path::new(folder);
            let node = walk::find_path(repository, &index, entry.1.tree, folder).await?;
            let id = walk::subtree(&node, folder)?;
            repository.load_blob(&index, BlobHandle::tree(id)).await?
        }
    })
}

fn pretty<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::new)?;
    text.push(b'\n');
    Ok(text)
}

/// JSON as it is stored, with line breaks. Numbers and the order of fields stay as they are.
fn reindent(json: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(json.len() * 2);
    let mut pretty = serde_json::Serializer::pretty(&mut text);
    let mut stored = serde_json::Deserializer::from_slice(json);
    serde_transcode::transcode(&mut stored, &mut pretty)
        .map_err(|error| Failure::new(format_args!("it is not JSON: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Result<Object> {
        Cat { arguments: text.split_whitespace().map(str::to_owned).collect() }.object()
    }

    #[test]
    fn objects_are_named_by_type_and_id() {
        let id = Id::of(b"");
        assert_eq!(object("config"), Ok(Object::Config));
        assert_eq!(object("masterkey"), Ok(Object::MasterKey));
        assert_eq!(object(&format!("pack {id}")), Ok(Object::File(FileType::Pack, id)));
        assert_eq!(object(&format!("blob {id}")), Ok(Object::Blob(id)));
        assert_eq!(object("snapshot latest"), Ok(Object::Snapshot("latest".into())));
        assert_eq!(object("tree 12ab:srv"), Ok(Object::Tree("12ab:srv".into())));
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        for text in ["", "foo", "snapshot", "index zz", "pack", "snapshot a b"] {
            assert!(object(text).is_err(), "{text}");
        }
    }
}
