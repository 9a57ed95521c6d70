//! What people are called for: always when only they can go on, and when something went wrong that the machine gets on
//! with by itself but that they must know.
//!
//! Said once for each fact, when it has become durable; a restart repeats none of them.

use crate::fact::{Amiss, Fact};
use crate::state::{Host, Migration};
use tiershift_core::Reason;

/// What a fact calls people for, with words for them. `before` is the state before the append that wrote it.
pub fn of(before: &Migration, fact: &Fact) -> Option<(Reason, String)> {
    Some(match fact {
        Fact::Stuck { reason, detail } => (*reason, detail.clone()),
        Fact::SourceLost { instance } if before.source_host == Host::Unmounted => {
            (Reason::SourceLost, format!("{instance} has ended; another instance of its group takes its place"))
        }
        Fact::SourceLost { instance } => {
            let why = format!(
                "{instance} has ended with the gate closed, before it had let go of the volume: it is detached uncleanly, \
                 and the engine that opens it next recovers from its log"
            );
            (Reason::SourceLost, why)
        }
        Fact::SnapshotAmiss { snapshot, what: Amiss::Failed } => (
            Reason::SnapshotFailed,
            format!(
                "the final snapshot {snapshot} ended in error; source and volume are kept until another is completed"
            ),
        ),
        Fact::SnapshotAmiss { snapshot, what: Amiss::Late } => (
            Reason::SnapshotFailed,
            format!("the final snapshot {snapshot} is still pending; source and volume are kept until it is completed"),
        ),
        Fact::SnapshotStoodIn { snapshot } => {
            (Reason::SnapshotFailed, format!("the later snapshot {snapshot} stands in for the final one that failed"))
        }
        _ => return None,
    })
}
