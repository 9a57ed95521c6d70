//! The invariants that a write to the registries can break: 12, no update creates a row, and no row says more than was
//! observed, measured by what is true.

use super::{Verdict, holds};
use cloud_sim::Sim;
use volume_core::item::{Item, Op, Table, Write};

/// Looks at one write that was applied. `existed` says whether its item was there before.
pub fn written(write: &Write, existed: bool, sim: &Sim) -> Verdict {
    let registry = matches!(write.key.table, Table::Graph | Table::Volume | Table::Instance);
    let set = match &write.op {
        Op::Update { set, .. } => {
            holds("12", existed || !registry, || format!("an update made the row {}", write.key.pk))?;
            set
        }
        Op::Upsert { set, .. } => set,
        Op::Put(_) | Op::Count { .. } | Op::Check => return Ok(()),
    };
    match write.key.table {
        Table::Volume => volume(&write.key.pk, set, sim),
        Table::Instance => instance(&write.key.pk, set, sim),
        Table::Graph | Table::Journal | Table::Locks => Ok(()),
    }
}

/// A volume's row follows what is established: attached there, or free. Never `available` while a migration has it: that
/// would offer it to whoever boots next.
fn volume(id: &str, set: &Item, sim: &Sim) -> Verdict {
    let held = sim.held(id);
    match (set.s("status"), set.s("instance_id")) {
        (Some("attached"), Some(instance)) => {
            let there = held.as_ref().is_some_and(|h| h.instance_id == instance && h.state == "attached");
            holds("12", there, || format!("the row of {id} says attached to {instance}, and it is {held:?}"))
        }
        (Some("detaching"), None) => {
            let free = held.as_ref().is_none_or(|h| h.state != "attached");
            holds("12", free, || format!("the row of {id} says that it left its instance, and it is {held:?}"))
        }
        (Some("available"), _) => {
            holds("12", false, || format!("the row of {id} offers it to others, and it is {held:?}"))
        }
        _ => Ok(()),
    }
}

fn instance(id: &str, set: &Item, sim: &Sim) -> Verdict {
    let ended = set.s("status") != Some("terminated") || sim.ending(id);
    holds("12", ended, || format!("the row of {id} says terminated, and it runs"))
}
