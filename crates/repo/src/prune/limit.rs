//! How much unused data may stay.

use std::str::FromStr;

/// How much may stay in a repository that no snapshot needs. restic's `--max-unused`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxUnused {
    /// Any amount.
    Unlimited,
    /// So many percent of what the repository then holds, from 0 to below 100.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
}

impl Default for MaxUnused {
    /// 5 %, as in restic.
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

impl MaxUnused {
    /// The limit in bytes, where so many bytes are needed.
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            // Cast: a fraction of a byte does not count.
            Self::Percent(percent) => (percent / (100.0 - percent) * used as f64) as u64,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// What is not a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a percentage from 0% to below 100%, or the word \"unlimited\", is needed")]
pub struct InvalidLimit;

/// `5%` or `unlimited`. Sizes are for the caller, whose notation may have units.
impl FromStr for MaxUnused {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        match text.trim().strip_suffix('%') {
            None if text.trim() == "unlimited" => Ok(Self::Unlimited),
            None => Err(InvalidLimit),
            Some(number) => match number.parse() {
                Ok(percent) if (0.0..100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(InvalidLimit),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_one_of_what_remains() {
        assert_eq!(MaxUnused::Percent(50.0).bytes(1000), 1000);
        assert_eq!(MaxUnused::Percent(5.0).bytes(1900), 100);
        assert_eq!(MaxUnused::Percent(0.0).bytes(1000), 0);
        assert_eq!(MaxUnused::Unlimited.bytes(0), u64::MAX);
    }

    #[test]
    fn what_can_be_said() {
        assert_eq!("5%".parse(), Ok(MaxUnused::Percent(5.0)));
        assert_eq!(" 0.5%".parse(), Ok(MaxUnused::Percent(0.5)));
        assert_eq!("unlimited".parse(), Ok(MaxUnused::Unlimited));
        for text in ["", "%", "100%", "-1%", "NaN%", "inf%", "5", "5 %x"] {
            assert_eq!(text.parse::<MaxUnused>(), Err(InvalidLimit), "{text}");
        }
    }
}
