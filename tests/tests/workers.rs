//! Several workers (processes of volume-svc) over the same tables: who dies, stops in mid-air, ends in order or is cut off
//! is replaced, and does no harm when it comes back.
//!
//! The harness is `tiershift_tests::workers`. Changes run at a fast clock; leases are real time, so a take-over is too.

#![expect(clippy::expect_used, reason = "a failed expectation is the report, in the tests' helpers too")]

use std::time::{Duration, Instant};
use tierctl::commands::change;
use tiershift_core::ids::{ChangeId, WorkerId};
use tiershift_proto::subscription::v1::{AccessMode, ChangeTierRequest, ChangeTiming, CheckAccessRequest};
use tiershift_tests::workers::crew::{BOUND, Crew, LOOK_EVERY, TAKEOVER, patient};
use tiershift_tests::workers::journey::{Journey, told};
use tiershift_tests::workers::judge;
use tiershift_tests::world::dice::Dice;
use volume_core::stage::Stage;
use volume_core::view::Status;
use volume_svc::journal::Head;
use volume_svc::lease::LEASE_MS;

/// Speed of the clock: a change takes some ten seconds.
const SPEED: u32 = 20;

/// The words of a driver that has taken over completely (N1).
const OBSERVED: &str = "loaded and observed";

#[tokio::test]
async fn a_killed_owner_is_replaced_within_ten_seconds() {
    let (crew, mut first) = Crew::begin(SPEED, &patient()).await;
    let second = crew.hire(&[]).await;
    let journey = Journey::begin(&crew, "upgrade-1").await;
    journey.until_stage(Stage::DrainReads).await;
    crew.call(&second);
    first.kill().await;
    second.says_within(&[OBSERVED, journey.id.as_str()], TAKEOVER).await;
    let head = journey.until_done().await;
    assert!(second.is(&head.owner), "{}", head.owner);
    judge::moved(&crew, &journey).await;
}

#[tokio::test]
async fn who_is_told_to_end_hands_over_at_once() {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    let second = crew.hire(&[]).await;
    let journey = Journey::begin(&crew, "upgrade-1").await;
    journey.until_stage(Stage::Release).await;
    crew.call(&second);
    let told = Instant::now();
    let status = first.terminate().await;
    assert_eq!(status.code(), Some(0));
    // Server, drivers and lease have 33 s in all.
    assert!(told.elapsed() < Duration::from_secs(35), "{:?}", told.elapsed());
    let lease = Duration::from_millis(LEASE_MS.unsigned_abs());
    second.says_within(&[OBSERVED, journey.id.as_str()], lease).await;
    journey.until_done().await;
    judge::moved(&crew, &journey).await;
}

/// The worker that owns a change now.
async fn owner(journey: &Journey) -> WorkerId {
    journey.head().await.owner
}

#[tokio::test]
async fn a_paused_owner_wakes_up_with_an_intent_in_hand_and_sends_nothing() {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    drop(first);
    let first = crew.hire(&["--hold", "detach.intent"]).await;
    let second = crew.hire(&[]).await;
    crew.call(&first);
    let journey = Journey::begin(&crew, "upgrade-1").await;
    first.holds_at("detach.intent").await;
    let id = owner(&journey).await;
    crew.call(&second);
    first.freeze();
    second.says(&[OBSERVED, journey.id.as_str()]).await;
    first.thaw();
    // Its heartbeat is the first to wake, so that its lease holds again; then the driver goes on.
    crew.beats(&id).await;
    first.release();
    first.says(&["a driver stopped", journey.id.as_str()]).await;
    assert!(first.said(&["a driver stopped", "LeaseLost"]), "{}", first.tail());
    journey.until_done().await;
    let ledger = judge::ledger(&crew.cloud).await;
    let detaches = judge::calls(&ledger, "DetachVolume", &journey.graph.volume_id);
    assert_eq!(detaches.len(), 1, "its heartbeat was back, but not what it knew: {detaches:#?}");
    judge::moved(&crew, &journey).await;
}

