//! How long each phase of a change may take before somebody is told, or the change turns back (invariant 9).
//!
//! The service sets a timer when the phase changes and gives the machine `Deadline` when it runs out. What that
//! means is `step`'s: the money's and the open gate's budgets turn the change back; a closed gate is never opened
//! by a timer (H10), there the deadline is an alert.

use super::{Change, Gate, State};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

words! {
    /// A stretch of a change with a budget of its own.
    Phase {
        /// It waits for its time, which is the service's to know.
        Waiting = "waiting",
        /// The migration has not acknowledged its start: volume-svc is away for long.
        Starting = "starting",
        /// A first snapshot of a full volume takes hours; three days is past anything that is not stuck.
        Preparing = "preparing",
        /// The charge budget.
        Charging = "charging",
        /// The gate is about to close: the calm lease and a margin, below the migration's own ten minutes.
        BeforeGate = "before_gate",
        /// The gate is closed and not confirmed: an alert after 30 s (H10).
        Unconfirmed = "unconfirmed",
        /// The volume moves: beyond the sum of the migration's own deadlines it must be looked at.
        Moving = "moving",
        /// The engine opens on the target: alert past 60 s.
        Opening = "opening",
        /// Money goes back; the customer is served meanwhile.
        Compensating = "compensating",
        /// Nothing is waited for.
        Resting = "resting",
    }
}

impl Phase {
    /// Its budget in milliseconds of the clock port; none where nothing is waited for.
    pub const fn budget_ms(self) -> Option<i64> {
        match self {
            Self::Starting => Some(10 * MINUTE_MS),
            Self::Preparing => Some(72 * HOUR_MS),
            Self::Charging | Self::Opening => Some(60 * SECOND_MS),
            Self::BeforeGate => Some(9 * MINUTE_MS),
            Self::Unconfirmed => Some(30 * SECOND_MS),
            Self::Moving => Some(30 * MINUTE_MS),
            Self::Compensating => Some(HOUR_MS),
            Self::Waiting | Self::Resting => None,
        }
    }
}

impl Change {
    /// The phase whose budget runs now.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Scheduled => Phase::Waiting,
            State::Requested => Phase::Starting,
            State::Preparing => Phase::Preparing,
            State::Charging => Phase::Charging,
            State::Gating if self.gate == Gate::Open => Phase::BeforeGate,
            State::Moving if self.confirmed => Phase::Moving,
            State::Gating | State::Moving => Phase::Unconfirmed,
            State::Finalizing => Phase::Opening,
            State::Compensating => Phase::Compensating,
            State::Succeeded | State::Failed | State::Canceled | State::NeedsAttention => Phase::Resting,
        }
    }
}
