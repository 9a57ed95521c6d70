//! The machine that runs one tier change: `(change, event) -> (change, effects)`, or a typed refusal.
//!
//! ```text
//! Scheduled -> Requested | Failed | Canceled                             (nothing has begun, nothing was taken)
//! Requested -> Preparing -> Charging -> Gating -> Moving -> Finalizing -> Succeeded
//!       any from Requested to Moving, by RolledBack: -> Failed | Canceled            (no money was taken)
//!                                             -> Compensating -> Failed | Canceled
//!       any that has not ended: -> NeedsAttention -> back, or on with what the volume did
//! ```
//!
//! What never happens here: a gate that opens without `Opened`, `RolledBack` or `HandedOver` (H10); money that goes
//! back before the charge is definite (H21) or before the volume is back (H20); a payment between a serving graph
//! and its gate (H37). A wish to cancel is a flag and not a state (H20).
//!
//! `event` and `effect` are its language; `step`, `volume` and `money` the transitions; `attention` what a person must
//! look at; `budget` how long each phase may take. All (state, event) pairs are printed in `tests/change_table.txt`.

mod attention;
mod budget;
mod effect;
mod event;
mod money;
mod step;
mod volume;

pub use attention::{Attention, Cause};
pub use budget::Phase;
pub use effect::{Effect, Notice};
pub use event::{Back, Event, Side};
pub use step::{Refusal, Step};

use serde::{Deserialize, Serialize};
use tiershift_core::Reason;

words! {
    /// Where a change is.
    State {
        /// Accepted for a later instant; nothing has begun.
        Scheduled = "scheduled",
        /// Accepted and stored; the migration has not acknowledged its start.
        Requested = "requested",
        /// The migration makes everything slow ready; reads and writes go on.
        Preparing = "preparing",
        /// The checks run again and the money is taken; reads and writes go on.
        Charging = "charging",
        /// The write gate is being closed, or is closed and its lease waited for.
        Gating = "gating",
        /// The gate is confirmed, or about to be; the volume moves.
        Moving = "moving",
        /// The move is committed; the engine opens on the target.
        Finalizing = "finalizing",
        /// End: the graph serves on the new tier.
        Succeeded = "succeeded",
        /// The volume is where it was, the gate is open, money goes back.
        Compensating = "compensating",
        /// End: tier and money are as before.
        Failed = "failed",
        /// End by request: tier and money are as before.
        Canceled = "canceled",
        /// Only a person can go on. Not an end.
        NeedsAttention = "needs_attention",
    }
}

impl State {
    /// Whether the change has ended.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// Whether it runs: it has begun and has not ended.
    pub const fn runs(self) -> bool {
        !self.ended() && !matches!(self, Self::Scheduled)
    }
}

words! {
    /// What is known of the forward payment.
    Charge {
        /// Not asked for.
        None = "none",
        /// Owed: it is, or is about to be, sent.
        Owed = "owed",
        /// It was sent and its outcome is not known (H21).
        Unknown = "unknown",
        /// It was taken.
        Taken = "taken",
        /// It was refused, or withheld by us, for good.
        Refused = "refused",
    }
}

words! {
    /// What is known of one of the two ways back (H23).
    Return {
        /// Not owed.
        None = "none",
        /// Owed, perhaps sent, not known to be done.
        Owed = "owed",
        /// Done.
        Done = "done",
    }
}

words! {
    /// The gate as this change holds it.
    Gate {
        /// Not held.
        Open = "open",
        /// Writes are blocked.
        Closed = "closed",
        /// Reads and writes are blocked.
        Offline = "offline",
    }
}

words! {
    /// What became of the wish to turn back.
    Turning {
        /// Nobody asked.
        No = "no",
        /// Asked; the migration has not answered.
        Asked = "asked",
        /// The migration agreed: it will roll back.
        Accepted = "accepted",
        /// The migration refused: it is past its detach.
        Refused = "refused",
    }
}

/// One tier change, as far as its control goes. Amounts, tiers and texts are the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Where it is.
    pub state: State,
    /// Why a person must look, and where it was; present exactly in `NeedsAttention`.
    pub attention: Option<Attention>,
    /// The forward payment.
    pub charge: Charge,
    /// The way back of the price.
    pub back_price: Return,
    /// The way back of the money.
    pub back_money: Return,
    /// The gate.
    pub gate: Gate,
    /// The gate request to answer: the volume's sequence number of it.
    pub gate_id: Option<u64>,
    /// What the graph stored when the gate was requested, in bytes; none if the volume could not say.
    pub usage_bytes: Option<i64>,
    /// The migration acknowledged the confirmation.
    pub confirmed: bool,
    /// The volume's detach is journalled: too late to cancel.
    pub detached: bool,
    /// Plan, price, tier and credits are the new ones.
    pub applied: bool,
    /// A customer or operator asked for the end.
    pub cancel_requested: bool,
    /// That wish came too late.
    pub cancel_refused: bool,
    /// Why the change itself turns back; none if it does not.
    pub turn_back: Option<Reason>,
    /// The migration's answer to either wish.
    pub turning: Turning,
    /// Why it failed; none before its end and after any other end.
    pub failure: Option<Reason>,
    /// The migration has cleaned up: the next change may come.
    pub settled: bool,
}

