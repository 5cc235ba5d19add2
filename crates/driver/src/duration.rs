//! Durations as Go writes them: `5m`, `1h30m`, `1.5h`, `300ms`.

use std::time::Duration;

/// Parses a duration: numbers with a unit each (`ns`, `us`, `ms`, `s`, `m`, `h`), or `0`.
///
/// The error says what is wrong, without naming the option it was given for.
pub fn parse(text: &str) -> Result<Duration, String> {
    let number = text.strip_prefix('+').unwrap_or(text);
    if number.starts_with('-') {
        return Err("a duration here cannot be negative".to_owned());
    }
    if number == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || format!("{text:?} is not a duration: a value like 30s, 5m or 1h30m is needed");
    if number.is_empty() {
        return Err(invalid());
    }
    let mut rest = number;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (value, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let value: f64 = value.parse().map_err(|_| invalid())?;
        total += value * seconds_in(unit).ok_or_else(invalid)?;
        rest = tail;
    }
    // Go's durations end at 2^63 nanoseconds, 292 years.
    if total > i64::MAX as f64 / 1e9 {
        return Err(invalid());
    }
    Ok(Duration::from_secs_f64(total))
}

fn seconds_in(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// Writes a duration, rounded to milliseconds: `0s`, `12ms`, `1.25s`, `1m2.5s`, `1h0m3s`.
pub fn format(duration: Duration) -> String {
    let milliseconds = (duration.as_nanos() + 500_000) / 1_000_000;
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_understood() {
        for (text, milliseconds) in [
            ("0", 0),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("+300ms", 300),
            ("1m0s", 60_000),
            ("2000us", 2),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "5x", "m", "1h5", "-5m", "..s", "1.2.3s", "99999999999h", "5 m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (milliseconds, text) in [
            (0, "0s"),
            (12, "12ms"),
            (1000, "1s"),
            (1250, "1.25s"),
            (62_500, "1m2.5s"),
            (3_603_000, "1h0m3s"),
        ] {
            assert_eq!(format(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(format(Duration::from_micros(999_600)), "1s");
    }
}
