//! The credits of one month: granted by the tier, used by the graph's services. What is left is not carried over.
//!
//! ```text
//! a paid period begins, or a calendar month within it  -> granted = the month's, used = 0
//! used                                                 -> never more than was granted
//! the tier changes: at the commit                      -> the rest of the month is the new tier's
//! ```
//!
//! A change to a dearer tier grants the difference for the rest of the month; one to a cheaper tier takes it back, but never
//! what was used already, so that going up and down again at one instant leaves what was there. Nothing is granted before the
//! commit of a change: whatever ends without it has nothing to undo (D-52).
//!
//! Not here: when a month begins (`lifecycle` and the service's clock), and who may use credits (the service).

use crate::period::plus_months;
use serde::{Deserialize, Serialize};
use tiershift_core::UnixMs;

/// Months of the longest paid period that is looked into: a century, where anything else is no date.
const MONTHS_MAX: u32 = 1_200;

/// The credits of one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credits {
    /// When the month began.
    pub start: UnixMs,
    /// When it ends; not before `start`, the same before the first.
    pub end: UnixMs,
    /// Granted for it, 0 or more.
    pub granted: i64,
    /// Used of them, 0 to `granted`.
    pub used: i64,
}

/// More was asked for than is left. Nothing was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only {left} credits are left this month")]
pub struct Exhausted {
    /// What is left.
    pub left: i64,
}

impl Credits {
    /// Of a subscription that has had no month yet.
    pub const fn none(at: UnixMs) -> Self {
        Self { start: at, end: at, granted: 0, used: 0 }
    }

    /// The first month of a paid period, which may be its only one.
    pub fn first(period_start: UnixMs, period_end: UnixMs, monthly: i64) -> Self {
        Self { start: period_start, end: plus_months(period_start, 1).min(period_end), granted: monthly, used: 0 }
    }

    /// The month of a paid period that an instant lies in: the last one, for an instant behind the period.
    pub fn at(period_start: UnixMs, period_end: UnixMs, monthly: i64, at: UnixMs) -> Self {
        let mut month = Self::first(period_start, period_end, monthly);
        while let Some(next) = month.next(period_start, period_end, monthly).filter(|next| next.start <= at) {
            month = next;
        }
        month
    }

    /// The month behind this one in its paid period; none: the period ends with it. Months are counted from the beginning of
    /// the period, so that those of one that begins on a 31st come back to it.
    pub fn next(self, period_start: UnixMs, period_end: UnixMs, monthly: i64) -> Option<Self> {
        if self.end >= period_end {
            return None;
        }
        let end = (1..=MONTHS_MAX).map(|months| plus_months(period_start, months)).find(|end| *end > self.end)?;
        Some(Self { start: self.end, end: end.min(period_end), granted: monthly, used: 0 })
    }

    /// What is left.
    pub const fn left(self) -> i64 {
        self.granted - self.used
    }

    /// Uses some, all or none of them. `amount` is above zero.
    pub fn spend(self, amount: i64) -> Result<Self, Exhausted> {
        if amount > self.left() {
            return Err(Exhausted { left: self.left() });
        }
        Ok(Self { used: self.used + amount, ..self })
    }

    /// What a change of the monthly credits is worth for the rest of the month, rounded towards zero: above zero is granted,
    /// below is taken back.
    pub fn share(self, before: i64, after: i64, at: UnixMs) -> i64 {
        let whole_s = i128::from(self.end.0.div_euclid(1_000)) - i128::from(self.start.0.div_euclid(1_000));
        if whole_s <= 0 {
            return 0;
        }
        let left_s = (i128::from(self.end.0.div_euclid(1_000)) - i128::from(at.0.div_euclid(1_000))).clamp(0, whole_s);
        let share = (i128::from(after) - i128::from(before)) * left_s / whole_s;
        i64::try_from(share).unwrap_or(0)
    }

