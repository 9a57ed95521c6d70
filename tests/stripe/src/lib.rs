//! A Stripe of our own for tests: prices with lookup keys, subscriptions with proration to the second, invoices, refunds,
//! customer balances, and idempotency keys with their stored answers.
//!
//! It shares no code with what is tested on it, and knows as much of Stripe as a tier change needs: one item a subscription,
//! cards, no tax but a surcharge at will. Parameters that it does not know are refused, as Stripe does. Start reading
//! at [`Fake`], the control in process; `routes` is the API, `model` what it keeps, `money` how an invoice is paid,
//! `server` its face on loopback. What Stripe does beyond this is not claimed.

mod calendar;
mod call;
mod keys;
mod model;
mod money;
mod render;
mod routes;
pub mod server;

pub use calendar::Every;
pub use call::{Call, Reaction, Seen};

use keys::Keys;
use model::{Customer, Invoice, Line, Price, State, Subscription};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The secret key that it believes.
pub const KEY: &str = "sk_test_fake";

/// How requests that move a customer's money go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The card is declined.
    Decline,
    /// The bank wants to see the customer.
    RequiresAction,
    /// The payment is on its way for days: the update is done and its invoice stays open (H21 e).
    LeaveOpen,
    /// 500, stored under the key, after everything was done.
    FaultAfter,
    /// 500, stored under the key, and nothing was done.
    FaultBefore,
    /// The first request under a key: 503 from a proxy, nothing done.
    Unavailable,
    /// The first request under a key: done, and never answered.
    SilentAfter,
    /// The first request under a key: the connection is cut after everything was done.
    CutAfter,
    /// The first request under a key: the connection is cut and nothing was done.
    CutBefore,
    /// The first request under a key: 409, because the key is in use.
    KeyInUse,
    /// The first request under a key: 429.
    TooMany,
    /// Never an answer to a request that would change something, and nothing is done.
    Silent,
    /// Never an answer to anything, reads included.
    Away,
    /// Refunds are refused.
    RefuseRefund,
}

/// A subscription to begin with, paid for its first period.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The price of one interval.
    pub cents: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// How often.
    pub every: Every,
    /// When its first period begins, in Unix seconds.
    pub start_s: i64,
}

/// The names of what was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The customer.
    pub customer: String,
    /// The subscription.
    pub subscription: String,
    /// Its price, which has no lookup key.
    pub price: String,
}

/// The fake.
pub struct Fake {
    state: Mutex<State>,
    now: Box<dyn Fn() -> i64 + Send + Sync>,
    set: Arc<AtomicI64>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("now_s", &self.now()).finish_non_exhaustive()
    }
}

