//! A change that a person must look at: why, what it was doing, and how it leaves.
//!
//! Whatever the cause, the gate follows the volume: `Opened`, `RolledBack` and `HandedOver` open it. A stuck, refused
//! or contradicted change sends nothing new that goes forward; an overdue one goes on as before, only seen by
//! people; a restored one sends nothing at all (H19).

use super::step::{Refusal, Step};
use super::{Change, Effect, Event, Gate, Notice, State};
use serde::{Deserialize, Serialize};
use tiershift_core::Reason;

words! {
    /// Why a person must look.
    Cause {
        /// The migration is stuck.
        Stuck = "stuck",
        /// The phase's budget is used up.
        Overdue = "overdue",
        /// What volume-svc shows cannot be true of this change (H9, H19 d).
        Contradiction = "contradiction",
        /// The provider refused to give price or money back.
        BackRefused = "back_refused",
        /// The store was restored (H19).
        Restored = "restored",
    }
}

/// Why a person must look, and where the change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attention {
    /// Why.
    pub cause: Cause,
    /// The public reason.
    pub reason: Reason,
    /// The state it was in, and goes on from.
    pub before: State,
}

impl Change {
    /// Puts the change before a person.
    pub(super) fn call_for_attention(&self, cause: Cause, reason: Reason) -> Step {
        let before = self.attention.as_ref().map_or(self.state, |a| a.before);
        let attention = Some(Attention { cause, reason, before });
        let change = Self { state: State::NeedsAttention, attention, ..*self };
        Step { change, effects: vec![Effect::Notify(Notice::Attention)] }
    }

    /// One event of a change that a person is to look at.
    pub(super) fn step_in_attention(&self, attention: Attention, event: &Event) -> Result<Step, Refusal> {
        if attention.cause == Cause::Restored {
            return self.step_restored(event);
        }
        let inner = Self { state: attention.before, attention: None, ..*self };
        match event {
            Event::Restored => return Ok(self.call_for_attention(Cause::Restored, Reason::StoreRestored)),
            Event::Contradicted { reason, past_gate } => return Ok(self.contradict(*reason, *past_gate)),
            // Stuck is the lightest cause but one: it must not hide that money or a gate is in question.
            Event::Stuck { reason } if attention.cause == Cause::Overdue => return Ok(inner.stuck(*reason)),
            // A second alert for the same change tells nobody anything.
            Event::Deadline | Event::Stuck { .. } => return Ok(self.same()),
            Event::Resumed if attention.cause == Cause::Stuck => {
                let effects = inner.owed();
                return Ok(Step { change: inner, effects });
            }
            // Its time is looked at again once the person is done.
            Event::Begun | Event::NotBegun { .. } => return Err(Refusal::Unwanted),
            // What would take the change forward waits until the person has decided.
            Event::GateClosed | Event::LeaseWaited if attention.cause != Cause::Overdue => {
                return Err(Refusal::Unwanted);
            }
            _ => {}
        }
        match inner.step(event) {
            Ok(step) => Ok(self.leave_or_stay(attention, &inner, event, step)),
            Err(refusal) => self.follow_the_volume(event).ok_or(refusal),
        }
    }

    /// What the volume or the provider showed is impossible: a person must look, and the gate is closed if the
    /// migration is past it (H9).
    pub(super) fn contradict(&self, reason: Reason, past_gate: bool) -> Step {
        let mut step = self.call_for_attention(Cause::Contradiction, reason);
        if past_gate && step.change.gate == Gate::Open {
            step.change.gate = Gate::Closed;
            step.effects.insert(0, Effect::BlockWrites);
        }
        step
    }

    fn leave_or_stay(&self, attention: Attention, inner: &Self, event: &Event, step: Step) -> Step {
        let Step { change: next, mut effects } = step;
        if next == *inner {
            // The change had ended before it was contradicted; where the graph serves agrees with that end.
            return match self.follow_the_volume(event) {
                Some(Step { change, effects }) if inner.state.ended() => {
                    Step { change: Self { state: inner.state, attention: None, ..change }, effects }
                }
                Some(step) => step,
                None => Step { change: *self, effects },
            };
        }
        if next.state == State::NeedsAttention {
            // The graver cause stays: a contradiction leaves only with the volume's word.
            let graver = if attention.cause == Cause::Contradiction { Some(attention) } else { next.attention };
            return Step { change: Self { attention: graver, ..next }, effects };
        }
        let by_volume =
            matches!(event, Event::Committed | Event::Opened | Event::RolledBack { .. } | Event::HandedOver { .. });
        let leaves = match attention.cause {
            Cause::Overdue => true,
            Cause::Stuck | Cause::Contradiction => by_volume && next.state != inner.state,
            Cause::BackRefused => next.state.ended(),
            Cause::Restored => false,
        };
        if leaves {
            return Step { change: next, effects };
        }
        // Facts are known now, but nothing that goes forward starts while a person looks.
        effects.retain(|e| {
            !matches!(e, Effect::StartMigration | Effect::CloseGate | Effect::WaitLease | Effect::ConfirmGate { .. })
        });
        let stays = Attention { before: next.state, ..attention };
        Step { change: Self { state: State::NeedsAttention, attention: Some(stays), ..next }, effects }
    }

    /// A contradicted change cannot make sense of an event, but where the graph serves is not the change's to doubt.
    fn follow_the_volume(&self, event: &Event) -> Option<Step> {
        let contradicted = self.attention.is_some_and(|a| a.cause == Cause::Contradiction);
        let serves = matches!(event, Event::Opened | Event::RolledBack { .. } | Event::HandedOver { .. });
        if !contradicted || !serves || self.gate == Gate::Open {
            return None;
        }
        let change = Self { gate: Gate::Open, ..*self };
        Some(Step { change, effects: vec![Effect::OpenGate] })
    }

    /// After a restore only one thing still happens: a gate that must be closed is closed. Everything else waits for
    /// the reconciliation (H19).
    fn step_restored(&self, event: &Event) -> Result<Step, Refusal> {
        match event {
            Event::Contradicted { past_gate: true, .. } if self.gate == Gate::Open => {
                let change = Self { gate: Gate::Closed, ..*self };
                Ok(Step { change, effects: vec![Effect::BlockWrites] })
            }
            Event::Restored | Event::Deadline => Ok(self.same()),
            _ => Err(Refusal::Restored),
        }
    }
}
