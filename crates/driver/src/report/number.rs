//! Sizes, shares and times in words.

use std::time::Duration;

/// A size with three decimals of the largest unit it fills: `1.234 MiB`, `12 B`.
pub fn bytes(size: u64) -> String {
    let scaled = |shift: u32, unit| format!("{:.3} {unit}", size as f64 / (1u64 << shift) as f64);
    match size {
        0x100_0000_0000.. => scaled(40, "TiB"),
        0x4000_0000.. => scaled(30, "GiB"),
        0x10_0000.. => scaled(20, "MiB"),
        0x400.. => scaled(10, "KiB"),
        _ => format!("{size} B"),
    }
}

/// How much of a whole is done: `42.86%`, at most 100 %. Empty if there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    format!("{:.2}%", (100.0 * part as f64 / whole as f64).min(100.0))
}

/// A time span in whole seconds: `0:05`, `12:34`, `1:02:03`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_in_restics_tables() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.000 KiB"),
            (50_001, "48.829 KiB"),
            (150_003, "146.487 KiB"),
            ((5 << 20) + (1 << 19), "5.500 MiB"),
            ((1 << 40) - (1 << 36), "960.000 GiB"),
            (1 << 40, "1.000 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn shares_have_two_decimals() {
        assert_eq!(percent(0, 5), "0.00%");
        assert_eq!(percent(3, 7), "42.86%");
        assert_eq!(percent(12, 7), "100.00%");
        assert_eq!(percent(3, 0), "");
    }

    #[test]
    fn time_spans_show_hours_only_if_there_are_any() {
        for (seconds, text) in
            [(0, "0:00"), (5, "0:05"), (754, "12:34"), (3723, "1:02:03"), (360_000, "100:00:00")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
