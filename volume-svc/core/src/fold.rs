//! The fold: how each entry of a journal changes what is known. One function serves replay and the entry that was
//! just written, so that they cannot differ; a fact that cannot follow the ones before it is refused.
//!
//! What the fields mean is in `state.rs`.

use crate::effect::{Done, Effect, Purpose};
use crate::fact::{Entry, Fact, Outcome, SCHEMA, Side};
use crate::stage::Stage;
use crate::state::{Corrupt, End, Gate, Host, Migration, Open, Place, Stuck, Undo, attempt_key};
use tiershift_core::UnixMs;
use tiershift_core::event::Direction;
use tiershift_core::ids::InstanceId;

impl Migration {
    /// Takes one entry. The same function serves replay and the entry just written, so they cannot differ.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Corrupt> {
        if entry.schema != SCHEMA {
            return Err(Corrupt::Schema { seq: entry.seq, schema: entry.schema });
        }
        if entry.seq != self.seq + 1 {
            return Err(Corrupt::Sequence { expected: self.seq + 1, found: entry.seq });
        }
        let order = |why| Corrupt::Order { seq: entry.seq, fact: entry.fact.name(), why };
        let first = matches!(entry.fact, Fact::Started { .. } | Fact::Tombstone { .. });
        if first != (self.seq == 0) {
            return Err(order(if first { "not the first entry" } else { "the journal has not started" }));
        }
        if self.done_at.is_some() {
            return Err(order("the migration has ended"));
        }
        self.seq = entry.seq;
        if let Some(public) = &entry.public {
            if public.seq != self.public_seq + 1 {
                return Err(Corrupt::Sequence { expected: self.public_seq + 1, found: public.seq });
            }
            self.public_seq = public.seq;
            if public.direction == self.direction {
                self.permille = self.permille.max(public.permille);
            } else {
                self.permille = public.permille;
            }
        }
        self.take(entry).map_err(order)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let at = entry.at;
        match &entry.fact {
            Fact::Started { spec } => {
                self.place = Place::At { instance: spec.source.instance.clone(), device: spec.device.clone() };
                self.spec = Some((**spec).clone());
                self.started_at = at;
                self.enter(Stage::Preflight, at);
            }
            Fact::Tombstone { .. } => {
                self.end = Some(End::Tombstone);
                self.started_at = at;
                self.done_at = Some(at);
            }
            Fact::TakenOver { fence, .. } => {
                if *fence <= self.fence {
                    return Err("a fence only grows");
                }
                self.fence = *fence;
            }
            Fact::Entered { stage } => self.enter(*stage, at),
            Fact::Progress { .. } => {}
            Fact::Intent { n, effect, token, fence, .. } => self.intend(*n, effect, token, *fence, at)?,
            Fact::Outcome { n, outcome } => {
                let open = self.open.take().ok_or("no intent is open")?;
                if open.n != *n {
                    return Err("another intent is open");
                }
                self.moved_at = at;
                self.conclude(&open.effect, outcome);
            }
            Fact::Reserved { target } => {
                self.target = Some(target.clone());
                self.launched = None;
                self.target_ready = false;
                self.target_host = Host::Unmounted;
                self.moved_at = at;
            }
            Fact::TargetReady { engine } => {
                self.target_ready = true;
                self.target_engine = Some(engine.clone());
            }
            Fact::TargetFailed { reason, instance } => {
                if self.target.as_ref().is_none_or(|t| t.instance != *instance) {
                    return Err("not the present target");
                }
                self.moved_at = at;
                self.dropping = Some(*reason);
            }
            Fact::TargetDropped { reason, instance } => {
                let target = self.target.take().filter(|t| t.instance == *instance).ok_or("not the present target")?;
                self.moved_at = at;
                self.dropped.push((target, *reason));
                self.dropping = None;
                self.target_ready = false;
                self.target_host = Host::Unmounted;
            }
            Fact::GateRequested { deadline_at, .. } => {
                let id = entry.public.as_ref().map(|p| p.seq).ok_or("a public fact without its event")?;
                self.permit = true;
                self.gate = Some(Gate { id, requested_at: at, deadline_at: *deadline_at, confirmed_at: None });
            }
            Fact::GateConfirmed { gate_id } => {
                let gate = self.gate.as_mut().filter(|g| g.id == *gate_id).ok_or("another gate is open")?;
                gate.confirmed_at = Some(at);
                self.enter(Stage::DrainWrites, at);
            }
            Fact::WritesDrained { probe } => self.reference = Some(probe.clone()),
            Fact::Committed { .. } => {
                self.committed_at = Some(at);
                self.enter(Stage::Open, at);
            }
            Fact::Opened => {
                self.opened_at = Some(at);
                self.settle(End::Moved, at);
            }
            Fact::UndoBegun { reason, detail, by } => {
                if self.committed_at.is_some() {
                    return Err("there is no way back behind the commit");
                }
                self.direction = Direction::Undo;
                self.permille = entry.public.as_ref().map_or(0, |p| p.permille);
                self.undo = Some(Undo { reason: *reason, detail: detail.clone(), by: by.clone(), at });
                self.moved_at = at;
            }
            Fact::RolledBack => {
                if self.open.is_some() {
                    return Err("an intent is open");
                }
                self.settle(End::RolledBack, at);
            }
            Fact::Stuck { reason, detail } => {
                self.stuck = Some(Stuck { reason: *reason, detail: detail.clone(), at });
                self.permit = false;
            }
            Fact::Resumed { action, .. } => {
                self.stuck = None;
                self.moved_at = at;
                self.entered_at = at;
                if *action == crate::fact::Resume::GoForward {
                    self.direction = Direction::Forward;
                    self.undo = None;
                    self.stage = if self.place == Place::Free { Stage::Attach } else { Stage::Adopt };
                }
            }
            Fact::HandedOver { side, .. } => {
                self.stuck = None;
                self.open = None;
                if *side == Side::Target {
                    self.committed_at.get_or_insert(at);
                    self.opened_at = Some(at);
                }
                self.settle(if *side == Side::Target { End::Moved } else { End::RolledBack }, at);
            }
            Fact::SnapshotCompleted { snapshot } => {
                self.completed.insert(snapshot.clone());
            }
            Fact::SourceKept => self.source_kept = true,
            Fact::Done => {
                if self.open.is_some() {
                    return Err("an intent is open");
                }
                self.done_at = Some(at);
            }
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage, at: UnixMs) {
        self.stage = stage;
        self.entered_at = at;
        self.moved_at = at;
        if stage == Stage::Release {
            self.offline_at.get_or_insert(at);
        }
    }

