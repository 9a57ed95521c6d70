//! What watchers see of a fact: one sentence, progress, and whether reads and writes are open.

use crate::fact::{Fact, Side};
use crate::progress;
use crate::state::{Host, Migration};
use std::collections::BTreeMap;
use tiershift_core::UnixMs;
use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};

/// Holds a public fact's place while the state behind it is computed.
pub(crate) fn placeholder(before: &Migration, now: UnixMs) -> ChangeEvent {
    ChangeEvent {
        change_id: before.id.to_string(),
        seq: before.public_seq + 1,
        at_ms: now.since(before.started_at),
        source: Source::Volume,
        stage: before.stage.name().to_owned(),
        direction: before.direction,
        permille: before.permille(),
        eta_ms: 0,
        reads: Reads::Open,
        writes: Writes::Open,
        message: String::new(),
        detail: BTreeMap::new(),
    }
}

/// The public event of a fact.
pub(crate) fn public(before: &Migration, after: &Migration, fact: &Fact, now: UnixMs) -> ChangeEvent {
    let ends = matches!(fact, Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. });
    let shown = if ends { before } else { after };
    let (permille, eta_ms) = if ends { (1_000, 0) } else { progress::of(after, now) };
    let started_at = if before.seq == 0 { now } else { before.started_at };
    ChangeEvent {
        change_id: after.id.to_string(),
        seq: before.public_seq + 1,
        at_ms: now.since(started_at),
        source: Source::Volume,
        stage: shown.stage.name().to_owned(),
        direction: shown.direction,
        permille: permille.max(after.shown.get(&shown.direction).copied().unwrap_or(0)),
        eta_ms,
        reads: reads(after),
        writes: writes(after),
        message: message(after, fact),
        detail: detail(after, fact),
    }
}

/// Whether clients may read, as far as this service knows.
pub fn reads(m: &Migration) -> Reads {
    match m.direction {
        Direction::Forward => m.stage.reads(),
        Direction::Settle => Reads::Open,
        Direction::Undo => match m.source_host {
            Host::Serving => Reads::Open,
            Host::Drained if !m.drained(crate::effect::Scope::All) => Reads::Open,
            Host::Drained => Reads::Closing,
            Host::Adopted | Host::Closed | Host::Unmounted => Reads::Closed,
        },
    }
}

/// Whether clients may write, as far as this service knows: a confirmed gate stays closed until the end.
pub fn writes(m: &Migration) -> Writes {
    let confirmed = m.gate.as_ref().is_some_and(|g| g.confirmed_at.is_some());
    match m.direction {
        Direction::Forward => m.stage.writes(),
        Direction::Undo if confirmed => Writes::Closed,
        Direction::Undo | Direction::Settle => Writes::Open,
    }
}

fn message(after: &Migration, fact: &Fact) -> String {
    use crate::stage::Stage;
    match fact {
        Fact::Started { spec } => format!("moving {} from {} to {}", spec.graph, spec.source_tier, spec.target_tier),
        Fact::Entered { stage } => match stage {
            Stage::Preflight => "checking behind the locks",
            Stage::SafetySnapshot => "taking the safety snapshot while you go on writing",
            Stage::Capacity => "getting a target instance ready",
            Stage::Gate => "everything slow is done; preparing to block writes",
            Stage::DrainWrites => "running writes are finishing",
            Stage::DrainReads => "running reads are finishing",
            Stage::Release => "the source stops and unmounts the volume",
            Stage::FinalSnapshot => "taking the final snapshot",
            Stage::Detach => "detaching the volume",
            Stage::Attach => "attaching the volume to the target",
            Stage::Adopt => "the target opens the data and compares it",
            Stage::Commit => "committing the move",
            Stage::Open => "the target opens its door",
            Stage::Settle => "settling",
        }
        .to_owned(),
        Fact::Progress { percent } => format!("{}: {percent} %", after.stage),
        Fact::TargetFailed { instance, reason } => {
            let next = if after.at_target() { "taking the volume back from it" } else { "looking for another" };
            format!("target {instance} failed ({reason}); {next}")
        }
        Fact::TargetDropped { instance, .. } => format!("target {instance} is given up"),
        Fact::GateRequested { .. } => "ready to move; waiting for the write gate".to_owned(),
        Fact::GateConfirmed { .. } => "the write gate is closed; running writes are finishing".to_owned(),
        Fact::Committed { .. } => "the move is committed".to_owned(),
        Fact::Opened => "the graph serves on its new instance".to_owned(),
        Fact::UndoBegun { reason, detail, .. } => format!("going back ({reason}): {detail}"),
        Fact::RolledBack => "the graph serves on its old instance again".to_owned(),
        Fact::Stuck { reason, detail } => format!("an operator is needed ({reason}): {detail}"),
        Fact::Resumed { by, .. } => format!("{by} set the migration going again"),
        Fact::HandedOver { side, by, .. } => {
            let side = if *side == Side::Source { "old" } else { "new" };
            format!("{by} handed the graph over on its {side} instance")
        }
        Fact::SourceLost { instance } => {
            let next =
                if after.direction == Direction::Undo { "another takes its place" } else { "going on without it" };
            format!("instance {instance} has ended; {next}")
        }
        Fact::SourceReplaced { home } => {
            format!("going back to {}, a new instance in the old one's place", home.instance)
        }
        Fact::Done => "everything is put away".to_owned(),
        Fact::Tombstone { by } => format!("canceled by {by} before it started"),
        private => private.name().to_owned(),
    }
}

fn detail(after: &Migration, fact: &Fact) -> BTreeMap<String, String> {
    let mut detail = BTreeMap::new();
    let mut put = |key: &str, value: String| detail.insert(key.to_owned(), value);
    match fact {
        Fact::Started { spec } => {
            put("volume", spec.volume.to_string());
            put("source", spec.source.instance.to_string());
            put("zone", spec.zone.to_string());
        }
        Fact::Entered { .. } => {
            if let Some(target) = &after.target {
                put("target", target.instance.to_string());
                put("target_launched", target.launched.to_string());
            }
        }
        Fact::GateRequested { usage_bytes, .. } => {
            put("usage_bytes", usage_bytes.to_string());
            if let Some(gate) = &after.gate {
                put("gate_id", gate.id.to_string());
            }
        }
        Fact::UndoBegun { reason, by, .. } => {
            put("reason", reason.as_str().to_owned());
            if let Some(by) = by {
                put("by", by.clone());
            }
        }
        Fact::Stuck { reason, .. } => {
            put("reason", reason.as_str().to_owned());
            put("volume_at", progress::place_word(after).to_owned());
        }
        Fact::Committed { .. } | Fact::Opened => {
            if let Some(target) = &after.target {
                put("instance", target.instance.to_string());
                put("private_ip", target.private_ip.clone());
            }
        }
        Fact::RolledBack => {
            if let Some(home) = after.home() {
                put("instance", home.instance.to_string());
                put("private_ip", home.private_ip.clone());
            }
            if let Some(undo) = &after.undo {
                put("reason", undo.reason.as_str().to_owned());
            }
        }
        Fact::Resumed { note, .. } => {
            put("note", note.clone());
        }
        Fact::HandedOver { side, note, .. } => {
            put("note", note.clone());
            let party = match side {
                Side::Source => after.home(),
                Side::Target => after.target.as_ref(),
            };
            if let Some(party) = party {
                put("instance", party.instance.to_string());
                put("private_ip", party.private_ip.clone());
            }
        }
        _ => {}
    }
    detail
}
