//! One transaction of a subscription's life, as a value: what is loaded goes in, events are applied, what must be written
//! comes out. Pure but for ids, which are handed in.
//!
//! Here the machine's facts become rows: the status in the access record, the graph's suspension, the audit, what the
//! provider must be told. A gate is never touched here: only a tier change opens what it closed (H10).

use crate::saga::schedule;
use crate::saga::turn::{SYSTEM, halves};
use crate::store::rows::{Access, AuditEvent, AuditKind, Graph, Subscription, TellKind, Told};
use crate::store::{Loaded, Write};
use std::collections::BTreeMap;
use subscription_core::credits::{Credits, Exhausted};
use subscription_core::lifecycle::{Event, Fact, Refusal};
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_common::ids::Ids;
use tiershift_core::{Reason, UnixMs};

/// Periods that one turn catches up with; whoever was away for longer goes on in the next.
const PERIODS_MAX: usize = 24;

/// One transaction of one subscription.
pub struct Turn<'a> {
    ids: &'a Ids,
    now: UnixMs,
    loaded: &'a Loaded,
    /// As it will be stored.
    pub subscription: Subscription,
    graph: Graph,
    access: Access,
    actor: String,
    audit: Vec<AuditEvent>,
}

impl<'a> Turn<'a> {
    /// Of the subscription that counts; none if there is none, or not all that belongs to one.
    pub fn begin(loaded: &'a Loaded, ids: &'a Ids, now: UnixMs) -> Option<Self> {
        Some(Self {
            ids,
            now,
            loaded,
            subscription: loaded.subscription.clone()?,
            graph: loaded.graph.clone()?,
            access: loaded.access.clone()?,
            actor: SYSTEM.to_owned(),
            audit: Vec::new(),
        })
    }

    /// Everything in this turn is done in this name.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// Applies an event; refused ones change nothing. Says whether anything happened.
    pub fn take(&mut self, event: Event) -> Result<bool, Refusal> {
        let before = self.subscription.life();
        let (life, facts) = before.take(event, self.now)?;
        self.subscription = self.subscription.clone().living(&life);
        for fact in &facts {
            self.fact(event, *fact);
        }
        Ok(life != before)
    }

