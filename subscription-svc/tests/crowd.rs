//! Two hundred callers at once, over the real wire and both databases: of those who change one graph one is accepted, a
//! repeat is the same request, and nobody is in the way of another graph.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use futures_util::future::join_all;
use std::collections::BTreeSet;
use support::seed::graph;
use support::stack::{Kind, Process, Stack, Stores, change_as};
use support::volume::Script;
use tonic::Code;

/// Callers.
const CALLERS: u64 = 200;

/// What each of many was answered: the change, or why there is none.
async fn at_once(process: &Process, ask: impl Fn(u64) -> (String, u64)) -> Vec<Result<String, Code>> {
    let calls = (1..=CALLERS).map(|n| {
        let (tiers, (request_id, graph)) = (process.tiers(), ask(n));
        async move { change_as(tiers, &request_id, graph).await.map_err(|status| status.code()) }
    });
    join_all(calls).await
}

async fn crowd(kind: Kind) {
    let stores = Stores::new(kind);
    // Slow enough for the first change to run while all others ask.
    let slow = Script { stage_ms: 1_000_000, ..Script::default() };
    let stack = Stack::new(slow.clone(), stores.database()).await;
    stack.volume.script(&graph(2), slow);
    let process = stack.start(None).await;
    for n in 1..=CALLERS + 1 {
        process.subscribe(n).await;
    }

    let answers = at_once(&process, |n| (format!("mine-{n}"), 1)).await;
    let accepted: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(accepted.len(), 1, "{kind:?}: {answers:?}");
    let refused = answers.iter().filter(|answer| **answer == Err(Code::Aborted)).count();
    assert_eq!(refused, answers.len() - 1, "{kind:?}: {answers:?}");

    let answers = at_once(&process, |_| ("the-same".to_owned(), 2)).await;
    let ids: BTreeSet<_> =
        answers.iter().map(|answer| answer.as_ref().expect("a repeat is the same request")).collect();
    assert_eq!(ids.len(), 1, "{kind:?}");

    let answers = at_once(&process, |n| (format!("own-{n}"), n + 1)).await;
    // The second graph has its change already.
    let (busy, free) = answers.split_first().expect("some");
    assert_eq!(*busy, Err(Code::Aborted), "{kind:?}");
    let ids: BTreeSet<_> = free.iter().map(|answer| answer.as_ref().expect("nobody else's matter")).collect();
    assert_eq!(ids.len(), free.len(), "{kind:?}");
    process.kill().await;
}

#[tokio::test]
async fn two_hundred_at_once_over_sqlite() {
    crowd(Kind::Sqlite).await;
}

#[tokio::test]
async fn two_hundred_at_once_over_postgresql() {
    crowd(Kind::Postgres).await;
}
