//! The port to the service that owns volumes: what subscription-svc asks of it, in its own words.
//!
//! An error's kind decides what is known: `Unavailable` and `Internal` leave the outcome open and are asked again;
//! every other kind is an answer. One direction only: volume-svc never calls back, its events are followed.

pub mod grpc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use subscription_core::change::{Event, Side};
use tiershift_core::event::{ChangeEvent, Direction};
use tiershift_core::ids::{ChangeId, GraphId, TierName, UserId};
use tiershift_core::{Error, Kind, NotChecked, Reason, UnixMs, Violation};

use crate::store::rows::{Endpoint, Expected};

/// What shall be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The graph.
    pub graph: GraphId,
    /// The tier it is on.
    pub source_tier: TierName,
    /// The tier it shall be on.
    pub target_tier: TierName,
    /// The target's instance type.
    pub target_instance_type: String,
    /// Past this the migration decides whether to turn back, in milliseconds (H36).
    pub max_write_block_ms: i64,
}

/// What preflight found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the graph stores, in bytes; none if nobody could say.
    pub usage_bytes: Option<i64>,
    /// The volume's zone; empty if not known.
    pub zone: String,
    /// Age of the oldest reading behind the plan, in milliseconds.
    pub read_age_ms: i64,
    /// Estimates.
    pub expected: Expected,
    /// Faults, none if it can start.
    pub violations: Vec<Violation>,
    /// Checks that did not run.
    pub not_checked: Vec<NotChecked>,
}

/// A start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The change's id, which is the migration's.
    pub id: ChangeId,
    /// What shall be moved.
    pub spec: Spec,
    /// Who asked.
    pub requested_by: UserId,
    /// sha256 of the accepted content, 64 hex digits.
    pub fingerprint: String,
}

/// Where a migration is, coarsely: as much as decisions here need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// Before its gate.
    BeforeGate,
    /// At its gate: waiting for the confirmation.
    AtGate,
    /// Past its gate, and the volume's detach is not journalled.
    PastGate,
    /// Past its detach: too late to cancel.
    PastDetach,
}

/// Whether a migration still moves the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On its way.
    Running,
    /// Only a person moves it.
    Stuck,
    /// The graph serves, on whichever side; perhaps still settling.
    Serves,
    /// It never began, and never will.
    Tombstone,
}

/// A migration at the head of its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: ChangeId,
    /// Where it is.
    pub position: Position,
    /// Whether it moves.
    pub status: Status,
    /// Which way.
    pub direction: Direction,
    /// The newest gate request; 0 if there was none.
    pub gate_id: u64,
    /// For how much longer the gate can be confirmed, in milliseconds, counted when this was read; 0 if it cannot.
    pub gate_remaining_ms: i64,
    /// Whether the point of no return is passed.
    pub committed: bool,
}

impl View {
    /// Waiting for the confirmation of this gate, for at least so much longer.
    pub fn waits_at(&self, gate_id: u64, at_least_ms: i64) -> bool {
        self.status == Status::Running
            && self.direction == Direction::Forward
            && self.position == Position::AtGate
            && self.gate_id == gate_id
            && self.gate_remaining_ms >= at_least_ms
    }

    /// Past its gate, with nobody serving writes: the access gate must be closed. One that settles serves, also while
    /// its clean-up is stuck: closing the gate over that would block a healthy graph.
    pub fn past_gate(&self) -> bool {
        matches!(self.status, Status::Running | Status::Stuck)
            && self.direction != Direction::Settle
            && self.position >= Position::PastGate
    }
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canceled {
    /// It is on its way back, or back; its events tell.
    TurningBack,
    /// The id was unknown: it can never start (H27).
    Tombstone,
}

/// What the follower acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Progress only.
    Progress,
    /// Close the gate.
    GateRequested {
        /// What the confirmation must name.
        gate_id: u64,
        /// What the graph stores, in bytes.
        usage_bytes: Option<i64>,
        /// The journal's epoch, to be named too (H19).
        store_epoch: i64,
    },
    /// The confirmation was accepted.
    GateConfirmed,
    /// Reads are closing.
    Offline,
    /// The graph is the target's.
    Committed(Endpoint),
    /// The target serves.
    Opened {
        /// Where.
        endpoint: Endpoint,
        /// From the first release request to this event, in milliseconds.
        offline_ms: i64,
    },
    /// It goes back from here.
    TurnedBack {
        /// Why.
        reason: Reason,
        /// The faults, if a check failed.
        violations: Vec<Violation>,
    },
    /// The source serves again.
    RolledBack {
        /// Why it went back.
        reason: Reason,
        /// The faults, if a check failed.
        violations: Vec<Violation>,
        /// Where; none if it was not found at all.
        endpoint: Option<Endpoint>,
        /// From the first release request to this event, in milliseconds; 0 if it never was offline.
        offline_ms: i64,
    },
    /// An operator said where it serves.
    HandedOver {
        /// The side.
        side: Side,
        /// The instance.
        endpoint: Endpoint,
    },
    /// Only a person moves it on.
    Stuck {
        /// Why.
        reason: Reason,
    },
    /// A person has.
    Resumed,
    /// All is done.
    Settled,
}