/// Where the last look at the lease was taken and the call has not left: two workers by turns.
const SENDS: [&str; 5] =
    ["safety_snapshot.sending", "release.sending", "detach.sending", "attach.sending", "open.sending"];

#[tokio::test]
async fn an_owner_that_was_paused_between_its_last_look_and_its_call_does_no_harm() {
    let (crew, nobody) = Crew::begin(SPEED, &patient()).await;
    drop(nobody);
    let holds = |of: usize| SENDS.iter().skip(of).step_by(2).flat_map(|at| ["--hold", at]).collect::<Vec<_>>();
    let workers = [crew.hire(&holds(0)).await, crew.hire(&holds(1)).await];
    crew.call(&workers[0]);
    let journey = Journey::begin(&crew, "upgrade-1").await;
    let stopped = ["a driver stopped", journey.id.as_str()];
    for (turn, at) in SENDS.iter().enumerate() {
        let (paused, other) = (&workers[turn % 2], &workers[(turn + 1) % 2]);
        paused.holds_at(at).await;
        let (id, before) = (owner(&journey).await, paused.times(&stopped));
        crew.call(other);
        paused.freeze();
        // Not before the other one has gone on: the late call would meet a world that has changed.
        match SENDS.get(turn + 1) {
            Some(next) => other.holds_at(next).await,
            None => drop(journey.until("the target's opening", |head| head.opened_at.is_some()).await),
        }
        paused.thaw();
        crew.beats(&id).await;
        paused.release();
        paused.says_again(&stopped, before).await;
    }
    journey.until_done().await;
    let ledger = judge::ledger(&crew.cloud).await;
    // EC2 checks no fence, so nothing may leave behind the lease (F7) ...
    for action in ["DetachVolume", "AttachVolume"] {
        let calls = judge::calls(&ledger, action, &journey.graph.volume_id);
        assert_eq!(calls.len(), 1, "one left late: {calls:#?}");
    }
    // ... and an agent, which checks it, refuses (F5).
    for action in ["AgentRelease", "AgentResume"] {
        let calls = judge::calls(&ledger, action, journey.id.as_str());
        let words: Vec<&str> = calls.iter().map(|call| call.outcome.as_str()).collect();
        assert_eq!(words, ["ok", "FENCED"], "{action}");
    }
    judge::moved(&crew, &journey).await;
}

/// Requests that left in time and arrive late, by what they say: EC2's and Auto Scaling's actions, agents' paths. Two
/// workers by turns.
const LATE: [(&str, &str); 6] = [
    ("Action=CreateSnapshot", "CreateSnapshot"),
    ("/admin/volume/release", "AgentRelease"),
    ("Action=DetachVolume", "DetachVolume"),
    ("Action=AttachVolume", "AttachVolume"),
    ("/admin/resume", "AgentResume"),
    ("Action=TerminateInstanceInAutoScalingGroup", "TerminateInstanceInAutoScalingGroup"),
];

