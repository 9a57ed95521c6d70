//! Who is called when a human is needed, and for what: the kinds of alert, what each is made of, and the port.
//!
//! An alert hangs on an *occurrence*, mostly an entry of a journal: whoever appended it raises it, and so does every
//! driver that loads the journal behind it, because the first may have died in between. Whoever delivers tells by the
//! occurrence what was told before. Nothing here sends anything: `alerts/desk.rs` queues, repeats and remembers,
//! `adapters/aws/sns.rs` publishes. Every alert is logged, wherever else it goes.

mod desk;

pub use desk::{Counts, Desk, NotPublished, Publisher, QUEUE_MAX};

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, GraphId, InstanceId, SnapshotId, VolumeId};
use tiershift_core::{Reason, UnixMs};
use volume_core::fact::{Entry, Fact};
use volume_core::stage::Stage;
use volume_core::state::{Migration, Place};

/// Version of the message's keys. A key is never renamed or given another meaning under one version.
const MESSAGE_SCHEMA: u32 = 1;

/// Most characters of an alert's detail: far below SNS's 256 KiB with everything else beside it.
const DETAIL_MAX: usize = 2_000;

/// An unknown code is told once in so long, in milliseconds of the clock: it may come with every poll.
const CODE_EVERY_MS: i64 = 3_600_000;

/// What an operator is called for. Subscribers filter by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A migration cannot go on by itself; its locks are kept.
    Stuck,
    /// The way back could not be walked to its end: the graph may serve nowhere.
    UndoFailed,
    /// An instance that is no part of the migration holds its volume.
    ForeignHolder,
    /// Somebody else wrote a row or a lock that the migration holds (H32).
    ForeignWriter,
    /// The instance that served the graph was lost (H34).
    SourceLost,
    /// The restore point is late or failed: source and volume are kept until there is one (H35).
    Snapshot,
    /// AWS refused a call with a code that no table knows (rule 46).
    UnknownCode,
    /// A journal that this build cannot read: nobody drives the migration (another schema, or damage: V6).
    JournalUnreadable,
    /// The machine contradicts its own journal: a defect of this program.
    Defect,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Stuck,
        Self::UndoFailed,
        Self::ForeignHolder,
        Self::ForeignWriter,
        Self::SourceLost,
        Self::Snapshot,
        Self::UnknownCode,
        Self::JournalUnreadable,
        Self::Defect,
    ];

    /// Its word, stable: in the subject, the message and the message's attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::UndoFailed => "undo_failed",
            Self::ForeignHolder => "foreign_holder",
            Self::ForeignWriter => "foreign_writer",
            Self::SourceLost => "source_lost",
            Self::Snapshot => "snapshot",
            Self::UnknownCode => "unknown_code",
            Self::JournalUnreadable => "journal_unreadable",
            Self::Defect => "defect",
        }
    }

    /// What an operator should do next.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Stuck => {
                "tierctl migrations get <id> says what it waits for; mend that, then tierctl migrations resume --action retry"
            }
            Self::UndoFailed => {
                "the graph may be offline: compare the volume's attachment in EC2 with the message, attach and mount by hand if \
                 need be, then tierctl migrations resume --action retry, or --action hand-over --side source"
            }
            Self::ForeignHolder => {
                "find out who attached the volume and why; detach it there by hand once it is unmounted, never by force, then \
                 tierctl migrations resume --action retry"
            }
            Self::ForeignWriter => {
                "find out who writes to the registry rows or locks of this migration and stop it; if the migration is stuck, \
                 tierctl migrations resume --action retry"
            }
            Self::SourceLost => {
                "the old instance has ended: the migration goes on, forward or back to a new instance of its group; watch it to \
                 its end, and compare the graph's data with what its owner knows"
            }
            Self::Snapshot => {
                "look at the snapshot in EC2 (its key, its quota); nothing is given up before one is completed, and any later \
                 one of the volume stands in"
            }
            Self::UnknownCode => {
                "look the code up in AWS's documentation and give it a row in the table of errors; until then the call is \
                 repeated and its step's deadline ends it"
            }
            Self::JournalUnreadable => {
                "run a build that knows the journal's schema, or restore the damaged items; the migration keeps its locks and \
                 nobody drives it until then"
            }
            Self::Defect => {
                "keep the log and report it; the migration keeps its locks and nobody drives it until a restart"
            }
        }
    }

    /// What a reason calls for by itself, wherever it stops a migration.
    const fn of_reason(reason: Reason) -> Option<Self> {
        match reason {
            Reason::ForeignHolder => Some(Self::ForeignHolder),
            Reason::RegistryConflict => Some(Self::ForeignWriter),
            Reason::SourceLost => Some(Self::SourceLost),
            Reason::UndoFailed => Some(Self::UndoFailed),
            _ => None,
        }
    }
}

