//! Sizes as operators give them: `4096`, `100k`, `10M`.

/// Parses a size in bytes. The letters b, k, m, g and t, in either case, stand for powers of 1024.
///
/// The error says what is wrong, without naming the option it was given for.
pub fn parse(text: &str) -> Result<u64, String> {
    let invalid =
        || format!("{text:?} is not a size: a value like 4096, 100k, 10M or 2G is needed");
    let unit: u64 = match text.as_bytes().last() {
        None => return Err(invalid()),
        Some(b'k' | b'K') => 1 << 10,
        Some(b'm' | b'M') => 1 << 20,
        Some(b'g' | b'G') => 1 << 30,
        Some(b't' | b'T') => 1 << 40,
        Some(_) => 1,
    };
    let digits = text.strip_suffix(|c: char| "bBkKmMgGtT".contains(c)).unwrap_or(text);
    let count: u64 = digits.parse().map_err(|_| invalid())?;
    // restic's sizes are signed.
    count.checked_mul(unit).filter(|&size| i64::try_from(size).is_ok()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, size) in [
            ("1024", 1024),
            ("1024b", 1024),
            ("1024B", 1024),
            ("1k", 1 << 10),
            ("100K", 102_400),
            ("10M", 10 << 20),
            ("20g", 20 << 30),
            ("2T", 2 << 40),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            " ",
            "k",
            "zzz",
            "-1",
            "1.5M",
            "9223372036854775807k",
            "18446744073709551615",
            "10MB",
            "1é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
