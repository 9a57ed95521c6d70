//! What a tier change costs for the rest of a paid period. Integer cents, to the second, one function for the
//! preview, the acceptance and the check before the charge.
//!
//! Two lines, each rounded by itself to the nearest cent, halves away from zero: what is left of the old price is
//! given back, what is left of the new one is taken. A negative sum is given to the customer. Credits are counted by the
//! month (`credits`): here is only what the rest of the present one is worth.

use crate::credits::Credits;
use serde::{Deserialize, Serialize};
use tiershift_core::UnixMs;

/// What the price of a change rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What the customer pays for one period now: the price *paid*, not the catalogue's (D-48).
    pub price_before_cents: i64,
    /// What one period will cost.
    pub price_after_cents: i64,
    /// ISO 4217, upper case; both prices are in it.
    pub currency: String,
    /// Credits per month now.
    pub credits_before: i64,
    /// Credits per month then.
    pub credits_after: i64,
    /// When the paid period began.
    pub period_start: UnixMs,
    /// When it ends; after `period_start`.
    pub period_end: UnixMs,
    /// When the month of its credits began.
    pub month_start: UnixMs,
    /// When that month ends.
    pub month_end: UnixMs,
}

/// The price of one change, fixed at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What it rests on: a difference found later is PRICE_CHANGED (H28).
    pub terms: Terms,
    /// The instant it was computed for. Kept, so that the same amount is asked for later (H21 d).
    pub at: UnixMs,
    /// Given back for the rest of the old price, 0 or more cents.
    pub unused_cents: i64,
    /// Taken for the rest of the period at the new price, 0 or more cents.
    pub remaining_cents: i64,
    /// `remaining_cents - unused_cents`: taken now; negative is given back.
    pub due_cents: i64,
    /// Credits granted for the rest of their month; below zero they are taken back, but never what was used.
    pub credits_due: i64,
}

/// Why there is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The paid period is empty or runs backwards.
    #[error("the paid period does not end after its start")]
    EmptyPeriod,
    /// A price is negative.
    #[error("a price is negative")]
    NegativePrice,
}

/// Computes the price of a change that is accepted at `at`. Outside of the period the nearer end counts.
pub fn quote(terms: Terms, at: UnixMs) -> Result<Quote, Fault> {
    let start_s = terms.period_start.0.div_euclid(1_000);
    let end_s = terms.period_end.0.div_euclid(1_000);
    let whole_s = i128::from(end_s) - i128::from(start_s);
    if whole_s <= 0 {
        return Err(Fault::EmptyPeriod);
    }
    if terms.price_before_cents < 0 || terms.price_after_cents < 0 {
        return Err(Fault::NegativePrice);
    }
    let left_s = (i128::from(end_s) - i128::from(at.0.div_euclid(1_000))).clamp(0, whole_s);
    let unused_cents = rounded_share(terms.price_before_cents, left_s, whole_s);
    let remaining_cents = rounded_share(terms.price_after_cents, left_s, whole_s);
    let month = Credits { start: terms.month_start, end: terms.month_end, ..Credits::none(terms.month_start) };
    let credits_due = month.share(terms.credits_before, terms.credits_after, at);
    Ok(Quote { terms, at, unused_cents, remaining_cents, due_cents: remaining_cents - unused_cents, credits_due })
}

/// `amount * part / whole` to the nearest, halves away from zero; `amount >= 0`, `0 <= part <= whole`, `whole > 0`,
/// so the result lies between 0 and `amount`.
fn rounded_share(amount: i64, part: i128, whole: i128) -> i64 {
    let rounded = (i128::from(amount) * part * 2 + whole) / (whole * 2);
    i64::try_from(rounded).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    fn terms(before: i64, after: i64) -> Terms {
        Terms {
            price_before_cents: before,
            price_after_cents: after,
            currency: "USD".to_owned(),
            credits_before: 8_000,
            credits_after: 32_000,
            period_start: UnixMs(0),
            period_end: UnixMs(30 * DAY_MS),
            month_start: UnixMs(0),
            month_end: UnixMs(30 * DAY_MS),
        }
    }

    #[test]
    fn half_a_period_costs_half_the_difference() {
        let quote = quote(terms(9_900, 24_900), UnixMs(15 * DAY_MS)).expect("a period");
        assert_eq!((quote.unused_cents, quote.remaining_cents, quote.due_cents), (4_950, 12_450, 7_500));
        assert_eq!(quote.credits_due, 12_000);
    }

    #[test]
    fn a_downgrade_gives_money_back_and_takes_back_credits() {
        let mut down = terms(24_900, 9_900);
        (down.credits_before, down.credits_after) = (32_000, 8_000);
        let quote = quote(down, UnixMs(15 * DAY_MS)).expect("a period");
        assert_eq!((quote.due_cents, quote.credits_due), (-7_500, -12_000));
    }

    #[test]
    fn each_line_rounds_to_the_nearest_cent_halves_up() {
        let mut odd = terms(1, 3);
        odd.period_end = UnixMs(2_000);
        let quote = quote(odd, UnixMs(1_000)).expect("a period");
        assert_eq!((quote.unused_cents, quote.remaining_cents), (1, 2), "0.5 and 1.5 cents");
    }

    #[test]
    fn seconds_count_and_their_fractions_do_not() {
        let at = |ms| quote(terms(9_900, 24_900), UnixMs(ms)).expect("a period").due_cents;
        assert_eq!(at(DAY_MS), at(DAY_MS + 999));
        assert_eq!((at(-DAY_MS), at(31 * DAY_MS)), (15_000, 0), "outside of the period its nearer end counts");
    }

    #[test]
    fn a_period_without_length_has_no_price() {
        let mut empty = terms(1, 1);
        empty.period_end = empty.period_start;
        assert_eq!(quote(empty, UnixMs(0)), Err(Fault::EmptyPeriod));
        assert_eq!(quote(terms(-1, 1), UnixMs(0)), Err(Fault::NegativePrice));
    }

    proptest! {
        #[test]
        fn never_more_than_the_price_and_there_and_back_is_zero(
            before in 0..1_000_000_000_000_i64, after in 0..1_000_000_000_000_i64, at in -DAY_MS..31 * DAY_MS,
        ) {
            let there = quote(terms(before, after), UnixMs(at)).expect("a period");
            let back = quote(terms(after, before), UnixMs(at)).expect("a period");
            prop_assert!((0..=before).contains(&there.unused_cents));
            prop_assert!((0..=after).contains(&there.remaining_cents));
            prop_assert_eq!(there.due_cents + back.due_cents, 0);
        }
    }
}
