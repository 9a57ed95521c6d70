//! What is kept.

use crate::Behaviour;
use crate::calendar::{Every, after};
use crate::call::Seen;
use crate::keys::Keys;
use std::collections::BTreeMap;

pub(crate) type Metadata = BTreeMap<String, String>;

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    names: u64,
    pub(crate) customers: BTreeMap<String, Customer>,
    pub(crate) prices: BTreeMap<String, Price>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// In the order in which they were made.
    pub(crate) invoices: Vec<Invoice>,
    pub(crate) payments: BTreeMap<String, Payment>,
    pub(crate) refunds: Vec<Refund>,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) keys: Keys,
    pub(crate) seen: Vec<Seen>,
    pub(crate) surcharge: i64,
    pub(crate) broken_prices: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Customer {
    /// Negative is in the customer's favour.
    pub(crate) balance: i64,
    pub(crate) behaviour: Option<Behaviour>,
}

#[derive(Clone, Debug)]
pub(crate) struct Price {
    pub(crate) cents: i64,
    pub(crate) currency: String,
    pub(crate) every: Every,
    pub(crate) active: bool,
    pub(crate) lookup_key: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) customer: String,
    pub(crate) item: String,
    pub(crate) price: String,
    /// It never changes: every period counts from one anchor.
    pub(crate) every: Every,
    pub(crate) metadata: Metadata,
    pub(crate) status: &'static str,
    pub(crate) anchor_s: i64,
    /// Periods that are over.
    pub(crate) periods: i32,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) latest_invoice: Option<String>,
    pub(crate) automatic: bool,
}

impl Subscription {
    pub(crate) fn period_start(&self) -> i64 {
        after(self.anchor_s, self.every, self.periods)
    }

    pub(crate) fn period_end(&self) -> i64 {
        after(self.anchor_s, self.every, self.periods + 1)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) cents: i64,
    pub(crate) price: String,
    pub(crate) proration: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) subscription: String,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) created_s: i64,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
    /// The subscription's, when it was made.
    pub(crate) metadata: Metadata,
    /// The payment that paid it, if a card did.
    pub(crate) payment: Option<String>,
}

impl Invoice {
    pub(crate) fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.cents).sum()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) customer: String,
    pub(crate) cents: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) payment: String,
    pub(crate) cents: i64,
    pub(crate) metadata: Metadata,
}

#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) cents: i64,
    pub(crate) currency: String,
    pub(crate) metadata: Metadata,
}

impl State {
    /// A new name.
    pub(crate) fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}_{:014}", self.names)
    }
}
