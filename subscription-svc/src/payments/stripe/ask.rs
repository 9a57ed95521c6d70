//! Reads of Stripe: what became of a request, and how a subscription is.
//!
//! A request is found by the metadata that it carried. Reads and lists show what was written before; Stripe's search
//! does so only minutes later and is not used.

use super::Stripe;
use super::answer::{No, judge};
use super::form::{Form, Part, name};
use super::object::{BACK, CHANGE, Invoice, Latest, List, PART, Return, Subscription, read};
use super::prepare::UPDATE;
use crate::payments::{Billing, Fetched, InvoiceState, Reading, Snapshot};
use crate::store::rows::Interval;
use tiershift_core::UnixMs;

/// How much earlier than the quote an invoice of the change may look, in seconds: two clocks.
const CLOCKS_S: i64 = 86_400;

/// The longest page there is. A change causes a handful of invoices.
const PAGE: u32 = 100;

impl Stripe {
    /// A subscription, with its newest invoice.
    pub(super) async fn subscription(&self, named: &str) -> Result<Subscription, No> {
        let query = Form::new().with("expand[0]", "latest_invoice");
        let body = judge(self.client.get(&format!("/v1/subscriptions/{named}?{}", query.as_str())).await)?;
        read(body, "subscription").ok_or(No::Unknown)
    }

    /// The invoices that carry a change, newest first; none if they cannot be read whole.
    pub(super) async fn invoices(&self, subscription: &str, change: &str, since_s: i64) -> Option<Vec<Invoice>> {
        let query = Form::new()
            .with("subscription", subscription)
            .with("created[gte]", since_s - CLOCKS_S)
            .with("limit", PAGE)
            .with("expand[0]", "data.payments");
        let body = judge(self.client.get(&format!("/v1/invoices?{}", query.as_str())).await).ok()?;
        let list: List<Invoice> = read(body, "invoices")?;
        if list.has_more {
            tracing::error!(subscription, "the subscription has more than {PAGE} invoices since the change");
            return None;
        }
        Some(list.data.into_iter().filter(|invoice| invoice.of(change)).collect())
    }

    /// Whether the way forward was done.
    pub(super) async fn read_forward(&self, change: &str, part: &Part) -> Reading {
        let Some(theirs) = subscription_of(part) else { return Reading::Unknown };
        let subscription = match self.subscription(theirs).await {
            Ok(subscription) => subscription,
            Err(No::Missing) => return Reading::Nothing,
            Err(_) => return Reading::Unknown,
        };
        let Some(since_s) = part.field("proration_date").and_then(|text| text.parse().ok()) else {
            return Reading::Unknown;
        };
        let Some(invoices) = self.invoices(theirs, change, since_s).await else { return Reading::Unknown };
        if subscription.pending_update.is_some() || invoices.iter().any(Invoice::open) {
            return Reading::Open;
        }
        let ours = invoices.into_iter().find(|invoice| invoice.because(UPDATE));
        // Void or given up: an invoice that took nothing.
        let paid = ours.as_ref().is_none_or(|invoice| invoice.status.as_deref() == Some("paid"));
        let carried = subscription.metadata.get(CHANGE).is_some_and(|id| id == change);
        match ours {
            Some(invoice) if paid => Reading::Done { reference: invoice.id },
            Some(_) if carried => Reading::Open,
            None if carried => Reading::Done { reference: subscription.id },
            Some(_) | None => Reading::Nothing,
        }
    }

    /// Whether the price was restored.
    pub(super) async fn read_back_price(&self, change: &str, part: &Part) -> Reading {
        let Some(theirs) = subscription_of(part) else { return Reading::Unknown };
        match self.subscription(theirs).await {
            Ok(subscription) if subscription.pending_update.is_some() => Reading::Open,
            Ok(subscription) if subscription.metadata.get(BACK).is_some_and(|id| id == change) => {
                Reading::Done { reference: subscription.id }
            }
            Ok(_) | Err(No::Missing) => Reading::Nothing,
            Err(_) => Reading::Unknown,
        }
    }

    /// Whether all the money went back. A part of it is neither done nor refused.
    pub(super) async fn read_back_money(&self, change: &str, parts: &[Part]) -> Reading {
        let mut done = Vec::new();
        for (part, at) in parts.iter().zip(0_usize..) {
            match self.returned(change, part, &at.to_string()).await {
                Some(Some(id)) => done.push(id),
                Some(None) => {}
                None => return Reading::Unknown,
            }
        }
        match done.len() {
            all if all == parts.len() => Reading::Done { reference: done.join(",") },
            0 => Reading::Nothing,
            _ => Reading::Open,
        }
    }

