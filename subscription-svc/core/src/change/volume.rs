//! The transitions that the volume's events and its answers bring.
//!
//! The gate opens here and nowhere else: by `Opened`, `RolledBack` and `HandedOver` (H10).

use super::step::{Outcome, Refusal, Step};
use super::{Cause, Change, Charge, Effect, Gate, State};
use tiershift_core::Reason;
use tiershift_core::mutant::{self, Mutant};

impl Change {
    pub(super) fn gate_requested(&self, gate_id: u64, usage_bytes: Option<i64>) -> Outcome {
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
            State::Scheduled
            | State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn gate_confirmed(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(Self { confirmed: true, ..*self }.same()),
            State::Finalizing | State::Succeeded | State::Compensating | State::Failed | State::Canceled => {
                Ok(self.same())
            }
            State::Scheduled
            | State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn gate_refused(&self) -> Outcome {
        match self.state {
            // Nothing: the gate stays closed until the volume says where the graph serves (H10).
            State::Moving
            | State::Finalizing
            | State::Succeeded
            | State::Compensating
            | State::Failed
            | State::Canceled => Ok(self.same()),
            State::Scheduled
            | State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn offline(&self) -> Outcome {
        match (self.state, self.gate) {
            (State::Moving | State::Finalizing, Gate::Closed) => {
                let change = Self { gate: Gate::Offline, confirmed: true, ..*self };
                Ok(Step { change, effects: vec![Effect::SetGateOffline] })
            }
            (State::Moving | State::Finalizing, Gate::Offline) => Ok(self.same()),
            _ => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn detach_journalled(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(Self { detached: true, confirmed: true, ..*self }.same()),
            State::Finalizing => Ok(self.same()),
            State::Scheduled
            | State::Requested
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

    pub(super) fn committed(&self) -> Outcome {
        match self.state {
            State::Moving => {
                let mut effects = vec![Effect::ApplyPlan];
                effects.extend(mutant::on(Mutant::OpenOnCommitted).then_some(Effect::OpenGate));
                Ok(self.commit().to(State::Finalizing, effects))
            }
            State::Finalizing | State::Succeeded => Ok(self.same()),
            State::Scheduled
            | State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Compensating
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }

    pub(super) fn opened(&self) -> Outcome {
        match self.state {
            State::Finalizing => Ok(self.succeed(vec![])),
            State::Succeeded => Ok(self.same()),
            State::Scheduled
            | State::Requested
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

    pub(super) fn handed_to_target(&self) -> Outcome {
        match self.state {
            State::Moving => Ok(self.commit().succeed(vec![Effect::ApplyPlan])),
            State::Finalizing => Ok(self.succeed(vec![])),
            State::Succeeded => Ok(self.same()),
            State::Scheduled
            | State::Requested
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
    pub(super) fn rolled_back(&self, reason: Reason) -> Outcome {
        match self.state {
            State::Requested | State::Preparing | State::Charging | State::Gating | State::Moving => {
                let back = Self { gate: Gate::Open, ..*self };
                let why = self.turn_back.unwrap_or(reason);
                Ok(match back.charge {
                    Charge::Taken if mutant::on(Mutant::ForgetRefund) => back.end(why, vec![Effect::OpenGate]),
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
            State::Scheduled | State::Finalizing | State::Succeeded | State::NeedsAttention => {
                Err(Refusal::Contradiction)
            }
        }
    }

    pub(super) fn stuck(&self, reason: Reason) -> Step {
        // After the end only the clean-up is stuck: volume-svc's own alert tells of it.
        if self.state.ended() || self.state == State::Compensating {
            return self.same();
        }
        self.call_for_attention(Cause::Stuck, reason)
    }

    pub(super) fn settle(&self) -> Outcome {
        match self.state {
            State::Succeeded | State::Compensating | State::Failed | State::Canceled => {
                Ok(Self { settled: true, ..*self }.same())
            }
            State::Scheduled
            | State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::NeedsAttention => Err(Refusal::Contradiction),
        }
    }
}
