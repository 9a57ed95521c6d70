//! From a change to the exact calls that are stored for it: forward, the price back, the money back.
//!
//! Everything that a call needs to know is read before, so that the stored bytes can be sent again unread (H21 d).
//! Forward is one call: the price, its proration at the quote's instant and the payment stand or fall together, and
//! what is not paid at once leaves nothing open. Before it, Stripe is asked what it would take: anything but the quote
//! is a changed price (H28), be it for a tax, a discount or a period that we have not heard of.

use super::Stripe;
use super::answer::{No, judge};
use super::form::{Form, Part, name, stored};
use super::object::{BACK, CHANGE, Invoice, Item, PART, PRICE_BEFORE, Subscription, read};
use super::price::{Wanted, interval_word};
use crate::payments::Unprepared;
use crate::store::rows::{Subscription as Ours, TierChange};
use tiershift_core::ids::TierName;
use tiershift_core::{Reason, UnixMs};

/// Stripe's word for a renewal's invoice, and for that of an update.
const RENEWAL: &str = "subscription_cycle";
pub(super) const UPDATE: &str = "subscription_update";

/// A refusal that somebody has to mend.
fn refused(change: &TierChange, what: &str, reason: Reason) -> Unprepared {
    tracing::error!(change = %change.id, "{what}");
    Unprepared::Refused { reason }
}

/// Stripe counts in seconds.
pub(super) const fn seconds(at: UnixMs) -> i64 {
    at.0.div_euclid(1_000)
}

impl Subscription {
    /// The one item that a tier is.
    pub(super) fn only_item(&self, interval: &str) -> Option<&Item> {
        let [item] = self.items.data.as_slice() else { return None };
        let often = item.price.recurring.as_ref();
        let same = often.is_some_and(|r| r.interval == interval && r.interval_count == 1);
        (same && item.quantity == Some(1) && !self.items.has_more).then_some(item)
    }
}

impl Stripe {
    pub(super) async fn forward(&self, change: &TierChange, ours: &Ours) -> Result<String, Unprepared> {
        let theirs = self.kept(change, ours).await?;
        // An invoice that waits for a transfer is open for days.
        if theirs.collection_method != "charge_automatically" {
            let what = "the subscription is not charged automatically at Stripe; change it there, or bill it by hand";
            return Err(refused(change, what, Reason::PaymentNotImmediate));
        }
        if theirs.pending_update.is_some() {
            let what = "the subscription has an update pending at Stripe; pay it there, or let it expire";
            return Err(refused(change, what, Reason::PaymentNotImmediate));
        }
        let item = theirs.only_item(interval_word(ours.interval)).ok_or_else(|| one_item(change))?;
        let terms = &change.quote.terms;
        let price = self.price(&wanted(&change.to_tier, terms.price_after_cents, ours)).await?;
        match self.due(&theirs.id, &item.id, &price, change.quote.at).await {
            Ok(due_cents) if due_cents == change.quote.due_cents => {}
            Ok(due_cents) => {
                tracing::warn!(change = %change.id, quoted_cents = change.quote.due_cents, due_cents,
                    "Stripe would take another amount");
                return Err(Unprepared::Refused { reason: Reason::PriceChanged });
            }
            Err(No::Refused(_) | No::Missing) => return Err(Unprepared::Refused { reason: Reason::PriceChanged }),
            Err(No::ServerFault | No::Unknown) => return Err(Unprepared::Unknown),
        }
        let form = Form::new()
            .with("items[0][id]", &item.id)
            .with("items[0][price]", price)
            .with("proration_behavior", "always_invoice")
            .with("proration_date", seconds(change.quote.at))
            .with("payment_behavior", "error_if_incomplete")
            .with("off_session", true)
            .with(&metadata(CHANGE), &change.id)
            .with(&metadata(PRICE_BEFORE), &item.price.id)
            .with("expand[0]", "latest_invoice");
        Ok(stored(&[Part::new(format!("/v1/subscriptions/{}", theirs.id), &form)]))
    }

    pub(super) async fn back_price(&self, change: &TierChange, ours: &Ours) -> Result<String, Unprepared> {
        let theirs = self.kept(change, ours).await?;
        let item = theirs.only_item(interval_word(ours.interval)).ok_or_else(|| one_item(change))?;
        // By its own name, because a customer's own price has no lookup key of ours.
        let known = theirs.metadata.get(PRICE_BEFORE).filter(|_| carries(&theirs, CHANGE, change));
        let price = if let Some(price) = known {
            price.clone()
        } else {
            let before = change.quote.terms.price_before_cents;
            self.price(&wanted(&change.from_tier, before, ours)).await?
        };
        let form = Form::new()
            .with("items[0][id]", &item.id)
            .with("items[0][price]", price)
            .with("proration_behavior", "none")
            .with(&metadata(BACK), &change.id);
        Ok(stored(&[Part::new(format!("/v1/subscriptions/{}", theirs.id), &form)]))
    }