impl Change {
    /// An accepted change, and what it owes at once.
    pub fn new() -> (Self, Vec<Effect>) {
        let change = Self {
            state: State::Requested,
            attention: None,
            charge: Charge::None,
            back_price: Return::None,
            back_money: Return::None,
            gate: Gate::Open,
            gate_id: None,
            usage_bytes: None,
            confirmed: false,
            detached: false,
            applied: false,
            cancel_requested: false,
            cancel_refused: false,
            turn_back: None,
            turning: Turning::No,
            failure: None,
            settled: false,
        };
        (change, vec![Effect::StartMigration])
    }

    /// An accepted change that begins later: it owes nothing, and access does not know it.
    pub fn scheduled() -> Self {
        Self { state: State::Scheduled, ..Self::new().0 }
    }

    /// Whether its migration is known to exist, or to have existed.
    pub fn started(&self) -> bool {
        let state = self.attention.map_or(self.state, |a| a.before);
        !matches!(state, State::Scheduled | State::Requested)
    }

    /// Whether the change is to go back, and the migration has not refused to.
    pub fn turns_back(&self) -> bool {
        (self.cancel_requested || self.turn_back.is_some()) && self.turning != Turning::Refused
    }

    /// The state that decides which effects are still wanted: a change that is only overdue goes on as before.
    fn working_state(&self) -> State {
        match &self.attention {
            Some(attention) if attention.cause == Cause::Overdue => attention.before,
            _ => self.state,
        }
    }

    /// Whether an effect that was decided earlier is still wanted *now*, at the head of what is known (H22). What is
    /// not wanted is dropped: if a pause ends, it is owed anew. Facts, which are part of a transition's own
    /// transaction, always are.
    pub fn wants(&self, effect: &Effect) -> bool {
        if effect.outward() && self.held() {
            return false;
        }
        let state = self.working_state();
        match effect {
            Effect::StartMigration => state == State::Requested && !self.turns_back(),
            // An unknown outcome must become definite, whatever else has happened (H21).
            Effect::Charge if self.charge == Charge::Unknown => true,
            // Nor may one be forgotten that was perhaps sent, and whose sender died before it could say so: what was never
            // sent is forgone at once (`forgoes_charge`), so that what is left when the volume is back may have been.
            Effect::Charge if state == State::Compensating => self.charge == Charge::Owed,
            Effect::Charge => self.charge == Charge::Owed && state == State::Charging && !self.turns_back(),
            Effect::CloseGate => state == State::Gating && self.gate == Gate::Open && !self.turns_back(),
            Effect::WaitLease => state == State::Gating && self.gate == Gate::Closed && !self.turns_back(),
            Effect::ConfirmGate { gate_id } => {
                state == State::Moving && self.gate_id == Some(*gate_id) && !self.confirmed && !self.turns_back()
            }
            Effect::CancelMigration => self.turns_back() && self.turning == Turning::Asked && self.can_still_turn(),
            Effect::RevertPrice => self.back_price == Return::Owed,
            Effect::Refund => self.back_money == Return::Owed,
            Effect::BlockWrites
            | Effect::SetGateOffline
            | Effect::OpenGate
            | Effect::Calm
            | Effect::ApplyPlan
            | Effect::Notify(_) => true,
        }
    }

    /// Whether a charge that was never sent never will be: the change goes back, or has gone back, without it.
    pub fn forgoes_charge(&self) -> bool {
        self.charge == Charge::Owed && (self.turns_back() || self.state == State::Compensating)
    }

    /// Whether the migration could still obey a cancel, as far as known here.
    fn can_still_turn(&self) -> bool {
        let state = self.attention.as_ref().map_or(self.state, |a| a.before);
        matches!(state, State::Requested | State::Preparing | State::Charging | State::Gating | State::Moving)
    }

    /// Whether nothing may be sent at all: the store was restored, and only reconciliation goes on (H19).
    pub fn held(&self) -> bool {
        self.attention.as_ref().is_some_and(|a| a.cause == Cause::Restored)
    }

    /// What is owed on entering, or coming back to, the present state. Repeating one is harmless: each carries its
    /// own id, and the service keeps one undelivered row of a kind.
    fn owed(&self) -> Vec<Effect> {
        let mut owed = match self.state {
            State::Requested if !self.turns_back() => vec![Effect::StartMigration],
            State::Charging | State::Compensating if matches!(self.charge, Charge::Owed | Charge::Unknown) => {
                vec![Effect::Charge]
            }
            State::Gating if self.turns_back() => vec![],
            State::Gating if self.gate == Gate::Open => vec![Effect::CloseGate],
            State::Gating => vec![Effect::WaitLease],
            State::Moving => match self.gate_id {
                Some(gate_id) if !self.confirmed && !self.turns_back() => vec![Effect::ConfirmGate { gate_id }],
                Some(_) | None => vec![],
            },
            State::Scheduled
            | State::Requested
            | State::Charging
            | State::Compensating
            | State::Preparing
            | State::Finalizing
            | State::Succeeded
            | State::Failed
            | State::Canceled
            | State::NeedsAttention => vec![],
        };
        if self.back_price == Return::Owed {
            owed.push(Effect::RevertPrice);
        }
        if self.back_money == Return::Owed {
            owed.push(Effect::Refund);
        }
        if self.wants(&Effect::CancelMigration) {
            owed.push(Effect::CancelMigration);
        }
        owed
    }
}
