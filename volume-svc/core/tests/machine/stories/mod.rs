//! Scenarios of the protocol, each with the one thing that it is about. Invariants and replay are checked at every
//! step by the driver; here stands what happened, in which order, and where it ended.

mod drivers;
mod rows;
mod settling;
mod source;
mod stuck;
mod targets;

use crate::text;
use crate::world::driver::Run;
use crate::world::fixture::{Setup, idle};
use volume_core::fact::Fact;
use volume_core::stage::Stage;

pub(super) fn two() -> Setup {
    Setup::idle_target()
}

pub(super) fn one() -> Setup {
    Setup { idle: vec![idle(1)], ..Setup::idle_target() }
}

pub(super) fn at(setup: &Setup, stage: Stage) -> Run {
    let mut run = Run::start(setup);
    run.until(stage.name(), |run| run.state().stage == stage);
    run
}

pub(super) fn at_open(setup: &Setup, name: &str) -> Run {
    let mut run = Run::start(setup);
    run.until(name, |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == name));
    run
}

/// Intents and turns of the journal from an entry on.
pub(super) fn told(run: &Run, from: usize) -> Vec<String> {
    run.world.store.entries[from..]
        .iter()
        .filter(|e| {
            matches!(
                e.fact,
                Fact::Intent { .. }
                    | Fact::Reserved { .. }
                    | Fact::TargetFailed { .. }
                    | Fact::TargetDropped { .. }
                    | Fact::UndoBegun { .. }
                    | Fact::Stuck { .. }
                    | Fact::Committed { .. }
                    | Fact::Rehomed { .. }
                    | Fact::SourceLost { .. }
                    | Fact::SourceReplaced { .. }
                    | Fact::SnapshotAmiss { .. }
                    | Fact::SnapshotStoodIn { .. }
                    | Fact::Opened
                    | Fact::RolledBack
            )
        })
        .map(|e| text::fact(&e.fact))
        .collect()
}

pub(super) fn steps(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}