impl Fake {
    /// Whose time is told by somebody else, in Unix seconds.
    pub fn with_clock(now: impl Fn() -> i64 + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), now: Box::new(now), set: Arc::default() })
    }

    /// Whose time stands at this second until it is set.
    pub fn at(now_s: i64) -> Arc<Self> {
        let set = Arc::new(AtomicI64::new(now_s));
        let read = Arc::clone(&set);
        let now = Box::new(move || read.load(Ordering::SeqCst));
        Arc::new(Self { state: Mutex::default(), now, set })
    }

    /// Sets the time of one that was made by [`Fake::at`].
    pub fn set_now(&self, now_s: i64) {
        self.set.store(now_s, Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        (self.now)()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before the next can fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers, or does not.
    pub fn handle(&self, call: &Call) -> Reaction {
        let now = self.now();
        self.lock().handle(call, now)
    }

    /// A customer with a subscription whose first period is paid.
    pub fn begin(&self, begin: &Begin) -> Begun {
        let mut state = self.lock();
        let customer = state.name("cus");
        state.customers.insert(customer.clone(), Customer { balance: 0, behaviour: None });
        let price = state.name("price");
        let row = Price {
            cents: begin.cents,
            currency: begin.currency.clone(),
            every: begin.every,
            active: true,
            lookup_key: None,
        };
        state.prices.insert(price.clone(), row);
        let (subscription, item) = (state.name("sub"), state.name("si"));
        let row = Subscription {
            customer: customer.clone(),
            item,
            price: price.clone(),
            every: begin.every,
            metadata: BTreeMap::new(),
            status: "active",
            anchor_s: begin.start_s,
            periods: 0,
            cancel_at_period_end: false,
            canceled_at: None,
            ended_at: None,
            latest_invoice: None,
            automatic: true,
        };
        state.subscriptions.insert(subscription.clone(), row);
        state.renewal(&subscription, "subscription_create", begin.start_s);
        Begun { customer, subscription, price }
    }

    /// The next period begins, and is paid; the time is its first second. None if there is no such subscription.
    pub fn renew(&self, subscription: &str) -> Option<i64> {
        let mut state = self.lock();
        let sub = state.subscriptions.get_mut(subscription)?;
        sub.periods += 1;
        let start_s = sub.period_start();
        state.renewal(subscription, "subscription_cycle", start_s);
        drop(state);
        self.set_now(start_s);
        Some(start_s)
    }

    /// How a customer's requests go from now on; none is well.
    pub fn behave(&self, customer: &str, behaviour: Option<Behaviour>) {
        if let Some(customer) = self.lock().customers.get_mut(customer) {
            customer.behaviour = behaviour;
        }
    }

    /// Puts a credit into a customer's balance, in cents.
    pub fn credit(&self, customer: &str, cents: i64) {
        if let Some(customer) = self.lock().customers.get_mut(customer) {
            customer.balance -= cents;
        }
    }

    /// A tax on each update from now on, in cents.
    pub fn surcharge(&self, cents: i64) {
        self.lock().surcharge = cents;
    }

    /// The subscription is billed by invoices that somebody pays, or is charged by itself.
    pub fn automatic(&self, subscription: &str, automatic: bool) {
        if let Some(sub) = self.lock().subscriptions.get_mut(subscription) {
            sub.automatic = automatic;
        }
    }

    /// The next so many prices to be made end in a stored 500 and are not made.
    pub fn break_prices(&self, next: u32) {
        self.lock().broken_prices = next;
    }

    /// Archives a price.
    pub fn archive(&self, lookup_key: &str) {
        for price in self.lock().prices.values_mut().filter(|p| p.lookup_key.as_deref() == Some(lookup_key)) {
            price.active = false;
        }
    }

    /// Somebody pays what is open of a subscription.
    pub fn pay_open(&self, subscription: &str) {
        let mut state = self.lock();
        let open = |i: &&Invoice| i.subscription == subscription && i.status == "open";
        let names: Vec<String> = state.invoices.iter().filter(open).map(|i| i.id.clone()).collect();
        for name in names {
            state.pay(&name);
        }
    }

    /// Forgets all keys, as Stripe may after a day.
    pub fn prune_keys(&self) {
        self.lock().keys = Keys::default();
    }

    /// A key that somebody has used for something else.
    pub fn occupy(&self, key: &str) {
        self.lock().keys.occupy(key);
    }

    /// What a customer has paid in all, in cents: by card, less refunds, and less what is in the customer's favour.
    pub fn net_cents(&self, customer: &str) -> i64 {
        self.lock().net_cents(customer)
    }

    /// What is in a customer's favour, in cents; negative is owed.
    pub fn favour_cents(&self, customer: &str) -> i64 {
        self.lock().customers.get(customer).map_or(0, |c| -c.balance)
    }

    /// How often a customer's card was charged.
    pub fn charges(&self, customer: &str) -> usize {
        self.lock().payments.values().filter(|p| p.customer == customer).count()
    }

    /// The price that a subscription has, by its name, and in cents.
    pub fn price(&self, subscription: &str) -> Option<(String, i64)> {
        let state = self.lock();
        let price = &state.subscriptions.get(subscription)?.price;
        Some((price.clone(), state.prices.get(price)?.cents))
    }

    /// How many prices there are.
    pub fn prices(&self) -> usize {
        self.lock().prices.len()
    }

    /// When a subscription's paid period begins and ends, in Unix seconds.
    pub fn period(&self, subscription: &str) -> Option<(i64, i64)> {
        let state = self.lock();
        let sub = state.subscriptions.get(subscription)?;
        Some((sub.period_start(), sub.period_end()))
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }
}

impl State {
    /// Invoices a whole period, and has it paid.
    fn renewal(&mut self, subscription: &str, reason: &'static str, at_s: i64) {
        let Some(sub) = self.subscriptions.get(subscription).cloned() else { return };
        let Some(cents) = self.prices.get(&sub.price).map(|p| p.cents) else { return };
        let lines = vec![Line { cents, price: sub.price.clone(), proration: false }];
        let id = self.invoice(subscription, &sub, reason, lines, at_s);
        self.pay(&id);
    }
}
