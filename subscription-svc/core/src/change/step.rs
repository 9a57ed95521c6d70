//! The transitions. One function per event, states in the order of the happy path; the compiler sees that no pair
//! is forgotten. Those of money are in `money`, those that the volume brings in `volume`.
//!
//! Three answers to an event: it moves the change, it is *noted* (a repeat, or news that changes nothing), or it is
//! refused with a type. A refused event changes nothing; what the caller does about it is in [`Refusal`].

use super::{Back, Cause, Change, Charge, Effect, Event, Gate, Notice, Return, Side, State, Turning};
use serde::{Deserialize, Serialize};
use tiershift_core::Reason;
use tiershift_core::mutant::{self, Mutant};

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The change after it.
    pub change: Change,
    /// What it owes now, in this order.
    pub effects: Vec<Effect>,
}

/// Why an event was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A wish to cancel after the detach was journalled: tell the caller.
    #[error("the volume's detach is journalled: the change runs to its end")]
    TooLate,
    /// A wish to cancel what has ended: tell the caller.
    #[error("the change has ended")]
    Ended,
    /// An own act whose ground is gone: its transaction must not commit.
    #[error("the change does not want this any more")]
    Unwanted,
    /// Cannot be true of this change: apply `Contradicted`, so that a person looks.
    #[error("this cannot be true of the change as it is known here")]
    Contradiction,
    /// The store was restored: nothing is applied until it is reconciled (H19).
    #[error("the store was restored and waits for its reconciliation")]
    Restored,
}

pub(super) type Outcome = Result<Step, Refusal>;

impl Change {
    /// Applies one event that has happened, whatever the change thinks of it: what cannot be true of it is put before
    /// a person, and the gate still follows the volume. Never refused as a contradiction.
    pub fn take(&self, event: &Event) -> Outcome {
        match self.step(event) {
            Err(Refusal::Contradiction) => {
                let seen = self.contradict(Reason::WrongState, false);
                Ok(match seen.change.step(event) {
                    Ok(mut step) => {
                        step.effects.splice(0..0, seen.effects);
                        step
                    }
                    Err(_) => seen,
                })
            }
            outcome => outcome,
        }
    }

    /// Applies one event.
    pub fn step(&self, event: &Event) -> Outcome {
        if let Some(attention) = self.attention {
            return self.step_in_attention(attention, event);
        }
        match event {
            Event::Begun => self.begun(),
            Event::NotBegun { reason } => self.not_begun(*reason),
            Event::Started => self.start_acknowledged(),
            Event::StartRefused { reason } => self.start_refused(*reason),
            Event::GateRequested { gate_id, usage_bytes } => self.gate_requested(*gate_id, *usage_bytes),
            Event::ChargeTaken => self.charge_taken(),
            Event::ChargeRefused { reason } => self.charge_refused(*reason, false),
            Event::ChargeWithheld { reason } => self.charge_refused(*reason, true),
            Event::ChargeUnknown => self.charge_unknown(),
            Event::GateClosed => self.gate_closed(),
            Event::GateCheckFailed { reason } => self.gate_check_failed(*reason),
            Event::LeaseWaited => self.lease_waited(),
            Event::GateConfirmed => self.gate_confirmed(),
            Event::GateRefused { .. } => self.gate_refused(),
            Event::Offline => self.offline(),
            Event::DetachJournalled => self.detach_journalled(),
            Event::Committed => self.committed(),
            Event::Opened => self.opened(),
            Event::RolledBack { reason } => self.rolled_back(*reason),
            Event::HandedOver { side: Side::Source } => self.rolled_back(Reason::UndoFailed),
            Event::HandedOver { side: Side::Target } => self.handed_to_target(),
            Event::Stuck { reason } => Ok(self.stuck(*reason)),
            Event::Resumed => Ok(self.same()),
            Event::Settled => self.settle(),
            Event::BackDone { back } => self.back_done(*back),
            Event::BackUnknown { back } => self.back_unknown(*back),
            Event::BackRefused { back, reason } => self.back_refused(*back, *reason),
            Event::CancelRequested => self.cancel(),
            Event::CancelAccepted { never_started } => self.cancel_accepted(*never_started),
            Event::CancelRefused { reason } => Ok(self.cancel_denied(*reason)),
            Event::Deadline => Ok(self.deadline()),
            Event::Contradicted { reason, past_gate } => Ok(self.contradict(*reason, *past_gate)),
            Event::Restored if self.state.ended() => Ok(self.same()),
            Event::Restored => Ok(self.call_for_attention(Cause::Restored, Reason::StoreRestored)),
        }
    }

