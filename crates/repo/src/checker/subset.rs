//! Which packs to read in full.

use std::str::FromStr;

use crate::backend::FileInfo;
use crate::crypto;
use crate::error::Result;
use crate::id::Id;

/// Which packs a check reads in full: restic's `--read-data` and `--read-data-subset`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum ReadData {
    /// None.
    #[default]
    Nothing,
    /// All.
    All,
    /// Some.
    Subset(Subset),
}

/// A part of the packs, as restic's `--read-data-subset` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// One group of several, told apart by the first byte of the pack's id. The same packs each time,
    /// so that checking all groups in turn checks everything.
    Group {
        /// Which, from 1.
        number: u16,
        /// How many groups there are, at most 256.
        of: u16,
    },
    /// So many packs of a hundred, other ones each time.
    Percent(f64),
    /// So many bytes in packs, other ones each time.
    Bytes(u64),
}

/// A text that names no subset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubset {
    /// It has none of the three forms.
    #[error(
        "{0:?} is none of: a group \"n/t\", a percentage \"x%\", a size \"x\" with K, M, G or T"
    )]
    Form(String),
    /// A group that cannot be.
    #[error("in a group n/t, n and t are at least 1, n is at most t, and t is at most 256")]
    Group,
    /// A percentage that cannot be.
    #[error("the percentage must be above 0 and at most 100")]
    Percent,
    /// No bytes.
    #[error("the size must be above 0")]
    Size,
}

impl FromStr for Subset {
    type Err = InvalidSubset;

    fn from_str(text: &str) -> Result<Self, InvalidSubset> {
        let form = || InvalidSubset::Form(text.to_owned());
        if let Some((number, of)) = text.split_once('/') {
            let parse = |part: &str| part.parse::<u64>().map_err(|_| form());
            let (number, of) = (parse(number)?, parse(of)?);
            let valid = (1..=256).contains(&of) && (1..=of).contains(&number);
            return match (u16::try_from(number), u16::try_from(of)) {
                (Ok(number), Ok(of)) if valid => Ok(Self::Group { number, of }),
                _ => Err(InvalidSubset::Group),
            };
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| form())?;
            let valid = percent > 0.0 && percent <= 100.0;
            return valid.then_some(Self::Percent(percent)).ok_or(InvalidSubset::Percent);
        }
        match parse_size(text).ok_or_else(form)? {
            0 => Err(InvalidSubset::Size),
            size => Ok(Self::Bytes(size)),
        }
    }
}

/// A size as restic reads it: a number, and K, M, G or T in either case for powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        b'b' | b'0'..=b'9' => 0,
        _ => return None,
    };
    let number = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    if text.len() - number.len() > 1 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Says of one pack after the other whether it is among the chosen ones.
#[derive(Clone)]
pub(super) struct Choice {
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    All,
    Group {
        number: u16,
        of: u16,
    },
    /// So many are to be chosen of so many that are still to come: then each has the same chance, and
    /// nothing has to be remembered.
    Random {
        wanted: u64,
        left: u64,
        random: Random,
    },
}

impl Choice {
    /// Among these packs. They must be asked about in [`Self::takes`], each once, in any order.
    pub(super) fn new(read: ReadData, packs: impl Iterator<Item = FileInfo>) -> Result<Self> {
        let rule = match read {
            ReadData::Nothing => Rule::Random { wanted: 0, left: 0, random: Random::new()? },
            ReadData::All => Rule::All,
            ReadData::Subset(Subset::Group { number, of }) => Rule::Group { number, of },
            ReadData::Subset(Subset::Percent(percent)) => {
                Self::share(percent, packs.count() as u64)?
            }
            ReadData::Subset(Subset::Bytes(bytes)) => {
                let (mut count, mut total) = (0, 0);
                for pack in packs {
                    count += 1;
                    total += pack.size;
                }
                // As restic: the share of the bytes is taken as a share of the packs.
                let percent = bytes.min(total) as f64 / total.max(1) as f64 * 100.0;
                Self::share(percent, count)?
            }
        };
        Ok(Self { rule })
    }

