//! A subscription as a row: what is paid for a graph, and what its provider is still to be told.
//!
//! Its life is `subscription_core::lifecycle`; here is only how the two are one.

use serde::{Deserialize, Serialize};
use subscription_core::credits::Credits;
use subscription_core::lifecycle::Life;
use subscription_core::status::SubscriptionStatus;
use tiershift_core::UnixMs;
use tiershift_core::ids::{ChangeId, GraphId, OrgId, SubscriptionId, TierName};

words! {
    /// How often a price is due.
    Interval {
        /// Each calendar month.
        Monthly = "monthly",
        /// Each year.
        Annual = "annual",
    }
}

impl Interval {
    /// Its months.
    pub const fn months(self) -> u32 {
        match self {
            Self::Monthly => 1,
            Self::Annual => 12,
        }
    }
}

/// What an organisation pays for one graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Who pays.
    pub org: OrgId,
    /// For which graph.
    pub graph: GraphId,
    /// The tier that is paid for.
    pub tier: TierName,
    /// The billing state.
    pub status: SubscriptionStatus,
    /// Whether it is the one that counts for its graph: at most one is.
    pub live: bool,
    /// What this customer pays for one interval, in cents.
    pub price_cents: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    /// Credits granted each month.
    pub monthly_credits: i64,
    /// Those of the present month.
    pub credits: Credits,
    /// How often the price is due.
    pub interval: Interval,
    /// Where its periods are counted from.
    pub anchor: UnixMs,
    /// When the paid period began.
    pub period_start: UnixMs,
    /// When it ends.
    pub period_end: UnixMs,
    /// When a canceled one ends.
    pub ends_at: Option<UnixMs>,
    /// When its cancellation was asked for.
    pub canceled: Option<UnixMs>,
    /// The payment adapter.
    pub provider: String,
    /// The provider's name for it; empty if it has none. No two of one provider's are alike.
    pub provider_subscription_id: String,
    /// What the provider is still to be told, in order (see [`Told`]).
    pub told: Vec<Told>,
    /// The tier change that runs (H25: not a status).
    pub active_change: Option<ChangeId>,
    /// The tier change that waits for the end of the paid period; none beside one that runs.
    pub scheduled_change: Option<ChangeId>,
    /// When it was created.
    pub created: UnixMs,
    /// When a field last changed.
    pub updated: UnixMs,
}

words! {
    /// What a provider is told of a subscription's life.
    TellKind {
        /// It ends at once.
        CancelNow = "cancel_now",
        /// It ends with its paid period.
        CancelAtPeriodEnd = "cancel_at_period_end",
        /// A cancellation is taken back.
        Resume = "resume",
        /// A period is due: only providers that do not renew by themselves.
        Invoice = "invoice",
    }
}

/// One thing that a provider is still to be told: stored with what caused it, sent at least once under one key, gone with
/// the provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The idempotency key, chosen once.
    pub key: String,
    /// What.
    pub kind: TellKind,
    /// What is due, in cents; 0 for everything but an invoice.
    pub amount_cents: i64,
    /// The period that it is for: its first and its last instant.
    pub period: (UnixMs, UnixMs),
    /// How often it was tried without an answer.
    pub attempts: u32,
    /// Not to be tried before.
    pub not_before: UnixMs,
}

impl Subscription {
    /// Its life, as the machine sees it.
    pub fn life(&self) -> Life {
        Life {
            status: self.status,
            anchor: self.anchor,
            months: self.interval.months(),
            period_start: self.period_start,
            period_end: self.period_end,
            ends_at: self.ends_at,
            canceled: self.canceled,
            over: !self.live,
        }
    }

    /// The same with another life.
    #[must_use]
    pub fn living(self, life: &Life) -> Self {
        Self {
            status: life.status,
            live: !life.over,
            anchor: life.anchor,
            period_start: life.period_start,
            period_end: life.period_end,
            ends_at: life.ends_at,
            canceled: life.canceled,
            ..self
        }
    }

    /// Whether its periods begin by our clock; else the provider says when.
    pub fn renews(&self) -> bool {
        self.provider != STRIPE
    }

    /// Whether a renewal waits for a change: one that runs, or one that begins instead of it. The period after it is
    /// invoiced at the price that the change leaves.
    pub fn renewal_waits(&self) -> bool {
        self.active_change.is_some() || (self.scheduled_change.is_some() && self.status == SubscriptionStatus::Active)
    }

    /// The next instant at which something is to be done about it. While its tier changes, only the provider is told.
    pub fn due(&self) -> Option<UnixMs> {
        let tell = self.told.first().map(|told| told.not_before);
        let time = self.life().due(self.renews()).filter(|_| !self.renewal_waits());
        let credits = self.credits_end();
        tell.into_iter().chain(time).chain(credits).min()
    }

    /// When the next month of credits begins within the paid period: a year has twelve. None while nothing is granted, and
    /// while the tier changes, whose share is of the month that it began in.
    pub fn credits_end(&self) -> Option<UnixMs> {
        let granted = self.status == SubscriptionStatus::Active && self.active_change.is_none();
        (granted && self.credits.end < self.period_end).then_some(self.credits.end)
    }
}

/// The name of the one provider that renews by itself.
pub const STRIPE: &str = "stripe";
