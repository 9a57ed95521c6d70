//! What Stripe previews, what it takes, and what we quote are one number: at any instant of any period.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use proptest::prelude::*;
use subscription_svc::payments::{Payments as _, Previewed};
use subscription_svc::store::rows::Interval;
use support::stripe::Case;

/// Any second from 2023 to 2033, with the ends of months and leap days more often than by chance.
fn start_s() -> impl Strategy<Value = i64> {
    // 2024-01-31, 2024-02-29, 2025-01-29, 2027-12-31, 2028-02-29, 2028-08-31 at midnight.
    let edges = [1_706_659_200, 1_709_164_800, 1_738_108_800, 1_830_211_200, 1_835_395_200, 1_851_292_800];
    prop_oneof![
        1_672_531_200..1_988_150_400_i64,
        (proptest::sample::select(edges.to_vec()), -86_400..86_400_i64).prop_map(|(edge, s)| edge + s),
    ]
}

fn cents() -> impl Strategy<Value = i64> {
    prop_oneof![0..200_i64, 0..100_000_i64, Just(9_900), Just(24_900), Just(59_900), Just(299_999_999)]
}

fn case() -> impl Strategy<Value = Case> {
    let interval = prop_oneof![Just(Interval::Monthly), Just(Interval::Annual)];
    // Thousandths of the period, and a remainder in milliseconds: its ends too.
    (cents(), cents(), interval, start_s(), 0..=1_000_i64, 0..1_000_000_i64).prop_map(
        |(before_cents, after_cents, interval, start_s, part, rest_ms)| {
            let whole_ms = match interval {
                Interval::Monthly => 28 * 86_400_000_i64,
                Interval::Annual => 365 * 86_400_000,
            };
            let after_ms = (whole_ms * part / 1_000 + rest_ms).min(whole_ms);
            Case { before_cents, after_cents, interval, start_s, after_ms }
        },
    )
}

async fn holds(case: Case) -> Result<(), TestCaseError> {
    let mut bench = case.begin();
    let quote = bench.change.quote.clone();
    let period = bench.fake.period(&bench.begun.subscription).expect("a subscription");
    let ours = (quote.terms.period_start.0 / 1_000, quote.terms.period_end.0 / 1_000);
    prop_assert_eq!(period, ours, "two calendars");
    prop_assert_eq!(bench.stripe.preview(&quote, &bench.ours, &bench.change.to_tier).await, Previewed::Same);
    bench.pay().await;
    prop_assert_eq!(bench.net_cents(), quote.due_cents);
    bench.give_back().await;
    prop_assert_eq!((bench.net_cents(), bench.price().1), (0, case.before_cents));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn previewed_is_charged_is_quoted_and_goes_back(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(holds(case))?;
    }
}
