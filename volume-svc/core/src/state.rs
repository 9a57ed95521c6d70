//! A migration's durable state: the fold of its journal. Nothing here comes from anywhere else, so a restart
//! that replays the journal knows exactly what its predecessor knew for certain, and not more.
//!
//! What a driver has merely *seen* (reads, silences) is in `scratch.rs` and dies with it.

use crate::effect::{Effect, Engine, Probe, Scope, Trouble};
use crate::fact::{Entry, Party, SCHEMA, Spec};
use crate::stage::Stage;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, InstanceId, SnapshotId};
use tiershift_core::{Reason, UnixMs};

/// Why a journal cannot be folded. The migration then refuses to run and an operator is called; nothing is
/// guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Written by another version of this program.
    #[error("entry {seq} has schema {schema}, this build reads {SCHEMA}")]
    Schema {
        /// The entry.
        seq: u64,
        /// Its version.
        schema: u32,
    },
    /// A gap, a duplicate, or an entry out of order.
    #[error("entry {found} where {expected} was due")]
    Sequence {
        /// The one that was due.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A fact that cannot follow the ones before it.
    #[error("entry {seq}: {fact} cannot follow: {why}")]
    Order {
        /// The entry.
        seq: u64,
        /// Its fact.
        fact: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

/// Where the volume is, as established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Attached.
    At {
        /// To which instance.
        instance: InstanceId,
        /// As which device.
        device: String,
    },
    /// No attachment.
    Free,
}

/// What an instance's engine may be doing with the volume. Moves down at the *intent* (it may have happened) and
/// up at the *outcome* (it has happened).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// Agent-confirmed: no engine, no mount.
    Unmounted,
    /// Perhaps mounted, perhaps open: an effect that changes it was decided.
    Closed,
    /// Mounted and open, door shut; agent-confirmed.
    Adopted,
    /// The door may be shut for writes, or for all.
    Drained,
    /// The door is open.
    Serving,
}

/// An effect whose outcome is not established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its number.
    pub n: u32,
    /// What.
    pub effect: Effect,
    /// The token of its call.
    pub token: String,
    /// Fence of the driver that decided it.
    pub fence: i64,
    /// When.
    pub at: UnixMs,
}

/// The gate, from its request on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Public sequence of the request: names this gate and no other.
    pub id: u64,
    /// When it was requested.
    pub requested_at: UnixMs,
    /// When it aborts by itself.
    pub deadline_at: UnixMs,
    /// When it was confirmed.
    pub confirmed_at: Option<UnixMs>,
}

/// The way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Why.
    pub reason: Reason,
    /// For people.
    pub detail: String,
    /// Who, if somebody asked.
    pub by: Option<String>,
    /// When it began.
    pub at: UnixMs,
}

/// Nothing more can be done without a human.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// Why.
    pub reason: Reason,
    /// For people.
    pub detail: String,
    /// Since when.
    pub at: UnixMs,
}

/// The last effect's refusal. It is about that effect and says nothing of any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which effect.
    pub effect: Effect,
    /// Why.
    pub trouble: Trouble,
}

/// How the customer's part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The graph serves on the target.
    Moved,
    /// The graph serves on the source.
    RolledBack,
    /// Nothing was ever begun.
    Tombstone,
}