    fn share(percent: f64, count: u64) -> Result<Rule> {
        // Rounds down, but to no less than one. The conversion saturates.
        let wanted = ((count as f64 * (percent / 100.0)) as u64).clamp(count.min(1), count);
        Ok(Rule::Random { wanted, left: count, random: Random::new()? })
    }

    /// Whether this pack is chosen.
    pub(super) fn takes(&mut self, pack: Id) -> bool {
        match &mut self.rule {
            Rule::All => true,
            Rule::Group { number, of } => {
                u16::from(pack.as_bytes()[0]).checked_rem(*of) == number.checked_sub(1)
            }
            Rule::Random { wanted, left, random } => {
                let takes = random.below(*left) < *wanted;
                *left = left.saturating_sub(1);
                *wanted -= u64::from(takes);
                takes
            }
        }
    }
}

/// Vigna's SplitMix64, for choices that need no secrecy.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new() -> Result<Self> {
        let mut seed = [0; 8];
        crypto::fill_random(&mut seed)?;
        Ok(Self(u64::from_le_bytes(seed)))
    }

    /// A number below the limit; 0 where the limit is. Even enough for limits far below 2^64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs() -> Vec<FileInfo> {
        (0u32..1000).map(|n| FileInfo { id: Id::of(&n.to_le_bytes()), size: 100 }).collect()
    }

    fn chosen(read: ReadData) -> Vec<Id> {
        let mut choice = Choice::new(read, packs().into_iter()).unwrap();
        packs().iter().map(|pack| pack.id).filter(|&id| choice.takes(id)).collect()
    }

    #[test]
    fn subsets_are_read_as_restic_reads_them() {
        for (text, subset) in [
            ("1/1", Subset::Group { number: 1, of: 1 }),
            ("256/256", Subset::Group { number: 256, of: 256 }),
            ("2.5%", Subset::Percent(2.5)),
            ("100%", Subset::Percent(100.0)),
            ("10", Subset::Bytes(10)),
            ("10b", Subset::Bytes(10)),
            ("50M", Subset::Bytes(50 << 20)),
            ("50g", Subset::Bytes(50 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(subset), "{text}");
        }
        let refused = [
            "",
            "/",
            "0/1",
            "2/1",
            "1/257",
            "1/0",
            "-1/2",
            "1/2/3",
            "%",
            "0%",
            "100.1%",
            "NaN%",
            "-5%",
            "0",
            "0K",
            "K",
            "1KB",
            "1.5M",
            "5x",
            "99999999999999999999",
            "99999999T",
        ];
        for text in refused {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_groups_together_are_all_packs_and_none_twice() {
        for of in [1, 2, 3, 7, 255, 256] {
            let group = |number| chosen(ReadData::Subset(Subset::Group { number, of }));
            let mut all: Vec<Id> = (1..=of).flat_map(group).collect();
            all.sort();
            let mut expected: Vec<Id> = packs().iter().map(|pack| pack.id).collect();
            expected.sort();
            assert_eq!(all, expected, "{of}");
        }
        let second = chosen(ReadData::Subset(Subset::Group { number: 2, of: 5 }));
        assert!(second.iter().all(|id| id.as_bytes()[0] % 5 == 1));
    }

    #[test]
    fn a_share_has_its_size_and_is_another_one_each_time() {
        let of = |subset| chosen(ReadData::Subset(subset));
        assert_eq!(of(Subset::Percent(10.0)).len(), 100);
        assert_eq!(of(Subset::Percent(0.001)).len(), 1, "at least one");
        assert_eq!(of(Subset::Percent(100.0)).len(), 1000);
        assert_eq!(of(Subset::Bytes(20_000)).len(), 200);
        assert_eq!(of(Subset::Bytes(u64::MAX)).len(), 1000);
        assert_ne!(of(Subset::Percent(50.0)), of(Subset::Percent(50.0)));
        assert_eq!(chosen(ReadData::All).len(), 1000);
        assert_eq!(chosen(ReadData::Nothing).len(), 0);
    }

    #[test]
    fn of_no_packs_none_is_chosen() {
        for subset in [Subset::Percent(50.0), Subset::Bytes(1)] {
            let choice = Choice::new(ReadData::Subset(subset), std::iter::empty()).unwrap();
            assert!(matches!(choice.rule, Rule::Random { wanted: 0, left: 0, .. }));
        }
    }
}