    /// The tier has changed, as of an instant; what was used stays used.
    #[must_use]
    pub fn changed(self, before: i64, after: i64, at: UnixMs) -> Self {
        let granted = self.granted.saturating_add(self.share(before, after, at));
        Self { granted: granted.max(self.used), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    /// 2027-01-31, 12:00 UTC.
    const JANUARY_31: UnixMs = UnixMs(1_801_396_800_000);

    fn year() -> (UnixMs, UnixMs) {
        (JANUARY_31, plus_months(JANUARY_31, 12))
    }

    #[test]
    fn a_year_has_twelve_months_that_come_back_to_the_31st() {
        let (start, end) = year();
        let mut month = Credits::first(start, end, 8_000);
        let mut ends = vec![month.end.since(start) / DAY_MS];
        while let Some(next) = month.next(start, end, 8_000) {
            assert_eq!((next.start, next.granted, next.used), (month.end, 8_000, 0), "no gap, nothing carried over");
            month = next;
            ends.push(month.end.since(start) / DAY_MS);
        }
        assert_eq!(ends, [28, 59, 89, 120, 150, 181, 212, 242, 273, 303, 334, 365]);
        assert_eq!(Credits::at(start, end, 8_000, start.plus(60 * DAY_MS)).start, start.plus(59 * DAY_MS));
        assert_eq!(Credits::at(start, end, 8_000, end.plus(DAY_MS)), month);
    }

    #[test]
    fn a_month_of_a_monthly_period_is_the_period() {
        let end = plus_months(JANUARY_31, 1);
        let month = Credits::first(JANUARY_31, end, 5);
        assert_eq!((month.end, month.next(JANUARY_31, end, 5)), (end, None));
    }

    #[test]
    fn no_more_is_used_than_is_there() {
        let month = Credits { granted: 10, ..Credits::first(JANUARY_31, plus_months(JANUARY_31, 1), 10) };
        let used = month.spend(4).expect("enough");
        assert_eq!(
            (used.left(), used.spend(7), used.spend(6).map(Credits::left)),
            (6, Err(Exhausted { left: 6 }), Ok(0))
        );
    }

    #[test]
    fn a_dearer_tier_grants_and_a_cheaper_one_takes_back_what_is_not_used() {
        let month = Credits { start: UnixMs(0), end: UnixMs(30 * DAY_MS), granted: 8_000, used: 1_000 };
        let half = UnixMs(15 * DAY_MS);
        let up = month.changed(8_000, 32_000, half);
        assert_eq!((up.granted, up.used), (20_000, 1_000));
        assert_eq!(up.changed(32_000, 8_000, half), month, "up and down again at one instant");
        let used = Credits { used: 15_000, ..up };
        assert_eq!(used.changed(32_000, 8_000, half).left(), 0, "what was used stays used");
        assert_eq!(month.changed(8_000, 32_000, UnixMs(31 * DAY_MS)), month, "nothing is left of the month");
        assert_eq!(Credits::none(half).changed(1, 9, half), Credits::none(half));
    }

    proptest! {
        #[test]
        fn never_below_what_was_used_and_never_more_than_the_better_tier(
            low in 0..1_000_000_i64, more in 0..1_000_000_i64, used in 0..1_000_000_i64,
            steps in prop::collection::vec((any::<bool>(), 0..30 * DAY_MS), 1..20),
        ) {
            let high = low + more;
            let mut month = Credits { start: UnixMs(0), end: UnixMs(30 * DAY_MS), granted: low, used: used.min(low) };
            let (mut on, mut at) = (low, 0);
            for (up, later) in steps {
                at = (at + later / 20).min(30 * DAY_MS);
                let to = if up { high } else { low };
                month = month.changed(on, to, UnixMs(at));
                on = to;
                prop_assert!(month.used <= month.granted && month.used == used.min(low));
                prop_assert!(month.granted <= high, "{} of {high}", month.granted);
            }
        }
    }
}