/// A migration as its journal tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Its id.
    pub id: ChangeId,
    /// What is to be done; none for a tombstone.
    pub spec: Option<Spec>,
    /// Sequence of the last entry.
    pub seq: u64,
    /// Public sequence of the last public entry.
    pub public_seq: u64,
    /// The fence that all effects carry now.
    pub fence: i64,
    /// Where on the way forward it is, or was when it turned back.
    pub stage: Stage,
    /// When that stage began.
    pub entered_at: UnixMs,
    /// When the last outcome, stage or turn came: undo's deadlines count from here.
    pub moved_at: UnixMs,
    /// Which way it goes.
    pub direction: Direction,
    /// The intent without an outcome, if there is one: never more than one.
    pub open: Option<Open>,
    /// Intents so far.
    pub intents: u32,
    /// How often each effect was decided, by `Effect::name` and instance or group.
    pub attempts: BTreeMap<String, u32>,
    /// Where the volume is.
    pub place: Place,
    /// Device names used on an instance by this migration: never used again (F1).
    pub devices_used: BTreeSet<(InstanceId, String)>,
    /// The source's engine, or that of the instance that took its place.
    pub source_host: Host,
    /// The source has ended with something of the graph taken from it, and nothing has taken its place yet (H34).
    pub source_lost: bool,
    /// What a launch on the way back gave, and is not in the source's place yet.
    pub home_launched: Option<InstanceId>,
    /// What took the place of a source that was lost.
    pub home: Option<Party>,
    /// Instances launched to take the source's place that ended too, since an operator last looked.
    pub homes_lost: u32,
    /// The last effect's refusal, if it was refused.
    pub refusal: Option<Refusal>,
    /// How often an operator set it going again.
    pub resumed: u32,
    /// Instances whose agent fell silent under a command.
    pub silent: BTreeSet<InstanceId>,
    /// The instance that a launch gave and that is not reserved yet.
    pub launched: Option<InstanceId>,
    /// The target, once reserved.
    pub target: Option<Party>,
    /// The target is proven.
    pub target_ready: bool,
    /// The target's engine.
    pub target_host: Host,
    /// Why the present target is being given up, if it is.
    pub dropping: Option<Reason>,
    /// Targets given up so far and why: to be ended or returned to the pool.
    pub dropped: Vec<(Party, Reason)>,
    /// How many of them were given up while the volume was offline.
    pub dropped_offline: u32,
    /// Instances with an intent to terminate: never used again (F4).
    pub condemned: BTreeSet<InstanceId>,
    /// Instances whose end is established.
    pub terminated: BTreeSet<InstanceId>,
    /// Instances protected from scale-in by us.
    pub protected: BTreeSet<InstanceId>,
    /// The safety snapshot.
    pub safety: Option<SnapshotId>,
    /// The final snapshot.
    pub last: Option<SnapshotId>,
    /// Snapshots seen completed.
    pub completed: BTreeSet<SnapshotId>,
    /// Final snapshots that ended in error.
    pub failed: BTreeSet<SnapshotId>,
    /// How many of them since an operator last looked.
    pub finals_failed: u32,
    /// Final snapshots that people were told are late.
    pub late: BTreeSet<SnapshotId>,
    /// Snapshots deleted.
    pub deleted: BTreeSet<SnapshotId>,
    /// The gate.
    pub gate: Option<Gate>,
    /// Permits are held.
    pub permit: bool,
    /// What the engine answered once no writer was left.
    pub reference: Option<Probe>,
    /// What the target runs.
    pub target_engine: Option<Engine>,
    /// Uuid of the file system that the source unmounted: every later mount must be of it.
    pub fs_uuid: Option<String>,
    /// A Detach intent exists: no cancel from here on.
    pub detach_journalled: bool,
    /// When it was accepted.
    pub started_at: UnixMs,
    /// When the first release was decided: the volume is offline from here.
    pub offline_at: Option<UnixMs>,
    /// When it was committed.
    pub committed_at: Option<UnixMs>,
    /// When the target served.
    pub opened_at: Option<UnixMs>,
    /// The way back, once begun.
    pub undo: Option<Undo>,
    /// A human is needed.
    pub stuck: Option<Stuck>,
    /// How the customer's part ended.
    pub end: Option<End>,
    /// The volume's tier tag is up to date.
    pub tagged: bool,
    /// The attachment was made to outlive its instance, or that was refused.
    pub kept_on_termination: bool,
    /// The source goes back to the pool.
    pub source_kept: bool,
    /// When nothing was owed any more.
    pub done_at: Option<UnixMs>,
    /// An operator turned an undo around: the write-block limit has had its say.
    pub forced: bool,
    /// Highest per cent shown of the present stage.
    pub percent: u32,
    /// Highest progress shown, by direction: it never falls in one, not even when it is taken up again (invariant 11).
    pub shown: BTreeMap<Direction, u32>,
}

impl Migration {
    /// Folds a journal.
    pub fn replay(id: &ChangeId, entries: &[Entry]) -> Result<Self, Corrupt> {
        let mut state = Self::empty(id);
        for entry in entries {
            state.apply(entry)?;
        }
        Ok(state)
    }

    /// Before the first entry.
    pub(crate) fn empty(id: &ChangeId) -> Self {
        Self {
            id: id.clone(),
            spec: None,
            seq: 0,
            public_seq: 0,
            fence: 0,
            stage: Stage::Preflight,
            entered_at: UnixMs(0),
            moved_at: UnixMs(0),
            direction: Direction::Forward,
            open: None,
            intents: 0,
            attempts: BTreeMap::new(),
            place: Place::Free,
            devices_used: BTreeSet::new(),
            source_host: Host::Serving,
            source_lost: false,
            home_launched: None,
            home: None,
            homes_lost: 0,
            refusal: None,
            resumed: 0,
            silent: BTreeSet::new(),
            launched: None,
            target: None,
            target_ready: false,
            target_host: Host::Unmounted,
            dropping: None,
            dropped: Vec::new(),
            dropped_offline: 0,
            condemned: BTreeSet::new(),
            terminated: BTreeSet::new(),
            protected: BTreeSet::new(),
            safety: None,
            last: None,
            completed: BTreeSet::new(),
            failed: BTreeSet::new(),
            finals_failed: 0,
            late: BTreeSet::new(),
            deleted: BTreeSet::new(),
            gate: None,
            permit: false,
            reference: None,
            target_engine: None,
            fs_uuid: None,
            detach_journalled: false,
            started_at: UnixMs(0),
            offline_at: None,
            committed_at: None,
            opened_at: None,
            undo: None,
            stuck: None,
            end: None,
            tagged: false,
            kept_on_termination: false,
            source_kept: false,
            done_at: None,
            forced: false,
            percent: 0,
            shown: BTreeMap::new(),
        }
    }

