//! Stripe's objects, as far as they are read. A field that is missing where one is needed makes the whole answer
//! unreadable, and so the outcome unknown; what is not listed is ignored.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The key under which our change's id is put.
pub const CHANGE: &str = "change_id";
/// The same on a subscription whose price was restored.
pub const BACK: &str = "back_change_id";
/// The price before the change, on its subscription.
pub const PRICE_BEFORE: &str = "price_before";
/// Which of several calls of one request.
pub const PART: &str = "part";

/// Reads an object; none, and an error in the log, if it is not what it should be.
pub fn read<T: DeserializeOwned>(value: Value, what: &str) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(what, %error, "an object of Stripe's cannot be read");
            None
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// There is another one.
    #[serde(default)]
    pub has_more: bool,
}

/// Text by key.
pub type Metadata = BTreeMap<String, String>;

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A subscription.
#[derive(Debug, Deserialize)]
pub struct Subscription {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub customer: String,
    /// Its billing state, in Stripe's words.
    pub status: String,
    /// Whether it is charged without being asked.
    pub collection_method: String,
    /// What it is for.
    pub items: List<Item>,
    /// Ours.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
    /// An update that waits for a payment.
    pub pending_update: Option<Value>,
    /// The newest invoice, if the call asked for it.
    pub latest_invoice: Option<Latest>,
    /// When it will end.
    pub cancel_at: Option<i64>,
    /// When its end was asked for.
    pub canceled_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// An invoice, or its name only.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Latest {
    /// Not asked for.
    Name(String),
    /// Asked for.
    Invoice(Box<Invoice>),
}

/// What a subscription is for.
#[derive(Debug, Deserialize)]
pub struct Item {
    /// Its name.
    pub id: String,
    /// Its price.
    pub price: Price,
    /// How many; none for metered ones.
    pub quantity: Option<i64>,
    /// When its paid period began, in Unix seconds.
    pub current_period_start: i64,
    /// When it ends.
    pub current_period_end: i64,
}

/// A price.
#[derive(Clone, Debug, Deserialize)]
pub struct Price {
    /// Its name.
    pub id: String,
    /// Whether it can be used.
    pub active: bool,
    /// Lower case.
    pub currency: String,
    /// Cents; none for prices of another kind.
    pub unit_amount: Option<i64>,
    /// How often; none for prices that are due once.
    pub recurring: Option<Recurring>,
}

/// How often a price is due.
#[derive(Clone, Debug, Deserialize)]
pub struct Recurring {
    /// `day`, `week`, `month` or `year`.
    pub interval: String,
    /// Every so many of them.
    pub interval_count: i64,
}

/// An invoice.
#[derive(Debug, Deserialize)]
pub struct Invoice {
    /// Its name; a preview has none worth keeping.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// `draft`, `open`, `paid`, `void`, `uncollectible`.
    pub status: Option<String>,
    /// Why it was made.
    pub billing_reason: Option<String>,
    /// Cents, before the customer's balance is set off; negative is a credit.
    pub total: i64,
    /// What it is for.
    pub lines: List<Line>,
    /// What belongs to it.
    pub parent: Option<Parent>,
    /// How it was paid, if the call asked for it.
    pub payments: Option<List<Payment>>,
}

impl Invoice {
    /// Whether its subscription carried this change's id when it was made.
    pub fn of(&self, change: &str) -> bool {
        let details = self.parent.as_ref().and_then(|parent| parent.subscription_details.as_ref());
        details.is_some_and(|details| details.metadata.get(CHANGE).is_some_and(|id| id == change))
    }

    /// Whether it is neither paid nor given up.
    pub fn open(&self) -> bool {
        matches!(self.status.as_deref(), Some("draft" | "open"))
    }

    /// Whether it was made for this reason.
    pub fn because(&self, reason: &str) -> bool {
        self.billing_reason.as_deref() == Some(reason)
    }
}

/// What an invoice or a line belongs to.
#[derive(Debug, Deserialize)]
pub struct Parent {
    /// A subscription.
    pub subscription_details: Option<SubscriptionDetails>,
    /// An item of one.
    pub subscription_item_details: Option<ItemDetails>,
}

/// The subscription of an invoice, as it was then.
#[derive(Debug, Deserialize)]
pub struct SubscriptionDetails {
    /// Ours.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
}

/// The item of a line.
#[derive(Debug, Deserialize)]
pub struct ItemDetails {
    /// It is for a part of a period.
    #[serde(default)]
    pub proration: bool,
}

/// One line of an invoice.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// Cents; negative is a credit.
    pub amount: i64,
    /// What it is for.
    pub parent: Option<Parent>,
    /// At which price.
    pub pricing: Option<Pricing>,
}

/// At which price a line is.
#[derive(Debug, Deserialize)]
pub struct Pricing {
    /// Its details; none if it has another kind.
    #[serde(rename = "price_details")]
    pub price: Option<PriceDetails>,
}

/// The price of a line.
#[derive(Debug, Deserialize)]
pub struct PriceDetails {
    /// Its name.
    pub price: String,
}

/// One payment of an invoice.
#[derive(Debug, Deserialize)]
pub struct Payment {
    /// `open`, `paid` or `canceled`.
    pub status: String,
    /// Cents; none until it is paid.
    pub amount_paid: Option<i64>,
    /// What paid it.
    #[serde(rename = "payment")]
    pub by: PaidBy,
}

/// What paid an invoice.
#[derive(Debug, Deserialize)]
pub struct PaidBy {
    /// Mostly this.
    pub payment_intent: Option<String>,
    /// Or this.
    pub charge: Option<String>,
}

/// A refund, or a transaction of a customer's balance.
#[derive(Debug, Deserialize)]
pub struct Return {
    /// Its name.
    pub id: String,
    /// Of a refund: `succeeded`, `pending`, `requires_action`, `failed`, `canceled`.
    pub status: Option<String>,
    /// Ours.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: Metadata,
}

impl Return {
    /// Whether the money goes, or went, back.
    pub fn good(&self) -> bool {
        !matches!(self.status.as_deref(), Some("failed" | "canceled"))
    }
}
