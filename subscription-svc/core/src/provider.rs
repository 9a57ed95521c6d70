//! What a payment provider has in its books for a subscription, as events of its life.
//!
//! The provider was asked and has answered for one instant (H24): so the events are what leads from our row to that, and
//! none if nothing is new. While a tier change runs only dates are taken; the rest is for its end. Not here: how a provider
//! says it (the payment adapters).

use crate::lifecycle::{Event, Life};
use crate::status::SubscriptionStatus as Status;
use tiershift_core::UnixMs;

words! {
    /// A subscription's billing state at a provider.
    Billing {
        /// The first payment is outstanding.
        Incomplete = "incomplete",
        /// Nothing is due yet.
        Trialing = "trialing",
        /// Paid.
        Active = "active",
        /// A payment is overdue and is being asked for.
        PastDue = "past_due",
        /// Payment was given up; it goes on existing.
        Unpaid = "unpaid",
        /// Paused.
        Paused = "paused",
        /// It has ended, or never began.
        Ended = "ended",
    }
}

/// What the provider says of time and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Its billing state there.
    pub billing: Billing,
    /// When the paid period began.
    pub period_start: UnixMs,
    /// When it ends.
    pub period_end: UnixMs,
    /// When it will end, if an end is set.
    pub cancel_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
}

/// The dates alone: what is applied at once, also while a tier change runs.
pub fn dates(life: &Life, books: &Books) -> Vec<Event> {
    let news =
        !life.unborn() && !life.over && books.period_end > life.period_end && books.period_end > books.period_start;
    news.then_some(Event::Period { start: books.period_start, end: books.period_end }).into_iter().collect()
}

/// Everything that leads from our row to what the provider says, in order.
pub fn events(life: &Life, books: &Books, now: UnixMs) -> Vec<Event> {
    // A terminal row never comes back to life, whatever the provider says; the service tells an operator.
    if life.over {
        return Vec::new();
    }
    let unborn = life.unborn();
    let mut events = match books.billing {
        Billing::Ended if unborn => return vec![Event::SetupFailed],
        Billing::Ended => return vec![Event::EndsAt(books.ended_at.unwrap_or(now).min(now))],
        Billing::Active | Billing::Trialing => active(life, books),
        // Nothing is overdue, and nothing paused, that never began.
        _ if unborn => Vec::new(),
        Billing::PastDue => vec![Event::PaymentFailed],
        Billing::Unpaid => vec![Event::PaymentGivenUp],
        Billing::Paused => vec![Event::Paused],
        // It began here; there its first payment is outstanding again: no such way.
        Billing::Incomplete => vec![],
    };
    // A cancellation stands above what is overdue: it has an end of its own.
    if life.status == Status::Canceled && matches!(books.billing, Billing::PastDue | Billing::Unpaid | Billing::Paused)
    {
        events.clear();
    }
    // Also of one that begins just now: it may have been sold with an end.
    let began = !unborn || matches!(books.billing, Billing::Active | Billing::Trialing);
    if let Some(at) = books.cancel_at.filter(|at| began && life.ends_at != Some(*at)) {
        events.push(Event::EndsAt(at));
    }
    let mut all = dates(life, books);
    all.extend(events);
    all
}

fn active(life: &Life, books: &Books) -> Vec<Event> {
    match life.status {
        Status::Pending | Status::PendingPayment | Status::Provisioning => {
            vec![Event::Activated { paid: Some((books.period_start, books.period_end)) }]
        }
        Status::PastDue | Status::Unpaid => vec![Event::PaymentMade],
        Status::Paused => vec![Event::Resumed],
        // Canceled here and set to go on there, or to end later: taken back, or put off, at the provider's own pages.
        Status::Canceled if books.cancel_at.is_none_or(|at| life.ends_at.is_some_and(|ends| at > ends)) => {
            vec![Event::Resumed]
        }
        Status::Active | Status::Canceled | Status::Failed => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::End;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: UnixMs = UnixMs(100 * DAY_MS);

    fn day(n: i64) -> UnixMs {
        UnixMs(n * DAY_MS)
    }

    fn life(status: Status) -> Life {
        let ends_at = (status == Status::Canceled).then(|| day(120));
        Life {
            status,
            anchor: day(90),
            months: 1,
            period_start: day(90),
            period_end: day(120),
            ends_at,
            canceled: ends_at.map(|_| day(95)),
            over: status == Status::Failed,
        }
    }

    fn books(billing: Billing) -> Books {
        Books { billing, period_start: day(90), period_end: day(120), cancel_at: None, ended_at: None }
    }

    #[test]
    fn each_state_of_the_provider_leads_to_its_own() {
        let paid = Event::Activated { paid: Some((day(90), day(120))) };
        let rows = [
            (Status::PendingPayment, Billing::Active, vec![paid]),
            (Status::PendingPayment, Billing::Incomplete, vec![]),
            (Status::PendingPayment, Billing::PastDue, vec![]),
            (Status::Provisioning, Billing::Ended, vec![Event::SetupFailed]),
            (Status::Active, Billing::Active, vec![]),
            (Status::Active, Billing::PastDue, vec![Event::PaymentFailed]),
            (Status::Active, Billing::Unpaid, vec![Event::PaymentGivenUp]),
            (Status::Active, Billing::Paused, vec![Event::Paused]),
            (Status::Active, Billing::Ended, vec![Event::EndsAt(NOW)]),
            (Status::PastDue, Billing::Trialing, vec![Event::PaymentMade]),
            (Status::Paused, Billing::Active, vec![Event::Resumed]),
            (Status::Canceled, Billing::Active, vec![Event::Resumed]),
            (Status::Canceled, Billing::Unpaid, vec![]),
            (Status::Failed, Billing::Active, vec![]),
        ];
        for (status, billing, expected) in rows {
            assert_eq!(events(&life(status), &books(billing), NOW), expected, "{status} {billing}");
        }
    }

    #[test]
    fn dates_alone_are_the_next_period_and_nothing_of_an_earlier_one() {
        let next = Books { period_start: day(120), period_end: day(150), ..books(Billing::Unpaid) };
        let period = Event::Period { start: day(120), end: day(150) };
        assert_eq!(dates(&life(Status::Active), &next), [period]);
        assert_eq!(dates(&life(Status::Active), &Books { period_end: day(119), ..next }), []);
        assert_eq!(dates(&life(Status::PendingPayment), &next), [], "its first period is still to begin");
    }

    fn told(mut life: Life, books: &Books) -> Life {
        for event in events(&life, books, NOW) {
            if let Ok((after, _)) = life.take(event, NOW) {
                life = after;
            }
        }
        life
    }

    proptest! {
        #[test]
        fn to_hear_it_twice_is_to_hear_it_once(
            status in prop::sample::select(Status::ALL), billing in prop::sample::select(Billing::ALL),
            length in 1..60_i64, cancel in prop::option::of(50..200_i64), ended in prop::option::of(50..200_i64),
            canceled in any::<bool>(),
        ) {
            let mut before = life(status);
            if let (true, Ok((after, _))) = (canceled, before.take(Event::Canceled(End::PeriodEnd), NOW)) {
                before = after;
            }
            let books = Books {
                period_end: day(90 + length),
                cancel_at: cancel.map(day),
                ended_at: ended.map(day),
                ..books(billing)
            };
            let once = told(before, &books);
            prop_assert_eq!(told(once, &books), once);
        }
    }
}
