//! Which snapshots of a group stay.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::Span;
use crate::id::Id;
use crate::snapshot::{Snapshot, TagList};
use crate::time::{Timestamp, Zone};

/// What to keep. A snapshot stays if any rule keeps it.
///
/// Days and hours are those that the snapshot's own clock showed, in the zone in which its time is
/// written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// The last so many.
    pub last: Count,
    /// The last of each hour, for so many hours that have any.
    pub hourly: Count,
    /// The last of each day, for so many days that have any.
    pub daily: Count,
    /// The last of each ISO week, for so many weeks that have any.
    pub weekly: Count,
    /// The last of each month, for so many months that have any.
    pub monthly: Count,
    /// The last of each year, for so many years that have any.
    pub yearly: Count,
    /// All that are newer than this, counted from the newest that is not from the future. Zero for
    /// none; so for the next five.
    pub within: Span,
    /// The last of each hour that are newer than this.
    pub within_hourly: Span,
    /// The last of each day that are newer than this.
    pub within_daily: Span,
    /// The last of each ISO week that are newer than this.
    pub within_weekly: Span,
    /// The last of each month that are newer than this.
    pub within_monthly: Span,
    /// The last of each year that are newer than this.
    pub within_yearly: Span,
    /// All that have all tags of any of these lists.
    pub tags: Vec<TagList>,
}

/// How many of something to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// No more than this.
    AtMost(u64),
    /// As many as there are.
    All,
}

/// Which snapshots stay and which go, both the newest first.
#[derive(Clone, Debug, Default)]
pub struct Verdict<'a> {
    /// Those that stay.
    pub keep: Vec<Kept<'a>>,
    /// Those that go.
    pub remove: Vec<&'a (Id, Snapshot)>,
}

/// A snapshot that stays.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// Which.
    pub snapshot: &'a (Id, Snapshot),
    /// Why, in restic's words: `daily snapshot`, `oldest yearly snapshot`, `within 7d`. At least one.
    pub reasons: Vec<String>,
}

impl Policy {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Decides on the snapshots of one group.
    ///
    /// Each counted rule takes the newest snapshot of a period, and the oldest one of all as long as its
    /// count is not used up, so that the history reaches back as far as it can. A snapshot that is later
    /// than `now` is kept or removed like any other, but spans are not counted from it. They are counted
    /// as restic does on a machine whose clocks show `zone`: across summer time, if the newest snapshot
    /// was made in that zone.
    pub fn apply<'a>(
        &self,
        group: &[&'a (Id, Snapshot)],
        now: Timestamp,
        zone: &Zone,
    ) -> Verdict<'a> {
        let mut snapshots = group.to_vec();
        snapshots.sort_by_key(|(_, snapshot)| Reverse(snapshot.time));
        let times = snapshots.iter().map(|(_, snapshot)| snapshot.time);
        let latest = times.into_iter().find(|time| *time < now).unwrap_or_default();
        let latest = latest.max(Timestamp::ZERO);
        let since = |span: &Span| (!span.is_zero()).then(|| span.before(latest, zone));

        let within = since(&self.within);
        let mut rules = self.rules(since);
        let mut verdict = Verdict::default();
        let oldest = snapshots.len().saturating_sub(1);
        for (number, entry) in snapshots.into_iter().enumerate() {
            let (_, snapshot) = entry;
            let mut reasons = Vec::new();
            for list in self.tags.iter().filter(|list| list.matches(snapshot)) {
                reasons.push(format!("has tags [{}]", list.0.join(", ")));
            }
            if within.is_some_and(|since| snapshot.time > since) {
                reasons.push(format!("within {}", self.within));
            }
            for rule in &mut rules {
                reasons.extend(rule.keeps(&snapshot.time, number, number == oldest));
            }
            match reasons.is_empty() {
                true => verdict.remove.push(entry),
                false => verdict.keep.push(Kept { snapshot: entry, reasons }),
            }
        }
        verdict
    }

    /// The rules that go by periods, in the order in which restic names them.
    fn rules(&self, since: impl Fn(&Span) -> Option<Timestamp>) -> Vec<Rule> {
        let counted = self.counts().into_iter().map(|(period, count)| Rule {
            period,
            left: count,
            since: None,
            reason: format!("{} snapshot", period.adjective()),
            last: None,
        });
        let within = self.spans().into_iter().filter_map(|(period, span)| {
            Some(Rule {
                period,
                left: Count::All,
                since: Some(since(&span)?),
                reason: format!("{} within {span}", period.adjective()),
                last: None,
            })
        });
        counted.chain(within).collect()
    }

    fn counts(&self) -> [(Period, Count); 6] {
        [
            (Period::Each, self.last),
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }

    fn spans(&self) -> [(Period, Span); 5] {
        [
            (Period::Hour, self.within_hourly),
            (Period::Day, self.within_daily),
            (Period::Week, self.within_weekly),
            (Period::Month, self.within_monthly),
            (Period::Year, self.within_yearly),
        ]
    }
}

