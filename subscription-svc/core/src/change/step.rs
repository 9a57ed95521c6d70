//! The transitions. One function per event, states in the order of the happy path; the compiler sees that no pair
//! is forgotten.
//!
//! Three answers to an event: it moves the change, it is *noted* (a repeat, or news that changes nothing), or it is
//! refused with a type. A refused event changes nothing; what the caller does about it is in [`Refusal`].

use super::{Back, Cause, Change, Charge, Effect, Event, Gate, Notice, Return, Side, State, Turning};
use serde::{Deserialize, Serialize};
use tiershift_core::Reason;

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

type Outcome = Result<Step, Refusal>;

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
            Event::Started => Ok(self.begun()),
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

    fn begun(&self) -> Step {
        if self.state == State::Requested { self.to(State::Preparing, vec![]) } else { self.same() }
    }

    fn start_refused(&self, reason: Reason) -> Outcome {
        match self.state {
            // A tombstone says that our own cancel was there first (H27): nothing can start any more.
            State::Requested if reason == Reason::Tombstone => Ok(self.end_unstarted(reason)),
            // A repeat of the start that is still on its way could yet be taken, so that it ends only once a
            // tombstone stands.
            State::Requested => Ok(self.turn_back(reason)),
            State::Failed | State::Canceled => Ok(self.same()),
            State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn gate_requested(&self, gate_id: u64, usage_bytes: Option<i64>) -> Outcome {
        if self.gate_id.is_some_and(|known| known >= gate_id) {
            return Ok(self.same());
        }
        let asked = Self { gate_id: Some(gate_id), usage_bytes, confirmed: false, detached: false, ..*self };
        match self.state {
            State::Requested | State::Preparing if asked.turns_back() => Ok(asked.to(State::Preparing, vec![])),
            State::Requested | State::Preparing => {
                let charge = Self { charge: Charge::Owed, ..asked };
                Ok(charge.to(State::Charging, vec![Effect::Charge]))
            }
            State::Charging | State::Gating => Ok(asked.same()),
            // An operator's retry brought the migration back to its gate: the same closed gate answers the new id.
            State::Moving => {
                let effects = asked.owed();
                Ok(Step { change: asked, effects })
            }
            State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn charge_taken(&self) -> Outcome {
        match (self.charge, self.state) {
            (Charge::Taken, _) => Ok(self.same()),
            (Charge::Owed | Charge::Unknown, State::Charging) => {
                let taken = Self { charge: Charge::Taken, ..*self };
                if taken.turns_back() {
                    return Ok(taken.same());
                }
                Ok(taken.to(State::Gating, vec![Effect::CloseGate]))
            }
            (Charge::Owed | Charge::Unknown, State::Compensating) => {
                Ok(Self { charge: Charge::Taken, ..*self }.give_back())
            }
            (Charge::None | Charge::Refused | Charge::Owed | Charge::Unknown, _) => Err(Refusal::Contradiction),
        }
    }

    /// `withheld`: never sent. That contradicts an unknown outcome, which was sent.
    fn charge_refused(&self, reason: Reason, withheld: bool) -> Outcome {
        match (self.charge, self.state) {
            (Charge::Refused, _) => Ok(self.same()),
            (Charge::Unknown, _) if withheld => Err(Refusal::Contradiction),
            (Charge::Owed | Charge::Unknown, State::Charging) => {
                let refused = Self { charge: Charge::Refused, ..*self };
                Ok(refused.turn_back(reason))
            }
            (Charge::Owed | Charge::Unknown, State::Compensating) => {
                let refused = Self { charge: Charge::Refused, ..*self };
                let why = self.failure.unwrap_or(reason);
                Ok(refused.end(why, vec![]))
            }
            (Charge::None | Charge::Taken | Charge::Owed | Charge::Unknown, _) => Err(Refusal::Contradiction),
        }
    }

    fn charge_unknown(&self) -> Outcome {
        match self.charge {
            Charge::Taken | Charge::Refused => Ok(self.same()),
            Charge::None => Err(Refusal::Contradiction),
            // A row of its own at the end of the queue, so that a cancel decided meanwhile is not behind it.
            Charge::Owed | Charge::Unknown => {
                let change = Self { charge: Charge::Unknown, ..*self };
                Ok(Step { change, effects: vec![Effect::Charge] })
            }
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

    fn gate_confirmed(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(Self { confirmed: true, ..*self }.same()),
            State::Finalizing | State::Succeeded | State::Compensating | State::Failed | State::Canceled => {
                Ok(self.same())
            }
            State::Requested | State::Preparing | State::Charging | State::Gating | State::NeedsAttention => {
                Err(Refusal::Contradiction)
            }
        }
    }

    fn gate_refused(&self) -> Outcome {
        match self.state {
            // Nothing: the gate stays closed until the volume says where the graph serves (H10).
            State::Moving
            | State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::Failed
            | State::Canceled => Ok(self.same()),
            State::Requested | State::Preparing | State::Charging | State::Gating | State::NeedsAttention => {
                Err(Refusal::Contradiction)
            }
        }
    }

    fn offline(&self) -> Outcome {
        match (self.state, self.gate) {
            (State::Moving | State::Finalizing, Gate::Closed) => {
                let change = Self { gate: Gate::Offline, confirmed: true, ..*self };
                Ok(Step { change, effects: vec![Effect::SetGateOffline] })
            }
            (State::Moving | State::Finalizing, Gate::Offline) => Ok(self.same()),
            _ => Err(Refusal::Contradiction),
        }
    }

    fn detach_journalled(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(Self { detached: true, confirmed: true, ..*self }.same()),
            State::Finalizing => Ok(self.same()),
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Succeeded
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn committed(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(self.commit().to(State::Finalizing, vec![Effect::ApplyPlan])),
            State::Finalizing | State::Succeeded => Ok(self.same()),
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn opened(&self) -> Outcome {
        match self.state {
            State::Finalizing => Ok(self.succeed(vec![])),
            State::Succeeded => Ok(self.same()),
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn handed_to_target(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(self.commit().succeed(vec![Effect::ApplyPlan])),
            State::Finalizing => Ok(self.succeed(vec![])),
            State::Succeeded => Ok(self.same()),
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    /// The source serves. This transaction opens the gate; money follows by rows of its own (H37).
    fn rolled_back(&self, reason: Reason) -> Outcome {
        match self.state {
            State::Requested | State::Preparing | State::Charging | State::Gating | State::Moving => {
                let back = Self { gate: Gate::Open, ..*self };
                let why = self.turn_back.unwrap_or(reason);
                Ok(match back.charge {
                    Charge::None | Charge::Refused => back.end(why, vec![Effect::OpenGate]),
                    Charge::Owed | Charge::Unknown => {
                        let waiting = Self { failure: Some(why), ..back };
                        waiting.to(State::Compensating, vec![Effect::OpenGate, Effect::Charge])
                    }
                    Charge::Taken => {
                        let mut step = Self { failure: Some(why), ..back }.give_back();
                        step.effects.insert(0, Effect::OpenGate);
                        step
                    }
                })
            }
            State::Compensating | State::Failed | State::Canceled => Ok(self.same()),
            State::Finalizing | State::Succeeded | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn stuck(&self, reason: Reason) -> Step {
        // After the end only the clean-up is stuck: volume-svc's own alert tells of it.
        if self.state.ended() || self.state == State::Compensating {
            return self.same();
        }
        self.call_for_attention(Cause::Stuck, reason)
    }

    fn settle(&self) -> Outcome {
        match self.state {
            State::Succeeded | State::Compensating | State::Failed | State::Canceled => {
                Ok(Self { settled: true, ..*self }.same())
            }
            State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    fn back_done(&self, back: Back) -> Outcome {
        match self.back(back) {
            Return::None => Err(Refusal::Contradiction),
            Return::Done => Ok(self.same()),
            Return::Owed => {
                let done = self.with_back(back, Return::Done);
                if done.back_price == Return::Done && done.back_money == Return::Done {
                    let why = self.failure.unwrap_or(Reason::UndoFailed);
                    return Ok(done.end(why, vec![]));
                }
                Ok(done.same())
            }
        }
    }

    fn back_unknown(&self, back: Back) -> Outcome {
        match self.back(back) {
            Return::None => Err(Refusal::Contradiction),
            Return::Done => Ok(self.same()),
            Return::Owed => {
                let effect = match back {
                    Back::Price => Effect::RevertPrice,
                    Back::Money => Effect::Refund,
                };
                Ok(Step { change: *self, effects: vec![effect] })
            }
        }
    }

    fn back_refused(&self, back: Back, reason: Reason) -> Outcome {
        match self.back(back) {
            Return::None => Err(Refusal::Contradiction),
            Return::Done => Ok(self.same()),
            Return::Owed => Ok(self.call_for_attention(Cause::BackRefused, reason)),
        }
    }

    fn cancel(&self) -> Outcome {
        match self.state {
            State::Requested | State::Preparing | State::Charging | State::Gating | State::Moving => {
                if self.detached || self.turning == Turning::Refused {
                    return Err(Refusal::TooLate);
                }
                let wish = Self { cancel_requested: true, ..*self };
                if self.turns_back() {
                    return Ok(wish.same());
                }
                let change = Self { turning: Turning::Asked, ..wish };
                Ok(Step { change, effects: vec![Effect::CancelMigration] })
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
            State::Succeeded | State::Failed | State::Canceled | State::NeedsAttention => self.same(),
        }
    }

    // What several of them do.

    /// This change, with nothing owed.
    pub(super) fn same(&self) -> Step {
        Step { change: *self, effects: vec![] }
    }

    fn to(self, state: State, effects: Vec<Effect>) -> Step {
        Step { change: Self { state, ..self }, effects }
    }

    /// The change itself wants to go back. The state stays: only RolledBack leads out of it (H20). The first wish is
    /// the one that the end tells of.
    fn turn_back(&self, reason: Reason) -> Step {
        if self.turns_back() {
            return self.same();
        }
        let change = Self { turn_back: Some(reason), turning: Turning::Asked, ..*self };
        Step { change, effects: vec![Effect::CancelMigration] }
    }

    /// Money is taken and the volume is back: price and money go back too, each under its own key (H23).
    fn give_back(&self) -> Step {
        let change = Self { state: State::Compensating, back_price: Return::Owed, back_money: Return::Owed, ..*self };
        Step { change, effects: vec![Effect::RevertPrice, Effect::Refund] }
    }

    fn commit(&self) -> Self {
        let refused = self.cancel_requested && self.turning != Turning::No;
        Self { applied: true, confirmed: true, cancel_refused: self.cancel_refused || refused, ..*self }
    }

    fn succeed(&self, mut effects: Vec<Effect>) -> Step {
        effects.extend([Effect::OpenGate, Effect::Notify(Notice::Ended)]);
        Self { gate: Gate::Open, ..*self }.to(State::Succeeded, effects)
    }

    /// The end of a change that did not succeed: by request, or for a reason.
    fn end(&self, reason: Reason, mut effects: Vec<Effect>) -> Step {
        effects.push(Effect::Notify(Notice::Ended));
        let by_request = self.cancel_requested && self.turn_back.is_none() && self.turning != Turning::Refused;
        let (state, failure) =
            if by_request { (State::Canceled, Reason::CanceledByRequest) } else { (State::Failed, reason) };
        Self { failure: Some(failure), ..*self }.to(state, effects)
    }

    /// The same, for a change whose migration never was and never will be: there is nothing to settle.
    fn end_unstarted(&self, reason: Reason) -> Step {
        let why = self.turn_back.unwrap_or(reason);
        Self { settled: true, ..*self }.end(why, vec![Effect::Calm])
    }

    fn back(&self, back: Back) -> Return {
        match back {
            Back::Price => self.back_price,
            Back::Money => self.back_money,
        }
    }

    fn with_back(&self, back: Back, to: Return) -> Self {
        match back {
            Back::Price => Self { back_price: to, ..*self },
            Back::Money => Self { back_money: to, ..*self },
        }
    }
}
