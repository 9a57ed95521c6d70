//! The Stripe adapter over the fake in the same process, so that virtual time passes while it is silent; and one change
//! of one subscription, as rows, without a service around them.

use super::rows;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use std::sync::Arc;
use subscription_core::proration::{Terms, quote};
use subscription_svc::payments::policy::{Known, resolve};
use subscription_svc::payments::stripe::Stripe;
use subscription_svc::payments::stripe::http::{Key, Lost, Wire};
use subscription_svc::payments::{Payments as _, Unprepared};
use subscription_svc::store::rows::{
    Interval, Measured, PaymentKind, PaymentOutcome, PaymentRequest, Subscription, TierChange,
};
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tiershift_stripe::{Begin, Begun, Call, Every, Fake, Reaction, server};

/// The fake without a network.
#[derive(Debug)]
pub struct InProcess(pub Arc<Fake>);

#[async_trait]
impl Wire for InProcess {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Lost> {
        let (head, body) = request.into_parts();
        match self.0.handle(&Call::of(&head, &body)) {
            Reaction::Silence => std::future::pending().await,
            Reaction::Cut => Err(Lost("cut".into())),
            Reaction::Answer { status, replayed, body } => {
                server::response(status, replayed, body).map_err(|error| Lost(error.into()))
            }
        }
    }
}

/// The key that the fake believes.
pub fn key() -> Key {
    Key::parse(tiershift_stripe::KEY).expect("a key")
}

/// The adapter over the fake.
pub fn adapter(fake: &Arc<Fake>) -> Stripe {
    Stripe::over(Box::new(InProcess(Arc::clone(fake))), "http://127.0.0.1", key())
}

/// The one customer of a world.
#[derive(Debug)]
pub struct Purse {
    /// Stripe.
    pub fake: Arc<Fake>,
    /// Whose subscription.
    pub begun: Begun,
    before_cents: i64,
}

impl Purse {
    /// A customer who pays for the lowest tier from now on.
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        let seconds = {
            let clock = Arc::clone(clock);
            move || clock.now().0.div_euclid(1_000)
        };
        let begin = Begin { cents: 9_900, currency: "usd".to_owned(), every: Every::Month, start_s: seconds() };
        let fake = Fake::with_clock(seconds);
        let begun = fake.begin(&begin);
        let before_cents = fake.net_cents(&begun.customer);
        Self { fake, begun, before_cents }
    }

    /// What the customer has paid since.
    pub fn net_cents(&self) -> i64 {
        self.fake.net_cents(&self.begun.customer) - self.before_cents
    }

    /// The price of the subscription now.
    pub fn price_cents(&self) -> i64 {
        self.fake.price(&self.begun.subscription).expect("a subscription").1
    }

    /// How the customer's payments go.
    pub fn behave(&self, behaviour: Option<tiershift_stripe::Behaviour>) {
        self.fake.behave(&self.begun.customer, behaviour);
    }
}

/// A paid subscription, and what it shall become.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is paid for an interval.
    pub before_cents: i64,
    /// What will be.
    pub after_cents: i64,
    /// How often.
    pub interval: Interval,
    /// When the period began, in Unix seconds.
    pub start_s: i64,
    /// When the change is accepted, in milliseconds after the start.
    pub after_ms: i64,
}

/// 2026-01-15.
pub const START_S: i64 = 1_768_435_200;

impl Case {
    /// Half of a month of 31 days is left.
    pub const UP: Self = Self {
        before_cents: 9_900,
        after_cents: 24_900,
        interval: Interval::Monthly,
        start_s: START_S,
        after_ms: 1_339_200_000,
    };

    /// The other way.
    pub const DOWN: Self = Self { before_cents: 24_900, after_cents: 9_900, ..Self::UP };

