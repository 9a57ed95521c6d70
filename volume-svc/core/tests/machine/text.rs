//! Effects, facts and next things as short words, for lists and tables.

use crate::world::fixture::word;
use volume_core::Next;
use volume_core::effect::{Command, Done, Effect, Observe};
use volume_core::fact::{Fact, Outcome};

pub fn effect(effect: &Effect) -> String {
    let name = effect.name();
    match effect {
        Effect::Protect { instance, .. }
        | Effect::Drain { instance, .. }
        | Effect::Resume { instance }
        | Effect::Release { instance }
        | Effect::Adopt { instance }
        | Effect::Terminate { instance, decrement: true, .. } => format!("{name} {}", word(instance)),
        Effect::Terminate { instance, decrement: false, .. } => format!("{name} {} (replaced)", word(instance)),
        Effect::Detach { instance, device }
        | Effect::Attach { instance, device }
        | Effect::KeepOnTermination { instance, device } => format!("{name} {} {device}", word(instance)),
        Effect::Snapshot { .. } => name.to_owned(),
        Effect::Launch { group, .. } => format!("{name} {group}"),
        Effect::TagVolume { tier } => format!("{name} {tier}"),
        Effect::DeleteSnapshot { snapshot } => format!("{name} {snapshot}"),
    }
}

pub fn observe(what: &Observe) -> String {
    match what {
        Observe::Facts => "facts".to_owned(),
        Observe::Snapshots { purpose } => format!("snapshots {}", purpose.name()),
        Observe::AllSnapshots => "snapshots of anybody".to_owned(),
        Observe::Candidates => "candidates".to_owned(),
        Observe::Instance { instance } => format!("instance {}", word(instance)),
        Observe::Volume => "volume".to_owned(),
        Observe::AgentVolume { instance } => format!("agent_volume {}", word(instance)),
        Observe::Writers { instance } => format!("writers {}", word(instance)),
        Observe::Connections { instance } => format!("connections {}", word(instance)),
        Observe::Probe { instance } => format!("probe {}", word(instance)),
        Observe::Usage { instance } => format!("usage {}", word(instance)),
        Observe::Group { group } => format!("group {group}"),
        Observe::Permits => "permits".to_owned(),
    }
}

pub fn fact(fact: &Fact) -> String {
    let name = fact.name();
    match fact {
        Fact::Entered { stage } => format!("{name} {stage}"),
        Fact::Progress { percent } => format!("{name} {percent}"),
        Fact::Intent { effect: what, .. } => format!("{name} {}", effect(what)),
        Fact::Outcome { outcome, .. } => match outcome {
            Outcome::Done(Done::Released { .. }) => format!("{name} released"),
            Outcome::Done(_) => format!("{name} done"),
            Outcome::Refused(trouble) => format!("{name} refused {trouble:?}"),
            Outcome::Abandoned => format!("{name} abandoned"),
        },
        Fact::Reserved { target } => format!("{name} {}", word(&target.instance)),
        Fact::SourceLost { instance } => format!("{name} {}", word(instance)),
        Fact::SourceReplaced { home } => format!("{name} {}", word(&home.instance)),
        Fact::SnapshotAmiss { what, .. } => format!("{name} {what:?}"),
        Fact::TargetFailed { instance, reason } | Fact::TargetDropped { instance, reason } => {
            format!("{name} {} {reason}", word(instance))
        }
        Fact::UndoBegun { reason, .. } | Fact::Stuck { reason, .. } => format!("{name} {reason}"),
        Fact::Resumed { action, .. } => format!("{name} {action:?}"),
        Fact::HandedOver { side, .. } => format!("{name} {side:?}"),
        Fact::Started { .. }
        | Fact::TakenOver { .. }
        | Fact::TargetReady { .. }
        | Fact::GateRequested { .. }
        | Fact::GateConfirmed { .. }
        | Fact::WritesDrained { .. }
        | Fact::Committed { .. }
        | Fact::Rehomed { .. }
        | Fact::Opened
        | Fact::RolledBack
        | Fact::SnapshotCompleted { .. }
        | Fact::SnapshotStoodIn { .. }
        | Fact::SourceKept
        | Fact::Done
        | Fact::Tombstone { .. } => name.to_owned(),
    }
}

pub fn facts(facts: &[Fact]) -> String {
    facts.iter().map(fact).collect::<Vec<_>>().join(", ")
}

/// The next thing, as seen at `now`.
pub fn next(next: &Next, now: i64) -> String {
    match next {
        Next::Append(list) => format!("append {}", facts(list)),
        Next::Run(Command::Effect { effect: what, .. }) => format!("call {}", effect(what)),
        Next::Run(Command::Observe(what)) => format!("look {}", observe(what)),
        Next::Wait(until) => format!("wait {} ms", until.0 - now),
        Next::Idle => "idle".to_owned(),
        Next::Over => "over".to_owned(),
    }
}
