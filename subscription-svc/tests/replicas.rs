//! Several processes over one PostgreSQL: all serve, one works, and each of them shows everything; the one that works is killed,
//! paused and woken, cut from its database, and told to end.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::seed;
use support::stack::{BOUND, Database, Process, Stack, bounded, change_as, follow};
use support::volume::Script;
use tiershift_postgres::Server;
use tiershift_proto::subscription::v1 as pb;
use tokio::time::Instant;

/// Stages that last long enough for something to happen to a process in between; at speed 100 a tenth of a second each.
const STAGE_MS: i64 = 10_000;

async fn stack() -> (Stack, Arc<Server>) {
    let server = Arc::new(Server::start(&[]).expect("a server"));
    let url = server.database().expect("a database");
    let database = Database::Postgres { url, server: Arc::clone(&server) };
    let stack = Stack::new(Script { stage_ms: STAGE_MS, ..Script::default() }, database).await;
    for n in 2..=4 {
        stack.volume.script(&seed::graph(n), Script { stage_ms: STAGE_MS, ..Script::default() });
    }
    (stack, server)
}

fn signal(process: &Process, signal: &str) {
    let pid = process.child.id().expect("running").to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().expect("kill").success());
}

/// Whether a graph may be written or read by what a process answers from memory.
async fn may(process: &Process, mode: pb::AccessMode, n: u64) -> Result<bool, tonic::Status> {
    let mut access = pb::access_service_client::AccessServiceClient::new(process.channel("service:engine"));
    let request =
        pb::CheckAccessRequest { graph_id: seed::graph(n).to_string(), mode: mode.into(), ..Default::default() };
    let answer = access.check_access(request).await?.into_inner();
    Ok(answer.decision.expect("a decision").allowed)
}

