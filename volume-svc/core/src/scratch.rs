//! What this driver has seen since it loaded the journal: reads, silences, answers. Not durable, never trusted
//! across a restart; a streak of agreeing reads is what turns a read into a fact (rule 12).
//!
//! Durable state is `state.rs`.

use crate::effect::{Done, Effect, Observe, Seen, Trouble};
use crate::fact::{Entry, Fact};
use crate::state::Migration;
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
    /// Of them, refused with a code that no table has.
    pub unlisted: u32,
    /// One of them may have been accepted although its answer does not say so.
    pub doubtful: bool,
    /// Since when neither a call nor the agent that it went to was answered.
    pub unanswered_since: Option<UnixMs>,
    /// When the last one that got no answer was given up.
    pub doubted_at: Option<UnixMs>,
    /// When the last one was answered.
    pub last_at: Option<UnixMs>,
    /// The last answer.
    pub answer: Option<Result<Done, Trouble>>,
}

/// Calls that are made in all of what is refused with a code that no table has: one, and two repeats (rule 46).
const UNLISTED_MAX: u32 = 3;

impl Calls {
    /// What one more such refusal counts as: something to look at and to repeat, and at last a refusal for good, for
    /// which the migration turns back or calls a human. It was refused, so it leaves no doubt whether it was accepted.
    fn refused_unlisted(&mut self) -> Trouble {
        self.unlisted += 1;
        if self.unlisted < UNLISTED_MAX { Trouble::Unknown } else { Trouble::Permanent }
    }
}

/// Everything seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Of the open intent.
    pub calls: Calls,
    /// By question.
    streaks: BTreeMap<Observe, Streak>,
    /// An intent of another fence that was open when this driver loaded, and when it first saw it (F6). Kept also
    /// when the intent is resolved: its stale call may come later all the same.
    pub foreign: Option<(Effect, UnixMs)>,
    /// Effects with a call of this process that was never answered, and when it was given up. Kept when the effect's
    /// outcome is established: the call may begin later all the same (H17).
    pub unanswered: Vec<(Effect, UnixMs)>,
    /// Candidates whose reservation was refused.
    pub rejected: BTreeSet<InstanceId>,
    /// An append was refused by a row of the registries or locks: somebody else writes there (H32).
    pub registry_conflict: bool,
    /// When this driver loaded the journal.
    pub loaded_at: UnixMs,
    /// When progress was last shown.
    pub shown_at: Option<UnixMs>,
}

impl Scratch {
    /// Of a driver that has just loaded the journal.
    pub fn loaded(at: UnixMs) -> Self {
        Self { loaded_at: at, ..Self::default() }
    }

    /// Notes an answer to a question.
    pub fn saw(&mut self, at: UnixMs, what: Observe, seen: Seen) {
        // Only agents are asked for their volume, and only the one whose command is open.
        if matches!((&what, &seen), (Observe::AgentVolume { .. }, Seen::AgentVolume(_))) {
            self.calls.unanswered_since = None;
        }
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

    /// Something was appended or called: what was seen before it may be older than it. That an instance has ended
    /// stays true whatever is done.
    fn turned(&mut self) {
        self.streaks.retain(|_, streak| matches!(&streak.seen, Seen::Instance(seen) if seen.terminated));
    }

    /// A call of the open intent was answered, or was not.
    pub(crate) fn called(&mut self, now: UnixMs, result: Result<Done, Trouble>) {
        let calls = &mut self.calls;
        calls.made += 1;
        calls.last_at = Some(now);
        let unanswered = result == Err(Trouble::Unknown);
        let result = if result == Err(Trouble::Unlisted) { Err(calls.refused_unlisted()) } else { result };
        // Accepted is no doubt: what it leads to is read. Only silence leaves it open whether it was accepted.
        calls.doubtful |= unanswered;
        if unanswered {
            calls.doubted_at = Some(now);
        }
        calls.unanswered_since = if unanswered { calls.unanswered_since.or(Some(now)) } else { None };
        calls.answer = Some(result);
        self.turned();
    }

    /// Entries became durable, ours or another's: the state went from `before` to `after`.
    pub(crate) fn followed(&mut self, before: &Migration, after: &Migration, entries: &[Entry], ours: bool) {
        let (had, has) = (before.open.as_ref().map(|o| o.n), after.open.as_ref().map(|o| o.n));
        if had != has {
            if let (Some(open), Some(at)) = (&before.open, self.calls.doubted_at) {
                self.unanswered.push((open.effect.clone(), at));
            }
            self.calls = Calls { fresh: ours && has.is_some(), ..Calls::default() };
            self.turned();
        } else if before.stage != after.stage || before.direction != after.direction {
            self.turned();
        }
        if before.direction != after.direction {
            // Turning back writes other rows: they may be refused for themselves.
            self.registry_conflict = false;
        }
        for entry in entries {
            match &entry.fact {
                Fact::Progress { .. } | Fact::Entered { .. } => self.shown_at = Some(entry.at),
                Fact::TakenOver { .. } => self.beware(before, entry.at),
                // What an operator mended is looked at as after a restart.
                Fact::Resumed { .. } => {
                    let (foreign, unanswered) = (self.foreign.take(), std::mem::take(&mut self.unanswered));
                    *self = Self { foreign, unanswered, ..Self::loaded(self.loaded_at) };
                }
                _ => {}
            }
        }
    }

    /// Another fence's intent is open: its call may still come (F6).
    pub(crate) fn beware(&mut self, m: &Migration, seen_at: UnixMs) {
        if let Some(open) = &m.open {
            self.foreign = Some((open.effect.clone(), seen_at));
            self.calls = Calls::default();
        }
    }
}
