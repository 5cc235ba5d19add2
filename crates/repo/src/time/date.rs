//! Days and dates.

/// A day of the proleptic Gregorian calendar, which Go uses for all times too.
pub(super) struct Date {
    pub(super) year: i64,
    pub(super) month: u8,
    pub(super) day: u8,
}

impl Date {
    /// The date of a day counted from 1970-01-01.
    pub(super) fn of(days: i64) -> Self {
        // Years are counted from March here, so that February 29 is the last day of one; and in eras of
        // 400 years, after which the calendar repeats.
        let days = days + DAYS_TO_1970;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Self { year, month: month as u8, day: day as u8 }
    }
}

/// The days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// The days from 1970-01-01 to the first day of a month.
pub(super) fn days_before(year: i64, month: u8) -> i64 {
    let month = i64::from(month);
    let year = year - i64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month_from_march + 2) / 5 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dates_agree_with_jiff(days in -4_371_587i64..2_932_896) {
            let Date { year, month, day } = Date::of(days);
            prop_assert_eq!(days_before(year, month) + i64::from(day) - 1, days);
            let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            prop_assert_eq!(
                (year, month, day),
                (date.year().into(), date.month() as u8, date.day() as u8)
            );
        }
    }
}
