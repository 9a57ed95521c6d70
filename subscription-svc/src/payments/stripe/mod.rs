//! Stripe, over its REST API.
//!
//! `prepare` writes the calls that are stored, `ask` reads, `price` finds the price of a tier, `answer` says what a status
//! and a code mean, `http` makes one call, `form` is their encoding. `options` is the command line.
//! Which calls may be repeated is `payments::policy`'s to say. Subscriptions are made at Stripe, by whoever sells them;
//! ours carry their names.

mod answer;
mod ask;
mod form;
pub mod http;
mod object;
pub mod options;
mod prepare;
mod price;

use super::{Answer, Fetched, Payments, Previewed, Reading, Unprepared};
use crate::store::rows::{PaymentKind, PaymentRequest, Subscription, TierChange};
use answer::{No, judge};
use async_trait::async_trait;
use form::{Form, Part, name, parts};
use http::{Client, Key, Network, Wire};
use object::{Latest, Return, Subscription as Theirs, read};
use price::interval_word;
use serde_json::Value;
use subscription_core::proration::Quote;
use tiershift_core::Reason;
use tiershift_core::ids::TierName;

/// The adapter.
#[derive(Debug)]
pub struct Stripe {
    client: Client,
}

impl Stripe {
    /// Over the network. Fails where the host has no certificates to check Stripe's with.
    pub fn connect(url: &str, key: Key) -> std::io::Result<Self> {
        Ok(Self::over(Box::new(Network::to(url)?), url, key))
    }

    /// Over any wire.
    pub fn over(wire: Box<dyn Wire>, url: &str, key: Key) -> Self {
        Self { client: Client::new(wire, url, key) }
    }

    /// One call of a stored request.
    async fn part(&self, kind: PaymentKind, part: &Part, key: &str) -> Answer {
        let body = match judge(self.client.post(&part.path, &part.form, Some(key)).await) {
            Ok(body) => body,
            Err(no) => return no.into(),
        };
        // Done, and nobody can read what: the next try brings the same answer.
        done(kind, body).unwrap_or(Answer::Unknown)
    }
}

/// What was done.
fn done(kind: PaymentKind, body: Value) -> Option<Answer> {
    Some(match kind {
        PaymentKind::Forward => {
            let theirs: Theirs = read(body, "subscription")?;
            match theirs.latest_invoice {
                _ if theirs.pending_update.is_some() => Answer::Refused { reason: Reason::PaymentNotImmediate },
                Some(Latest::Invoice(invoice)) if invoice.open() => {
                    Answer::Refused { reason: Reason::PaymentNotImmediate }
                }
                Some(Latest::Invoice(invoice)) => Answer::Done { reference: invoice.id },
                Some(Latest::Name(invoice)) => Answer::Done { reference: invoice },
                None => Answer::Done { reference: theirs.id },
            }
        }
        PaymentKind::BackPrice => Answer::Done { reference: read::<Theirs>(body, "subscription")?.id },
        PaymentKind::BackMoney => {
            let back: Return = read(body, "return")?;
            if back.good() {
                Answer::Done { reference: back.id }
            } else {
                Answer::Refused { reason: Reason::PaymentDeclined }
            }
        }
    })
}

#[async_trait]
impl Payments for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn prepare(
        &self,
        kind: PaymentKind,
        change: &TierChange,
        subscription: &Subscription,
    ) -> Result<String, Unprepared> {
        match kind {
            PaymentKind::Forward => self.forward(change, subscription).await,
            PaymentKind::BackPrice => self.back_price(change, subscription).await,
            PaymentKind::BackMoney => self.back_money(change, subscription).await,
        }
    }

    async fn post(&self, request: &PaymentRequest) -> Answer {
        let Some(parts) = parts(&request.bytes) else {
            tracing::error!(key = request.key(), "the stored request is none of Stripe's; was it another provider's?");
            return Answer::ServerFault;
        };
        let mut references = Vec::new();
        for (part, at) in parts.iter().zip(0_usize..) {
            let key = if at == 0 { request.key() } else { format!("{}/{at}", request.key()) };
            match self.part(request.kind, part, &key).await {
                Answer::Done { reference } => references.push(reference),
                other => return other,
            }
        }
        Answer::Done { reference: references.join(",") }
    }

    async fn read(&self, request: &PaymentRequest) -> Reading {
        let change = request.change.as_str();
        let parts = parts(&request.bytes);
        match (request.kind, parts.as_deref()) {
            (PaymentKind::Forward, Some([part])) => self.read_forward(change, part).await,
            (PaymentKind::BackPrice, Some([part])) => self.read_back_price(change, part).await,
            (PaymentKind::BackMoney, Some(parts)) => self.read_back_money(change, parts).await,
            (PaymentKind::Forward | PaymentKind::BackPrice | PaymentKind::BackMoney, _) => Reading::Unknown,
        }
    }

    async fn preview(&self, quote: &Quote, subscription: &Subscription, target: &TierName) -> Previewed {
        let Some(named) = name(&subscription.provider_subscription_id) else { return Previewed::Unknown };
        let Ok(theirs) = self.subscription(named).await else { return Previewed::Unknown };
        let Some(item) = theirs.only_item(interval_word(subscription.interval)) else { return Previewed::Unknown };
        let wanted = prepare::wanted(target, quote.terms.price_after_cents, subscription);
        let Ok(price) = self.price(&wanted).await else { return Previewed::Unknown };
        match self.due(&theirs.id, &item.id, &price, quote.at).await {
            Ok(due_cents) if due_cents == quote.due_cents => Previewed::Same,
            Ok(due_cents) => Previewed::Differs { due_cents },
            Err(_) => Previewed::Unknown,
        }
    }

    async fn cancel(&self, provider_subscription: &str, at_period_end: bool, key: &str) -> Answer {
        let Some(named) = name(provider_subscription) else { return No::Missing.into() };
        if at_period_end {
            return self.end_with_period(named, true, key).await;
        }
        match judge(self.client.delete(&format!("/v1/subscriptions/{named}")).await) {
            Ok(_) => Answer::Done { reference: named.to_owned() },
            // One that has ended is not there to be canceled.
            Err(No::Missing | No::Refused(_)) => match self.subscription(named).await {
                Ok(theirs) if theirs.status == "canceled" => Answer::Done { reference: theirs.id },
                Ok(_) => No::Unknown.into(),
                Err(no) => no.into(),
            },
            // A deletion has no key: nothing of it is stored, and it may be sent again.
            Err(No::ServerFault | No::Unknown) => Answer::Unknown,
        }
    }

    async fn resume(&self, provider_subscription: &str, key: &str) -> Answer {
        let Some(named) = name(provider_subscription) else { return No::Missing.into() };
        self.end_with_period(named, false, key).await
    }

    async fn fetch(&self, provider_subscription: &str) -> Fetched {
        self.snapshot(provider_subscription).await
    }
}

impl Stripe {
    async fn end_with_period(&self, named: &str, end: bool, key: &str) -> Answer {
        let form = Form::new().with("cancel_at_period_end", end);
        let path = format!("/v1/subscriptions/{named}");
        match judge(self.client.post(&path, form.as_str(), Some(key)).await) {
            Ok(_) => Answer::Done { reference: named.to_owned() },
            Err(no) => no.into(),
        }
    }
}
