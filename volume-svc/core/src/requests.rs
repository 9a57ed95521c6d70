//! What may be asked of a running migration from outside: confirm the gate, cancel, resume, hand over, take over.
//!
//! Each gives facts to append or a typed refusal, and changes nothing by itself. The append that writes them is
//! what decides races: a confirmation and a deadline both want to move the journal's head, and one of them does.

use crate::fact::{Fact, Outcome, Resume, Side};
use crate::machine::Machine;
use crate::stage::Stage;
use crate::state::{End, Place};
use tiershift_core::event::Direction;
use tiershift_core::ids::WorkerId;
use tiershift_core::{Reason, UnixMs};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {why}")]
pub struct Refused {
    /// The public word.
    pub reason: Reason,
    /// For people.
    pub why: String,
}

fn refuse<T>(reason: Reason, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { reason, why: why.into() })
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Append these.
    Append(Vec<Fact>),
    /// It was granted before: nothing to do.
    Already,
}

impl Machine {
    /// ConfirmGate: accepted only at the gate, with the id of the open request, before its deadline; a repeat of
    /// the accepted one is OK (H10).
    pub fn confirm_gate(&self, gate_id: u64, now: UnixMs) -> Result<Granted, Refused> {
        let m = &self.state;
        match &m.gate {
            Some(gate) if gate.id == gate_id && gate.confirmed_at.is_some() => Ok(Granted::Already),
            Some(gate)
                if gate.id == gate_id
                    && m.stage == Stage::Gate
                    && m.direction == Direction::Forward
                    && m.stuck.is_none()
                    && now < gate.deadline_at =>
            {
                Ok(Granted::Append(vec![Fact::GateConfirmed { gate_id }]))
            }
            Some(gate) => refuse(
                Reason::GateMismatch,
                format!(
                    "gate {gate_id} is not open: the last request was {} and the migration is at {}",
                    gate.id, m.stage
                ),
            ),
            None => refuse(Reason::GateMismatch, format!("no gate was requested yet; the migration is at {}", m.stage)),
        }
    }

    /// CancelMigration: until the detach is journalled (invariant 3 is not used up before).
    pub fn cancel(&self, by: &str) -> Result<Granted, Refused> {
        let m = &self.state;
        match m.end {
            Some(End::Tombstone | End::RolledBack) => return Ok(Granted::Already),
            Some(End::Moved) => return refuse(Reason::TooLateToCancel, "the graph serves on its new instance"),
            None => {}
        }
        if m.direction == Direction::Undo {
            return Ok(Granted::Already);
        }
        if m.detach_journalled {
            return refuse(Reason::TooLateToCancel, "the volume is being moved; the change runs to its end");
        }
        if m.stuck.as_ref().is_some_and(|stuck| stuck.reason == Reason::StoreRestored) {
            return refuse(Reason::StoreRestored, "the store was restored: an operator resumes or hands over first");
        }
        let mut facts = Vec::new();
        if m.stuck.is_some() {
            facts.push(Fact::Resumed { action: Resume::Retry, by: by.to_owned(), note: "canceled".to_owned() });
        }
        facts.push(Fact::UndoBegun {
            reason: Reason::CanceledByRequest,
            detail: "canceled on request".to_owned(),
            by: Some(by.to_owned()),
        });
        Ok(Granted::Append(facts))
    }

    /// ResumeMigration by retry or by going forward.
    pub fn resume(&self, action: Resume, by: &str, note: &str) -> Result<Granted, Refused> {
        let m = &self.state;
        if m.stuck.is_none() {
            return refuse(Reason::NotStuck, "the migration is not stuck");
        }
        if action == Resume::GoForward {
            let movable = m.place == Place::Free || m.at_target();
            let sound = m.target.as_ref().is_some_and(|t| !m.condemned.contains(&t.instance));
            let ready = m.target_ready && m.dropping.is_none() && sound;
            if m.direction != Direction::Undo || m.open.is_some() || !movable || !ready {
                return refuse(
                    Reason::WrongState,
                    "going forward needs an undo with the volume free or at a sound target and no effect open; retry instead",
                );
            }
        }
        Ok(Granted::Append(vec![Fact::Resumed { action, by: by.to_owned(), note: note.to_owned() }]))
    }

    /// ResumeMigration by hand-over: `side` was verified by the caller in EC2 and by a probe (H26).
    pub fn hand_over(&self, side: Side, by: &str, note: &str) -> Result<Granted, Refused> {
        let m = &self.state;
        if m.stuck.is_none() {
            return refuse(Reason::NotStuck, "the migration is not stuck");
        }
        if m.end.is_some() {
            return refuse(Reason::WrongState, "where the graph serves is settled; only cleaning up is stuck: retry");
        }
        match (side, &m.target) {
            (Side::Source, _) if m.is_committed() => {
                return refuse(Reason::WrongState, "the move is committed; only the target can be handed over");
            }
            (Side::Target, None) => return refuse(Reason::WrongState, "there is no target"),
            (Side::Target, Some(target)) if m.condemned.contains(&target.instance) => {
                return refuse(Reason::WrongState, "the target is condemned: it may be ended at any time");
            }
            (Side::Source | Side::Target, _) => {}
        }
        // What the open effect came to will never be told; where the volume is was just verified (F8).
        let given_up = m.open.as_ref().map(|open| Fact::Outcome { n: open.n, outcome: Outcome::Abandoned });
        let handed = Fact::HandedOver { side, by: by.to_owned(), note: note.to_owned() };
        Ok(Granted::Append(given_up.into_iter().chain([handed]).collect()))
    }

    /// Another driver takes over; its fence must be above every fence of the volume.
    pub fn take_over(&self, worker: &WorkerId, fence: i64) -> Fact {
        Fact::TakenOver { worker: worker.clone(), fence: fence.max(self.state.fence + 1) }
    }
}
