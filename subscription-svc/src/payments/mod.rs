//! The port to the payment provider.
//!
//! A request is bytes under a key, stored before the first send (H21, H23). An answer is done, refused or *unknown*;
//! `policy` decides what to do about unknown. Adapters: `sim` (declines and lost answers at will, a ledger of its
//! own), `manual` (invoice lines for people).

pub mod book;
pub mod manual;
pub mod policy;
pub mod sim;

use crate::store::rows::{PaymentKind, PaymentRequest, Subscription, TierChange};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tiershift_core::Reason;
use tiershift_core::ids::ChangeId;

/// What a provider is asked to do, as it is stored and sent. Field order is the byte order.
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

/// A payment provider.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Its name in rows: `sim`, `manual`.
    fn name(&self) -> &'static str;

    /// Sends the stored bytes under the stored key.
    async fn post(&self, request: &PaymentRequest) -> Answer;

    /// Reads what became of a change's request, by the metadata that it carried.
    async fn read(&self, change: &ChangeId, kind: PaymentKind) -> Reading;
}