    /// Begins it.
    pub fn begin(self) -> Bench {
        let (every, months) = match self.interval {
            Interval::Monthly => (Every::Month, 1),
            Interval::Annual => (Every::Year, 12),
        };
        let fake = Fake::at(self.start_s);
        let currency = "usd".to_owned();
        let begun = fake.begin(&Begin { cents: self.before_cents, currency, every, start_s: self.start_s });
        let period_start = UnixMs(self.start_s * 1_000);
        let ours = Subscription {
            price_cents: self.before_cents,
            interval: self.interval,
            period_start,
            period_end: subscription_core::period::plus_months(period_start, months),
            provider: "stripe".to_owned(),
            provider_subscription_id: begun.subscription.clone(),
            ..rows::subscription(1, 1)
        };
        let terms = Terms {
            price_before_cents: self.before_cents,
            price_after_cents: self.after_cents,
            period_start,
            period_end: ours.period_end,
            ..rows::change(1, 1, 1).quote.terms
        };
        let at = period_start.plus(self.after_ms);
        fake.set_now(at.0.div_euclid(1_000));
        let change = TierChange { quote: quote(terms, at).expect("a price"), ..rows::change(1, 1, 1) };
        let base_cents = fake.net_cents(&begun.customer);
        Bench { stripe: adapter(&fake), fake, begun, ours, change, base_cents }
    }
}

/// An adapter, what it speaks to, and the rows that it is given.
#[derive(Debug)]
pub struct Bench {
    /// The adapter.
    pub stripe: Stripe,
    /// What it speaks to.
    pub fake: Arc<Fake>,
    /// The names at Stripe.
    pub begun: Begun,
    /// Our subscription.
    pub ours: Subscription,
    /// The change.
    pub change: TierChange,
    base_cents: i64,
}

impl Bench {
    /// The rows' request of a kind, prepared and stored.
    pub async fn stored(&self, kind: PaymentKind) -> Result<PaymentRequest, Unprepared> {
        let bytes = self.stripe.prepare(kind, &self.change, &self.ours).await?;
        let outcome = PaymentOutcome::Unknown;
        let stored = self.change.accepted;
        Ok(PaymentRequest { change: self.change.id.clone(), kind, bytes, stored, outcome, reference: String::new() })
    }

    /// One try, by the rules, while the key is young.
    pub async fn resolve(&self, request: &PaymentRequest) -> Known {
        resolve(&self.stripe, request, request.stored).await
    }

    /// Tries, as the saga does, until it is definite; a stored fault is not posted to again.
    pub async fn settle(&self, mut request: PaymentRequest) -> Known {
        for _ in 0..10 {
            match self.resolve(&request).await {
                Known::Unknown { poisoned } if poisoned => request.outcome = PaymentOutcome::Poisoned,
                Known::Unknown { .. } => {}
                known => return known,
            }
        }
        panic!("it does not become definite: {request:?}");
    }

    /// Prepares and settles the way forward, which must be taken.
    pub async fn pay(&mut self) {
        let request = self.stored(PaymentKind::Forward).await.expect("prepared");
        let known = self.settle(request).await;
        assert!(matches!(known, Known::Taken { .. }), "{known:?}");
        self.change.measured = Measured { charged_cents: self.change.quote.due_cents, ..Measured::default() };
    }

    /// The whole way back.
    pub async fn give_back(&self) {
        for kind in [PaymentKind::BackPrice, PaymentKind::BackMoney] {
            let request = self.stored(kind).await.expect("prepared");
            let known = self.settle(request).await;
            assert!(matches!(known, Known::Taken { .. }), "{kind:?}: {known:?}");
        }
    }

    /// What the customer has paid since the beginning.
    pub fn net_cents(&self) -> i64 {
        self.fake.net_cents(&self.begun.customer) - self.base_cents
    }

    /// How often the card was charged since the beginning.
    pub fn charges(&self) -> usize {
        self.fake.charges(&self.begun.customer) - 1
    }

    /// The price at Stripe now: its name and cents.
    pub fn price(&self) -> (String, i64) {
        self.fake.price(&self.begun.subscription).expect("a subscription")
    }

    /// The bodies that were posted under a key.
    pub fn posted(&self, key: &str) -> Vec<String> {
        let all = self.fake.requests().into_iter();
        all.filter(|seen| seen.key.as_deref() == Some(key)).map(|seen| seen.form).collect()
    }

    /// How the customer's payments go.
    pub fn behave(&self, behaviour: Option<tiershift_stripe::Behaviour>) {
        self.fake.behave(&self.begun.customer, behaviour);
    }
}
