//! The increments that a backup image is made of, each a snapshot in a repository.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::{Failure, Result};

/// How many characters of a snapshot's id OpenNebula keeps.
pub const SHORT_ID: usize = 8;

/// One increment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increment {
    /// Its number, which never changes.
    pub id: u64,
    /// The beginning of its snapshot's id.
    pub snapshot: String,
}

/// Increments in their order: the first is a full backup, each other one a difference to the one before.
/// There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increments(Vec<Increment>);

impl Increments {
    /// These increments.
    pub fn new(increments: Vec<Increment>) -> Result<Self> {
        if increments.is_empty() {
            return Err(Failure::new("the backup image has no increments"));
        }
        let strays = increments.iter().find(|increment| !is_snapshot_id(&increment.snapshot));
        if let Some(Increment { id, snapshot }) = strays {
            return Err(Failure::new(format_args!(
                "the backup image names {snapshot:?} as the snapshot of increment {id}, which is no id"
            )));
        }
        Ok(Self(increments))
    }

    /// Parses them as a URL has them: `0:66c01fd7,1:b132bf66`.
    pub fn parse(text: &str) -> Result<Self> {
        let increments = text.split(',').map(|part| {
            let (id, snapshot) = part.split_once(':')?;
            Some(Increment { id: id.parse().ok()?, snapshot: snapshot.to_owned() })
        });
        let increments: Option<Vec<_>> = increments.collect();
        let increments = increments.ok_or_else(|| {
            Failure::new(format_args!(
                "{text:?} is no list of increments like 0:66c01fd7,1:b132bf66"
            ))
        })?;
        Self::new(increments)
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Increment] {
        &self.0
    }

    /// The newest.
    pub fn last(&self) -> &Increment {
        self.0.last().expect("there is at least one")
    }

    /// Those up to the one with this number, which must be among them.
    pub fn up_to(&self, id: u64) -> Result<Self> {
        if !self.0.iter().any(|increment| increment.id == id) {
            return Err(Failure::new(format_args!(
                "the backup image has no increment {id}; it has {self}"
            )));
        }
        Ok(Self(self.0.iter().filter(|increment| increment.id <= id).cloned().collect()))
    }
}

/// As a URL has them.
impl fmt::Display for Increments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Increment { id, snapshot }) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{id}:{}", &snapshot[..SHORT_ID.min(snapshot.len())])?;
        }
        Ok(())
    }
}

/// Whether a text can be the id of a snapshot, or its beginning.
fn is_snapshot_id(text: &str) -> bool {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    (SHORT_ID..=64).contains(&text.len()) && text.chars().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_written_as_it_is_read() {
        let chain = Increments::parse("1:b132bf66,2:3feebbe9,5:a82ecfeb").unwrap();
        assert_eq!(chain.to_string(), "1:b132bf66,2:3feebbe9,5:a82ecfeb");
        assert_eq!(chain.last().id, 5);
        assert_eq!(chain.up_to(2).unwrap().to_string(), "1:b132bf66,2:3feebbe9");
        assert!(chain.up_to(3).is_err());
    }

    #[test]
    fn what_is_no_snapshot_does_not_become_one() {
        for text in
            ["", "0", "0:", "0:zzzzzzzz", "x:66c01fd7", "0:66c01fd", "0:$(id)...", "0:66c01fd7,"]
        {
            assert!(Increments::parse(text).is_err(), "{text}");
        }
    }
}
