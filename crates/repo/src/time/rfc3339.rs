//! How a time is spelled.

use super::date::{Date, days_before};
use super::{DAY, Timestamp};

/// A timestamp's text: at most "2006-01-02T15:04:05.999999999+07:00", without an allocation.
pub(crate) struct Rfc3339 {
    bytes: [u8; 35],
    length: usize,
}

impl Rfc3339 {
    /// As Go's `RFC3339Nano`: no zeros at the end of the fraction, `Z` for no offset, and an offset's
    /// odd seconds, which zones had before about 1900, dropped.
    pub(crate) fn of(timestamp: &Timestamp) -> Self {
        let mut text = Self { bytes: [0; 35], length: 0 };
        let Date { year, month, day } = timestamp.date();
        let second = timestamp.wall().rem_euclid(DAY) as u32;
        text.number(4, year.rem_euclid(10_000) as u32);
        text.byte(b'-');
        text.number(2, month.into());
        text.byte(b'-');
        text.number(2, day.into());
        text.byte(b'T');
        text.number(2, second / 3600);
        text.byte(b':');
        text.number(2, second / 60 % 60);
        text.byte(b':');
        text.number(2, second % 60);
        if timestamp.nanoseconds != 0 {
            text.byte(b'.');
            text.number(9, timestamp.nanoseconds);
            while text.bytes[text.length - 1] == b'0' {
                text.length -= 1;
            }
        }
        if timestamp.offset == 0 {
            text.byte(b'Z');
        } else {
            let minutes = timestamp.offset / 60;
            text.byte(if minutes < 0 { b'-' } else { b'+' });
            text.number(2, minutes.unsigned_abs() / 60);
            text.byte(b':');
            text.number(2, minutes.unsigned_abs() % 60);
        }
        text
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only ASCII is written")
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn number(&mut self, width: usize, mut number: u32) {
        for digit in self.bytes[self.length..self.length + width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += width;
    }
}

pub(super) fn parse(text: &[u8]) -> Option<Timestamp> {
    let (wall, nanoseconds, rest) = parse_wall(text, b'T')?;
    let offset = match *rest {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = parse_number(&[h1, h2]).filter(|hours| *hours < 24)?;
            let minutes = parse_number(&[m1, m2]).filter(|minutes| *minutes < 60)?;
            let seconds = (hours * 60 + minutes) as i32 * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    Some(Timestamp { seconds: wall - i64::from(offset), nanoseconds, offset })
}

/// Reads date, separator and time; gives seconds since 1970 on the wall, nanoseconds, and the rest.
pub(super) fn parse_wall(text: &[u8], separator: u8) -> Option<(i64, u32, &[u8])> {
    let (date, text) = text.split_at_checked(10)?;
    let (time, rest) = text.split_at_checked(9)?;
    let &[between, h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    if between != separator {
        return None;
    }
    let hours = parse_number(&[h1, h2]).filter(|hours| *hours < 24)?;
    let minutes = parse_number(&[m1, m2]).filter(|minutes| *minutes < 60)?;
    let seconds = parse_number(&[s1, s2]).filter(|seconds| *seconds < 60)?;
    let (nanoseconds, rest) = parse_fraction(rest)?;
    let second_of_day = (hours * 60 + minutes) * 60 + seconds;
    Some((parse_date(date)? * DAY + i64::from(second_of_day), nanoseconds, rest))
}

fn parse_fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let known = &digits[..digits.len().min(9)];
    if known.is_empty() {
        return None;
    }
    let missing = 9 - known.len() as u32;
    Some((parse_number(known)? * 10u32.pow(missing), rest))
}

/// The days from 1970 to a date as "2006-01-02".
pub(super) fn parse_date(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = parse_number(&[y1, y2, y3, y4])?.into();
    let month = parse_number(&[m1, m2]).filter(|month| (1..=12).contains(month))? as u8;
    let day = parse_number(&[d1, d2]).filter(|day| *day >= 1)?;
    let first = days_before(year, month);
    let next_first = if month == 12 { first + 31 } else { days_before(year, month + 1) };
    let days = first + i64::from(day) - 1;
    (days < next_first).then_some(days)
}

/// At most nine digits.
fn parse_number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}
