//! The fold: how each entry of a journal changes what is known. One function serves replay and the entry that was
//! just written, so that they cannot differ; a fact that cannot follow the ones before it is refused, never bent.
//!
//! What the fields mean is in `state.rs`.

use crate::effect::{Done, Effect, Purpose};
use crate::fact::{Amiss, Entry, Fact, Outcome, Party, Resume, SCHEMA, Side};
use crate::stage::Stage;
use crate::state::{Corrupt, End, Gate, Host, Migration, Open, Place, Refusal, Stuck, Undo, attempt_key};
use tiershift_core::event::Direction;
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};
use tiershift_core::{Reason, UnixMs};

/// Why a fact cannot follow.
type Misplaced = &'static str;

fn must(holds: bool, why: Misplaced) -> Result<(), Misplaced> {
    if holds { Ok(()) } else { Err(why) }
}

impl Migration {
    /// Takes one entry. After an error the state is not to be used any more.
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
        if self.stuck.is_some() && !may_follow_stuck(&entry.fact) {
            return Err(order("only an operator moves it on"));
        }
        self.seq = entry.seq;
        match &entry.public {
            Some(public) if public.seq != self.public_seq + 1 => {
                return Err(Corrupt::Sequence { expected: self.public_seq + 1, found: public.seq });
            }
            Some(public) => {
                self.public_seq = public.seq;
                let shown = self.shown.entry(public.direction).or_insert(0);
                *shown = (*shown).max(public.permille);
            }
            None if entry.fact.is_public() => return Err(order("a public fact without its event")),
            None => {}
        }
        self.take(entry).map_err(order)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), Misplaced> {
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
                must(*fence > self.fence, "a fence only grows")?;
                self.fence = *fence;
            }
            Fact::Entered { stage } => {
                self.may_advance()?;
                self.enter(*stage, at);
            }
            Fact::Progress { percent } => self.percent = self.percent.max(*percent),
            Fact::Intent { n, effect, token, fence, .. } => self.intend(*n, effect, token, *fence, at)?,
            Fact::Outcome { n, outcome } => {
                let open = self.open.take().ok_or("no intent is open")?;
                must(open.n == *n, "another intent is open")?;
                self.moved_at = at;
                self.conclude(&open.effect, outcome);
            }
            Fact::Reserved { target } => {
                self.may_advance()?;
                must(self.target.is_none(), "there is a target")?;
                self.target = Some(target.clone());
                self.launched = None;
                self.target_ready = false;
                self.target_host = Host::Unmounted;
                self.moved_at = at;
            }
            Fact::TargetReady { engine } => {
                self.target_ready = true;
                self.target_engine = Some(engine.clone());
                self.moved_at = at;
            }
            Fact::TargetFailed { reason, instance } => {
                self.may_advance()?;
                must(self.target.as_ref().is_some_and(|t| t.instance == *instance), "not the present target")?;
                self.moved_at = at;
                self.dropping = Some(*reason);
            }
            Fact::TargetDropped { reason, instance } => {
                self.may_advance()?;
                must(!self.at_target() && self.target_host == Host::Unmounted, "it still holds the volume")?;
                let target = self.target.take().filter(|t| t.instance == *instance).ok_or("not the present target")?;
                self.moved_at = at;
                self.dropped.push((target, *reason));
                self.dropped_offline += u32::from(self.stage >= Stage::Attach);
                self.dropping = None;
                self.target_ready = false;
            }
            Fact::GateRequested { deadline_at, .. } => {
                self.may_advance()?;
                must(self.stage == Stage::Gate && self.gate.is_none(), "not before its gate")?;
                let id = entry.public.as_ref().map(|p| p.seq).ok_or("a public fact without its event")?;
                self.permit = true;
                self.gate = Some(Gate { id, requested_at: at, deadline_at: *deadline_at, confirmed_at: None });
            }
            Fact::GateConfirmed { gate_id } => {
                self.may_advance()?;
                must(self.stage == Stage::Gate, "not at its gate")?;
                let gate = self.gate.as_mut().filter(|g| g.id == *gate_id).ok_or("another gate is open")?;
                gate.confirmed_at = Some(at);
                self.enter(Stage::DrainWrites, at);
            }
            Fact::WritesDrained { probe } => self.reference = Some(probe.clone()),
            Fact::Committed { .. } => {
                must(!self.is_committed(), "it is committed")?;
                self.may_commit()?;
                self.committed_at = Some(at);
                self.enter(Stage::Open, at);
            }
            Fact::Rehomed { .. } => {
                must(self.is_committed(), "nothing is committed yet")?;
                self.may_commit()?;
                self.enter(Stage::Open, at);
            }
            Fact::Opened => {
                self.may_advance()?;
                must(self.is_committed() && self.target_host == Host::Serving, "the target does not serve")?;
                self.opened_at = Some(at);
                self.settle(End::Moved, at);
            }
            Fact::UndoBegun { reason, detail, by } => {
                must(!self.is_committed(), "there is no way back behind the commit")?;
                must(self.direction == Direction::Forward, "it is on its way back")?;
                self.direction = Direction::Undo;
                if mutant::on(Mutant::UndoUnknown) {
                    self.open = None;
                }
                self.undo = Some(Undo { reason: *reason, detail: detail.clone(), by: by.clone(), at });
                self.moved_at = at;
            }
            Fact::RolledBack => {
                must(self.open.is_none(), "an intent is open")?;
                must(self.direction == Direction::Undo, "it is not on its way back")?;
                must(self.source_host == Host::Serving && self.at_source(), "the source does not serve")?;
                self.settle(End::RolledBack, at);
            }
            Fact::Stuck { reason, detail } => {
                self.stuck = Some(Stuck { reason: *reason, detail: detail.clone(), at });
                self.permit = false;
            }
            Fact::Resumed { action, .. } => self.resume(*action, at)?,
            Fact::HandedOver { side, .. } => self.hand_over(*side, at)?,
            Fact::SourceLost { instance } => self.lose_source(instance, at)?,
            Fact::SourceReplaced { home } => self.replace_source(home, at)?,
            Fact::SnapshotCompleted { snapshot } => {
                self.completed.insert(snapshot.clone());
            }
            Fact::SnapshotAmiss { snapshot, what: Amiss::Failed } => {
                must(self.failed.insert(snapshot.clone()), "it failed before")?;
                self.finals_failed += 1;
            }
            Fact::SnapshotAmiss { snapshot, what: Amiss::Late } => {
                self.late.insert(snapshot.clone());
            }
            Fact::SnapshotStoodIn { snapshot } => {
                must(self.last.as_ref().is_some_and(|last| self.failed.contains(last)), "the final one did not fail")?;
                self.last = Some(snapshot.clone());
                self.completed.insert(snapshot.clone());
            }
            Fact::SourceKept => self.source_kept = true,
            Fact::Done => {
                must(self.open.is_none(), "an intent is open")?;
                must(self.end.is_some(), "the customer's part has not ended")?;
                self.done_at = Some(at);
            }
        }
        Ok(())
    }

    /// What holds of every step of the way forward.
    fn may_advance(&self) -> Result<(), Misplaced> {
        must(self.open.is_none(), "an intent is open")?;
        must(self.direction == Direction::Forward, "it does not go forward")
    }

    fn may_commit(&self) -> Result<(), Misplaced> {
        self.may_advance()?;
        must(self.at_target() && self.target_host == Host::Adopted, "the target has not adopted the volume")
    }

    /// From here on nothing of ours runs there: it has ended. Where the volume is stays to be established.
    fn lose_source(&mut self, instance: &InstanceId, at: UnixMs) -> Result<(), Misplaced> {
        must(self.open.is_none(), "an intent is open")?;
        must(!self.is_committed() && self.direction != Direction::Settle, "the source is not needed any more")?;
        must(self.is_source(instance) && !self.source_lost, "not the source, or lost before")?;
        self.source_lost = true;
        self.homes_lost += u32::from(self.home.is_some());
        self.source_host = Host::Unmounted;
        self.offline_at.get_or_insert(at);
        self.moved_at = at;
        Ok(())
    }

    /// From here on the graph goes back to another instance. One that took the place before, and ended too, is put away
    /// with the targets that were given up.
    fn replace_source(&mut self, home: &Party, at: UnixMs) -> Result<(), Misplaced> {
        must(self.open.is_none(), "an intent is open")?;
        must(self.direction == Direction::Undo && self.source_lost, "the source was not lost on the way back")?;
        must(!self.at_source(), "the volume is attached to the one that was lost")?;
        if let Some(lost) = self.home.replace(home.clone()) {
            self.dropped.push((lost, Reason::SourceLost));
        }
        self.home_launched = None;
        self.source_lost = false;
        self.source_host = Host::Unmounted;
        self.moved_at = at;
        Ok(())
    }

    fn enter(&mut self, stage: Stage, at: UnixMs) {
        self.stage = stage;
        self.entered_at = at;
        self.moved_at = at;
        self.percent = 0;
        if stage == Stage::Release {
            self.offline_at.get_or_insert(at);
        }
    }

    fn settle(&mut self, end: End, at: UnixMs) {
        self.end = Some(end);
        self.direction = Direction::Settle;
        self.permit = false;
        self.enter(Stage::Settle, at);
    }

    /// Fresh deadlines and fresh tries: what was refused or silent before says nothing of what the operator mended.
    fn resume(&mut self, action: Resume, at: UnixMs) -> Result<(), Misplaced> {
        must(self.stuck.is_some(), "it is not stuck")?;
        self.stuck = None;
        self.resumed += 1;
        self.refusal = None;
        self.silent.clear();
        self.finals_failed = 0;
        self.homes_lost = 0;
        self.moved_at = at;
        self.entered_at = at;
        if action == Resume::GoForward {
            must(self.open.is_none() && self.direction == Direction::Undo, "there is no undo to turn around")?;
            self.direction = Direction::Forward;
            self.undo = None;
            self.forced = true;
            self.enter(if self.at_target() { Stage::Adopt } else { Stage::Attach }, at);
        }
        Ok(())
    }

    /// The volume is where the operator said, as its caller has verified.
    fn hand_over(&mut self, side: Side, at: UnixMs) -> Result<(), Misplaced> {
        must(self.stuck.is_some() && self.end.is_none(), "there is nothing to hand over")?;
        must(self.open.is_none(), "an intent is open")?;
        self.stuck = None;
        let instance = match side {
            Side::Source => self.home().map(|home| home.instance.clone()),
            Side::Target => self.target.as_ref().map(|t| t.instance.clone()),
        };
        let instance = instance.ok_or("there is no such side")?;
        let device = self.device_on(&instance);
        self.set_host(&instance, Host::Serving);
        self.place = Place::At { instance, device };
        match side {
            Side::Source => self.settle(End::RolledBack, at),
            Side::Target => {
                self.committed_at.get_or_insert(at);
                self.opened_at = Some(at);
                self.settle(End::Moved, at);
            }
        }
        Ok(())
    }

    fn intend(&mut self, n: u32, effect: &Effect, token: &str, fence: i64, at: UnixMs) -> Result<(), Misplaced> {
        must(self.open.is_none(), "an intent is open")?;
        must(n == self.intents + 1, "intents are numbered without a gap")?;
        self.intents = n;
        *self.attempts.entry(attempt_key(effect)).or_insert(0) += 1;
        self.open = Some(Open { n, effect: effect.clone(), token: token.to_owned(), fence, at });
        match effect {
            Effect::Attach { instance, device } => {
                must(self.place == Place::Free, "the volume is not established to be free")?;
                let fresh = self.devices_used.insert((instance.clone(), device.clone()));
                must(fresh || mutant::on(Mutant::ReuseDevice), "a device name is used once (F1)")?;
            }
            Effect::Detach { .. } => self.detach_journalled = true,
            Effect::Terminate { instance, .. } => {
                self.condemned.insert(instance.clone());
            }
            Effect::Drain { instance, .. } => self.lower(instance, Host::Drained),
            // An adopt may mount and open at once: from its intent on the host must be treated as closed.
            Effect::Release { instance } | Effect::Adopt { instance } => self.set_host(instance, Host::Closed),
            _ => {}
        }
        Ok(())
    }

    fn conclude(&mut self, effect: &Effect, outcome: &Outcome) {
        self.refusal = match outcome {
            Outcome::Refused(trouble) => Some(Refusal { effect: effect.clone(), trouble: *trouble }),
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
            (Effect::Release { instance }, Outcome::Done(done)) => {
                self.set_host(instance, Host::Unmounted);
                self.silent.remove(instance);
                if let Done::Released { fs_uuid: Some(uuid) } = done
                    && self.is_source(instance)
                {
                    self.fs_uuid.get_or_insert_with(|| uuid.clone());
                }
            }
            (Effect::Adopt { instance }, Outcome::Done(_)) => {
                self.set_host(instance, Host::Adopted);
                self.silent.remove(instance);
            }
            (
                Effect::Release { instance }
                | Effect::Adopt { instance }
                | Effect::Drain { instance, .. }
                | Effect::Resume { instance },
                Outcome::Abandoned,
            ) => {
                self.silent.insert(instance.clone());
            }
            (Effect::Launch { group, .. }, Outcome::Done(Done::Launched(ids))) => {
                let target = self.spec.as_ref().is_none_or(|s| s.target_group == *group);
                let launched = if target { &mut self.launched } else { &mut self.home_launched };
                *launched = ids.first().cloned();
            }
            (Effect::Resume { instance }, Outcome::Done(_)) => self.set_host(instance, Host::Serving),
            (Effect::Terminate { instance, .. }, Outcome::Done(_)) => {
                self.terminated.insert(instance.clone());
                if matches!(&self.place, Place::At { instance: at, .. } if at == instance) {
                    self.place = Place::Free;
                }
                self.set_host(instance, Host::Unmounted);
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

/// What may be written while a human is needed: what moves it on, who drives it, and that an effect's outcome will
/// never be told (part of a hand-over).
fn may_follow_stuck(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::TakenOver { .. }
            | Fact::Resumed { .. }
            | Fact::HandedOver { .. }
            | Fact::Outcome { outcome: Outcome::Abandoned, .. }
    )
}
