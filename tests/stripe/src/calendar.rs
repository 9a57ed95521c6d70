//! Periods by the calendar, counted from the anchor so that a 31st comes back after a short month, and shares of
//! amounts to the second.

use time::{Date, Month, OffsetDateTime};

/// How often a price is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Each calendar month.
    Month,
    /// Each year.
    Year,
}

impl Every {
    /// Stripe's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "month" => Some(Self::Month),
            "year" => Some(Self::Year),
            _ => None,
        }
    }
}

/// The instant `count` intervals after the anchor, in Unix seconds; the anchor itself outside of any real date.
pub(crate) fn after(anchor_s: i64, every: Every, count: i32) -> i64 {
    shifted(anchor_s, every, count).unwrap_or(anchor_s)
}

fn shifted(anchor_s: i64, every: Every, count: i32) -> Option<i64> {
    let anchor = OffsetDateTime::from_unix_timestamp(anchor_s).ok()?;
    let months = match every {
        Every::Month => count,
        Every::Year => count.checked_mul(12)?,
    };
    let zero_based = i32::from(u8::from(anchor.month())) - 1 + months;
    let year = anchor.year() + zero_based.div_euclid(12);
    let month = Month::try_from(u8::try_from(zero_based.rem_euclid(12) + 1).ok()?).ok()?;
    let day = (1..=anchor.day()).rev().find_map(|day| Date::from_calendar_date(year, month, day).ok())?;
    Some(anchor.replace_date(day).unix_timestamp())
}

/// The share of an amount for the seconds that are left of a period, to the nearest cent.
pub(crate) fn share(cents: i64, left_s: i64, whole_s: i64) -> i64 {
    let exact = i128::from(cents) * i128::from(left_s);
    let (whole, rest) = (exact / i128::from(whole_s.max(1)), exact % i128::from(whole_s.max(1)));
    let up = i128::from(rest >= i128::from(whole_s) - rest);
    i64::try_from(whole + up).unwrap_or(cents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_anchors_day_comes_back_after_a_short_month() {
        let anchor = datetime!(2027-01-31 12:30:01 UTC).unix_timestamp();
        let february = datetime!(2027-02-28 12:30:01 UTC).unix_timestamp();
        let march = datetime!(2027-03-31 12:30:01 UTC).unix_timestamp();
        assert_eq!((after(anchor, Every::Month, 1), after(anchor, Every::Month, 2)), (february, march));
        let leap = datetime!(2028-02-29 0:00 UTC).unix_timestamp();
        assert_eq!(after(leap, Every::Year, 1), datetime!(2029-02-28 0:00 UTC).unix_timestamp());
        assert_eq!(after(leap, Every::Year, 4), datetime!(2032-02-29 0:00 UTC).unix_timestamp());
    }

    #[test]
    fn a_share_is_the_nearest_cent() {
        assert_eq!((share(1, 1, 2), share(3, 1, 2), share(100, 1, 3), share(200, 1, 3)), (1, 2, 33, 67));
        assert_eq!((share(9_900, 10, 10), share(9_900, 0, 10)), (9_900, 0));
    }
}