    /// Everything that the change caused goes back where it came from: what was paid to the means of payment, what was
    /// set off to the customer's balance. A renewal since then was invoiced at the new price; its difference too (H23).
    pub(super) async fn back_money(&self, change: &TierChange, ours: &Ours) -> Result<String, Unprepared> {
        let theirs = self.kept(change, ours).await?;
        // Until the old price is back, one more renewal may come at the new one.
        if !carries(&theirs, BACK, change) {
            return Err(Unprepared::Unknown);
        }
        let invoices = self.invoices(&theirs.id, change.id.as_str(), seconds(change.quote.at)).await;
        let invoices = invoices.ok_or(Unprepared::Unknown)?;
        let mut back =
            Back { change: change.id.as_str(), theirs: &theirs, currency: &ours.currency, parts: Vec::new() };
        let before = theirs.metadata.get(PRICE_BEFORE).map(String::as_str);
        let mut taken_cents = 0;
        // What is void took nothing.
        for invoice in invoices.iter().filter(|invoice| matches!(invoice.status.as_deref(), Some("paid" | "open"))) {
            if invoice.because(UPDATE) {
                taken_cents += invoice.total;
                back.give(invoice, invoice.total);
            } else if invoice.because(RENEWAL) {
                back.give(invoice, excess(invoice, before, change.quote.terms.price_before_cents));
            }
        }
        if taken_cents != change.measured.charged_cents {
            tracing::error!(change = %change.id, charged_cents = change.measured.charged_cents, taken_cents,
                "Stripe's invoices do not show what the change took; nothing is given back before they do");
            return Err(Unprepared::Unknown);
        }
        Ok(stored(&back.parts))
    }

    /// What Stripe would take at once for another price, in cents.
    pub(super) async fn due(&self, subscription: &str, item: &str, price: &str, at: UnixMs) -> Result<i64, No> {
        let form = Form::new()
            .with("subscription", subscription)
            .with("subscription_details[items][0][id]", item)
            .with("subscription_details[items][0][price]", price)
            .with("subscription_details[proration_behavior]", "always_invoice")
            .with("subscription_details[proration_date]", seconds(at));
        let body = judge(self.client.post("/v1/invoices/create_preview", form.as_str(), None).await)?;
        let invoice: Invoice = read(body, "preview").ok_or(No::Unknown)?;
        Ok(invoice.total)
    }

    async fn kept(&self, change: &TierChange, ours: &Ours) -> Result<Subscription, Unprepared> {
        let Some(named) = name(&ours.provider_subscription_id) else {
            let what = "the subscription has no name at Stripe; create it there and set it";
            return Err(refused(change, what, Reason::PaymentDeclined));
        };
        match self.subscription(named).await {
            Ok(theirs) => Ok(theirs),
            Err(No::Missing) => {
                let what = "Stripe has no such subscription; does its key belong to the right account?";
                Err(refused(change, what, Reason::PaymentDeclined))
            }
            Err(_) => Err(Unprepared::Unknown),
        }
    }
}

fn one_item(change: &TierChange) -> Unprepared {
    let what = "the subscription has not one item with one price of our interval at Stripe; mend it there";
    refused(change, what, Reason::PriceChanged)
}

pub(super) fn wanted<'a>(tier: &'a TierName, cents: i64, ours: &'a Ours) -> Wanted<'a> {
    Wanted { tier, cents, currency: &ours.currency, interval: ours.interval }
}

fn metadata(key: &str) -> String {
    format!("metadata[{key}]")
}

fn carries(theirs: &Subscription, key: &str, change: &TierChange) -> bool {
    theirs.metadata.get(key).is_some_and(|id| id == change.id.as_str())
}

/// What a renewal took above the price before the change; negative if it took less.
fn excess(invoice: &Invoice, price_before: Option<&str>, before_cents: i64) -> i64 {
    let of_period = invoice.lines.data.iter().filter(|line| {
        let item = line.parent.as_ref().and_then(|parent| parent.subscription_item_details.as_ref());
        let price = line.pricing.as_ref().and_then(|p| p.price.as_ref()).map(|p| p.price.as_str());
        item.is_some_and(|item| !item.proration) && price.is_some() && price != price_before
    });
    of_period.map(|line| line.amount - before_cents).sum()
}

/// The calls that give money back.
struct Back<'a> {
    change: &'a str,
    theirs: &'a Subscription,
    currency: &'a str,
    parts: Vec<Part>,
}

impl Back<'_> {
    /// Gives back `cents` of an invoice; negative: takes back what it gave.
    fn give(&mut self, invoice: &Invoice, cents: i64) {
        let mut left = cents;
        for payment in invoice.payments.iter().flat_map(|list| &list.data).filter(|p| p.status == "paid") {
            let refund = left.min(payment.amount_paid.unwrap_or(0));
            let paid_by = [("payment_intent", &payment.by.payment_intent), ("charge", &payment.by.charge)];
            let paid_by = paid_by.into_iter().find_map(|(field, id)| Some((field, id.as_ref()?)));
            if let Some((field, id)) = paid_by.filter(|_| refund > 0) {
                self.call("/v1/refunds".to_owned(), Form::new().with(field, id).with("amount", refund));
                left -= refund;
            }
        }
        if left != 0 {
            let form = Form::new().with("amount", -left).with("currency", self.currency.to_ascii_lowercase());
            self.call(format!("/v1/customers/{}/balance_transactions", self.theirs.customer), form);
        }
    }

    fn call(&mut self, path: String, form: Form) {
        let form = form.with(&metadata(CHANGE), self.change).with(&metadata(PART), self.parts.len());
        self.parts.push(Part::new(path, &form));
    }
}
