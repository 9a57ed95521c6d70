//! What this driver has seen since it loaded the journal: reads, silences, answers. Not durable, never trusted
//! across a restart; a streak of agreeing reads is what turns a read into a fact (rule 12).
//!
//! Durable state is `state.rs`.

use crate::effect::{Done, Effect, Observe, Seen, Trouble};
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::UnixMs;
use tiershift_core::ids::InstanceId;

/// Equal answers to the same question, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streak {
    /// The answer.
    pub seen: Seen,
    /// When it was first given.
    pub first_at: UnixMs,
    /// When it was last given.
    pub last_at: UnixMs,
    /// How many times in a row.
    pub reads: u32,
}

impl Streak {
    /// Whether the answer was given at least `reads` times over at least `span_ms`.
    pub fn holds(&self, reads: u32, span_ms: i64) -> bool {
        self.reads >= reads && self.last_at.since(self.first_at) >= span_ms
    }
}

/// What happened to the calls of the open intent in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// This process appended the intent itself, so no other call of it can be under way.
    pub fresh: bool,
    /// Calls made by this process.
    pub made: u32,
    /// When the last one was answered.
    pub last_at: Option<UnixMs>,
    /// The last answer.
    pub answer: Option<Result<Done, Trouble>>,
}

/// Everything seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Of the open intent.
    pub calls: Calls,
    /// By question.
    streaks: BTreeMap<Observe, Streak>,
    /// An intent of another fence that was open when this driver loaded, and when it first saw it (F6).
    pub foreign: Option<(Effect, UnixMs)>,
    /// Candidates whose reservation was refused.
    pub rejected: BTreeSet<InstanceId>,
    /// The commit was refused by a row of the registries.
    pub registry_conflict: bool,
    /// When progress was last shown.
    pub shown_at: Option<UnixMs>,
}

impl Scratch {
    /// Notes an answer to a question.
    pub fn saw(&mut self, at: UnixMs, what: Observe, seen: Seen) {
        match self.streaks.get_mut(&what) {
            Some(streak) if streak.seen == seen => {
                streak.last_at = at;
                streak.reads += 1;
            }
            _ => {
                self.streaks.insert(what, Streak { seen, first_at: at, last_at: at, reads: 1 });
            }
        }
    }

    /// The present streak of answers to a question.
    pub fn streak(&self, what: &Observe) -> Option<&Streak> {
        self.streaks.get(what)
    }

    /// Forgets the answers to a question, so that it is asked anew.
    pub fn forget(&mut self, what: &Observe) {
        self.streaks.remove(what);
    }

    /// Something was appended: what was seen before it may be older than it.
    pub fn turned(&mut self) {
        self.streaks.clear();
    }
}