    fn settle(&mut self, end: End, at: UnixMs) {
        self.end = Some(end);
        self.direction = Direction::Settle;
        self.permit = false;
        self.permille = 0;
        self.enter(Stage::Settle, at);
    }

    fn intend(&mut self, n: u32, effect: &Effect, token: &str, fence: i64, at: UnixMs) -> Result<(), &'static str> {
        if self.open.is_some() {
            return Err("an intent is open");
        }
        if n != self.intents + 1 {
            return Err("intents are numbered without a gap");
        }
        self.intents = n;
        *self.attempts.entry(attempt_key(effect)).or_insert(0) += 1;
        self.open = Some(Open { n, effect: effect.clone(), token: token.to_owned(), fence, at });
        match effect {
            Effect::Attach { instance, device } if !self.devices_used.insert((instance.clone(), device.clone())) => {
                return Err("a device name is used once (F1)");
            }
            Effect::Detach { .. } => self.detach_journalled = true,
            Effect::Terminate { instance, .. } => {
                self.condemned.insert(instance.clone());
            }
            Effect::Drain { instance, .. } => self.lower(instance, Host::Drained),
            Effect::Release { instance } | Effect::Adopt { instance } => {
                // An adopt may mount and open at once: from its intent on the host must be treated as closed.
                self.set_host(instance, Host::Closed);
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&mut self, effect: &Effect, outcome: &Outcome) {
        self.refusal = match outcome {
            Outcome::Refused(trouble) => Some(*trouble),
            Outcome::Done(_) | Outcome::Abandoned => None,
        };
        match (effect, outcome) {
            (Effect::Protect { instance, .. }, Outcome::Done(_)) => {
                self.protected.insert(instance.clone());
            }
            (Effect::Snapshot { purpose }, Outcome::Done(Done::Snapshot(id))) => match purpose {
                Purpose::Safety => self.safety = Some(id.clone()),
                Purpose::Final => self.last = Some(id.clone()),
            },
            (Effect::Detach { .. }, Outcome::Done(_)) => self.place = Place::Free,
            (Effect::Attach { instance, device }, Outcome::Done(_)) => {
                self.place = Place::At { instance: instance.clone(), device: device.clone() };
            }
            (Effect::Attach { .. }, _) => self.place = Place::Free,
            (Effect::Release { instance }, Outcome::Done(done)) => {
                self.set_host(instance, Host::Unmounted);
                if let Done::Released { fs_uuid: Some(uuid) } = done
                    && self.is_source(instance)
                {
                    self.fs_uuid.get_or_insert_with(|| uuid.clone());
                }
            }
            (Effect::Adopt { instance }, Outcome::Done(_)) => self.set_host(instance, Host::Adopted),
            (Effect::Launch { .. }, Outcome::Done(Done::Launched(ids))) => self.launched = ids.first().cloned(),
            (Effect::Resume { instance }, Outcome::Done(_)) => self.set_host(instance, Host::Serving),
            (Effect::Terminate { instance, .. }, Outcome::Done(_)) => {
                self.terminated.insert(instance.clone());
                if matches!(&self.place, Place::At { instance: at, .. } if at == instance) {
                    self.place = Place::Free;
                }
                if self.target.as_ref().is_some_and(|t| t.instance == *instance) {
                    self.target_host = Host::Unmounted;
                }
            }
            (Effect::TagVolume { .. }, _) => self.tagged = true,
            (Effect::KeepOnTermination { .. }, _) => self.kept_on_termination = true,
            (Effect::DeleteSnapshot { snapshot }, _) => {
                self.deleted.insert(snapshot.clone());
            }
            _ => {}
        }
    }

    fn lower(&mut self, instance: &InstanceId, to: Host) {
        let host = if self.is_source(instance) { &mut self.source_host } else { &mut self.target_host };
        if *host > to {
            *host = to;
        }
    }

    fn set_host(&mut self, instance: &InstanceId, to: Host) {
        if self.is_source(instance) {
            self.source_host = to;
        } else if self.target.as_ref().is_some_and(|t| t.instance == *instance) {
            self.target_host = to;
        }
    }
}
