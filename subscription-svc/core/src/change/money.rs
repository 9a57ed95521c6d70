//! The transitions of money: forward before the gate, back after a rollback (H21, H23).
//!
//! A charge is taken, refused or unknown, and nothing goes back before it is definite. Not here: what is sent to the
//! provider and when an unknown outcome is only read (the service's payment policy).

use super::step::{Outcome, Refusal, Step};
use super::{Back, Cause, Change, Charge, Effect, Return, State};
use tiershift_core::Reason;

impl Change {
    pub(super) fn charge_taken(&self) -> Outcome {
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
    pub(super) fn charge_refused(&self, reason: Reason, withheld: bool) -> Outcome {
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

    pub(super) fn charge_unknown(&self) -> Outcome {
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

    pub(super) fn back_done(&self, back: Back) -> Outcome {
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

    pub(super) fn back_unknown(&self, back: Back) -> Outcome {
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

    pub(super) fn back_refused(&self, back: Back, reason: Reason) -> Outcome {
        match self.back(back) {
            Return::None => Err(Refusal::Contradiction),
            Return::Done => Ok(self.same()),
            Return::Owed => Ok(self.call_for_attention(Cause::BackRefused, reason)),
        }
    }
}
