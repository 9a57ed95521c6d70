//! The invariants that a migration's journal can break, asked for each entry as it is written. They rest on the facts in
//! their order and on the simulated cloud's truth; the machine's own fold is not asked.

use super::{Verdict, holds};
use cloud_sim::Sim;
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::event::{ChangeEvent, Direction};
use tiershift_core::ids::{InstanceId, SnapshotId};
use tiershift_core::{Reason, UnixMs};
use volume_core::effect::{Done, Effect, Purpose};
use volume_core::fact::{Entry, Fact, Outcome, Spec};

/// What the facts so far say.
#[derive(Debug, Default)]
pub struct Journal {
    /// Sequence of the last entry.
    pub seq: u64,
    /// What was asked for.
    pub spec: Option<Spec>,
    /// The intent without an outcome.
    pub open: Option<(u32, Effect)>,
    /// Where the volume was last established to be; none = free.
    pub at: Option<InstanceId>,
    /// Instances on which it may be mounted: from an adopt's intent (for the source from the beginning) to its release or
    /// the end of the instance.
    pub mounted: BTreeSet<InstanceId>,
    /// Instances whose end is decided.
    pub condemned: BTreeSet<InstanceId>,
    /// Instances whose agents were given up under a command.
    pub abandoned: BTreeSet<InstanceId>,
    /// The newest target.
    pub target: Option<InstanceId>,
    /// Every target so far.
    pub targets: BTreeSet<InstanceId>,
    /// When the confirmation of the gate was accepted.
    pub confirmed_at: Option<UnixMs>,
    /// When the writers were seen to be gone.
    pub drained_at: Option<UnixMs>,
    /// The source's agent shut its door.
    pub shut: bool,
    /// A door was ordered to be opened since then.
    pub door_ordered: bool,
    /// When the first release was ordered.
    pub released_at: Option<UnixMs>,
    /// The move is committed.
    pub committed: bool,
    /// When the target served.
    pub opened_at: Option<UnixMs>,
    /// The customer's part has ended: Opened, RolledBack or HandedOver.
    pub ended: bool,
    /// It went back, or was handed over to the source.
    pub rolled_back: bool,
    /// It was stuck at some time.
    pub was_stuck: bool,
    /// It is stuck, and why.
    pub stuck: Option<Reason>,
    /// Nothing is owed any more.
    pub done: bool,
    /// A detach was decided.
    pub detach_journalled: bool,
    turning_back: bool,
    decided: BTreeMap<&'static str, u32>,
    safety: Option<SnapshotId>,
    last: Option<SnapshotId>,
    completed: BTreeSet<SnapshotId>,
    target_ready: bool,
    tokens: BTreeSet<String>,
    devices: BTreeSet<(InstanceId, String)>,
    public: Option<ChangeEvent>,
    best: BTreeMap<Direction, u32>,
    epoch: i64,
}

impl Journal {
    /// Takes an entry, asking every rule about it first.
    pub fn take(&mut self, entry: &Entry, soak_ms: i64, sim: &Sim) -> Verdict {
        i11_no_gap(self, entry)?;
        if let Fact::Intent { effect, token, .. } = &entry.fact {
            i01_attach_only_what_is_free(self, effect)?;
            i03_detach_only_what_is_unmounted(self, effect, sim)?;
            i04_no_rollback_asset_goes_early(self, entry.at, effect, soak_ms, sim)?;
            i16_no_intent_beside_an_open_one(self, effect)?;
            f1_a_device_is_used_once(self, effect)?;
            rule2_a_token_is_used_once(self, token, effect)?;
            f4_a_condemned_instance_is_not_used(self, effect)?;
        }
        i02_drained_behind_a_shut_door(self, &entry.fact)?;
        i16_no_end_with_an_open_intent(self, &entry.fact)?;
        i17_one_epoch(self, &entry.fact)?;
        self.fold(entry);
        Ok(())
    }

