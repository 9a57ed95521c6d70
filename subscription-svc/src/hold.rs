//! Named instants at which a process can be made to stand still, so that a test can kill it exactly there.
//!
//! With `--dev --hold <instant>` only. At the instant it prints `holding at <instant>` to stderr and never goes on.
//! Instants are named after the stage and what has just happened: `intent` = decided and durable, `called` = the
//! effect is out and its answer not yet stored, `outcome` = the answer is stored.

use std::io::Write as _;

/// Every instant, in the order of a change that succeeds, then of one that goes back.
pub const INSTANTS: &[&str] = &[
    "starting.intent",
    "starting.called",
    "starting.outcome",
    "charging.intent",
    "charging.called",
    "charging.outcome",
    "gating.intent",
    "gating.called",
    "moving.intent",
    "moving.called",
    "moving.outcome",
    "finalizing.outcome",
    "succeeded.outcome",
    "canceling.intent",
    "canceling.called",
    "canceling.outcome",
    "compensating.outcome",
    "reverting.intent",
    "reverting.called",
    "reverting.outcome",
    "refunding.intent",
    "refunding.called",
    "refunding.outcome",
];

/// Where to stand still, if anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold {
    at: Option<&'static str>,
}

impl Hold {
    /// Nowhere.
    pub const fn never() -> Self {
        Self { at: None }
    }

    /// At this instant; none if there is no such one.
    pub fn at(instant: &str) -> Option<Self> {
        let known = INSTANTS.iter().find(|known| **known == instant)?;
        Some(Self { at: Some(known) })
    }

    /// The process has reached `<stage>.<what>`.
    pub async fn reached(&self, stage: &str, what: &str) {
        if self.at.is_some_and(|at| at.strip_prefix(stage).and_then(|rest| rest.strip_prefix('.')) == Some(what)) {
            // Straight to the descriptor: the test reads this line, whatever the log's form and filter.
            let _ = writeln!(std::io::stderr().lock(), "holding at {stage}.{what}");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_at_its_instant_only() {
        let hold = Hold::at("gating.called").expect("an instant");
        hold.reached("gating", "intent").await;
        hold.reached("gating", "calledx").await;
        let held = tokio::time::timeout(Duration::from_hours(1), hold.reached("gating", "called")).await;
        assert!(held.is_err());
        Hold::never().reached("gating", "called").await;
        assert!(Hold::at("gating.nonsense").is_none());
    }
}
