//! The catalogue of failures (docs/aws.md, section 11) and the scenarios of the protocol (docs/protocol.md, section 5),
//! one test or more for each row, named after it; `docs/scenarios.md` says which. What the journal, the adapters and the
//! simulated cloud must do is tested beside them.
//!
//! A test here shows one failure in one place. That every failure is survived everywhere is `steps.rs`, `table.rs` and
//! `properties.rs`.

mod agents;
mod fleet;
mod protocol;
mod reads;
mod snapshots;
mod volume;

pub(super) use crate::stories::{at, at_open, one, steps, told, two};

use crate::world::driver::Run;
use tiershift_core::event::Direction;
use volume_core::fact::Resume;

/// Calls of an effect that arrived, with what came of them.
fn arrived(run: &Run, name: &str) -> usize {
    run.world.arrived.iter().filter(|(_, effect, _)| effect.name() == name).count()
}

/// How often an effect was decided.
fn decided(run: &Run, name: &str) -> usize {
    told(run, 0).iter().filter(|line| line.starts_with(&format!("intent {name}"))).count()
}

/// Runs until it turns back.
fn turned_back(run: &mut Run) {
    run.until("the way back", |run| run.state().direction == Direction::Undo);
}

/// What an operator does when the cause is mended.
fn retry(run: &mut Run) {
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "mended")).expect("it is stuck");
}
