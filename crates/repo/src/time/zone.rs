//! Time zones: which offset from UTC holds at which moment.

use std::sync::LazyLock;

use jiff::tz::TimeZone;

/// The calendar, its weekdays and so all rules for summer time repeat every 400 years: in seconds.
const CYCLE: i64 = 146_097 * 86_400;

/// A time zone.
///
/// restic writes each time with the offset that its zone has *at that time*, so one tree may hold
/// summer and winter offsets side by side.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// This machine's zone: `TZ` if it is set, else `/etc/localtime`, else UTC.
    ///
    /// Like Go, this looks once and remembers for the life of the process.
    pub fn local() -> &'static Self {
        static LOCAL: LazyLock<Zone> =
            LazyLock::new(|| Zone(TimeZone::try_system().unwrap_or(TimeZone::UTC)));
        &LOCAL
    }

    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// A zone of the machine's database by its name, as "Europe/Berlin". `None` if it has none such.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// The offset, in seconds east of UTC, that holds at a moment: seconds since 1970 in UTC.
    pub(super) fn offset_at(&self, seconds: i64) -> i32 {
        let near = if jiff::Timestamp::from_second(seconds).is_ok() {
            seconds
        } else if seconds > 0 {
            jiff::Timestamp::MAX.as_second() - CYCLE
                + (seconds - jiff::Timestamp::MAX.as_second()) % CYCLE
        } else {
            jiff::Timestamp::MIN.as_second()
        };
        jiff::Timestamp::from_second(near)
            .map_or(0, |timestamp| self.0.to_offset(timestamp).seconds())
    }

    /// The moment at which the clock on the wall shows `wall`: both in seconds since 1970, the latter
    /// as if it were in UTC.
    ///
    /// A reading that summer time skips or repeats is taken as Go's `time.Date` takes it.
    pub(super) fn moment_of_wall(&self, wall: i64) -> i64 {
        let offset = match self.offset_at(wall) {
            0 => 0,
            guess => self.offset_at(wall.saturating_sub(guess.into())),
        };
        wall.saturating_sub(offset.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i32 = 3600;

    #[test]
    fn offsets_follow_the_rules_for_all_time() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.offset_at(1_704_067_200), HOUR); // 2024-01-01
        assert_eq!(berlin.offset_at(1_719_792_000), 2 * HOUR); // 2024-07-01
        for cycles in [20, 21, 700_000_000] {
            assert_eq!(berlin.offset_at(1_704_067_200 + cycles * CYCLE), HOUR, "{cycles}");
            assert_eq!(berlin.offset_at(1_719_792_000 + cycles * CYCLE), 2 * HOUR, "{cycles}");
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(Zone::UTC.offset_at(extreme), 0);
            berlin.offset_at(extreme);
        }
        assert_eq!(Zone::named("Mars/Olympus").map(|_| ()), None);
    }

    #[test]
    fn skipped_and_repeated_hours_are_taken_as_go_takes_them() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let autumn = 1_729_996_200; // 2024-10-27 02:30 on the wall, which comes twice
        assert_eq!(berlin.moment_of_wall(autumn), autumn - 3600);
        let spring = 1_711_852_200; // 2024-03-31 02:30 on the wall, which never comes
        assert_eq!(berlin.moment_of_wall(spring), spring - 3600);
        assert_eq!(Zone::UTC.moment_of_wall(spring), spring);
    }
}
