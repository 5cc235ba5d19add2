//! Single values: yes and no, times, ports.

use std::time::Duration;

/// `yes`, `no` and what else OpenSSH takes for them.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("{text} is neither yes nor no")),
    }
}

/// A number of seconds, or a time like `1h30m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text} is not a time like 30 or 1m30s");
    let mut seconds: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = after.chars().next().map_or(1, char::len_utf8).min(after.len());
        let (unit, after) = after.split_at(unit);
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            "w" => 7 * 24 * 60 * 60,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(scale).ok_or_else(bad)?;
        seconds = seconds.checked_add(part).ok_or_else(bad)?;
        rest = after;
    }
    // OpenSSH counts in an int, and so that adding it to a point in time works everywhere.
    if seconds > i32::MAX as u64 {
        return Err(bad());
    }
    Ok(Duration::from_secs(seconds))
}

/// A port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("{text} is not a port"))
}

/// A number.
pub(super) fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_in_openssh() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("30", Some(30)),
            ("1m30s", Some(90)),
            ("1M30", Some(90)),
            ("1w", Some(604_800)),
        ] {
            assert_eq!(time(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "x", "1x", "-1", "1m s", "99999999999w", "18446744073709551615s1", "1é"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
