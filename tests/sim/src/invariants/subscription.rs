//! The invariants that a commit of subscription-svc can break, asked after each, over its rows, the provider's book and
//! the migrations' journals.

use super::cloud::Journals;
use super::{Verdict, holds};
use std::collections::BTreeMap;
use subscription_core::access::Gate;
use subscription_core::change::State;
use subscription_svc::payments::book::{Book, Entry as Posted};
use subscription_svc::store::Loaded;
use subscription_svc::store::rows::{PaymentKind, TierChange};
use tiershift_core::UnixMs;
use tiershift_core::event::{ChangeEvent, Direction};
use tiershift_core::ids::{ChangeId, GraphId};

/// What the commits so far say.
#[derive(Debug, Default)]
pub struct Seen {
    gates: BTreeMap<GraphId, Gate>,
    feeds: BTreeMap<ChangeId, Feed>,
    /// The newest access version.
    version: u64,
}

#[derive(Debug, Default)]
struct Feed {
    seq: u64,
    best: BTreeMap<Direction, u32>,
    at_ms: i64,
}

impl Seen {
    /// Takes a commit: everything of one graph as it is now, with the public events that are new.
    pub fn commit(&mut self, loaded: &Loaded, events: &[ChangeEvent], book: &Book, journals: &Journals) -> Verdict {
        for event in events {
            let feed = self.feeds.entry(change_of(event)).or_default();
            i11_no_gap(feed, event)?;
        }
        if let (Some(graph), Some(access)) = (&loaded.graph, &loaded.access) {
            let gate = access.record.gate.clone();
            let before = self.gates.insert(graph.id.clone(), gate.clone()).unwrap_or(Gate::Open);
            i06_a_gate_opens_by_the_volumes_word(&before, &gate, journals)?;
            let active = loaded.subscription.as_ref().and_then(|s| s.active_change.clone());
            i06_a_closed_gate_is_an_active_changes(&gate, active.as_ref())?;
        }
        if let Some(change) = &loaded.change {
            i07_money(change, loaded, book)?;
        }
        Ok(())
    }

    /// Sequence of the newest public event that was looked at.
    pub fn newest(&self, change: &ChangeId) -> u64 {
        self.feeds.get(change).map_or(0, |feed| feed.seq)
    }

    /// 17: no access revision goes back.
    pub fn revision(&mut self, version: u64) -> Verdict {
        let before = std::mem::replace(&mut self.version, version);
        holds("17", version >= before, || format!("the access revision goes from {before} to {version}"))
    }
}

fn change_of(event: &ChangeEvent) -> ChangeId {
    ChangeId::parse(event.change_id.clone()).expect("an event names its change")
}

/// Whose a closed gate is.
fn closed_by(gate: &Gate) -> Option<&ChangeId> {
    match gate {
        Gate::Open => None,
        Gate::WritesBlocked(change) | Gate::Offline(change) => Some(change),
    }
}

/// 11, for the sequence that customers see.
fn i11_no_gap(feed: &mut Feed, event: &ChangeEvent) -> Verdict {
    holds("11", event.seq == feed.seq + 1, || {
        format!("event {} of {} follows {}", event.seq, event.change_id, feed.seq)
    })?;
    let best = feed.best.insert(event.direction, event.permille).unwrap_or(0);
    holds("11", event.permille >= best, || format!("progress of {} falls from {best}: {event:?}", event.change_id))?;
    holds("11", event.at_ms >= feed.at_ms, || format!("time of {} falls: {event:?}", event.change_id))?;
    (feed.seq, feed.at_ms) = (event.seq, event.at_ms);
    Ok(())
}

/// 6: a closed gate opens only when the volume has said where the graph serves: Opened, RolledBack or HandedOver.
fn i06_a_gate_opens_by_the_volumes_word(before: &Gate, after: &Gate, journals: &Journals) -> Verdict {
    let Some(change) = closed_by(before) else { return Ok(()) };
    if closed_by(after) == Some(change) {
        return Ok(());
    }
    let told = journals.get(change).is_some_and(|journal| journal.ended);
    holds("6", told, || format!("the gate of {change} opens, and the volume has not said where the graph serves"))
}

/// 6: a closed gate belongs to exactly one active change.
fn i06_a_closed_gate_is_an_active_changes(gate: &Gate, active: Option<&ChangeId>) -> Verdict {
    let owner = closed_by(gate);
    holds("6", owner.is_none() || owner == active, || format!("a gate is closed by {owner:?}, active is {active:?}"))
}

/// 2: no decision whose clock reading lies after the confirmation of the gate was accepted allows a write, until the
/// volume has said where the graph serves.
pub fn i02_no_write_behind_the_gate(graph: &GraphId, at: UnixMs, journals: &Journals) -> Verdict {
    let here = |j: &&super::journal::Journal| j.spec.as_ref().is_some_and(|spec| spec.graph == *graph);
    let shut = journals.values().filter(here).find(|j| !j.ended).and_then(|j| j.confirmed_at);
    let allowed = shut.is_none_or(|confirmed| at <= confirmed);
    holds("2", allowed, || format!("a write to {graph} is allowed at {at}, and the gate was confirmed at {shut:?}"))
}

/// 7: every request was stored before it was sent, under its own key and with these bytes, and is posted under one key
/// only; at an end the customer was charged the amount accepted, or nothing.
fn i07_money(change: &TierChange, loaded: &Loaded, book: &Book) -> Verdict {
    let posted: Vec<Posted> = book.entries(&change.id);
    for entry in &posted {
        let stored = loaded.payments.iter().find(|request| request.key() == entry.key);
        let same = stored.is_some_and(|request| request.bytes == entry.bytes);
        holds("7", same, || format!("{} was posted and is not what is stored: {stored:?}", entry.key))?;
    }
    let forward = format!("{}/{}", change.id, PaymentKind::Forward.as_str());
    let first = posted.iter().find(|entry| entry.key == forward).map_or(0, |entry| entry.amount_cents.signum());
    let again = posted.iter().find(|entry| entry.key != forward && entry.amount_cents * first > 0);
    holds("7", again.is_none(), || format!("the charge was made again as {again:?}"))?;
    let net = book.net_cents(&change.id);
    match change.machine.state {
        State::Succeeded => holds("7", net == change.quote.due_cents, || {
            format!("{} succeeded and took {net} of {} cents", change.id, change.quote.due_cents)
        }),
        State::Failed | State::Canceled => {
            holds("7", net == 0, || format!("{} ended {:?} and took {net} cents", change.id, change.machine.state))
        }
        _ => Ok(()),
    }
}