    fn begun(&self) -> Outcome {
        match self.state {
            State::Scheduled => Ok(self.to(State::Requested, vec![Effect::StartMigration])),
            _ => Err(Refusal::Unwanted),
        }
    }

    fn not_begun(&self, reason: Reason) -> Outcome {
        match self.state {
            State::Scheduled => Ok(self.end_unbegun(reason)),
            _ => Err(Refusal::Unwanted),
        }
    }

    fn start_acknowledged(&self) -> Outcome {
        match self.state {
            State::Scheduled => Err(Refusal::Contradiction),
            State::Requested => Ok(self.to(State::Preparing, vec![])),
            _ => Ok(self.same()),
        }
    }

    fn start_refused(&self, reason: Reason) -> Outcome {
        match self.state {
            // A tombstone says that our own cancel was there first (H27): nothing can start any more.
            State::Requested if reason == Reason::Tombstone => Ok(self.end_unstarted(reason)),
            // A repeat of the start that is still on its way could yet be taken, so that it ends only once a
            // tombstone stands.
            State::Requested => Ok(self.turn_back(reason)),
            State::Failed | State::Canceled => Ok(self.same()),
            State::Scheduled
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn gate_closed(&self) -> Outcome {
        match (self.state, self.gate) {
            (State::Gating, Gate::Open) if !self.turns_back() => {
                let change = Self { gate: Gate::Closed, ..*self };
                Ok(Step { change, effects: vec![Effect::BlockWrites, Effect::WaitLease] })
            }
            (State::Gating | State::Moving | State::Finalizing, Gate::Closed | Gate::Offline) => Ok(self.same()),
            _ => Err(Refusal::Unwanted),
        }
    }

    fn gate_check_failed(&self, reason: Reason) -> Outcome {
        match (self.state, self.gate) {
            (State::Gating, Gate::Open) => Ok(self.turn_back(reason)),
            _ => Err(Refusal::Unwanted),
        }
    }

    fn lease_waited(&self) -> Outcome {
        match (self.state, self.gate_id) {
            (State::Gating, Some(gate_id)) if self.gate == Gate::Closed && !self.turns_back() => {
                Ok(self.to(State::Moving, vec![Effect::ConfirmGate { gate_id }]))
            }
            (State::Moving, Some(_)) => Ok(self.same()),
            _ => Err(Refusal::Unwanted),
        }
    }

    fn cancel(&self) -> Outcome {
        match self.state {
            // Nothing was asked of anybody, so that nobody need agree.
            State::Scheduled => Ok(Self { cancel_requested: true, ..*self }.end_unbegun(Reason::CanceledByRequest)),
            State::Requested | State::Preparing | State::Charging | State::Gating | State::Moving => {
                if self.detached || self.turning == Turning::Refused {
                    return Err(Refusal::TooLate);
                }
                let wish = Self { cancel_requested: true, ..*self };
                if self.turns_back() {
                    return Ok(wish.same());
                }
                let change = Self { turning: Turning::Asked, ..wish };
                let mut effects = vec![Effect::CancelMigration];
                effects.extend(mutant::on(Mutant::OpenOnCancel).then_some(Effect::OpenGate));
                Ok(Step { change, effects })
            }
            State::Finalizing => Err(Refusal::TooLate),
            // It is on its way back already.
            State::Compensating => Ok(self.same()),
            State::Succeeded | State::Failed | State::Canceled | State::NeedsAttention => Err(Refusal::Ended),
        }
    }

    fn cancel_accepted(&self, never_started: bool) -> Outcome {
        if self.state.ended() || self.state == State::Compensating || !self.turns_back() {
            return Ok(self.same());
        }
        let agreed = Self { turning: Turning::Accepted, ..*self };
        match (never_started, self.state) {
            (true, State::Requested) => Ok(agreed.end_unstarted(Reason::Tombstone)),
            // Its start had arrived, though nobody here had heard of it: its events tell the rest.
            (false, State::Requested) => Ok(agreed.to(State::Preparing, vec![])),
            (false, _) => Ok(agreed.same()),
            // A migration that had been acknowledged is gone (H19 d).
            (true, _) => Err(Refusal::Contradiction),
        }
    }

    fn cancel_denied(&self, reason: Reason) -> Step {
        if self.turning != Turning::Asked || self.state.ended() || self.state == State::Compensating {
            return self.same();
        }
        let denied =
            Self { turning: Turning::Refused, cancel_refused: self.cancel_refused || self.cancel_requested, ..*self };
        // Without a confirmed gate there is nothing that could be too late; and a change whose money was refused
        // must not go on. Neither can be left to itself.
        let may_go_on = self.state == State::Moving && self.turn_back.is_none();
        if may_go_on {
            let effects = denied.owed();
            return Step { change: denied, effects };
        }
        match self.state {
            State::Finalizing => denied.same(),
            // There is a migration, though nobody here had heard of its start: it must be followed.
            State::Requested => {
                Self { state: State::Preparing, ..denied }.call_for_attention(Cause::Contradiction, reason)
            }
            _ => denied.call_for_attention(Cause::Contradiction, reason),
        }
    }

    fn deadline(&self) -> Step {
        match self.state {
            State::Charging if !self.turns_back() => {
                let mut step = self.turn_back(Reason::PaymentUnknown);
                // Finding out goes on, behind the cancel.
                if self.charge == Charge::Unknown {
                    step.effects.push(Effect::Charge);
                }
                step
            }
            State::Gating if self.gate == Gate::Open && !self.turns_back() => self.turn_back(Reason::GateTimeout),
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::Compensating => self.call_for_attention(Cause::Overdue, Reason::StepTimeout),
            State::Scheduled | State::Succeeded | State::Failed | State::Canceled | State::NeedsAttention => {
                self.same()
            }
        }
    }

    // What several of them do.

    /// This change, with nothing owed.
    pub(super) fn same(&self) -> Step {
        Step { change: *self, effects: vec![] }
    }

    pub(super) fn to(self, state: State, effects: Vec<Effect>) -> Step {
        Step { change: Self { state, ..self }, effects }
    }

    /// The change itself wants to go back. The state stays: only RolledBack leads out of it (H20). The first wish is
    /// the one that the end tells of.
    pub(super) fn turn_back(&self, reason: Reason) -> Step {
        if self.turns_back() {
            return self.same();
        }
        let change = Self { turn_back: Some(reason), turning: Turning::Asked, ..*self };
        Step { change, effects: vec![Effect::CancelMigration] }
    }

    /// Money is taken and the volume is back: price and money go back too, each under its own key (H23).
    pub(super) fn give_back(&self) -> Step {
        let change = Self { state: State::Compensating, back_price: Return::Owed, back_money: Return::Owed, ..*self };
        Step { change, effects: vec![Effect::RevertPrice, Effect::Refund] }
    }

    pub(super) fn commit(&self) -> Self {
        let refused = self.cancel_requested && self.turning != Turning::No;
        Self { applied: true, confirmed: true, cancel_refused: self.cancel_refused || refused, ..*self }
    }

    pub(super) fn succeed(&self, mut effects: Vec<Effect>) -> Step {
        effects.extend([Effect::OpenGate, Effect::Notify(Notice::Ended)]);
        Self { gate: Gate::Open, ..*self }.to(State::Succeeded, effects)
    }

    /// The end of a change that did not succeed: by request, or for a reason.
    pub(super) fn end(&self, reason: Reason, mut effects: Vec<Effect>) -> Step {
        effects.push(Effect::Notify(Notice::Ended));
        let by_request = self.cancel_requested && self.turn_back.is_none() && self.turning != Turning::Refused;
        let (state, failure) =
            if by_request { (State::Canceled, Reason::CanceledByRequest) } else { (State::Failed, reason) };
        Self { failure: Some(failure), ..*self }.to(state, effects)
    }

    /// The same, for a change whose migration never was and never will be: there is nothing to settle.
    pub(super) fn end_unstarted(&self, reason: Reason) -> Step {
        let why = self.turn_back.unwrap_or(reason);
        Self { settled: true, ..*self }.end(why, vec![Effect::Calm])
    }

    /// The end of a scheduled change that never began: nobody was told of it, and access does not know it.
    fn end_unbegun(&self, reason: Reason) -> Step {
        Self { settled: true, ..*self }.end(reason, vec![])
    }

    pub(super) fn back(&self, back: Back) -> Return {
        match back {
            Back::Price => self.back_price,
            Back::Money => self.back_money,
        }
    }

    pub(super) fn with_back(&self, back: Back, to: Return) -> Self {
        match back {
            Back::Price => Self { back_price: to, ..*self },
            Back::Money => Self { back_money: to, ..*self },
        }
    }
}