    /// Where the graph goes back to: the source, or what took its place (H34).
    pub fn home(&self) -> Option<&Party> {
        self.home.as_ref().or_else(|| self.spec.as_ref().map(|s| &s.source))
    }

    /// Whether this is the source, or what took its place.
    pub fn is_source(&self, instance: &InstanceId) -> bool {
        self.home().is_some_and(|home| home.instance == *instance)
    }

    /// Whether it is no target for this migration: it was given up as one, or condemned, or is the source.
    pub fn is_done_with(&self, instance: &InstanceId) -> bool {
        self.condemned.contains(instance)
            || self.is_source(instance)
            || self.dropped.iter().any(|(party, _)| party.instance == *instance)
    }

    /// Whether the volume is attached to the present target.
    pub fn at_target(&self) -> bool {
        match (&self.place, &self.target) {
            (Place::At { instance, .. }, Some(target)) => *instance == target.instance,
            _ => false,
        }
    }

    /// Whether the volume is attached to the source.
    pub fn at_source(&self) -> bool {
        matches!(&self.place, Place::At { instance, .. } if self.is_source(instance))
    }

    /// How often an effect was decided before.
    pub fn attempts_of(&self, effect: &Effect) -> u32 {
        self.attempts.get(&attempt_key(effect)).copied().unwrap_or(0)
    }

    /// Why this effect (on this instance, whatever the device) was refused, if it was the last one and was.
    pub fn refused(&self, effect: &Effect) -> Option<Trouble> {
        let refusal = self.refusal.as_ref()?;
        (attempt_key(&refusal.effect) == attempt_key(effect)).then_some(refusal.trouble)
    }

    /// Highest progress shown in the present direction.
    pub fn permille(&self) -> u32 {
        self.shown.get(&self.direction).copied().unwrap_or(0)
    }

    /// Behind the point of no return: from here it only goes on.
    pub fn is_committed(&self) -> bool {
        self.committed_at.is_some()
    }

    /// The device by which an instance was last given the volume.
    pub(crate) fn device_on(&self, instance: &InstanceId) -> String {
        match &self.place {
            Place::At { instance: at, device } if at == instance => device.clone(),
            _ => self
                .devices_used
                .iter()
                .filter(|(on, _)| on == instance)
                .map(|(_, device)| device.clone())
                .next_back()
                .unwrap_or_else(|| self.spec.as_ref().map(|s| s.device.clone()).unwrap_or_default()),
        }
    }

    /// Whether a drain of that scope was ever decided.
    pub fn drained(&self, scope: Scope) -> bool {
        let name = if scope == Scope::All { "drain_all" } else { "drain_writes" };
        self.attempts.keys().any(|k| k.starts_with(name))
    }

    /// Ended: nothing will ever be appended.
    pub fn is_over(&self) -> bool {
        self.done_at.is_some()
    }
}

/// Attempts are counted per effect and instance or group, whatever the device.
pub(crate) fn attempt_key(effect: &Effect) -> String {
    let on = match effect {
        Effect::Protect { instance, .. }
        | Effect::Terminate { instance, .. }
        | Effect::Drain { instance, .. }
        | Effect::Resume { instance }
        | Effect::Release { instance }
        | Effect::Detach { instance, .. }
        | Effect::Attach { instance, .. }
        | Effect::KeepOnTermination { instance, .. }
        | Effect::Adopt { instance } => instance.as_str(),
        Effect::DeleteSnapshot { snapshot } => snapshot.as_str(),
        // A launch in the source's group is another matter than one in the target's (H34).
        Effect::Launch { group, .. } => group.as_str(),
        Effect::Snapshot { .. } | Effect::TagVolume { .. } => "",
    };
    if on.is_empty() { effect.name().to_owned() } else { format!("{}/{on}", effect.name()) }
}
