//! What people are called for: always when only they can go on, and when something went wrong that the machine gets on
//! with by itself but that they must know.
//!
//! Whom it is told, and that it is told once for each fact, is the shell's (`volume-svc/src/alerts.rs`).

use crate::fact::{Amiss, Fact};
use tiershift_core::Reason;

/// What a fact calls people for, with words for them.
pub fn of(fact: &Fact) -> Option<(Reason, String)> {
    Some(match fact {
        Fact::Stuck { reason, detail } => (*reason, detail.clone()),
        Fact::SourceLost { instance } => {
            let detail = format!(
                "{instance} has ended with the gate closed: if an engine had the volume open there, the one that opens it next \
                 recovers from its log"
            );
            (Reason::SourceLost, detail)
        }
        Fact::SnapshotAmiss { snapshot, what } => {
            let how = match what {
                Amiss::Failed => "ended in error",
                Amiss::Late => "is still pending",
            };
            let detail =
                format!("the final snapshot {snapshot} {how}; source and volume are kept until one is completed");
            (Reason::SnapshotFailed, detail)
        }
        Fact::SnapshotStoodIn { snapshot } => {
            (Reason::SnapshotFailed, format!("the later snapshot {snapshot} stands in for the final one that failed"))
        }
        _ => return None,
    })
}
