//! A change that is canceled: before the volume is taken away it goes back, and everybody reads and writes as before;
//! afterwards it is too late.

use crate::settings::short_soak;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_core::event::{Reads, Writes};
use tiershift_core::{Kind, Reason};
use tiershift_tests::world::evidence::Evidence;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::effect::{Done, Effect};
use volume_core::fact::{Fact, Outcome};
use volume_core::stage::Stage;
use volume_core::state::End;
use volume_svc::migrations::Canceled;

/// Everything is as it was before the change: the source serves, a launched target is gone, a reserved one idle again.
async fn as_before(rig: &Arc<Rig>, evidence: &Evidence) {
    evidence.holds();
    evidence.ended(End::RolledBack);
    let undo = evidence.state.undo.as_ref().expect("it went back");
    assert_eq!((undo.reason, undo.by.as_deref()), (Reason::CanceledByRequest, Some("user_ada")));
    let last = evidence.followed.events.last().expect("an event");
    assert_eq!((last.reads, last.writes), (Reads::Open, Writes::Open));
    let back = evidence.at("rolled_back").expect("it is back");
    assert!(evidence.acks.iter().any(|ack| ack.polite && ack.sent_at > back), "the customer writes again");
    let spec = evidence.state.spec.as_ref().expect("a spec");
    rest::at_rest(rig, &evidence.state, spec.source.instance.as_str(), "ladybug-standard").await;
    for call in evidence.changes() {
        assert!(!call.starts_with("DetachVolume"), "nothing was taken away: {call}");
    }
    let launched = evidence.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Reserved { target } if target.launched => Some(target.instance.clone()),
        _ => evidence.state.launched.clone(),
    });
    if let Some(launched) = launched {
        assert_eq!(rest::instance_states(rig)[launched.as_str()], "terminated", "what was launched is gone");
    }
}

async fn canceled_in(stage: Stage) -> (Arc<Rig>, Evidence) {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let head = run.until_stage(stage).await;
    assert_eq!(head.view.stage, stage);
    let (canceled, _) = run.cancel().await.expect("a cancel is accepted");
    assert_eq!(canceled, Canceled::TurningBack);
    let (again, _) = run.cancel().await.expect("a repeat is the same cancel");
    assert!(matches!(again, Canceled::TurningBack | Canceled::RolledBack));
    (rig, run.finish().await)
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_the_safety_snapshot_nothing_but_the_snapshot_was_done() {
    let (rig, evidence) = canceled_in(Stage::SafetySnapshot).await;
    as_before(&rig, &evidence).await;
    assert_eq!(evidence.gate, [], "no gate was ever closed");
    let changes = evidence.changes();
    assert_eq!(changes, ["SetInstanceProtection source", "CreateSnapshot safety", "DeleteSnapshot safety"]);
}

/// Cancels at a fact of Capacity and says what became of the instance that was launched.
async fn canceled_at_launch(what: &str, wanted: impl Fn(&Fact) -> bool) -> Evidence {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Box::pin(Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm)).await;
    rig.until_fact(&run.id, what, wanted).await;
    Box::pin(run.cancel()).await.expect("a cancel is accepted");
    let evidence = Box::pin(run.finish()).await;
    assert_eq!(evidence.state.stage, Stage::Settle);
    as_before(&rig, &evidence).await;
    assert_eq!(evidence.gate, []);
    evidence
}