/// The stage in whose forward direction the detach is journalled.
const DETACH: &str = "detach";

/// One public event of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationEvent {
    /// What people see.
    pub event: ChangeEvent,
    /// What the follower acts on.
    pub fact: Fact,
}

impl MigrationEvent {
    /// What it means to the change; none if it is progress only.
    pub fn meaning(&self) -> Option<Event> {
        Some(match &self.fact {
            Fact::Progress if self.event.stage == DETACH && self.event.direction == Direction::Forward => {
                Event::DetachJournalled
            }
            // A migration that goes back ends RolledBack or Stuck; until then nothing opens and nothing is paid back.
            Fact::Progress | Fact::TurnedBack { .. } => return None,
            Fact::GateRequested { gate_id, usage_bytes, .. } => {
                Event::GateRequested { gate_id: *gate_id, usage_bytes: *usage_bytes }
            }
            Fact::GateConfirmed => Event::GateConfirmed,
            Fact::Offline => Event::Offline,
            Fact::Committed(_) => Event::Committed,
            Fact::Opened { .. } => Event::Opened,
            Fact::RolledBack { reason, .. } => Event::RolledBack { reason: *reason },
            Fact::HandedOver { side, .. } => Event::HandedOver { side: *side },
            Fact::Stuck { reason } => Event::Stuck { reason: *reason },
            Fact::Resumed => Event::Resumed,
            Fact::Settled => Event::Settled,
        })
    }
}

/// Where a follower stands in one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The migration.
    pub id: ChangeId,
    /// The last cursor received for it; none from its first event.
    pub cursor: Option<String>,
}

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An event, with the cursor right after it.
    Event {
        /// Opaque.
        cursor: String,
        /// The event.
        event: Box<MigrationEvent>,
    },
    /// Nothing is missing.
    Heartbeat,
    /// Nothing more will follow of this migration.
    Ended(ChangeId),
    /// The stream ends; come back.
    ComeBack,
}

/// Most migrations in one stream, as the contract has it.
pub const FOLLOWED_MAX: usize = 200;

/// The service that owns volumes.
#[async_trait]
pub trait Migrations: Send + Sync {
    /// Runs the checks of a start and changes nothing.
    async fn plan(&self, spec: &Spec) -> Result<Plan, Error>;

    /// Starts, or is told again to.
    async fn start(&self, start: &Start) -> Result<(), Error>;

    /// Reads the head. `NotFound` with reason `MigrationNotFound` if the id is unknown.
    async fn get(&self, id: &ChangeId) -> Result<View, Error>;

    /// All live migrations.
    async fn live(&self) -> Result<Vec<View>, Error>;

    /// Follows up to [`FOLLOWED_MAX`] migrations, each from its cursor.
    async fn watch(&self, follows: Vec<Follow>) -> Result<BoxStream<'static, Result<Message, Error>>, Error>;

    /// Confirms a gate.
    async fn confirm(&self, id: &ChangeId, gate_id: u64, store_epoch: i64) -> Result<(), Error>;

    /// Whether there is room for one more graph, by tier, in whatever zone. A tier that is not among them has none.
    async fn rooms(&self) -> Result<BTreeMap<TierName, Room>, Error>;

    /// Asks for the way back.
    async fn cancel(&self, id: &ChangeId, requested_by: &str, note: &str) -> Result<Canceled, Error>;
}

/// Whether there is room in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// No instance is idle, and none can be launched.
    Full,
    /// Nobody could say.
    Unknown,
    /// An instance is idle or can be launched.
    Available,
}

/// Whether an error leaves open what happened, so that the call is made again.
pub const fn outcome_open(error: &Error) -> bool {
    match error.kind {
        // A wrong credential or an old build is mended by people, and not told to the customer as a refusal.
        Kind::Unavailable
        | Kind::Internal
        | Kind::ResourceExhausted
        | Kind::Unauthenticated
        | Kind::PermissionDenied
        | Kind::Unimplemented => true,
        Kind::InvalidArgument
        | Kind::NotFound
        | Kind::AlreadyExists
        | Kind::FailedPrecondition
        | Kind::Aborted
        | Kind::OutOfRange => false,
    }
}

/// An endpoint as an event tells it; none if it names no instance.
pub fn endpoint(instance_id: &str, private_ip: &str, zone: &str, observed: UnixMs) -> Endpoint {
    Endpoint {
        instance_id: instance_id.to_owned(),
        private_ip: private_ip.to_owned(),
        availability_zone: zone.to_owned(),
        observed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_clean_up_is_not_past_its_gate() {
        let view = |direction, status| View {
            id: ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed"),
            position: Position::PastDetach,
            status,
            direction,
            gate_id: 7,
            gate_remaining_ms: 0,
            committed: true,
        };
        assert!(view(Direction::Forward, Status::Stuck).past_gate());
        assert!(view(Direction::Undo, Status::Running).past_gate());
        assert!(!view(Direction::Settle, Status::Stuck).past_gate(), "the target serves");
        assert!(!view(Direction::Forward, Status::Serves).past_gate());
    }
}
