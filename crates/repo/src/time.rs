//! Points in time as restic writes them: RFC 3339, nanoseconds, with the zone's offset.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use date::{Date, days_before};
use rfc3339::{parse_date, parse_wall};

pub(crate) use rfc3339::Rfc3339;
pub use zone::Zone;

mod date;
mod rfc3339;
mod zone;

/// A point in time, with the offset from UTC that it was written in.
///
/// Two timestamps are equal, and sort, by the moment they mean: `12:00+01:00` equals `11:00Z`. This is
/// how restic compares files and snapshots, so a parent snapshot stays useful when the machine's zone
/// changes. Where the spelling matters, use [`is_identical`](Self::is_identical).
///
/// The year on the wall is always within 0 to 9999, because the format has no others; see
/// [`from_unix_in`](Self::from_unix_in).
#[derive(Clone, Copy)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
    /// Below 1,000,000,000.
    nanoseconds: u32,
    /// Seconds east of UTC.
    offset: i32,
}

impl Timestamp {
    /// Go's zero time, which restic writes where it knows no time: the first second of the year 1.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanoseconds: 0, offset: 0 };

    /// This moment, in the local zone.
    pub fn now() -> Self {
        let (seconds, nanoseconds) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => (since.as_secs().try_into().unwrap_or(i64::MAX), since.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => (-seconds, 0),
                    nanoseconds => (-seconds - 1, NANOSECONDS - nanoseconds),
                }
            }
        };
        Self::from_unix(seconds, nanoseconds)
    }

    /// A moment in seconds and nanoseconds since 1970, as a file system tells it, in the local zone.
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        Self::from_unix_in(seconds, nanoseconds, Zone::local())
    }

    /// A moment in seconds and nanoseconds since 1970, with the offset that `zone` has then.
    ///
    /// A year before 0 becomes 0 and one after 9999 becomes 9999, with the rest of the date kept. restic
    /// does the same when it writes a tree.
    pub fn from_unix_in(seconds: i64, nanoseconds: u32, zone: &Zone) -> Self {
        let seconds = seconds.saturating_add((nanoseconds / NANOSECONDS).into());
        let nanoseconds = nanoseconds % NANOSECONDS;
        let moment = Self { seconds, nanoseconds, offset: zone.offset_at(seconds) };
        let Date { year, month, day } = moment.date();
        match year.clamp(0, 9999) {
            same if same == year => moment,
            year => {
                let days = days_before(year, month) + i64::from(day) - 1;
                let wall = days * DAY + moment.wall().rem_euclid(DAY);
                let seconds = zone.moment_of_wall(wall);
                Self { seconds, nanoseconds, offset: zone.offset_at(seconds) }
            }
        }
    }

    /// A time that a person wrote, read in the local zone: "2006-01-02 15:04:05", as restic's `--time`
    /// takes it, "2006-01-02" for that day's midnight, or RFC 3339 with an offset of its own.
    pub fn parse_local(text: &str) -> Result<Self, InvalidTime> {
        Self::parse_in(text, Zone::local())
    }

    /// As [`parse_local`](Self::parse_local), read in another zone.
    pub fn parse_in(text: &str, zone: &Zone) -> Result<Self, InvalidTime> {
        let parsed = match text.as_bytes().get(10) {
            Some(b'T') => return text.parse(),
            None => parse_date(text.as_bytes()).map(|days| (days * DAY, 0)),
            Some(_) => parse_wall(text.as_bytes(), b' ').and_then(|(wall, nanoseconds, rest)| {
                rest.is_empty().then_some((wall, nanoseconds))
            }),
        };
        let (wall, nanoseconds) = parsed.ok_or_else(|| InvalidTime(text.to_owned()))?;
        Ok(Self::from_unix_in(zone.moment_of_wall(wall), nanoseconds, zone))
    }

    /// Whole seconds since 1970, rounded towards the past.
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds since the last whole second.
    pub fn subsec_nanoseconds(&self) -> u32 {
        self.nanoseconds
    }

    /// Nanoseconds since 1970.
    pub fn unix_nanoseconds(&self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOSECONDS) + i128::from(self.nanoseconds)
    }

    /// Seconds east of UTC.
    pub fn offset(&self) -> i32 {
        self.offset
    }

    /// Whether this is Go's zero time, in any offset.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Whether this is the same moment *and* is written in the same offset.
    pub fn is_identical(&self, other: &Self) -> bool {
        self == other && self.offset == other.offset
    }

    /// The same moment as a clock in `zone` shows it.
    pub fn in_zone(&self, zone: &Zone) -> Self {
        Self::from_unix_in(self.seconds, self.nanoseconds, zone)
    }

    /// The year on the wall, 0 to 9999.
    pub fn year(&self) -> i32 {
        self.date().year.try_into().unwrap_or(0)
    }

    /// The month on the wall, 1 to 12.
    pub fn month(&self) -> u8 {
        self.date().month
    }

    /// The day of the month on the wall, from 1.
    pub fn day(&self) -> u8 {
        self.date().day
    }

    /// The hour on the wall, 0 to 23.
    pub fn hour(&self) -> u8 {
        (self.wall().rem_euclid(DAY) / 3600) as u8
    }

    /// The ISO 8601 year and week on the wall. The year differs from the calendar's around New Year.
    pub fn iso_week(&self) -> (i32, u8) {
        // The week belongs to the year that its Thursday is in. Day 0, in 1970, was a Thursday.
        let days = self.wall().div_euclid(DAY);
        let thursday = days - (days + 3).rem_euclid(7) + 3;
        let year = Date::of(thursday).year;
        let week = (thursday - days_before(year, 1)) / 7 + 1;
        (year.try_into().unwrap_or(0), week as u8)
    }

    /// "2006-01-02 15:04:05", as restic shows times to people. Convert to the local zone before.
    pub fn date_time(&self) -> String {
        let text = Rfc3339::of(self);
        text.as_str()[..19].replace('T', " ")
    }

    /// The time this many years, months and days later on the calendar; negative for earlier.
    ///
    /// As Go's `AddDate`: a day that the month lacks runs over into the next month, so one month before
    /// March 31 is March 2 or 3. The offset follows the rules of `zone` if the timestamp's own offset
    /// is the one that `zone` has at its moment, and else stays: this is how Go takes an offset that it
    /// has parsed, with the local zone for `zone`. Only that Go takes `Z` for UTC in any zone.
    pub fn add_date(&self, years: i32, months: i32, days: i32, zone: &Zone) -> Self {
        let Date { year, month, day } = self.date();
        let months = (year + i64::from(years)) * 12 + i64::from(month) - 1 + i64::from(months);
        let first = days_before(months.div_euclid(12), months.rem_euclid(12) as u8 + 1);
        let days = first + i64::from(day) - 1 + i64::from(days);
        let wall = days * DAY + self.wall().rem_euclid(DAY);
        if self.offset != 0 && zone.offset_at(self.seconds) == self.offset {
            Self::from_unix_in(zone.moment_of_wall(wall), self.nanoseconds, zone)
        } else {
            self.at(wall - i64::from(self.offset))
        }
    }

    /// The time this many seconds later; negative for earlier. The offset stays.
    pub fn add_seconds(&self, seconds: i64) -> Self {
        self.at(self.seconds.saturating_add(seconds))
    }

    /// Another moment in the same offset, within the years that can be written.
    fn at(&self, seconds: i64) -> Self {
        let offset = i64::from(self.offset);
        let first = days_before(0, 1) * DAY - offset;
        let last = days_before(10_000, 1) * DAY - 1 - offset;
        Self { seconds: seconds.clamp(first, last), ..*self }
    }

    /// Seconds since 1970 as the clock on the wall counts them.
    fn wall(&self) -> i64 {
        self.seconds.saturating_add(self.offset.into())
    }

    fn date(&self) -> Date {
        Date::of(self.wall().div_euclid(DAY))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.seconds, self.nanoseconds).cmp(&(other.seconds, other.nanoseconds))
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.seconds, self.nanoseconds).hash(state);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Rfc3339::of(self).as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time")]
pub struct InvalidTime(pub String);

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Parses RFC 3339. Digits of the second beyond the ninth are dropped, as Go does.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        rfc3339::parse(text.as_bytes()).ok_or_else(|| InvalidTime(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Rfc3339::of(self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339 has it")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

const DAY: i64 = 86_400;
const NANOSECONDS: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> Zone {
        Zone::named("Europe/Berlin").unwrap()
    }

    #[test]
    fn what_go_writes_is_read_and_written_alike() {
        for text in [
            "2024-03-31T03:00:00.123456789+02:00",
            "2024-01-01T00:00:00+01:00",
            "2024-01-01T00:00:00.1Z",
            "2024-02-29T23:59:59.00000001+05:45",
            "2024-01-01T00:00:00-00:30",
            "0001-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0000-02-29T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.999999999-23:59",
        ] {
            assert_eq!(time(text).to_string(), text);
        }
        assert_eq!(time("2024-01-01T00:00:00+00:00").to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(time("2024-01-01T00:00:00.500000000000Z").to_string(), "2024-01-01T00:00:00.5Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00Z",
            "2024-1-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-12-32T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+01:60",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00Zjunk",
            "-024-01-01T00:00:00Z",
            "２024-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime(text.to_owned())));
        }
    }

    #[test]
    fn a_file_time_has_the_offset_of_its_own_season() {
        let berlin = berlin();
        let at = |seconds| Timestamp::from_unix_in(seconds, 120_000_000, &berlin).to_string();
        assert_eq!(at(1_704_067_200), "2024-01-01T01:00:00.12+01:00");
        assert_eq!(at(1_719_792_000), "2024-07-01T02:00:00.12+02:00");
    }

    #[test]
    fn a_moment_before_standard_time_loses_the_odd_seconds_of_its_offset() {
        // Until April 1893 Berlin was 53 minutes and 28 seconds ahead.
        let old = Timestamp::from_unix_in(-3_000_000_000, 0, &berlin());
        assert_eq!(old.to_string(), "1874-12-07T19:33:28+00:53");
    }

    #[test]
    fn years_that_cannot_be_written_are_clamped() {
        let at = |seconds| Timestamp::from_unix_in(seconds, 5, &Zone::UTC).to_string();
        assert_eq!(at(253_402_300_799), "9999-12-31T23:59:59.000000005Z");
        assert_eq!(at(253_402_300_800), "9999-01-01T00:00:00.000000005Z");
        assert_eq!(at(-62_167_219_200), "0000-01-01T00:00:00.000000005Z");
        assert_eq!(at(-62_167_219_201), "0000-12-31T23:59:59.000000005Z");
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(at(extreme).len(), 30);
            Timestamp::from_unix_in(extreme, u32::MAX, &berlin()).to_string();
        }
        // A leap day of the year 12000 has no place in 9999.
        let leap_day = days_before(12_000, 2) + 28;
        assert_eq!(at(leap_day * DAY), "9999-03-01T00:00:00.000000005Z");
    }

    #[test]
    fn equality_is_of_the_moment_and_identity_of_the_spelling() {
        let noon = time("2024-01-01T12:00:00+01:00");
        let same = time("2024-01-01T11:00:00Z");
        assert_eq!(noon, same);
        assert!(!noon.is_identical(&same));
        assert!(noon.is_identical(&noon));
        assert!(noon < time("2024-01-01T11:00:00.000000001Z"));
        assert!(noon > time("2024-01-01T12:30:00+02:00"));
        assert_eq!(noon.unix_nanoseconds(), 1_704_106_800_000_000_000);
    }

    #[test]
    fn calendar_fields_are_those_on_the_wall() {
        let time = time("2021-01-01T00:30:00+01:00");
        assert_eq!((time.year(), time.month(), time.day(), time.hour()), (2021, 1, 1, 0));
        assert_eq!(time.iso_week(), (2020, 53));
        assert_eq!(time.in_zone(&Zone::UTC).year(), 2020);
        assert_eq!(time.date_time(), "2021-01-01 00:30:00");
    }

    #[test]
    fn people_write_times_of_the_local_zone() {
        let parse = |text| Timestamp::parse_in(text, &berlin()).map(|time| time.to_string());
        assert_eq!(parse("2024-07-01 12:00:00").unwrap(), "2024-07-01T12:00:00+02:00");
        assert_eq!(parse("2024-01-01 12:00:00.5").unwrap(), "2024-01-01T12:00:00.5+01:00");
        assert_eq!(parse("2024-01-01").unwrap(), "2024-01-01T00:00:00+01:00");
        assert_eq!(parse("2024-01-01T12:00:00Z").unwrap(), "2024-01-01T12:00:00Z");
        // Skipped and repeated by summer time.
        assert_eq!(parse("2024-03-31 02:30:00").unwrap(), "2024-03-31T03:30:00+02:00");
        assert_eq!(parse("2024-10-27 02:30:00").unwrap(), "2024-10-27T02:30:00+01:00");
        for text in ["", "now", "2024-01-01 12:00", "2024-01-01 12:00:00 UTC", "2024-02-30"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn calendar_arithmetic_is_gos() {
        let add = |text: &str, years, months, days| {
            time(text).add_date(years, months, days, &berlin()).to_string()
        };
        assert_eq!(add("2024-03-31T12:00:00Z", 0, -1, 0), "2024-03-02T12:00:00Z");
        assert_eq!(add("2024-02-29T12:00:00Z", 1, 0, 0), "2025-03-01T12:00:00Z");
        assert_eq!(add("2024-01-15T12:00:00Z", -1, -13, -15), "2021-11-30T12:00:00Z");
        // The local offset follows summer time, a foreign one stays.
        assert_eq!(add("2024-07-15T12:00:00+02:00", 0, -6, 0), "2024-01-15T12:00:00+01:00");
        assert_eq!(add("2024-07-15T12:00:00+03:00", 0, -6, 0), "2024-01-15T12:00:00+03:00");
        assert_eq!(
            add("2024-07-15T12:00:00Z", i32::MIN, i32::MIN, i32::MIN),
            "0000-01-01T00:00:00Z"
        );
        let noon = time("2024-01-01T12:00:00+01:00");
        assert_eq!(noon.add_seconds(-86_400).to_string(), "2023-12-31T12:00:00+01:00");
        assert_eq!(noon.add_seconds(i64::MAX).to_string(), "9999-12-31T23:59:59+01:00");
    }

    #[test]
    fn now_is_after_this_was_written() {
        assert!(Timestamp::now() > time("2025-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn weeks_agree_with_jiff(days in -719_528i64..2_932_896) {
            let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            let week = date.iso_week_date();
            let time = Timestamp { seconds: days * DAY, nanoseconds: 0, offset: 0 };
            prop_assert_eq!(time.iso_week(), (week.year().into(), week.week() as u8));
        }

        #[test]
        fn any_moment_survives_its_text(seconds: i64, nanoseconds in 0u32..1_000_000_000) {
            for zone in [Zone::UTC, berlin(), Zone::named("Asia/Kathmandu").unwrap()] {
                // Keep to whole-minute offsets, which are all there are since 1950.
                let seconds = seconds.rem_euclid(300_000_000_000) - 631_152_000;
                let time = Timestamp::from_unix_in(seconds, nanoseconds, &zone);
                let back: Timestamp = time.to_string().parse().unwrap();
                prop_assert!(back.is_identical(&time), "{} {}", time, back);
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+ -]{0,40}") {
            let _ = text.parse::<Timestamp>();
            let _ = Timestamp::parse_in(&text, &Zone::UTC);
        }
    }
}
