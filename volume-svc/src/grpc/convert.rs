//! Migrations to and from `tiershift.volume.v1`. Proto types stop at this file.

use crate::hub::Public;
use crate::journal::Head;
use crate::migrations::{Plan, Wish};
use tiershift_common::convert::{event_to_proto, not_checked_to_proto, reason_to_proto, violation_to_proto};
use tiershift_common::fields::FieldsExt;
use tiershift_core::error::Fields;
use tiershift_core::event::{Direction, Reads, Writes};
use tiershift_core::ids::{GraphId, TierName};
use tiershift_core::{Reason, UnixMs};
use tiershift_proto::common::v1 as common;
use tiershift_proto::volume::v1 as pb;
use volume_core::fact::{Fact, Resume, Side, Spec};
use volume_core::stage::Stage;
use volume_core::view::Status;

/// Milliseconds after which turning back is weighed, as the contract allows them: a second to an hour.
const WRITE_BLOCK_MS: std::ops::RangeInclusive<i64> = 1_000..=3_600_000;

/// The same when the caller does not say.
const WRITE_BLOCK_DEFAULT_MS: i64 = 300_000;

/// Most bytes of a storage limit.
const STORAGE_LIMIT_MAX: i64 = 1 << 60;

/// A wish, or its faults noted.
pub fn wish(fields: &mut Fields, spec: Option<pb::MigrationSpec>) -> Option<Wish> {
    let spec = fields.required("spec", spec)?;
    let graph = fields.id("spec.graph_id", GraphId::parse(spec.graph_id));
    let source_tier = fields.optional_id("spec.source_tier", &spec.source_tier, TierName::parse);
    let target_tier = fields.id("spec.target_tier", TierName::parse(spec.target_tier));
    let kind = fields.text("spec.target_instance_type", &spec.target_instance_type, 0..=32);
    let limit = fields.range("spec.storage_limit_bytes", spec.storage_limit_bytes, 0..=STORAGE_LIMIT_MAX);
    let block = match spec.max_write_block_ms {
        0 => Some(WRITE_BLOCK_DEFAULT_MS),
        given => fields.range("spec.max_write_block_ms", given, WRITE_BLOCK_MS),
    };
    Some(Wish {
        graph: graph?,
        source_tier: source_tier?,
        target_tier: target_tier?,
        target_instance_type: kind?,
        storage_limit_bytes: limit.filter(|l| *l > 0),
        max_write_block_ms: block?,
    })
}

fn ms(at: Option<UnixMs>) -> i64 {
    at.map_or(0, |t| t.0)
}

