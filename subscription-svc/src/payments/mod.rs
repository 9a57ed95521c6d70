//! The port to the payment provider.
//!
//! A request is bytes under a key, stored before the first send (H21, H23). An answer is done, refused or *unknown*;
//! `policy` decides what to do about unknown. Adapters: `sim` (declines and lost answers at will, a ledger of its
//! own), `manual` (invoice lines for people), `stripe`. Some providers keep subscriptions of their own: those are
//! previewed, fetched, canceled and resumed too; where ours is the only one, the defaults say so.

pub mod book;
pub mod manual;
pub mod policy;
pub mod sim;
#[cfg(feature = "stripe")]
pub mod stripe;

use crate::store::rows::{Interval, PaymentKind, PaymentRequest, Subscription, TellKind, TierChange, Told};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use subscription_core::proration::Quote;
pub use subscription_core::provider::Billing;
use subscription_core::provider::Books;
use tiershift_core::ids::TierName;
use tiershift_core::{Reason, UnixMs};

/// What an embedded provider is asked to do, as it is stored and sent. Field order is the byte order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Which of the change's requests.
    pub kind: String,
    /// Who pays: the organisation.
    pub customer: String,
    /// Our subscription.
    pub subscription: String,
    /// The provider's name for it; empty if it has none.
    pub provider_subscription: String,
    /// The price of one interval from now on, in cents; none if it stays.
    pub price_cents: Option<i64>,
    /// Taken now, in cents; negative is given back.
    pub amount_cents: i64,
    /// ISO 4217.
    pub currency: String,
    /// The instant that the proration was computed for, in Unix seconds: fixed, so that a repeat is the same request
    /// (H21 d).
    pub proration_unix_s: i64,
    /// By which the provider can be asked about it later.
    pub metadata: BTreeMap<String, String>,
}

impl Body {
    /// The request of one kind for a change.
    pub fn of(kind: PaymentKind, change: &TierChange, subscription: &Subscription) -> Self {
        let terms = &change.quote.terms;
        let (price_cents, amount_cents) = match kind {
            PaymentKind::Forward => (Some(terms.price_after_cents), change.quote.due_cents),
            PaymentKind::BackPrice => (Some(terms.price_before_cents), 0),
            PaymentKind::BackMoney => (None, -change.measured.charged_cents),
        };
        Self {
            kind: kind.as_str().to_owned(),
            customer: change.org.to_string(),
            subscription: subscription.id.to_string(),
            provider_subscription: subscription.provider_subscription_id.clone(),
            price_cents,
            amount_cents,
            currency: terms.currency.clone(),
            proration_unix_s: change.quote.at.0.div_euclid(1_000),
            metadata: BTreeMap::from([("change_id".to_owned(), change.id.to_string())]),
        }
    }
}

/// An invoice for one period of a subscription, as it is stored and sent. Field order is the byte order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Who pays: the organisation.
    pub customer: String,
    /// Our subscription.
    pub subscription: String,
    /// What is due, in cents.
    pub amount_cents: i64,
    /// ISO 4217.
    pub currency: String,
    /// The period's first instant, in Unix seconds.
    pub period_start_unix_s: i64,
    /// Its last.
    pub period_end_unix_s: i64,
}

impl Invoice {
    /// Of a period that is told.
    pub fn of(subscription: &Subscription, told: &Told) -> Self {
        Self {
            customer: subscription.org.to_string(),
            subscription: subscription.id.to_string(),
            amount_cents: told.amount_cents,
            currency: subscription.currency.clone(),
            period_start_unix_s: told.period.0.0.div_euclid(1_000),
            period_end_unix_s: told.period.1.0.div_euclid(1_000),
        }
    }
}

/// What a provider answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, completely, now.
    Done {
        /// The provider's own name for it.
        reference: String,
    },
    /// Refused.
    Refused {
        /// `PaymentDeclined`, or `PaymentNotImmediate` if it was not complete at once.
        reason: Reason,
    },
    /// A fault of the provider's, which it stores and replays under this key: it can never become definite (H21 b).
    ServerFault,
    /// No answer.
    Unknown,
}

/// What a provider knows of a change's request when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It was done.
    Done {
        /// The provider's own name for it.
        reference: String,
    },
    /// Nothing was done, and nothing is open.
    Nothing,
    /// An invoice or a pending update is open: neither done nor refused.
    Open,
    /// No answer.
    Unknown,
}