#[tokio::test]
async fn a_request_that_arrives_after_its_sender_was_replaced_does_no_harm() {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    let workers = [first, crew.hire(&[]).await];
    workers[0].cloud.keep(LATE[0].0);
    let journey = Journey::begin(&crew, "upgrade-1").await;
    for (turn, (_, action)) in LATE.iter().enumerate() {
        let (paused, other) = (&workers[turn % 2], &workers[(turn + 1) % 2]);
        paused.cloud.kept().await;
        let id = owner(&journey).await;
        assert!(paused.is(&id), "{id} is not {}", paused.name);
        if let Some((next, _)) = LATE.get(turn + 1) {
            other.cloud.keep(next);
        }
        crew.call(other);
        paused.freeze();
        // The other one has made the same call itself and has gone on, before this one arrives.
        match LATE.get(turn + 1) {
            Some(_) => other.cloud.kept().await,
            None => drop(journey.until_done().await),
        }
        let before = judge::ledger(&crew.cloud).await.len();
        paused.cloud.let_through();
        judge::until_called(&crew.cloud, before, action).await;
        paused.thaw();
        crew.beats(&id).await;
    }
    journey.until_done().await;
    let ledger = judge::ledger(&crew.cloud).await;
    let words = |action: &str, of: &str| -> Vec<String> {
        judge::calls(&ledger, action, of).iter().map(|call| call.outcome.clone()).collect()
    };
    let (volume, id) = (&journey.graph.volume_id, journey.id.as_str());
    assert_eq!(words("DetachVolume", volume), ["ok", "IncorrectState"], "it is free already");
    assert_eq!(words("AttachVolume", volume), ["ok", "VolumeInUse"]);
    assert_eq!(words("AgentRelease", id), ["ok", "FENCED"]);
    assert_eq!(words("AgentResume", id), ["ok", "FENCED"]);
    let terminations = words("TerminateInstanceInAutoScalingGroup", &journey.graph.instance_id);
    assert!(matches!(terminations.as_slice(), [first, late] if first == "ok" && late != "ok"), "{terminations:?}");
    // CreateSnapshot has no token: a late one is one more snapshot, told by its tag, and nothing else (section 6).
    judge::moved_but(&crew, &journey, &["CreateSnapshot safety 2 times".to_owned()]).await;
}

/// H11: the volume is back on the source, mounted and written to, when the late detach from the source arrives.
#[tokio::test]
async fn a_late_detach_matches_nothing_when_the_volume_is_back_on_the_source() {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    let second = crew.hire(&[]).await;
    let _on: serde_json::Value =
        crew.cloud.post("/sim/faults", &serde_json::json!({ "fault": "attach_fails" })).await.expect("a fault");
    first.cloud.keep("Action=DetachVolume");
    let journey = Journey::begin(&crew, "upgrade-1").await;
    first.cloud.kept().await;
    crew.call(&second);
    first.freeze();
    let head = journey.until("the way back", |head| head.view.status == Status::RolledBack).await;
    assert!(second.is(&head.owner), "{}", head.owner);
    let before = judge::ledger(&crew.cloud).await.len();
    first.cloud.let_through();
    judge::until_called(&crew.cloud, before, "DetachVolume").await;
    first.thaw();
    journey.until_done().await;
    let ledger = judge::ledger(&crew.cloud).await;
    let detaches = judge::calls(&ledger, "DetachVolume", &journey.graph.instance_id);
    let words: Vec<&str> = detaches.iter().map(|call| call.outcome.as_str()).collect();
    assert_eq!(words, ["ok", "InvalidAttachment.NotFound"], "a device is used once (F1)");
    judge::rolled_back(&crew, &journey).await;
}

/// How long the tables are away: longer than a lease.
const AWAY: Duration = Duration::from_secs(12);

#[derive(Clone, Copy)]
enum Away {
    /// Connections are refused.
    Closed,
    /// Nobody answers.
    Silent,
}

async fn the_tables_are_away(how: Away) {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    let second = crew.hire(&[]).await;
    let journeys = [Journey::begin(&crew, "upgrade-1").await, {
        crew.call(&second);
        Journey::begin(&crew, "upgrade-2").await
    }];
    for journey in &journeys {
        journey.until_stage(Stage::DrainWrites).await;
    }
    match how {
        Away::Closed => crew.tables.close(),
        Away::Silent => crew.tables.silence(true),
    }
    // What is waited for is that nothing happens: leases run out meanwhile, and every time-out of a read.
    tokio::time::sleep(AWAY).await;
    match how {
        Away::Closed => crew.open_tables(),
        Away::Silent => crew.tables.silence(false),
    }
    for journey in &journeys {
        journey.until_done().await;
        judge::moved(&crew, journey).await;
    }
    for (worker, journey) in [(&first, &journeys[0]), (&second, &journeys[1])] {
        assert!(worker.said(&["a driver stopped", "LeaseLost", journey.id.as_str()]), "{}", worker.tail());
        // Who looked into the void has seen nobody dead.
        assert!(!worker.said(&["took over"]), "{}", worker.tail());
    }
}