/// Waits until a process says so.
async fn until_it(process: &Process, mode: pb::AccessMode, n: u64, wanted: bool) {
    let waiting = async {
        while !may(process, mode, n).await.is_ok_and(|now| now == wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    bounded("the record", waiting).await;
}

async fn until_it_may_write(process: &Process, n: u64, wanted: bool) {
    until_it(process, pb::AccessMode::Write, n, wanted).await;
}

async fn succeeds(process: &Process, id: &str) {
    let change = bounded("the end", process.ended(id)).await;
    assert_eq!(change.state(), pb::TierChangeState::Succeeded, "{change:?}");
}

/// What the provider was asked for, once each.
fn charged_once(stack: &Stack, id: &str) {
    let (_, keys) = stack.book(id);
    assert_eq!(keys, [format!("{id}/forward")]);
}

#[tokio::test]
async fn all_serve_and_each_shows_what_was_asked_of_another() {
    let (stack, _server) = stack().await;
    let (works, serves) = (stack.start(None).await, stack.start(None).await);
    works.subscribe(1).await;
    serves.subscribe(2).await;
    // Both graphs are known to both, by their refreshes.
    for process in [&works, &serves] {
        for n in [1, 2] {
            until_it_may_write(process, n, true).await;
        }
    }
    // Each asks one of them, and is told by the other.
    let one = change_as(works.tiers(), "c-1", 1).await.expect("accepted");
    let other = change_as(serves.tiers(), "c-2", 2).await.expect("accepted");
    let (by_serves, by_works) = (follow(serves.tiers(), &one), follow(works.tiers(), &other));
    let (by_serves, by_works) = bounded("both ends", async { tokio::join!(by_serves, by_works) }).await;
    by_serves.and(by_works).expect("whole sequences");
    for id in [&one, &other] {
        succeeds(&serves, id).await;
        charged_once(&stack, id);
    }
    // The same request asked of the other one is the same change.
    assert_eq!(change_as(works.tiers(), "c-2", 2).await.expect("repeated"), other);
}

#[tokio::test]
async fn a_gate_is_closed_for_every_process_while_it_is_closed() {
    let (stack, _server) = stack().await;
    let (works, serves) = (stack.start(None).await, stack.start(None).await);
    works.subscribe(1).await;
    until_it_may_write(&serves, 1, true).await;
    let id = change_as(works.tiers(), "c-1", 1).await.expect("accepted");
    for process in [&works, &serves] {
        until_it_may_write(process, 1, false).await;
    }
    succeeds(&serves, &id).await;
    for process in [&works, &serves] {
        until_it_may_write(process, 1, true).await;
    }
}

#[tokio::test]
async fn where_the_one_that_works_is_killed_another_goes_on_within_seconds() {
    let (stack, _server) = stack().await;
    let mut works = stack.start(Some("moving.intent")).await;
    let serves = stack.start(None).await;
    serves.subscribe(1).await;
    let id = change_as(serves.tiers(), "c-1", 1).await.expect("accepted");
    works.held_at("moving.intent").await;
    works.kill().await;
    let killed = Instant::now();
    succeeds(&serves, &id).await;
    // The change itself takes a second or two at this speed.
    assert!(killed.elapsed() < Duration::from_secs(10), "takeover takes {:?}", killed.elapsed());
    charged_once(&stack, &id);
}

#[tokio::test]
async fn one_that_stands_still_is_replaced_and_wakes_up_without_harm() {
    let (stack, _server) = stack().await;
    let paused = stack.start(None).await;
    let serves = stack.start(None).await;
    paused.subscribe(1).await;
    serves.subscribe(2).await;
    until_it_may_write(&serves, 1, true).await;
    let one = change_as(paused.tiers(), "c-1", 1).await.expect("accepted");
    // The volume is on its way, and the gate's own patience is behind it: ten seconds here are a quarter of an hour there.
    until_it(&serves, pb::AccessMode::Read, 1, false).await;
    signal(&paused, "-STOP");
    succeeds(&serves, &one).await;
    charged_once(&stack, &one);
    // Its tenure is gone when it wakes up; it serves on, and what it says of writes is not from before.
    signal(&paused, "-CONT");
    until_it_may_write(&paused, 1, true).await;
    let two = change_as(paused.tiers(), "c-2", 2).await.expect("accepted");
    succeeds(&paused, &two).await;
    charged_once(&stack, &two);
    // And it works again once the other is gone.
    serves.kill().await;
    paused.subscribe(3).await;
    let three = change_as(paused.tiers(), "c-3", 3).await.expect("accepted");
    succeeds(&paused, &three).await;
}

#[tokio::test]
async fn where_all_sessions_end_every_process_serves_and_works_on() {
    let (stack, server) = stack().await;
    let processes = [stack.start(None).await, stack.start(None).await];
    processes[0].subscribe(1).await;
    processes[0].subscribe(2).await;
    let one = change_as(processes[1].tiers(), "c-1", 1).await.expect("accepted");
    // As in a failover; several times, so that it meets workers, refreshes and transactions alike.
    for _ in 0..5 {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_0'";
        server.sql("postgres", cut).expect("cut");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let asked = async {
        loop {
            // A call may meet a session that has just ended; a client repeats it.
            match change_as(processes[0].tiers(), "c-2", 2).await {
                Ok(id) => return id,
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let two = bounded("an answer", asked).await;
    for id in [&one, &two] {
        for process in &processes {
            succeeds(process, id).await;
        }
        charged_once(&stack, id);
    }
}

#[tokio::test]
async fn one_that_is_told_to_end_hands_its_work_over() {
    let (stack, _server) = stack().await;
    let mut works = stack.start(None).await;
    let serves = stack.start(None).await;
    works.subscribe(1).await;
    let id = change_as(works.tiers(), "c-1", 1).await.expect("accepted");
    signal(&works, "-TERM");
    assert!(tokio::time::timeout(BOUND, works.child.wait()).await.expect("it ends").expect("ended").success());
    succeeds(&serves, &id).await;
    charged_once(&stack, &id);
}