/// Why there are no bytes to store and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprepared {
    /// The provider would not do it, or not as it was accepted: nothing was asked for yet.
    Refused {
        /// `PriceChanged`, `PaymentDeclined` or `PaymentNotImmediate`.
        reason: Reason,
    },
    /// No answer to what must be known first; to be tried again.
    Unknown,
}

/// What the provider itself would take now for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previewed {
    /// The quote.
    Same,
    /// Something else.
    Differs {
        /// In cents; negative would be given back.
        due_cents: i64,
    },
    /// No answer.
    Unknown,
}

/// What the provider has in its books for a subscription, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The provider keeps no subscriptions: our row is all there is.
    NotKept,
    /// This.
    Snapshot(Box<Snapshot>),
    /// It has no subscription of this name.
    Gone,
    /// No answer, or one that cannot be read.
    Unknown,
}

/// A subscription as the provider has it at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its billing state there.
    pub status: Billing,
    /// When the paid period began.
    pub period_start: UnixMs,
    /// When it ends.
    pub period_end: UnixMs,
    /// When it will end, if an end is set.
    pub cancel_at: Option<UnixMs>,
    /// When its end was asked for.
    pub canceled_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// The price of one interval, in cents.
    pub price_cents: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    /// How often it is due; none if it is neither each month nor each year.
    pub interval: Option<Interval>,
    /// Its newest invoice, if it has one.
    pub latest_invoice: Option<InvoiceState>,
}

impl Snapshot {
    /// What it says of time and state.
    pub fn books(&self) -> Books {
        Books {
            billing: self.status,
            period_start: self.period_start,
            period_end: self.period_end,
            cancel_at: self.cancel_at,
            ended_at: self.ended_at,
        }
    }
}

/// What became of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceState {
    /// Paid, or nothing was due.
    Paid,
    /// It can still be paid.
    Open,
    /// Void, or given up.
    Closed,
}

/// A payment provider.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Its name in rows: `sim`, `manual`, `stripe`.
    fn name(&self) -> &'static str;

    /// The exact bytes of a change's request. They are stored before [`Payments::post`] sends them, so that a repeat is
    /// the same request (H21 d). Takes no money; may read the provider, and may make there what is used by nobody yet.
    async fn prepare(
        &self,
        kind: PaymentKind,
        change: &TierChange,
        subscription: &Subscription,
    ) -> Result<String, Unprepared> {
        // Plain values always have a JSON form.
        Ok(serde_json::to_string(&Body::of(kind, change, subscription)).unwrap_or_default())
    }

    /// Sends the stored bytes under the stored key.
    async fn post(&self, request: &PaymentRequest) -> Answer;

    /// Invoices a period. Only asked of providers that do not renew by themselves.
    async fn invoice(&self, _invoice: &Invoice, _key: &str) -> Answer {
        Answer::Done { reference: String::new() }
    }

    /// Tells it one thing of a subscription's life, under the key that was stored with it.
    async fn tell(&self, subscription: &Subscription, told: &Told) -> Answer {
        let name = &subscription.provider_subscription_id;
        match told.kind {
            TellKind::Invoice => self.invoice(&Invoice::of(subscription, told), &told.key).await,
            // The provider never heard of it: there is nothing to end or to take back.
            TellKind::CancelNow | TellKind::CancelAtPeriodEnd | TellKind::Resume if name.is_empty() => {
                Answer::Done { reference: String::new() }
            }
            TellKind::CancelNow => self.cancel(name, false, &told.key).await,
            TellKind::CancelAtPeriodEnd => self.cancel(name, true, &told.key).await,
            TellKind::Resume => self.resume(name, &told.key).await,
        }
    }

    /// Reads what became of a request, by the metadata that it carried.
    async fn read(&self, request: &PaymentRequest) -> Reading;

    /// Whether the provider would take what was quoted.
    async fn preview(&self, _quote: &Quote, _subscription: &Subscription, _target: &TierName) -> Previewed {
        Previewed::Same
    }

    /// Ends the provider's subscription, now or with its paid period. No money goes back.
    async fn cancel(&self, _provider_subscription: &str, _at_period_end: bool, _key: &str) -> Answer {
        Answer::Done { reference: String::new() }
    }

    /// Takes back an end that has not come yet.
    async fn resume(&self, _provider_subscription: &str, _key: &str) -> Answer {
        Answer::Done { reference: String::new() }
    }

    /// Reads the provider's subscription.
    async fn fetch(&self, _provider_subscription: &str) -> Fetched {
        Fetched::NotKept
    }
}
