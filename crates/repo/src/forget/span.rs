//! Spans of calendar time: `1y2m3d4h`.

use std::fmt;
use std::str::FromStr;

use crate::time::{Timestamp, Zone};

/// A span of calendar time, each unit counted on its own: a month is as long as the calendar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Years.
    pub years: i32,
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Hours, of which all have 3600 seconds.
    pub hours: i32,
}

impl Span {
    /// Whether this is no time at all, which stands for a rule that is not set.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The moment that lies this long before another. `zone` is this machine's: see
    /// [`Timestamp::add_date`].
    pub fn before(&self, time: Timestamp, zone: &Zone) -> Timestamp {
        let Self { years, months, days, hours } = *self;
        let date = time.add_date(
            years.saturating_neg(),
            months.saturating_neg(),
            days.saturating_neg(),
            zone,
        );
        date.add_seconds(-3600 * i64::from(hours))
    }
}

/// As restic writes it: the units that are not zero.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { years, months, days, hours } = *self;
        for (count, unit) in [(years, 'y'), (months, 'm'), (days, 'd'), (hours, 'h')] {
            if count != 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// A text that is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no span of time: it takes numbers with units, as in 1y5m7d2h")]
pub struct InvalidSpan(pub String);

impl FromStr for Span {
    type Err = InvalidSpan;

    /// Reads numbers with units, in any order. A unit that comes twice counts as given last.
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.to_owned());
        let mut span = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            let number = number.parse().map_err(|_| invalid())?;
            let mut letters = behind.chars();
            *match letters.next() {
                Some('y') => &mut span.years,
                Some('m') => &mut span.months,
                Some('d') => &mut span.days,
                Some('h') => &mut span.hours,
                _ => return Err(invalid()),
            } = number;
            rest = letters.as_str();
        }
        Ok(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_restic_does() {
        for (text, written) in [
            ("", ""),
            ("0d", ""),
            ("1y2m3d4h", "1y2m3d4h"),
            (" 4h3d ", "3d4h"),
            ("1d2d", "2d"),
            ("007h", "7h"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), written, "{text}");
            assert_eq!(span.is_zero(), written.is_empty());
        }
        for text in ["x", "1", "d", "1w", "-1d", "1.5d", "1d 2h", "99999999999d", "1é"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_calendar_decides_how_long_a_span_is() {
        let before = |text: &str, span: &str| {
            let span: Span = span.parse().unwrap();
            span.before(text.parse().unwrap(), &Zone::UTC).to_string()
        };
        assert_eq!(before("2024-03-31T12:00:00+02:00", "1m"), "2024-03-02T12:00:00+02:00");
        assert_eq!(before("2025-02-28T12:00:00Z", "1y1d1h"), "2024-02-27T11:00:00Z");
        assert_eq!(before("2024-01-01T00:00:00Z", "2147483647y"), "0000-01-01T00:00:00Z");
        assert_eq!(before("2024-01-01T00:00:00Z", "2147483647h"), "0000-01-01T00:00:00Z");
    }
}