/// In restic's words: `keep 3 daily, all yearly snapshots and all snapshots within 7d of the newest`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |(period, count): (Period, Count)| {
            let word = if period == Period::Each { "latest" } else { period.adjective() };
            match count {
                Count::AtMost(0) => None,
                Count::AtMost(count) => Some(format!("{count} {word}")),
                Count::All => Some(format!("all {word}")),
            }
        };
        let counts: Vec<_> = self.counts().into_iter().filter_map(count).collect();
        let mut periods = Vec::new();
        if !counts.is_empty() {
            periods.push(format!("{} snapshots", counts.join(", ")));
        }
        for (period, span) in self.spans().into_iter().filter(|(_, span)| !span.is_zero()) {
            periods.push(format!("{} snapshots within {span}", period.adjective()));
        }
        let mut parts = Vec::new();
        if !periods.is_empty() {
            parts.push(periods.join(", "));
        }
        if !self.tags.is_empty() {
            let lists: Vec<_> =
                self.tags.iter().map(|list| format!("[{}]", list.0.join(", "))).collect();
            parts.push(format!("all snapshots with tags [{}]", lists.join(" ")));
        }
        if !self.within.is_zero() {
            parts.push(format!("all snapshots within {} of the newest", self.within));
        }
        match parts.is_empty() {
            true => f.write_str("remove"),
            false => write!(f, "keep {}", parts.join(" and ")),
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

/// A text that is no count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no count: it takes a number from 0 on, or \"unlimited\"")]
pub struct InvalidCount(pub String);

impl FromStr for Count {
    type Err = InvalidCount;

    fn from_str(text: &str) -> Result<Self, InvalidCount> {
        match text {
            "unlimited" => Ok(Self::All),
            text => text.parse().map(Self::AtMost).map_err(|_| InvalidCount(text.to_owned())),
        }
    }
}

/// Keeps the newest snapshot of each period.
struct Rule {
    period: Period,
    /// How many more it may keep.
    left: Count,
    /// It looks only at snapshots behind this moment.
    since: Option<Timestamp>,
    reason: String,
    /// The period that it last kept one of.
    last: Option<i64>,
}

impl Rule {
    /// Why it keeps this snapshot, if it does. To be asked of the newest snapshot first.
    fn keeps(&mut self, time: &Timestamp, number: usize, is_oldest: bool) -> Option<String> {
        if self.left == Count::AtMost(0) || self.since.is_some_and(|since| *time <= since) {
            return None;
        }
        let period = Some(self.period.number(time, number));
        let again = self.last == period;
        if again && !is_oldest {
            return None;
        }
        self.last = period;
        if let Count::AtMost(left) = &mut self.left {
            *left -= 1;
        }
        Some(format!("{}{}", if again { "oldest " } else { "" }, self.reason))
    }
}

/// What of which one snapshot is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Period {
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    fn adjective(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// A number that the snapshots of one period have in common.
    fn number(self, time: &Timestamp, position: usize) -> i64 {
        let year = i64::from(time.year());
        let month = year * 100 + i64::from(time.month());
        let day = month * 100 + i64::from(time.day());
        match self {
            Self::Each => position as i64,
            Self::Hour => day * 100 + i64::from(time.hour()),
            Self::Day => day,
            Self::Week => {
                let (year, week) = time.iso_week();
                i64::from(year) * 100 + i64::from(week)
            }
            Self::Month => month,
            Self::Year => year,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2024-06-01T00:00:00Z";

    /// What a policy keeps of snapshots made at these times, by their position, and why.
    fn kept(policy: &Policy, times: &[&str]) -> Vec<(usize, String)> {
        let snapshots: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(number, time)| {
                let time = time.parse().unwrap();
                let tags = vec![if number % 2 == 0 { "even" } else { "odd" }.to_owned()];
                let snapshot = Snapshot { tags, ..Snapshot::new(time, Id::default(), vec![]) };
                (Id::from_bytes([number as u8; 32]), snapshot)
            })
            .collect();
        let group: Vec<_> = snapshots.iter().collect();
        let verdict = policy.apply(&group, NOW.parse().unwrap(), &Zone::UTC);
        assert_eq!(verdict.keep.len() + verdict.remove.len(), times.len());
        let kept =
            |kept: &Kept<'_>| (usize::from(kept.snapshot.0.as_bytes()[0]), kept.reasons.join(", "));
        verdict.keep.iter().map(kept).collect()
    }

    fn positions(policy: &Policy, times: &[&str]) -> Vec<usize> {
        kept(policy, times).into_iter().map(|(position, _)| position).collect()
    }

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_of_each_period_is_kept_and_the_oldest_of_all_while_counts_remain() {
        let times = [
            "2024-01-01T10:00:00Z",
            "2024-01-01T10:30:00Z",
            "2024-01-01T11:00:00Z",
            "2024-01-02T00:00:00Z",
        ];
        let daily = |count| Policy { daily: count, ..Policy::default() };
        let said = |position: usize, reason: &str| (position, reason.to_owned());
        assert_eq!(
            kept(&daily(Count::AtMost(3)), &times),
            [
                said(3, "daily snapshot"),
                said(2, "daily snapshot"),
                said(0, "oldest daily snapshot")
            ]
        );
        assert_eq!(positions(&daily(Count::AtMost(2)), &times), [3, 2]);
        assert_eq!(positions(&daily(Count::All), &times), [3, 2, 0]);
        let hourly = Policy { hourly: Count::AtMost(3), ..Policy::default() };
        assert_eq!(positions(&hourly, &times), [3, 2, 1]);
        let last = Policy { last: Count::AtMost(9), ..Policy::default() };
        assert!(kept(&last, &times).iter().all(|(_, reasons)| reasons == "last snapshot"));
    }

    #[test]
    fn a_day_is_the_day_of_the_snapshots_own_clock() {
        let times = ["2024-01-01T23:30:00+01:00", "2024-01-01T23:00:00Z"];
        let daily = Policy { daily: Count::AtMost(1), ..Policy::default() };
        assert_eq!(positions(&daily, &times), [1]);
        let times = ["2024-01-01T23:30:00Z", "2024-01-02T01:00:00+01:00"];
        assert_eq!(positions(&daily, &times), [1]);
        let both = Policy { daily: Count::AtMost(2), ..Policy::default() };
        assert_eq!(kept(&both, &times)[1].1, "daily snapshot");
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        // All of them are in the first week of 2020.
        let times = ["2019-12-30T00:00:00Z", "2020-01-01T00:00:00Z", "2020-01-05T00:00:00Z"];
        let weekly = Policy { weekly: Count::AtMost(1), ..Policy::default() };
        assert_eq!(positions(&weekly, &times), [2]);
        let yearly = Policy { yearly: Count::AtMost(2), ..Policy::default() };
        assert_eq!(positions(&yearly, &times), [2, 0]);
    }

    #[test]
    fn spans_are_counted_from_the_newest_that_is_not_from_the_future() {
        let times = [
            "2024-01-01T00:00:00Z",
            "2024-01-02T00:00:00Z",
            "2024-01-02T00:00:01Z",
            "2024-01-03T00:00:00Z",
            "2030-01-01T00:00:00Z",
        ];
        let within = Policy { within: span("1d"), ..Policy::default() };
        assert_eq!(positions(&within, &times), [4, 3, 2]);
        let daily = Policy { within_daily: span("7d"), ..Policy::default() };
        let found = kept(&daily, &times);
        assert_eq!(positions(&daily, &times), [4, 3, 2, 0]);
        assert!(found.iter().all(|(_, reasons)| reasons == "daily within 7d"), "{found:?}");
    }

    #[test]
    fn if_all_are_from_the_future_all_are_within_any_span() {
        let within = Policy { within: span("1h"), ..Policy::default() };
        assert_eq!(positions(&within, &["2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"]), [1, 0]);
        assert_eq!(positions(&within, &[]), [0; 0]);
    }

    #[test]
    fn tags_keep_without_being_counted() {
        let times = ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"];
        let tags = vec![TagList::parse("even"), TagList::parse("even,odd")];
        let policy = Policy { tags, last: Count::AtMost(2), ..Policy::default() };
        assert_eq!(
            kept(&policy, &times),
            [
                (2, "has tags [even], last snapshot".to_owned()),
                (1, "last snapshot".to_owned()),
                (0, "has tags [even]".to_owned())
            ]
        );
    }

    #[test]
    fn a_policy_is_described_as_restic_does() {
        assert_eq!(Policy::default().to_string(), "remove");
        assert!(Policy::default().is_empty());
        let policy = Policy {
            last: Count::AtMost(3),
            yearly: Count::All,
            within: span("7d"),
            within_weekly: span("1y"),
            tags: vec![TagList::parse("a,b"), TagList::parse("c")],
            ..Policy::default()
        };
        assert_eq!(
            policy.to_string(),
            "keep 3 latest, all yearly snapshots, weekly snapshots within 1y and all snapshots \
             with tags [[a, b] [c]] and all snapshots within 7d of the newest"
        );
    }

    #[test]
    fn counts_are_numbers_or_unlimited() {
        assert_eq!("unlimited".parse(), Ok(Count::All));
        assert_eq!("12".parse(), Ok(Count::AtMost(12)));
        for text in ["", "-1", "all", "1.5", "99999999999999999999"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
    }
}
