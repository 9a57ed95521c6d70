//! On whose behalf AWS is called: work that can wait, work while writes are blocked, or work that is being undone, which
//! goes first where calls have to wait for each other (rule 17). What waits and for how long is `adapters/budget.rs`.

use std::future::Future;

tokio::task_local! {
    static TRAFFIC: Traffic;
}

/// What a call is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// A plan, a migration before its gate, what settles behind one: thousands of them may wait.
    #[default]
    Forward,
    /// A migration between its gate and its end: writes are blocked. As many as there are permits.
    Blocked,
    /// The way back: a graph that served is not serving.
    Rollback,
}

/// Runs `call` on behalf of something. It holds for this task only, not for one that `call` spawns.
pub async fn on_behalf_of<F: Future>(traffic: Traffic, call: F) -> F::Output {
    TRAFFIC.scope(traffic, call).await
}

/// On whose behalf the present call runs; forward unless said otherwise.
pub fn current() -> Traffic {
    TRAFFIC.try_with(|traffic| *traffic).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_holds_for_its_call_only() {
        assert_eq!(current(), Traffic::Forward);
        assert_eq!(on_behalf_of(Traffic::Rollback, async { current() }).await, Traffic::Rollback);
        assert_eq!(current(), Traffic::Forward);
    }
}
