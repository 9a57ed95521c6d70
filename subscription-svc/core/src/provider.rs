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
    if let Some(at) = books.cancel_at.filter(|at| !unborn && life.ends_at.is_none_or(|ends| *at < ends)) {
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
        // Canceled here and set to go on there: taken back at the provider's own pages.
        Status::Canceled if books.cancel_at.is_none() => vec![Event::Resumed],
        Status::Active | Status::Canceled | Status::Failed => Vec::new(),
    }
}
