//! One transaction of a change, as a value: what is loaded goes in, events are applied, what must be written comes
//! out. Pure but for ids, which are handed in.
//!
//! Here the machine's facts become rows: the gate in the access record, the plan in subscription and graph, the
//! public sequence, the audit, the deadline. Outward effects become owed rows; rows that are not wanted any more go in
//! the same transaction, so that a cancel never waits behind them. The steps of a change that begins later are in `scheduled`.

mod scheduled;

use super::wording;
use crate::migrations::{Fact, MigrationEvent};
use crate::store::Loaded;
use crate::store::Write;
use crate::store::rows::{
    Access, AuditEvent, AuditKind, Endpoint, Graph, PaymentKind, PaymentOutcome, PaymentRequest, Subscription,
    TierChange,
};
use std::collections::BTreeMap;
use subscription_core::access::{Gate as AccessGate, Pace};
use subscription_core::change::{
    Back, Change, Charge, Effect, Event, Gate, Notice, Phase, Refusal, Return, Side, State,
};
use subscription_core::status::GraphState;
use tiershift_common::ids::Ids;
use tiershift_core::event::{ChangeEvent, Direction};
use tiershift_core::mutant::{self, Mutant};
use tiershift_core::{Reason, UnixMs, Violation};

/// Who does what nobody asked for.
pub const SYSTEM: &str = "system";

/// The stage whose first forward event begins the time offline.
const RELEASE: &str = "release";

/// One transaction of one change.
pub struct Turn<'a> {
    ids: &'a Ids,
    now: UnixMs,
    /// The change as it will be stored.
    pub change: TierChange,
    graph: Graph,
    subscription: Subscription,
    access: Access,
    loaded: &'a Loaded,
    actor: String,
    graph_dirty: bool,
    subscription_dirty: bool,
    access_dirty: bool,
    events: Vec<ChangeEvent>,
    owed: Vec<Effect>,
    audit: Vec<AuditEvent>,
    payments: Vec<PaymentRequest>,
    settled: Vec<i64>,
    /// For an effect that is owed again because its outcome is not known: tries so far, and when to try again.
    again: Option<(u32, UnixMs)>,
    /// People to be told once this is committed.
    pub notices: Vec<Notice>,
}

impl<'a> Turn<'a> {
    /// A turn of the change that was loaded; none if the store has no such change, or not all that belongs to one.
    pub fn begin(loaded: &'a Loaded, ids: &'a Ids, now: UnixMs) -> Option<Self> {
        let change = loaded.change.clone()?;
        Self::of(change, loaded, ids, now)
    }

    /// A turn of a change that is being made: its first events are told by [`Turn::accept`].
    pub fn of(change: TierChange, loaded: &'a Loaded, ids: &'a Ids, now: UnixMs) -> Option<Self> {
        let subscription = loaded.subscription.clone()?;
        Some(Self {
            ids,
            now,
            graph: loaded.graph.clone()?,
            access: loaded.access.clone()?,
            subscription,
            change,
            loaded,
            actor: SYSTEM.to_owned(),
            graph_dirty: false,
            subscription_dirty: false,
            access_dirty: false,
            events: Vec::new(),
            owed: Vec::new(),
            audit: Vec::new(),
            payments: Vec::new(),
            settled: Vec::new(),
            again: None,
            notices: Vec::new(),
        })
    }

    /// Everything that is written in this turn is written in this name.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// The first step of a new change: pace, first event, what it owes.
    pub fn accept(&mut self, effects: Vec<Effect>) {
        self.runs();
        self.owed.extend(effects);
        let detail = BTreeMap::from([
            ("from_tier".to_owned(), self.change.from_tier.to_string()),
            ("to_tier".to_owned(), self.change.to_tier.to_string()),
            ("due_cents".to_owned(), self.change.quote.due_cents.to_string()),
        ]);
        self.note(AuditKind::ChangeAccepted, "the tier change was accepted", detail.clone());
        self.publish("the change is accepted", detail);
        self.arm();
    }