    /// Applies everything that time alone has made due; nothing while the tier changes or is about to, which may have come
    /// since somebody saw that it was due.
    pub fn catch_up(&mut self) -> Result<(), Refusal> {
        if self.subscription.renewal_waits() {
            self.catch_up_credits();
            return Ok(());
        }
        for _ in 0..PERIODS_MAX {
            self.catch_up_credits();
            if !self.take(Event::Time { renews: self.subscription.renews() })? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The month of credits that it is now. Time may stand still for the period and not for them: a year has twelve.
    fn catch_up_credits(&mut self) {
        while self.subscription.credits_end().is_some_and(|end| end <= self.now) {
            let Subscription { credits, period_start, period_end, monthly_credits, .. } = self.subscription;
            match credits.next(period_start, period_end, monthly_credits) {
                Some(next) => self.subscription.credits = next,
                None => return,
            }
        }
    }

    fn fact(&mut self, event: Event, fact: Fact) {
        match fact {
            Fact::Status { from, to } => {
                let (kind, message) = match (event, to) {
                    (Event::Canceled(_) | Event::EndsAt(_), _) => {
                        (AuditKind::SubscriptionCanceled, "the subscription was canceled".to_owned())
                    }
                    (Event::Resumed, _) => (AuditKind::SubscriptionResumed, "the subscription goes on".to_owned()),
                    (Event::Activated { .. }, _) => {
                        (AuditKind::SubscriptionActivated, "the subscription is active".to_owned())
                    }
                    _ => (AuditKind::SubscriptionUpdated, format!("the subscription is {to} and no longer {from}")),
                };
                let mut detail = BTreeMap::from([
                    ("status_before".to_owned(), from.to_string()),
                    ("status_after".to_owned(), to.to_string()),
                ]);
                if let Some(end) = self.subscription.ends_at {
                    detail.insert("ends_at_unix_ms".to_owned(), end.to_string());
                }
                self.note(kind, &message, detail);
                if to == SubscriptionStatus::Active && self.graph.state == GraphState::Suspended {
                    self.graph.state = GraphState::Active;
                }
            }
            Fact::Period { start, end } => self.period(event, start, end),
            Fact::Over => {
                self.note(AuditKind::SubscriptionEnded, "the subscription is over", BTreeMap::new());
                if self.graph.state == GraphState::Active {
                    self.graph.state = GraphState::Suspended;
                    let text = "the graph is suspended: its paid time is over, its data is kept";
                    self.note(AuditKind::GraphSuspended, text, BTreeMap::new());
                }
            }
        }
    }

    fn period(&mut self, event: Event, start: UnixMs, end: UnixMs) {
        self.subscription.credits = Credits::first(start, end, self.subscription.monthly_credits);
        let mut detail = BTreeMap::from([
            ("period_start_unix_ms".to_owned(), start.to_string()),
            ("period_end_unix_ms".to_owned(), end.to_string()),
        ]);
        if self.subscription.renews() {
            // The key is the period's: a period is invoiced once, whoever begins it.
            let key = format!("{}/invoice/{}", self.subscription.id, start.0);
            detail.insert("amount_cents".to_owned(), self.subscription.price_cents.to_string());
            self.owe(TellKind::Invoice, key, self.subscription.price_cents, (start, end));
        }
        if !matches!(event, Event::Activated { .. }) {
            self.note(AuditKind::SubscriptionRenewed, "the next paid period has begun", detail);
        }
    }

    /// Uses credits of this month.
    pub fn spend(&mut self, amount: i64) -> Result<(), Exhausted> {
        self.catch_up_credits();
        self.subscription.credits = self.subscription.credits.spend(amount)?;
        Ok(())
    }

    /// Owes the provider word of something that a person did.
    pub fn tell(&mut self, kind: TellKind) {
        let key = format!("{}/{}/{}", self.subscription.id, kind.as_str(), self.ids.request());
        let period = (self.subscription.period_start, self.subscription.period_end);
        // Of a cancellation and its taking back only the last counts: what was not sent yet need not be.
        self.subscription.told.retain(|told| told.kind == TellKind::Invoice || told.attempts > 0);
        self.owe(kind, key, 0, period);
    }

    /// The provider refused for good what it was told. An invoice is overdue then; anything else is for an operator, because
    /// the provider goes on as if nothing had been said.
    pub fn provider_refused(&mut self, told: &Told, reason: Reason) -> Result<(), Refusal> {
        let detail = BTreeMap::from([
            ("told".to_owned(), told.kind.as_str().to_owned()),
            ("key".to_owned(), told.key.clone()),
            ("reason".to_owned(), reason.to_string()),
        ]);
        self.note(AuditKind::SubscriptionUpdated, "the payment provider refused", detail);
        if told.kind != TellKind::Invoice {
            tracing::error!(subscription = %self.subscription.id, told = told.kind.as_str(), %reason,
                "the provider refused what it was told: see to it there");
            return Ok(());
        }
        match self.take(Event::PaymentFailed) {
            // It is not active any more: there is nothing to be overdue with.
            Ok(_) | Err(Refusal::From(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    fn owe(&mut self, kind: TellKind, key: String, amount_cents: i64, period: (UnixMs, UnixMs)) {
        self.subscription.told.push(Told { key, kind, amount_cents, period, attempts: 0, not_before: self.now });
    }

    /// Adds an entry to the audit.
    pub fn note(&mut self, kind: AuditKind, message: &str, detail: BTreeMap<String, String>) {
        self.audit.push(AuditEvent {
            id: self.ids.audit(),
            org: self.subscription.org.clone(),
            graph: Some(self.subscription.graph.clone()),
            subscription: Some(self.subscription.id.clone()),
            change: None,
            kind,
            actor: self.actor.clone(),
            at: self.now,
            message: message.to_owned(),
            detail,
        });
    }

    /// Adds to the detail of what was noted last.
    pub fn remark(&mut self, key: &str, value: &str) {
        if let (Some(last), false) = (self.audit.last_mut(), value.is_empty()) {
            last.detail.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Everything to write; nothing if nothing changed.
    pub fn finish(mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        // What is over for good takes a change along that would have begun later.
        if !self.subscription.live && self.subscription.scheduled_change.take().is_some() {
            match schedule::withdraw(self.loaded, self.ids, self.now) {
                Ok(ended) => writes.extend(ended),
                // Not waiting any more: its own turn ends it.
                Err(refusal) => tracing::warn!(subscription = %self.subscription.id, %refusal, "not withdrawn"),
            }
        }
        if self.loaded.graph.as_ref() != Some(&self.graph) {
            self.graph.updated = self.now;
            writes.push(Write::Graph(self.graph.clone()));
        }
        if self.loaded.subscription.as_ref() != Some(&self.subscription) {
            self.subscription.updated = self.now;
            let record = &mut self.access.record;
            record.subscription = Some(self.subscription.status);
            record.ends_at = self.subscription.ends_at;
            record.graph = self.graph.state;
            writes.push(Write::Subscription(Box::new(self.subscription)));
        }
        writes.extend(self.audit.into_iter().map(|event| Write::Audit(Box::new(event))));
        if self.loaded.access.as_ref() != Some(&self.access) {
            // 64 of the 128 random bits; as a number they mean nothing.
            let [nonce, _] = halves(self.ids.random());
            writes.push(Write::Access(Box::new(self.access), nonce));
        }
        writes
    }
}