    fn fold(&mut self, entry: &Entry) {
        self.seq = entry.seq;
        if let Some(public) = &entry.public {
            self.best.insert(public.direction, public.permille);
            self.public = Some(public.clone());
        }
        match &entry.fact {
            Fact::Started { spec } => {
                self.at = Some(spec.source.instance.clone());
                self.mounted.insert(spec.source.instance.clone());
                self.epoch = spec.store_epoch;
                self.spec = Some((**spec).clone());
            }
            Fact::Intent { n, effect, token, .. } => self.intent(*n, effect, token, entry.at),
            Fact::Outcome { outcome, .. } => self.outcome(outcome),
            Fact::Reserved { target } => {
                self.targets.insert(target.instance.clone());
                self.target = Some(target.instance.clone());
                self.target_ready = false;
            }
            Fact::TargetReady { .. } => self.target_ready = true,
            Fact::TargetDropped { .. } => self.target_ready = false,
            Fact::GateConfirmed { .. } => self.confirmed_at = Some(entry.at),
            Fact::WritesDrained { .. } => {
                self.drained_at = Some(entry.at);
                self.door_ordered = false;
            }
            Fact::Committed { .. } => self.committed = true,
            Fact::UndoBegun { .. } => self.turning_back = true,
            Fact::Opened => {
                self.opened_at = Some(entry.at);
                self.ended = true;
            }
            Fact::RolledBack => {
                self.rolled_back = true;
                self.ended = true;
            }
            Fact::HandedOver { side, .. } => {
                self.ended = true;
                self.rolled_back = *side == volume_core::fact::Side::Source;
                self.opened_at.get_or_insert(entry.at);
                self.stuck = None;
            }
            Fact::Stuck { reason, .. } => {
                self.was_stuck = true;
                self.stuck = Some(*reason);
            }
            Fact::Resumed { .. } => self.stuck = None,
            // The former driver may stand still between its last look and the call, which has no token: one more may come,
            // and is garbage by its tag (rule 18).
            Fact::TakenOver { .. } => {
                if let Some((_, Effect::Snapshot { purpose })) = &self.open {
                    *self.decided.entry(purpose.name()).or_insert(0) += 1;
                }
            }
            Fact::SnapshotCompleted { snapshot } => {
                self.completed.insert(snapshot.clone());
            }
            Fact::Done | Fact::Tombstone { .. } => {
                self.ended = true;
                self.done = true;
            }
            _ => {}
        }
    }

    fn intent(&mut self, n: u32, effect: &Effect, token: &str, at: UnixMs) {
        self.open = Some((n, effect.clone()));
        self.tokens.insert(token.to_owned());
        match effect {
            Effect::Detach { .. } => self.detach_journalled = true,
            Effect::Snapshot { purpose } => *self.decided.entry(purpose.name()).or_insert(0) += 1,
            Effect::Attach { instance, device } => {
                self.devices.insert((instance.clone(), device.clone()));
            }
            Effect::Adopt { instance } => {
                self.mounted.insert(instance.clone());
            }
            Effect::Release { .. } => {
                self.released_at.get_or_insert(at);
            }
            Effect::Resume { .. } => (self.door_ordered, self.shut) = (true, false),
            Effect::Terminate { instance, .. } => {
                self.condemned.insert(instance.clone());
            }
            _ => {}
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let Some((_, effect)) = self.open.take() else { return };
        match (&effect, outcome) {
            (Effect::Attach { instance, .. }, Outcome::Done(_)) => self.at = Some(instance.clone()),
            (Effect::Detach { .. }, Outcome::Done(_)) => self.at = None,
            (Effect::Drain { .. }, Outcome::Done(_)) => self.shut = true,
            (Effect::Release { instance }, Outcome::Done(_)) => {
                self.mounted.remove(instance);
            }
            (Effect::Terminate { instance, .. }, Outcome::Done(_)) => {
                self.mounted.remove(instance);
                if self.at.as_ref() == Some(instance) {
                    self.at = None;
                }
            }
            (Effect::Snapshot { purpose: Purpose::Safety }, Outcome::Done(Done::Snapshot(id))) => {
                self.safety = Some(id.clone());
            }
            (Effect::Snapshot { purpose: Purpose::Final }, Outcome::Done(Done::Snapshot(id))) => {
                self.last = Some(id.clone());
            }
            (
                Effect::Release { instance }
                | Effect::Adopt { instance }
                | Effect::Drain { instance, .. }
                | Effect::Resume { instance },
                Outcome::Abandoned,
            ) => {
                self.abandoned.insert(instance.clone());
            }
            _ => {}
        }
    }

    /// How often a snapshot for this step was decided, or may have been called for by a driver that was replaced.
    pub fn snapshots_decided(&self, step: &str) -> u32 {
        self.decided.get(step).copied().unwrap_or(0)
    }

    fn is_source(&self, instance: &InstanceId) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.source.instance == *instance)
    }
}

/// 1: an attach is decided only when the last established fact is "none".
fn i01_attach_only_what_is_free(journal: &Journal, effect: &Effect) -> Verdict {
    let attaches = matches!(effect, Effect::Attach { .. });
    holds("1", !attaches || journal.at.is_none(), || format!("{effect:?} while the volume is at {:?}", journal.at))
}

/// 2: the writers are gone only if the engine's door was shut before they were counted.
fn i02_drained_behind_a_shut_door(journal: &Journal, fact: &Fact) -> Verdict {
    let counted = matches!(fact, Fact::WritesDrained { .. });
    holds("2", !counted || journal.shut, || "the writers were counted with the engine's door open".to_owned())
}