    /// From here on it is the change that runs, and holders of access believe its record for the shorter lease only.
    fn runs(&mut self) {
        self.subscription.scheduled_change = None;
        self.subscription.active_change = Some(self.change.id.clone());
        self.subscription_dirty = true;
        self.access.record.pace = Pace::Changing;
        self.access_dirty = true;
    }

    /// Applies an event that asks or tells: refused ones change nothing.
    pub fn take(&mut self, event: &Event) -> Result<(), Refusal> {
        let before = self.change.machine;
        let step = before.take(event)?;
        let phase = before.phase();
        self.change.machine = step.change;
        for effect in step.effects {
            self.effect(effect);
        }
        self.audit_of(event, &before);
        if visible(&before, &self.change.machine) {
            let message = wording::happened(&before, &self.change.machine, event);
            let detail = self.detail();
            self.publish(&message, detail);
        }
        if self.change.machine.phase() != phase || *event == Event::Deadline {
            self.arm();
        }
        self.reactivate();
        self.change.follows = self.change.machine.started() && !self.change.machine.settled;
        self.forgo_charge()
    }

    /// Applies one event of the migration, with its public event before whatever it does to the change. Says whether
    /// it was new: each is applied once, by its sequence.
    pub fn follow(&mut self, cursor: String, event: &MigrationEvent) -> Result<bool, Refusal> {
        if event.event.seq <= self.change.volume_seq && !mutant::on(Mutant::ApplyTwice) {
            return Ok(false);
        }
        self.change.volume_seq = event.event.seq;
        self.change.cursor = Some(cursor).filter(|_| !mutant::on(Mutant::ApplyTwice));
        self.learn(event);
        let settling = event.event.direction == Direction::Settle;
        // The gate as it will be, so that the relayed event tells what the customer meets.
        let will_be = event.meaning().and_then(|m| self.change.machine.take(&m).ok()).map(|step| step.change);
        // The clean-up is the operators' business: the customer's sequence ends with the change.
        if !settling {
            let machine = will_be.unwrap_or(self.change.machine);
            let at_ms = self.now.since(self.change.origin());
            let public = self.change.progress.relayed(&self.change.id, at_ms, &machine, &event.event);
            self.push(public);
        }
        if let Some(meaning) = event.meaning() {
            self.take(&meaning)?;
        }
        Ok(true)
    }

    /// What an event of the migration tells besides its meaning to the machine.
    fn learn(&mut self, event: &MigrationEvent) {
        let measured = &mut self.change.measured;
        let forward = event.event.direction == Direction::Forward;
        if forward && event.event.stage == RELEASE && measured.released.is_none() {
            measured.released = Some(self.now);
        }
        match &event.fact {
            Fact::GateRequested { store_epoch, usage_bytes, .. } => {
                self.change.gate_epoch = *store_epoch;
                measured.usage = usage_bytes.map(|bytes| (bytes, self.now)).or(measured.usage);
            }
            Fact::Committed(endpoint) | Fact::HandedOver { endpoint, .. } => {
                self.graph.endpoint = Some(endpoint.clone());
                self.graph_dirty = true;
            }
            Fact::Opened { endpoint, offline_ms } => {
                measured.offline_ms = *offline_ms;
                self.graph.endpoint = Some(endpoint.clone());
                self.graph_dirty = true;
            }
            Fact::RolledBack { violations, endpoint, offline_ms, .. } => {
                measured.offline_ms = *offline_ms;
                measured.violations.extend(violations.iter().cloned());
                if let Some(endpoint) = endpoint {
                    // A volume does not leave its zone, and the event does not repeat it.
                    let zone = self.graph.endpoint.take().map(|e| e.availability_zone).unwrap_or_default();
                    self.graph.endpoint = Some(Endpoint { availability_zone: zone, ..endpoint.clone() });
                    self.graph_dirty = true;
                }
            }
            Fact::Progress
            | Fact::GateConfirmed
            | Fact::Offline
            | Fact::TurnedBack { .. }
            | Fact::Stuck { .. }
            | Fact::Resumed
            | Fact::Settled => {}
        }
    }

