//! What the payment provider sent: stored before it is answered, each event once, and what became of it.
//!
//! A table of its own, which no transaction of a graph locks: a flood of events must not slow a gate down. That an event
//! was applied is written by the transaction that applied it ([`super::Write::Webhooks`]). Not here: what an event means
//! (`webhooks`).

use super::Fault;
use async_trait::async_trait;
use serde::Serialize;
use tiershift_core::UnixMs;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// To be looked at, at its time.
    Pending,
    /// What the provider said when it was asked about the event's subject was applied, or was so already.
    Applied,
    /// Of a kind that concerns nothing here.
    Ignored,
    /// Nobody could make anything of it for days: an operator must look.
    Dead,
}

impl WebhookState {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Applied, Self::Ignored, Self::Dead];

    /// The stable text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Dead => "dead",
        }
    }

    /// The value with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// The provider's id: the same event has the same.
    pub id: String,
    /// Its place in the order of arrival; 0 before it is stored.
    pub n: u64,
    /// Whose it is.
    pub provider: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// The provider's name of the subscription that it is about; empty if it names none.
    pub subject: String,
    /// Our name of that subscription, if the event carries it; else empty.
    pub ours: String,
    /// When the provider made it, in whole seconds.
    pub created: UnixMs,
    /// When it was received.
    pub received: UnixMs,
    /// What became of it.
    pub state: WebhookState,
    /// How often it was looked at in vain.
    pub attempts: u32,
    /// Not to be looked at before.
    pub not_before: UnixMs,
    /// Why it is where it is, for people; empty at first.
    pub note: String,
    /// All of it, as it came.
    pub body: String,
}

/// What became of some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookMark {
    /// Which.
    pub ids: Vec<String>,
    /// And every pending event about this subject with a number up to this one: all of them were received before the provider
    /// was asked, so that its answer is the answer to them too.
    pub answered: Option<(String, u64)>,
    /// Their state.
    pub state: WebhookState,
    /// How often they were looked at in vain.
    pub attempts: u32,
    /// Not to be looked at before.
    pub not_before: UnixMs,
    /// Why, for people.
    pub note: String,
}

/// An event as the SQL adapters hand it over, all of a burst in one JSON value.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug, Serialize)]
pub(in crate::store) struct WebhookRow<'a> {
    event_id: &'a str,
    provider: &'a str,
    kind: &'a str,
    subject: &'a str,
    ours: &'a str,
    created_ms: UnixMs,
    received_ms: UnixMs,
    state: WebhookState,
    attempts: u32,
    not_before_ms: UnixMs,
    note: &'a str,
    body: &'a str,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl<'a> WebhookRow<'a> {
    /// Of an event.
    pub(in crate::store) fn of(event: &'a WebhookEvent) -> Self {
        Self {
            event_id: &event.id,
            provider: &event.provider,
            kind: &event.kind,
            subject: &event.subject,
            ours: &event.ours,
            created_ms: event.created,
            received_ms: event.received,
            state: event.state,
            attempts: event.attempts,
            not_before_ms: event.not_before,
            note: &event.note,
            body: &event.body,
        }
    }
}

/// The events.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Stores events in this order, each once by its id; says how many were new. Acknowledged is durable.
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault>;

    /// The highest number given out; 0 before the first. What has a number up to it was received before this is answered.
    async fn head(&self) -> Result<u64, Fault>;

    /// Pending events that are due at `now`, those due longest first; and when the first of the others will be.
    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault>;

    /// Notes what became of events, outside of a transaction of a graph.
    async fn mark(&self, mark: &WebhookMark) -> Result<(), Fault>;

    /// Events in a state, newest first, below a number.
    async fn list(&self, state: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault>;

    /// Makes those of these that are dead pending again, due at `now`; says which were.
    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault>;

    /// Forgets events that were applied or ignored, and received before an instant, so many at most; says how many.
    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault>;
}