/// One call for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What for.
    pub kind: Kind,
    /// Names what happened: two alerts with the same occurrence tell the same, and the second is not wanted.
    pub occurrence: String,
    /// The migration; none for what is no one's (an unknown code).
    pub migration: Option<ChangeId>,
    /// Its graph.
    pub graph: Option<GraphId>,
    /// Its volume.
    pub volume: Option<VolumeId>,
    /// Its source and its target, in this order, as far as there are.
    pub instances: Vec<InstanceId>,
    /// Its safety and its final snapshot, in this order, as far as there are.
    pub snapshots: Vec<SnapshotId>,
    /// Where the volume was last established to be: `<instance> <device>`, or `free`; empty if there is none.
    pub volume_at: String,
    /// The stage that it is in, or turned back from.
    pub stage: Option<Stage>,
    /// Which way it goes.
    pub direction: Option<Direction>,
    /// Why, as a public reason; none for what has none.
    pub reason: Option<Reason>,
    /// For people; no secret. At most 2,000 characters.
    pub detail: String,
    /// When it happened, by the clock.
    pub at: UnixMs,
}

impl Alert {
    /// What an entry of a journal calls for, if it does; `m` is the migration behind the entry.
    pub fn of(m: &Migration, entry: &Entry) -> Option<Self> {
        // It goes back by itself; but what it met there is a human's matter all the same.
        if let Fact::UndoBegun { reason, detail, .. } = &entry.fact {
            return Some(Self::entered(m, Kind::of_reason(*reason)?, *reason, detail, entry));
        }
        let (reason, detail) = volume_core::alerts::of(&entry.fact)?;
        let otherwise = match (&entry.fact, m.direction) {
            (Fact::Stuck { .. }, Direction::Undo) => Kind::UndoFailed,
            (Fact::Stuck { .. }, _) => Kind::Stuck,
            _ => Kind::Snapshot,
        };
        Some(Self::entered(m, Kind::of_reason(reason).unwrap_or(otherwise), reason, &detail, entry))
    }

    /// Everything in a journal that calls for a human since one last had a hand in it, oldest first. `m` is the fold
    /// of the entries.
    pub fn all_of(m: &Migration, entries: &[Entry]) -> Vec<Self> {
        let touched = |entry: &&Entry| matches!(entry.fact, Fact::Resumed { .. } | Fact::HandedOver { .. });
        let since = entries.iter().rev().take_while(|entry| !touched(entry));
        let mut alerts: Vec<Self> = since.filter_map(|entry| Self::of(m, entry)).collect();
        alerts.reverse();
        alerts
    }

    fn entered(m: &Migration, kind: Kind, reason: Reason, detail: &str, entry: &Entry) -> Self {
        let occurrence = format!("{}/{}", m.id, entry.seq);
        Self { reason: Some(reason), ..Self::about(m, kind, occurrence, detail, entry.at) }
    }

    /// A journal that cannot be read. `version` is its head's, if that could be read: each state is told once.
    pub fn unreadable(id: &ChangeId, version: Option<u64>, why: &str, at: UnixMs) -> Self {
        let version = version.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
        let occurrence = format!("{id}/unreadable/{version}");
        Self { migration: Some(id.clone()), ..Self::bare(Kind::JournalUnreadable, occurrence, why, at) }
    }

    /// A defect of this program, met at a state of a migration.
    pub fn defect(m: &Migration, why: &str, at: UnixMs) -> Self {
        Self::about(m, Kind::Defect, format!("{}/defect/{}", m.id, m.seq), why, at)
    }