    /// Keeps the faults that end the change, for its reader.
    pub fn violations(&mut self, violations: Vec<Violation>) {
        self.change.measured.violations = violations;
    }

    /// Stores a provider request, or what became of it.
    pub fn payment(&mut self, request: PaymentRequest) {
        self.payments.push(request);
    }

    /// What was taken, in cents.
    pub fn charged(&mut self, cents: i64) {
        self.change.measured.charged_cents = cents;
    }

    /// What was given back, in cents.
    pub fn returned(&mut self, cents: i64) {
        self.change.measured.returned_cents = cents;
    }

    /// An owed effect is delivered.
    pub fn settle(&mut self, id: i64) {
        self.settled.push(id);
    }

    /// What is owed again in this turn is not tried before an instant.
    pub fn again(&mut self, attempts: u32, not_before: UnixMs) {
        self.again = Some((attempts, not_before));
    }

    /// A charge that nobody wants any more and that was never sent is definite at once, so that nothing waits for it.
    fn forgo_charge(&mut self) -> Result<(), Refusal> {
        let machine = self.change.machine;
        let sent = self.loaded.payments.iter().chain(&self.payments).any(|p| p.kind == PaymentKind::Forward);
        if !machine.forgoes_charge() || sent {
            return Ok(());
        }
        let reason = machine.turn_back.or(machine.failure).unwrap_or(Reason::CanceledByRequest);
        self.take(&Event::ChargeWithheld { reason })
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::BlockWrites => {
                self.access.record.gate = AccessGate::WritesBlocked(self.change.id.clone());
                self.access.record.pace = Pace::Changing;
                self.access_dirty = true;
                self.change.measured.gate_closed.get_or_insert(self.now);
            }
            Effect::SetGateOffline => {
                self.access.record.gate = AccessGate::Offline(self.change.id.clone());
                self.access_dirty = true;
            }
            Effect::OpenGate => {
                self.access.record.gate = AccessGate::Open;
                self.access.record.pace = Pace::Calm;
                self.access_dirty = true;
                if let Some(closed) = self.change.measured.gate_closed {
                    // 0 means "never closed".
                    self.change.measured.writes_blocked_ms = self.now.since(closed).max(1);
                }
            }
            Effect::Calm => {
                self.access.record.pace = Pace::Calm;
                self.access_dirty = true;
            }
            Effect::ApplyPlan => {
                let terms = &self.change.quote.terms;
                self.subscription.tier = self.change.to_tier.clone();
                self.subscription.price_cents = terms.price_after_cents;
                self.subscription.monthly_credits = terms.credits_after;
                // The rest of the month is the new tier's; of a month that began meanwhile, all of it.
                let (before, after) = (terms.credits_before, terms.credits_after);
                self.subscription.credits = self.subscription.credits.changed(before, after, self.change.quote.at);
                self.subscription_dirty = true;
                self.graph.tier = self.change.to_tier.clone();
                self.graph_dirty = true;
            }
            Effect::Notify(notice) => {
                if notice == Notice::Ended {
                    self.subscription.active_change = None;
                    self.subscription.scheduled_change = None;
                    self.subscription_dirty = true;
                    self.change.ended = Some(self.now);
                    self.change.deadline = None;
                }
                self.notices.push(notice);
            }
            Effect::StartMigration
            | Effect::Charge
            | Effect::CloseGate
            | Effect::WaitLease
            | Effect::ConfirmGate { .. }
            | Effect::CancelMigration
            | Effect::RevertPrice
            | Effect::Refund => {
                self.owed.retain(|owed| owed.kind() != effect.kind());
                self.owed.push(effect);
            }
        }
    }

    /// A change that had ended and is contradicted runs again, until a person has looked.
    fn reactivate(&mut self) {
        if self.change.active() && self.change.ended.is_some() {
            self.change.ended = None;
            self.subscription.active_change = Some(self.change.id.clone());
            self.subscription_dirty = true;
        }
    }

    /// Sets the timer of the present phase.
    fn arm(&mut self) {
        self.change.deadline = match self.change.machine.phase() {
            Phase::Waiting => self.change.scheduled,
            phase => phase.budget_ms().map(|ms| self.now.plus(ms)),
        };
    }

    fn publish(&mut self, message: &str, detail: BTreeMap<String, String>) {
        let at_ms = self.now.since(self.change.origin());
        let event = self.change.progress.own(&self.change.id, at_ms, &self.change.machine, message, detail);
        self.push(event);
    }

    fn push(&mut self, event: ChangeEvent) {
        self.change.last_event = Some(event.clone());
        self.events.push(event);
    }

    /// Facts of the change's own events: at its end, everything that was measured.
    fn detail(&self) -> BTreeMap<String, String> {
        let machine = &self.change.machine;
        let mut detail = BTreeMap::new();
        let mut add = |key: &str, value: String| {
            detail.insert(key.to_owned(), value);
        };
        if let Some(reason) = machine.failure.or(machine.turn_back).or(machine.attention.map(|a| a.reason)) {
            add("reason", reason.to_string());
        }
        if machine.state.ended() {
            add("writes_blocked_ms", self.change.writes_blocked_ms(self.now).to_string());
            add("offline_ms", self.change.offline_ms(self.now).to_string());
            let net = self.change.measured.charged_cents - self.change.measured.returned_cents;
            add("net_charged_cents", net.to_string());
            if machine.cancel_refused {
                add("cancel_refused", "true".to_owned());
            }
        }
        detail
    }

    fn audit_of(&mut self, event: &Event, before: &Change) {
        let after = self.change.machine;
        let kind = match event {
            Event::ChargeTaken if before.charge != Charge::Taken => Some(AuditKind::ChangeCharged),
            Event::ChargeRefused { .. } | Event::ChargeWithheld { .. } if before.charge != Charge::Refused => {
                Some(AuditKind::ChangeChargeRefused)
            }
            Event::GateClosed if before.gate == Gate::Open => Some(AuditKind::ChangeGated),
            Event::Committed if !before.applied => Some(AuditKind::ChangeCommitted),
            Event::Opened if before.gate != Gate::Open => Some(AuditKind::ChangeOpened),
            Event::RolledBack { .. } if before.state != after.state => Some(AuditKind::ChangeRolledBack),
            Event::HandedOver { side: Side::Source | Side::Target } if before.state != after.state => {
                Some(AuditKind::ChangeHandedOver)
            }
            Event::BackDone { back: Back::Money } if before.back_money == Return::Owed => {
                Some(AuditKind::ChangeMoneyReturned)
            }
            Event::Begun => Some(AuditKind::ChangeBegun),
            Event::CancelRequested if !before.cancel_requested => Some(AuditKind::ChangeCancelRequested),
            _ => None,
        };
        let mut detail = self.detail();
        if matches!(kind, Some(AuditKind::ChangeCharged | AuditKind::ChangeMoneyReturned)) {
            detail.insert("charged_cents".to_owned(), self.change.measured.charged_cents.to_string());
        }
        let message = wording::happened(before, &after, event);
        if let Some(kind) = kind {
            self.note(kind, &message, detail.clone());
        }
        let ended = match after.state {
            _ if before.state == after.state => None,
            State::Succeeded => Some(AuditKind::ChangeSucceeded),
            State::Failed => Some(AuditKind::ChangeFailed),
            State::Canceled => Some(AuditKind::ChangeCanceled),
            State::NeedsAttention => Some(AuditKind::ChangeNeedsAttention),
            _ => None,
        };
        if let Some(kind) = ended {
            self.note(kind, &message, detail);
        }
    }

    /// Adds an entry to the audit.
    pub fn note(&mut self, kind: AuditKind, message: &str, detail: BTreeMap<String, String>) {
        self.audit.push(AuditEvent {
            id: self.ids.audit(),
            org: self.change.org.clone(),
            graph: Some(self.change.graph.clone()),
            subscription: Some(self.change.subscription.clone()),
            change: Some(self.change.id.clone()),
            kind,
            actor: self.actor.clone(),
            at: self.now,
            message: message.to_owned(),
            detail,
        });
    }

    /// Everything to write.
    pub fn finish(mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        self.change.updated = self.now;
        if self.graph_dirty {
            self.graph.updated = self.now;
            writes.push(Write::Graph(self.graph));
        }
        if self.subscription_dirty {
            self.subscription.updated = self.now;
            writes.push(Write::Subscription(Box::new(self.subscription)));
        }
        let machine = self.change.machine;
        let id = self.change.id.clone();
        writes.push(Write::Change(Box::new(self.change)));
        writes.extend(self.events.into_iter().map(Write::Event));
        writes.extend(self.payments.into_iter().map(Write::Payment));
        // What is not wanted any more must not stand before what is. An unsent charge is definite by now.
        let unwanted = self.loaded.owed.iter().filter(|o| !machine.wants(&o.effect)).map(|o| o.id);
        let mut gone: Vec<i64> = self.settled;
        gone.extend(unwanted);
        gone.sort_unstable();
        gone.dedup();
        writes.extend(gone.into_iter().map(Write::Settle));
        let (now, again) = (self.now, self.again);
        let owe = |effect: Effect| {
            let asked_again = matches!(effect, Effect::Charge | Effect::RevertPrice | Effect::Refund);
            let (attempts, not_before) = again.filter(|_| asked_again).unwrap_or((0, now));
            Write::Owe { change: id.clone(), effect, attempts, not_before }
        };
        writes.extend(self.owed.into_iter().filter(|effect| machine.wants(effect)).map(owe));
        writes.extend(self.audit.into_iter().map(|event| Write::Audit(Box::new(event))));
        if self.access_dirty {
            // 64 of the 128 random bits; as a number they mean nothing.
            let [nonce, _] = halves(self.ids.random());
            writes.push(Write::Access(Box::new(self.access), nonce));
        }
        writes
    }

    /// Whether the graph can still be changed at all: checked again at every gate of the change.
    pub fn graph_active(&self) -> bool {
        self.graph.state == GraphState::Active
    }
}

