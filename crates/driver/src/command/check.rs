//! `check`

use clap::Args;

use crate::exit::{Failure, Result};
use crate::selection::SelectionArgs;
use crate::session::Session;
use crate::size;

/// Looks for damage in the repository.
#[derive(Args, Debug)]
pub struct Check {
    /// Only what these snapshots need
    #[arg(value_name = "SNAPSHOT")]
    ids: Vec<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Read all data, too
    #[arg(long)]
    read_data: bool,

    /// Read a part of the data: n/t for the nth of t parts; x% or a size, as in 2G, for a random part
    #[arg(long, value_name = "SUBSET", value_parser = Subset::parse)]
    read_data_subset: Option<Subset>,

    /// Trust local copies of metadata
    #[arg(long)]
    with_cache: bool,

    /// Without effect
    #[arg(long, hide = true)]
    check_unused: bool,
}

/// Which packs to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// The packs whose first byte, divided by `parts`, leaves `part - 1`.
    Part {
        /// From 1 on.
        part: u16,
        /// At most 256, since there is one byte to divide.
        parts: u16,
    },
    /// A random choice of about this many in a hundred.
    Percent(f64),
    /// A random choice of about this many bytes.
    Bytes(u64),
}

impl Subset {
    /// Parses `3/10`, `2.5%` or `500M`. Nothing is the empty text, as with restic.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!("{text:?} is neither a part like 1/10 nor a share like 2.5% nor a size like 2G")
        };
        if let Some((part, parts)) = text.split_once('/') {
            let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
            let (part, parts) = (number(part)?, number(parts)?);
            return match part >= 1 && part <= parts && parts <= 256 {
                true => Ok(Self::Part { part, parts }),
                false => Err("in n/t, n is from 1 to t, and t at most 256".to_owned()),
            };
        }
        if let Some(share) = text.strip_suffix('%') {
            let share: f64 = share.parse().map_err(|_| invalid())?;
            return match share > 0.0 && share <= 100.0 {
                true => Ok(Self::Percent(share)),
                false => Err("a share is above 0% and at most 100%".to_owned()),
            };
        }
        match size::parse(text).map_err(|_| invalid())? {
            0 => Err("a size above 0 is needed".to_owned()),
            size => Ok(Self::Bytes(size)),
        }
    }
}

impl Check {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        self.check_options()?;
        session.open().await
    }

    fn check_options(&self) -> Result {
        if self.read_data && self.read_data_subset.is_some() {
            return Err(Failure::new("--read-data and --read-data-subset exclude each other"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_a_part_a_share_or_a_size() {
        assert_eq!(Subset::parse("1/2"), Ok(Subset::Part { part: 1, parts: 2 }));
        assert_eq!(Subset::parse("256/256"), Ok(Subset::Part { part: 256, parts: 256 }));
        assert_eq!(Subset::parse("2.5%"), Ok(Subset::Percent(2.5)));
        assert_eq!(Subset::parse("100%"), Ok(Subset::Percent(100.0)));
        assert_eq!(Subset::parse("500M"), Ok(Subset::Bytes(500 << 20)));
    }

    #[test]
    fn what_is_no_subset_is_refused() {
        for text in [
            "", "0/2", "3/2", "1/257", "1/2/3", "a/b", "0%", "101%", "NaN%", "x%", "0", "1.5G",
            "-1",
        ] {
            assert!(Subset::parse(text).is_err(), "{text}");
        }
    }
}