/// 3: a detach is decided only of what its agent said is unmounted, or whose instance has ended; and from the source,
/// on the way forward, only behind the confirmed gate, the drains, a completed safety snapshot and a proven target.
fn i03_detach_only_what_is_unmounted(journal: &Journal, effect: &Effect, sim: &Sim) -> Verdict {
    let Effect::Detach { instance, .. } = effect else { return Ok(()) };
    let ended = sim.powerless(instance.as_str()) && sim.ending(instance.as_str());
    holds("3", ended || !journal.mounted.contains(instance), || format!("{instance} may have the volume mounted"))?;
    if !journal.is_source(instance) || journal.turning_back || ended {
        return Ok(());
    }
    let safe = journal
        .safety
        .as_ref()
        .is_some_and(|id| journal.completed.contains(id) && sim.completed_snapshot(id.as_str()).is_some());
    holds("3", safe, || format!("the safety snapshot {:?} is not completed", journal.safety))?;
    holds("3", journal.confirmed_at.is_some(), || "the gate was not confirmed".to_owned())?;
    holds("3", journal.drained_at.is_some(), || "the writers were not seen to be gone".to_owned())?;
    holds("3", journal.target_ready, || "no target was proven".to_owned())
}

/// 4: once a detach is journalled, no rollback asset goes before a completed snapshot not older than the release, and the
/// soak.
fn i04_no_rollback_asset_goes_early(
    journal: &Journal,
    at: UnixMs,
    effect: &Effect,
    soak_ms: i64,
    sim: &Sim,
) -> Verdict {
    let asset = match effect {
        Effect::DeleteSnapshot { snapshot } => snapshot.as_str(),
        Effect::Terminate { instance, .. } if journal.is_source(instance) => instance.as_str(),
        _ => return Ok(()),
    };
    if !journal.detach_journalled {
        return Ok(());
    }
    let release = journal.released_at.map_or(0, |at| at.0);
    let kept = journal.last.as_ref().and_then(|id| sim.completed_snapshot(id.as_str()));
    let point = kept.and_then(|from| i64::try_from(from).ok()).is_some_and(|from| from >= release);
    holds("4", point, || format!("{asset} goes without a completed final snapshot ({:?})", journal.last))?;
    let soaked = journal.opened_at.is_some_and(|opened| at.since(opened) >= soak_ms);
    holds("4", soaked, || format!("{asset} goes before the soak is over"))
}

/// 16: no effect is decided while the outcome of another is open.
fn i16_no_intent_beside_an_open_one(journal: &Journal, effect: &Effect) -> Verdict {
    holds("16", journal.open.is_none(), || format!("{effect:?} is decided while {:?} is open", journal.open))
}

/// 16: no migration ends with an intent that has no result.
fn i16_no_end_with_an_open_intent(journal: &Journal, fact: &Fact) -> Verdict {
    let ends = matches!(fact, Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. } | Fact::Done);
    holds("16", !ends || journal.open.is_none(), || format!("{} while {:?} is open", fact.name(), journal.open))
}

/// 11: no gap, no duplicate, and progress never falls within a direction.
fn i11_no_gap(journal: &Journal, entry: &Entry) -> Verdict {
    holds("11", entry.seq == journal.seq + 1, || format!("entry {} follows {}", entry.seq, journal.seq))?;
    let Some(event) = &entry.public else { return Ok(()) };
    let before = journal.public.as_ref().map_or(0, |event| event.seq);
    holds("11", event.seq == before + 1, || format!("public event {} follows {before}", event.seq))?;
    let best = journal.best.get(&event.direction).copied().unwrap_or(0);
    holds("11", event.permille >= best, || format!("progress falls from {best} to {}", event.permille))
}

/// 17: nothing is written under another epoch than the one that it was accepted in.
fn i17_one_epoch(journal: &Journal, fact: &Fact) -> Verdict {
    let other = matches!(fact, Fact::Started { spec } if journal.spec.is_some() && spec.store_epoch != journal.epoch);
    holds("17", !other, || "a second epoch in one journal".to_owned())
}

/// F1: a device name is used once per instance within a migration.
fn f1_a_device_is_used_once(journal: &Journal, effect: &Effect) -> Verdict {
    let Effect::Attach { instance, device } = effect else { return Ok(()) };
    let used = journal.devices.contains(&(instance.clone(), device.clone()));
    let source = journal.spec.as_ref().is_some_and(|s| s.source.instance == *instance && s.device == *device);
    holds("F1", !used && !source, || format!("{device} of {instance} is used again"))
}

/// Rule 2: a token belongs to one intent.
fn rule2_a_token_is_used_once(journal: &Journal, token: &str, effect: &Effect) -> Verdict {
    holds("rule 2", !journal.tokens.contains(token), || format!("{effect:?} reuses the token {token}"))
}

/// F4: an instance whose end is decided is never used again.
fn f4_a_condemned_instance_is_not_used(journal: &Journal, effect: &Effect) -> Verdict {
    let (Effect::Attach { instance, .. } | Effect::Adopt { instance } | Effect::Resume { instance }) = effect else {
        return Ok(());
    };
    holds("F4", !journal.condemned.contains(instance), || format!("{effect:?}, and {instance} is condemned"))
}