/// Two numbers out of 128 random bits.
pub fn halves(random: u128) -> [i64; 2] {
    let bytes = random.to_be_bytes();
    let (mut high, mut low) = ([0; 8], [0; 8]);
    high.copy_from_slice(&bytes[..8]);
    low.copy_from_slice(&bytes[8..]);
    [i64::from_be_bytes(high), i64::from_be_bytes(low)]
}

/// What a watcher should hear of.
fn visible(before: &Change, after: &Change) -> bool {
    let told = |c: &Change| {
        (c.state, c.gate == Gate::Open, c.charge, c.cancel_requested, c.cancel_refused, c.turn_back, c.attention)
    };
    // What is merely owed was told with the state that owes it.
    let owed_only = before.charge == Charge::None && after.charge == Charge::Owed && before.state == after.state;
    told(before) != told(after) && !owed_only
}

/// A request for the provider that was stored before: its outcome so far.
pub fn payment_of(loaded: &Loaded, kind: PaymentKind) -> Option<&PaymentRequest> {
    loaded.payments.iter().find(|p| p.kind == kind)
}

/// Whether a stored request is definite.
pub const fn definite(outcome: PaymentOutcome) -> bool {
    matches!(outcome, PaymentOutcome::Taken | PaymentOutcome::Refused)
}
