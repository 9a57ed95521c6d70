//! Named instants at which a process can be made to stand still, so that a test can kill it exactly there.
//!
//! With `--dev --hold <instant>` only. At the instant it prints `holding at <instant>` to stderr and never goes on.
//! Instants are named after the stage and what has just happened: `intent` = decided and durable, `called` = the
//! effect is out and its answer not yet stored, `outcome` = the answer is stored. `commit.<n>` is the instant behind the
//! n-th transaction of the process that wrote something, before anything that follows it: so that a change can be cut
//! between any two of its writes.

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
    at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Instant {
    Named(&'static str),
    Commit(u64),
}

impl Hold {
    /// Nowhere.
    pub const fn never() -> Self {
        Self { at: None }
    }

    /// At this instant; none if there is no such one.
    pub fn at(instant: &str) -> Option<Self> {
        if let Some(n) = instant.strip_prefix("commit.") {
            return Some(Self { at: Some(Instant::Commit(n.parse().ok().filter(|n| *n > 0)?)) });
        }
        let known = INSTANTS.iter().find(|known| **known == instant)?;
        Some(Self { at: Some(Instant::Named(known)) })
    }

    /// The process has reached `<stage>.<what>`.
    pub async fn reached(&self, stage: &str, what: &str) {
        if let Some(Instant::Named(at)) = self.at
            && at.strip_prefix(stage).and_then(|rest| rest.strip_prefix('.')) == Some(what)
        {
            stand_still(&format!("{stage}.{what}")).await;
        }
    }

    /// The process has committed its n-th transaction.
    pub async fn committed(&self, n: u64) {
        if matches!(self.at, Some(Instant::Commit(at)) if at == n) {
            stand_still(&format!("commit.{n}")).await;
        }
    }
}

async fn stand_still(instant: &str) {
    // Straight to the descriptor: the test reads this line, whatever the log's form and filter.
    let _ = writeln!(std::io::stderr().lock(), "holding at {instant}");
    std::future::pending::<()>().await;
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
        let hold = Hold::at("commit.3").expect("an instant");
        hold.committed(2).await;
        assert!(tokio::time::timeout(Duration::from_hours(1), hold.committed(3)).await.is_err());
        assert!(Hold::at("commit.0").is_none() && Hold::at("commit.x").is_none());
    }
}