/// The calls of a change that was canceled in Capacity, with a launch that is taken back.
fn launched_and_ended(role: &str) -> [String; 5] {
    [
        "SetInstanceProtection source".to_owned(),
        "CreateSnapshot safety".to_owned(),
        "LaunchInstances us-east-1b".to_owned(),
        format!("TerminateInstanceInAutoScalingGroup {role}"),
        "DeleteSnapshot safety".to_owned(),
    ]
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_capacity_a_launch_under_way_is_completed_and_taken_back() {
    let launch = |fact: &Fact| matches!(fact, Fact::Intent { effect: Effect::Launch { .. }, .. });
    let evidence = canceled_at_launch("launch", launch).await;
    assert_eq!(evidence.changes(), launched_and_ended("launched"));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_capacity_an_instance_that_is_no_target_yet_ends() {
    let launched = |fact: &Fact| matches!(fact, Fact::Outcome { outcome: Outcome::Done(Done::Launched(_)), .. });
    let evidence = canceled_at_launch("launched instance", launched).await;
    assert_eq!(evidence.changes(), launched_and_ended("launched"));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_capacity_a_target_that_boots_ends() {
    let evidence = canceled_at_launch("target", |fact| matches!(fact, Fact::Reserved { .. })).await;
    assert_eq!(evidence.changes(), launched_and_ended("target"));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn at_the_gate_a_reserved_instance_goes_back_to_the_pool() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-idle", "ladybug-large", Policy::Ignore).await;
    rig.until(&run.id, "at the gate", 600_000, |head| head.view.gate_id.is_some()).await;
    run.cancel().await.expect("a cancel is accepted");
    let evidence = run.finish().await;
    as_before(&rig, &evidence).await;
    assert!(!evidence.changes().iter().any(|call| call.starts_with("Terminate")));
    // The pool is as it was: the next change finds the same instance.
    let again = Run::begin(&rig, &process, "upgrade-idle", "ladybug-large", Policy::Confirm).await;
    let moved = again.finish().await;
    moved.holds();
    assert_eq!(moved.state.target.map(|t| t.instance), evidence.state.target.map(|t| t.instance));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h10_at_the_gate_the_confirmation_comes_too_late() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    rig.until(&run.id, "at the gate", 600_000, |head| head.view.gate_id.is_some()).await;
    // The other service has closed its gate and waits for the leases.
    sleep_ms(&*rig.clock, 2_000).await;
    assert!(!run.access.is_open());
    run.cancel().await.expect("a cancel is accepted");
    let evidence = run.finish().await;
    as_before(&rig, &evidence).await;
    assert_eq!(evidence.followed.refusals, [Reason::GateMismatch], "the gate was answered behind the cancel");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_the_drain_the_door_opens_again() {
    let (rig, evidence) = canceled_in(Stage::DrainReads).await;
    as_before(&rig, &evidence).await;
    assert_eq!(evidence.gate.len(), 1, "the gate was closed once and opened once");
    let calls: Vec<String> = evidence.changes().into_iter().filter(|call| call.starts_with("Agent")).collect();
    assert_eq!(calls, ["AgentDrain source writes", "AgentDrain source all", "AgentResume source"]);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn in_the_release_the_source_mounts_again() {
    let (rig, evidence) = canceled_in(Stage::Release).await;
    as_before(&rig, &evidence).await;
    let calls: Vec<String> = evidence.changes().into_iter().filter(|call| call.starts_with("Agent")).collect();
    let expected = [
        "AgentDrain source writes",
        "AgentDrain source all",
        "AgentRelease source",
        "AgentAdopt source",
        "AgentResume source",
    ];
    assert_eq!(calls, expected);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn behind_the_detach_it_is_too_late() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    for stage in [Stage::Detach, Stage::Attach, Stage::Adopt, Stage::Settle] {
        run.until_stage(stage).await;
        let refused = run.cancel().await.expect_err("it is too late");
        assert_eq!((refused.kind, refused.reason), (Kind::FailedPrecondition, Reason::TooLateToCancel), "{stage}");
    }
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::Moved);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h27_before_its_start_it_is_never_started() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let id = rig.change_id();
    let (canceled, _) = process.migrations.cancel(&id, "user_ada").await.expect("a cancel of an unknown id");
    assert_eq!(canceled, Canceled::Tombstone);
    let wish = rig.wish("upgrade-1", "ladybug-large");
    let refused = process.migrations.start(&id, &wish, "user_ada", "print").await.expect_err("it was canceled");
    assert_eq!((refused.error().kind, refused.error().reason), (Kind::FailedPrecondition, Reason::Tombstone));
    assert_eq!(rig.cloud.ledger().iter().filter(|call| !call.action.starts_with("Describe")).count(), 0);
}
