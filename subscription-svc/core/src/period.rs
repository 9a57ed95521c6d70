//! Billing periods: one calendar month or year from an instant, in UTC.
//!
//! A day that the target month does not have becomes its last (31 January + 1 month = 28 or 29 February), as
//! payment providers do it. Not here: what a period costs (`proration`).

use tiershift_core::UnixMs;

const DAY_MS: i64 = 86_400_000;

/// The instant `months` calendar months later; 1 is a month, 12 a year. Saturates far outside of any real date.
#[must_use]
pub fn plus_months(from: UnixMs, months: u32) -> UnixMs {
    let (day, of_day_ms) = (from.0.div_euclid(DAY_MS), from.0.rem_euclid(DAY_MS));
    let (year, month, day_of_month) = civil(day);
    let month0 = (month - 1).saturating_add(i64::from(months));
    let (year, month) = (year.saturating_add(month0.div_euclid(12)), month0.rem_euclid(12) + 1);
    let day_of_month = day_of_month.min(days_in(year, month));
    UnixMs(days(year, month, day_of_month).saturating_mul(DAY_MS).saturating_add(of_day_ms))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is
/// the last, and in eras of 400 years, which all have 146,097 days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01: year, month 1 to 12, day 1 to 31.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(year: i64, month: i64, day: i64) -> UnixMs {
        UnixMs(days(year, month, day) * DAY_MS + 1_234)
    }

    #[test]
    fn months_follow_the_calendar() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(plus_months(at(2026, 3, 15), 1), at(2026, 4, 15));
        assert_eq!(plus_months(at(2026, 12, 31), 1), at(2027, 1, 31));
        assert_eq!(plus_months(at(2027, 1, 31), 1), at(2027, 2, 28));
        assert_eq!(plus_months(at(2028, 1, 31), 1), at(2028, 2, 29));
        assert_eq!(plus_months(at(2028, 2, 29), 12), at(2029, 2, 28));
        assert_eq!(plus_months(at(1969, 12, 31), 1), at(1970, 1, 31));
    }

    proptest! {
        #[test]
        fn a_date_is_the_day_it_came_from(day in -1_000_000..1_000_000_i64) {
            let (year, month, of_month) = civil(day);
            prop_assert_eq!(days(year, month, of_month), day);
            prop_assert!((1..=12).contains(&month) && (1..=days_in(year, month)).contains(&of_month));
        }

        #[test]
        fn a_period_never_is_empty(ms in -10_000_000_000_000..10_000_000_000_000_i64, months in 1..=12_u32) {
            let length_ms = plus_months(UnixMs(ms), months).0 - ms;
            prop_assert!((28 * DAY_MS..=366 * DAY_MS).contains(&length_ms));
        }
    }
}