    /// A code that no table knows: once an hour for each call and code, by the clock, over all processes.
    pub fn unknown_code(call: &str, code: &str, at: UnixMs) -> Self {
        let occurrence = format!("code/{call}/{code}/{}", at.0.div_euclid(CODE_EVERY_MS));
        let detail = format!("{call} was refused with the code {code}, which has no row in the table of errors");
        Self::bare(Kind::UnknownCode, occurrence, &detail, at)
    }

    fn about(m: &Migration, kind: Kind, occurrence: String, detail: &str, at: UnixMs) -> Self {
        let spec = m.spec.as_ref();
        let source = spec.map(|s| s.source.instance.clone());
        let target = m.target.as_ref().map(|t| t.instance.clone());
        Self {
            migration: Some(m.id.clone()),
            graph: spec.map(|s| s.graph.clone()),
            volume: spec.map(|s| s.volume.clone()),
            instances: source.into_iter().chain(target).collect(),
            snapshots: m.safety.iter().chain(&m.last).cloned().collect(),
            volume_at: match &m.place {
                Place::At { instance, device } => format!("{instance} {device}"),
                Place::Free => "free".to_owned(),
            },
            stage: Some(m.stage),
            direction: Some(m.direction),
            ..Self::bare(kind, occurrence, detail, at)
        }
    }

    fn bare(kind: Kind, occurrence: String, detail: &str, at: UnixMs) -> Self {
        Self {
            kind,
            occurrence,
            migration: None,
            graph: None,
            volume: None,
            instances: Vec::new(),
            snapshots: Vec::new(),
            volume_at: String::new(),
            stage: None,
            direction: None,
            reason: None,
            detail: detail.chars().take(DETAIL_MAX).collect(),
            at,
        }
    }

    /// One line for people, at most some 100 characters: the kind, which migration, why.
    pub fn headline(&self) -> String {
        let mut line = self.kind.as_str().to_owned();
        if let Some(id) = &self.migration {
            line = format!("{line}: {id}");
        }
        match self.reason {
            Some(reason) => format!("{line} {reason}"),
            None if self.migration.is_none() => format!("{line}: {}", self.detail),
            None => line,
        }
    }

    /// The message: one JSON object with always the same keys; `null` or empty where there is nothing.
    pub fn message(&self, environment: &str) -> Value {
        json!({
            "schema": MESSAGE_SCHEMA,
            "kind": self.kind.as_str(),
            "environment": environment,
            "occurrence": self.occurrence,
            "at_ms": self.at.0,
            "migration_id": self.migration,
            "graph_id": self.graph,
            "volume_id": self.volume,
            "volume_at": self.volume_at,
            "instances": self.instances,
            "snapshots": self.snapshots,
            "stage": self.stage.map(Stage::name),
            "direction": self.direction,
            "reason": self.reason.map(Reason::as_str),
            "detail": self.detail,
            "next_step": self.kind.next_step(),
        })
    }
}

/// A way to call an operator. It never waits and never fails: a migration does not stand still for an alert.
pub trait Alerts: Debug + Send + Sync {
    /// Takes an alert. The same occurrence may be raised again and again.
    fn raise(&self, alert: Alert);
}

/// Alerts as log lines at level ERROR, and nowhere else.
#[derive(Debug, Default)]
pub struct Log {
    taken: Taken,
}

impl Alerts for Log {
    fn raise(&self, alert: Alert) {
        if self.taken.first(&alert.occurrence) {
            logged(&alert);
        }
    }
}

/// Occurrences that a process remembers to have taken, so that one raised often is told once.
const REMEMBERED: usize = 4_096;

/// What was taken in this process.
#[derive(Debug, Default)]
struct Taken(Mutex<BTreeSet<String>>);

impl Taken {
    /// Whether it comes for the first time.
    fn first(&self, occurrence: &str) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED {
            taken.clear();
        }
        taken.insert(occurrence.to_owned())
    }

    /// It counts as not taken: to be told when it is raised again.
    fn forget(&self, occurrence: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(occurrence);
    }
}

/// The line of an alert.
fn logged(alert: &Alert) {
    tracing::error!(
        alert = true,
        kind = alert.kind.as_str(),
        occurrence = alert.occurrence,
        migration = alert.migration.as_ref().map(tracing::field::display),
        reason = alert.reason.map(tracing::field::display),
        detail = alert.detail,
        next_step = alert.kind.next_step(),
        "an operator is needed"
    );
}

#[cfg(test)]
pub(crate) mod tests;