#[tokio::test]
async fn tables_that_refuse_everyone_for_a_while_lose_nothing() {
    Box::pin(the_tables_are_away(Away::Closed)).await;
}

#[tokio::test]
async fn tables_that_say_nothing_for_a_while_lose_nothing() {
    Box::pin(the_tables_are_away(Away::Silent)).await;
}

/// A slower clock, so that an outage of seconds stays below the limit of blocked writes (300 s).
const SLOWER: u32 = 8;

/// Whether a customer may write now, by the access check; none if it does not answer.
async fn may_write(crew: &Crew, graph_id: &str) -> Option<bool> {
    let request = CheckAccessRequest {
        graph_id: graph_id.to_owned(),
        mode: AccessMode::Write.into(),
        ..CheckAccessRequest::default()
    };
    let answer = crew.target.access().expect("an address").check_access(request).await.ok()?;
    answer.into_inner().decision.map(|decision| decision.allowed)
}

#[tokio::test]
async fn a_closed_gate_stays_closed_while_the_tables_are_away() {
    let (crew, _first) = Crew::begin_with_changes(SLOWER, &patient()).await;
    let _second = crew.hire(&[]).await;
    let graph = crew.graph("upgrade-1").graph_id;
    let request = ChangeTierRequest {
        request_id: "gate".to_owned(),
        graph_id: graph.clone(),
        target_tier: "ladybug-large".to_owned(),
        timing: ChangeTiming::Now.into(),
        expected_price: None,
    };
    let change = change::begin(&crew.target, request).await.expect("accepted");
    let id = ChangeId::parse(change.change_id).expect("an id");
    let release = |head: &Head| head.view.stage >= Stage::Release;
    until_head(&crew, &id, "the release", release).await;
    assert_eq!(may_write(&crew, &graph).await, Some(false), "the gate is closed");
    crew.tables.close();
    let away = Instant::now();
    while away.elapsed() < AWAY {
        assert_ne!(may_write(&crew, &graph).await, Some(true), "opened by nobody who could know");
        tokio::time::sleep(LOOK_EVERY * 5).await;
    }
    crew.open_tables();
    let head = until_head(&crew, &id, "the end", |head| head.view.status != Status::Running).await;
    assert_eq!(head.view.status, Status::Succeeded, "{:?}", head.view);
    let begun = Instant::now();
    while may_write(&crew, &graph).await != Some(true) {
        assert!(begun.elapsed() < BOUND, "the gate stays closed behind the end");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn until_head(crew: &Crew, id: &ChangeId, what: &str, wanted: impl Fn(&Head) -> bool) -> Head {
    let begun = Instant::now();
    loop {
        let head = crew.journal.head(id).await.expect("the journal can be read");
        if let Some(head) = head.filter(&wanted) {
            return head;
        }
        assert!(begun.elapsed() < BOUND, "{what} did not come:\n{}", told(&crew.journal, id).await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Changes at once.
const CROWD: usize = 8;

#[tokio::test]
async fn a_crowd_of_changes_survives_random_deaths() {
    let (crew, first) = Crew::begin(SPEED, &patient()).await;
    let mut workers = [first, crew.hire(&[]).await, crew.hire(&[]).await];
    let mut dice = Dice::new(20_261_127);
    let mut journeys = Vec::new();
    for number in 1..=CROWD {
        crew.call(&workers[number % workers.len()]);
        journeys.push(Journey::begin(&crew, &format!("upgrade-{number}")).await);
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(dice.between(0, 4_000))).await;
        let victim = usize::try_from(dice.between(0, 2)).expect("small");
        let mut dead = std::mem::replace(&mut workers[victim], crew.hire(&[]).await);
        dead.kill().await;
        crew.call(&workers[(victim + 1) % 3]);
    }
    for journey in &journeys {
        journey.until_done().await;
        judge::moved(&crew, journey).await;
    }
}