fn seq(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn stage(stage: Stage) -> pb::MigrationStage {
    use pb::MigrationStage as P;
    match stage {
        Stage::Preflight => P::Preflight,
        Stage::SafetySnapshot => P::SafetySnapshot,
        Stage::Capacity => P::Capacity,
        Stage::Gate => P::Gate,
        Stage::DrainWrites => P::DrainWrites,
        Stage::DrainReads => P::DrainReads,
        Stage::Release => P::Release,
        Stage::FinalSnapshot => P::FinalSnapshot,
        Stage::Detach => P::Detach,
        Stage::Attach => P::Attach,
        Stage::Adopt => P::Adopt,
        Stage::Commit => P::Commit,
        Stage::Open => P::Open,
        Stage::Settle => P::Settle,
    }
}

/// Status as sent.
pub fn status(status: Status) -> pb::MigrationStatus {
    match status {
        Status::Running => pb::MigrationStatus::Running,
        Status::Succeeded => pb::MigrationStatus::Succeeded,
        Status::RolledBack => pb::MigrationStatus::RolledBack,
        Status::Stuck => pb::MigrationStatus::Stuck,
        Status::Tombstone => pb::MigrationStatus::Tombstone,
    }
}

/// A migration from its head.
pub fn migration(head: &Head, now: UnixMs) -> pb::Migration {
    let view = &head.view;
    let spec = head.spec.as_ref();
    let text = |pick: fn(&Spec) -> String| spec.map(pick).unwrap_or_default();
    let snapshot = |id: &Option<String>, purpose: pb::SnapshotPurpose| {
        id.as_ref().map(|id| pb::Snapshot {
            snapshot_id: id.clone(),
            volume_id: text(|s| s.volume.to_string()),
            purpose: purpose.into(),
            migration_id: head.id.to_string(),
            ..Default::default()
        })
    };
    let snapshots = [
        snapshot(&view.safety_snapshot, pb::SnapshotPurpose::Safety),
        snapshot(&view.final_snapshot, pb::SnapshotPurpose::Final),
    ];
    // Nothing was ever begun: it has no stage, no way and no events of a move.
    let tombstone = view.status == Status::Tombstone;
    let gate_open = view.stage == Stage::Gate && view.direction == Direction::Forward && !view.gate_confirmed;
    pb::Migration {
        migration_id: head.id.to_string(),
        graph_id: text(|s| s.graph.to_string()),
        volume_id: text(|s| s.volume.to_string()),
        availability_zone: text(|s| s.zone.to_string()),
        source_instance_id: text(|s| s.source.instance.to_string()),
        target_instance_id: view.target.clone().unwrap_or_default(),
        source_tier: text(|s| s.source_tier.to_string()),
        target_tier: text(|s| s.target_tier.to_string()),
        stage: if tombstone { pb::MigrationStage::Unspecified } else { stage(view.stage) }.into(),
        direction: match view.direction {
            _ if tombstone => common::Direction::Unspecified,
            Direction::Forward => common::Direction::Forward,
            Direction::Undo => common::Direction::Undo,
            Direction::Settle => common::Direction::Settle,
        }
        .into(),
        status: status(view.status).into(),
        reason: view.reason.map_or(common::ErrorReason::Unspecified, reason_to_proto).into(),
        reason_message: view.reason_detail.clone().unwrap_or_default(),
        stuck_since_unix_ms: ms(view.stuck_since),
        gate_id: view.gate_id.map_or(0, seq),
        gate_deadline_unix_ms: ms(view.gate_deadline_at),
        permille: if tombstone { 0 } else { i32::try_from(view.permille).unwrap_or(1_000) },
        eta_ms: (!tombstone).then_some(view.eta_ms),
        reads: match view.reads {
            Reads::Open => common::ReadState::Open,
            Reads::Closing => common::ReadState::Closing,
            Reads::Closed => common::ReadState::Closed,
        }
        .into(),
        writes: match view.writes {
            Writes::Open => common::WriteState::Open,
            Writes::Closed => common::WriteState::Closed,
        }
        .into(),
        snapshots: snapshots.into_iter().flatten().collect(),
        owner: head.owner.to_string(),
        fence: head.fence,
        store_epoch: head.store_epoch,
        last_seq: if tombstone { 0 } else { seq(head.public_seq) },
        usage: None,
        requested_by: head.requested_by.clone(),
        cancel_requested: view.reason == Some(Reason::CanceledByRequest),
        handed_over_side: pb::MigrationSide::Unspecified.into(),
        started_unix_ms: head.created_at.0,
        updated_unix_ms: head.updated_at.0,
        committed_unix_ms: ms(head.committed_at),
        opened_unix_ms: ms(head.opened_at),
        ended_unix_ms: ms(head.done_at),
        gate_remaining_ms: match view.gate_deadline_at {
            Some(deadline) if gate_open => deadline.since(now),
            _ => 0,
        },
    }
}

/// Usage of a graph, if it was read.
pub fn usage(graph: &str, bytes: Option<i64>, at: UnixMs) -> Option<common::GraphUsage> {
    bytes.map(|engine_bytes| common::GraphUsage {
        graph_id: graph.to_owned(),
        engine_bytes,
        databases: Vec::new(),
        measured_unix_ms: at.0,
    })
}

/// A plan as sent.
pub fn plan(graph: &str, plan: &Plan) -> pb::MigrationPlan {
    let facts = &plan.facts;
    let volume = facts.volume.as_ref();
    let known = volume.is_some();
    pb::MigrationPlan {
        usage: usage(graph, facts.usage_bytes, facts.read_at),
        volume_id: volume.map(|v| v.id.to_string()).unwrap_or_default(),
        source_instance_id: facts.source.as_ref().map(|s| s.instance.to_string()).unwrap_or_default(),
        availability_zone: volume.and_then(|v| v.zone.as_ref()).map(ToString::to_string).unwrap_or_default(),
        read_age_ms: plan.read_age_ms,
        expected_write_block_ms: known.then_some(plan.blocked_ms),
        expected_offline_ms: known.then_some(plan.offline_ms),
        expected_total_ms: known.then_some(plan.total_ms),
        launch_needed: plan.launch_needed,
        violations: plan.verdict.violations.iter().map(violation_to_proto).collect(),
        not_checked: plan.verdict.not_checked.iter().map(not_checked_to_proto).collect(),
    }
}

fn or_else(said: String, otherwise: Option<&str>) -> String {
    if said.is_empty() { otherwise.unwrap_or_default().to_owned() } else { said }
}

/// A public event with the fact that programs act on: decided by type, never by text.
pub fn event(spec: Option<&Spec>, epoch: i64, public: &Public, offline_ms: i64) -> pb::MigrationEvent {
    use pb::migration_event::Fact as P;
    let detail = |key: &str| public.event.detail.get(key).cloned().unwrap_or_default();
    let zone = spec.map(|s| s.zone.to_string()).unwrap_or_default();
    let fact = match &public.entry.fact {
        Fact::GateRequested { usage_bytes, deadline_at } => Some(P::GateRequested(pb::GateRequested {
            gate_id: seq(public.event.seq),
            usage: spec.and_then(|s| usage(s.graph.as_str(), Some(*usage_bytes), public.entry.at)),
            deadline_unix_ms: deadline_at.0,
            store_epoch: epoch,
            expected_write_block_ms: None,
        })),
        Fact::GateConfirmed { gate_id } => Some(P::GateConfirmed(pb::GateConfirmed { gate_id: seq(*gate_id) })),
        Fact::Entered { stage: Stage::DrainReads } => Some(P::Offline(pb::Offline {})),
        Fact::Committed { private_ip } => Some(P::Committed(pb::Committed {
            instance_id: detail("instance"),
            private_ip: private_ip.clone(),
            availability_zone: zone,
            tier: spec.map(|s| s.target_tier.to_string()).unwrap_or_default(),
            volume_id: spec.map(|s| s.volume.to_string()).unwrap_or_default(),
            committed_unix_ms: public.entry.at.0,
        })),
        Fact::Opened => Some(P::Opened(pb::Opened {
            instance_id: detail("instance"),
            private_ip: detail("private_ip"),
            availability_zone: zone,
            offline_ms,
        })),
        Fact::UndoBegun { reason, .. } => {
            Some(P::TurnedBack(pb::TurnedBack { reason: reason_to_proto(*reason).into(), violations: Vec::new() }))
        }
        // An event that does not say where was written when it could only be the source.
        Fact::RolledBack => Some(P::RolledBack(pb::RolledBack {
            reason: Reason::parse(&detail("reason")).map_or(common::ErrorReason::Unspecified, reason_to_proto).into(),
            violations: Vec::new(),
            instance_id: or_else(detail("instance"), spec.map(|s| s.source.instance.as_str())),
            private_ip: or_else(detail("private_ip"), spec.map(|s| s.source.private_ip.as_str())),
            offline_ms,
        })),
        Fact::HandedOver { side, by, note } => Some(P::HandedOver(pb::HandedOver {
            side: match side {
                Side::Source => pb::MigrationSide::Source,
                Side::Target => pb::MigrationSide::Target,
            }
            .into(),
            instance_id: detail("instance"),
            private_ip: detail("private_ip"),
            availability_zone: zone,
            operator: by.clone(),
            note: note.clone(),
        })),
        Fact::Stuck { reason, .. } => {
            Some(P::Stuck(pb::Stuck { reason: reason_to_proto(*reason).into(), since_unix_ms: public.entry.at.0 }))
        }
        Fact::Resumed { action, by, note } => Some(P::Resumed(pb::Resumed {
            action: match action {
                Resume::Retry => pb::ResumeAction::Retry,
                Resume::GoForward => pb::ResumeAction::GoForward,
            }
            .into(),
            operator: by.clone(),
            note: note.clone(),
        })),
        Fact::Done => Some(P::Settled(pb::Settled {})),
        _ => None,
    };
    pb::MigrationEvent { event: Some(event_to_proto(&public.event)), fact }
}