    /// One call that gives money back: none if nobody can say, else its name if it was done.
    async fn returned(&self, change: &str, part: &Part, at: &str) -> Option<Option<String>> {
        let mut query = Form::new().with("limit", PAGE);
        for field in ["payment_intent", "charge"] {
            if let Some(id) = part.field(field) {
                query = query.with(field, id);
            }
        }
        let found = judge(self.client.get(&format!("{}?{}", part.path, query.as_str())).await);
        let list: List<Return> = match found {
            Ok(body) => read(body, "returns")?,
            Err(No::Missing) => return Some(None),
            Err(_) => return None,
        };
        let is = |r: &Return, key: &str, wanted: &str| r.metadata.get(key).is_some_and(|text| text == wanted);
        let ours = list.data.into_iter().find(|r| r.good() && is(r, CHANGE, change) && is(r, PART, at));
        match ours {
            Some(done) => Some(Some(done.id)),
            None if list.has_more => None,
            None => Some(None),
        }
    }

    /// The subscription as a whole.
    pub(super) async fn snapshot(&self, provider_subscription: &str) -> Fetched {
        let Some(named) = name(provider_subscription) else { return Fetched::Gone };
        match self.subscription(named).await {
            Ok(theirs) => snapshot(&theirs).map_or(Fetched::Unknown, |snapshot| Fetched::Snapshot(Box::new(snapshot))),
            Err(No::Missing) => Fetched::Gone,
            Err(_) => Fetched::Unknown,
        }
    }
}

/// The subscription that a call changes.
fn subscription_of(part: &Part) -> Option<&str> {
    part.path.strip_prefix("/v1/subscriptions/").and_then(name)
}

fn snapshot(theirs: &Subscription) -> Option<Snapshot> {
    let unreadable = |what: &str| tracing::error!(subscription = theirs.id, what, "a subscription cannot be read");
    let Some(status) = billing(&theirs.status) else {
        unreadable("its status");
        return None;
    };
    let mut price_cents = Some(0_i64);
    for item in &theirs.items.data {
        let cents = item.price.unit_amount.and_then(|cents| cents.checked_mul(item.quantity?));
        price_cents = price_cents.zip(cents).and_then(|(sum, cents)| sum.checked_add(cents));
    }
    let (Some(first), Some(price_cents), false) = (theirs.items.data.first(), price_cents, theirs.items.has_more)
    else {
        unreadable("its price");
        return None;
    };
    let interval = match first.price.recurring.as_ref() {
        Some(often) if often.interval_count != 1 => None,
        Some(often) if often.interval == "month" => Some(Interval::Monthly),
        Some(often) if often.interval == "year" => Some(Interval::Annual),
        Some(_) | None => None,
    };
    let latest_invoice = match &theirs.latest_invoice {
        Some(Latest::Invoice(invoice)) if invoice.open() => Some(InvoiceState::Open),
        Some(Latest::Invoice(invoice)) if invoice.status.as_deref() == Some("paid") => Some(InvoiceState::Paid),
        Some(Latest::Invoice(_)) => Some(InvoiceState::Closed),
        Some(Latest::Name(_)) | None => None,
    };
    let at = |seconds: i64| UnixMs(seconds.saturating_mul(1_000));
    Some(Snapshot {
        status,
        period_start: at(first.current_period_start),
        period_end: at(first.current_period_end),
        cancel_at: theirs.cancel_at.map(at),
        canceled_at: theirs.canceled_at.map(at),
        ended_at: theirs.ended_at.map(at),
        price_cents,
        currency: first.price.currency.to_ascii_uppercase(),
        interval,
        latest_invoice,
    })
}

fn billing(status: &str) -> Option<Billing> {
    Some(match status {
        "incomplete" => Billing::Incomplete,
        "trialing" => Billing::Trialing,
        "active" => Billing::Active,
        "past_due" => Billing::PastDue,
        "unpaid" => Billing::Unpaid,
        "paused" => Billing::Paused,
        "canceled" | "incomplete_expired" => Billing::Ended,
        _ => return None,
    })
}
