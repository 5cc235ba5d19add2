//! `cat`

use clap::Args;
use restic_repo::{FileType, Id};

use crate::exit::{Failure, Result};
use crate::session::Session;

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
        let _object = self.object()?;
        session.open().await
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
