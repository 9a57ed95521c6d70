//! The person who is called: once nothing goes wrong any more, every stuck migration is retried, as a runbook would have
//! it. What a retry does not move stays stuck, with its locks, and is counted.

use crate::monitor::Monitor;
use crate::stack::Stack;
use tiershift_core::ids::ChangeId;
use volume_core::fact::Resume;

/// Retries of one migration before a person would look deeper.
pub const RETRIES_MAX: u32 = 3;

/// Retries what is stuck, each at most [`RETRIES_MAX`] times. Gives the migrations that it moved.
pub async fn retry(stack: &Stack, monitor: &Monitor, retried: &mut std::collections::BTreeMap<ChangeId, u32>) -> usize {
    let stuck: Vec<ChangeId> = monitor.journals(|journals| {
        journals.iter().filter(|(_, journal)| journal.stuck.is_some()).map(|(id, _)| id.clone()).collect()
    });
    let Some(migrations) = stack.migrations() else { return 0 };
    let mut moved = 0;
    for id in stuck {
        let tries = retried.entry(id.clone()).or_insert(0);
        if *tries >= RETRIES_MAX {
            continue;
        }
        *tries += 1;
        monitor.tell(format_args!("operator retries {id}"));
        match migrations.resume(&id, Resume::Retry, "op_sim", "the cause is mended").await {
            Ok(_) => moved += 1,
            Err(fault) => monitor.tell(format_args!("operator is refused: {}", fault.error().reason)),
        }
    }
    moved
}
