//! Changes in which the cloud or an agent fails, by the simulated cloud's named faults.

use crate::settings::short_soak;
use cloud_sim::Config;
use cloud_sim::faults::Fault;
use cloud_sim::timing::Timing;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_core::Reason;
use tiershift_core::event::{Reads, Writes};
use tiershift_tests::world::evidence::Evidence;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::state::{End, Place};
use volume_core::view::Status;

async fn changed_under(graph: &str, faults: &[(Fault, Option<u32>)]) -> (Arc<Rig>, Evidence) {
    let rig = Rig::new(short_soak()).await;
    // What was seeded has been so for long: no read goes back behind it.
    sleep_ms(&*rig.clock, 60_000).await;
    for (fault, count) in faults {
        rig.cloud.fault(fault.clone(), *count);
    }
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, graph, "ladybug-large", Policy::Confirm).await;
    let evidence = run.finish().await;
    (rig, evidence)
}

async fn served_by_its_source_again(rig: &Rig, evidence: &Evidence) {
    evidence.holds();
    evidence.ended(End::RolledBack);
    let back = evidence.at("rolled_back").expect("it is back");
    assert!(evidence.acks.iter().any(|ack| ack.polite && ack.sent_at > back), "the customer writes again");
    let spec = evidence.state.spec.as_ref().expect("a spec");
    rest::at_rest(rig, &evidence.state, spec.source.instance.as_str(), "ladybug-standard").await;
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_target_that_takes_no_volume_gives_it_back() {
    let (rig, evidence) = changed_under("upgrade-1", &[(Fault::AttachFails, None)]).await;
    served_by_its_source_again(&rig, &evidence).await;
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::AttachFailed));
    let changes = evidence.changes();
    let tries = changes.iter().filter(|call| call.starts_with("AttachVolume target ")).count();
    assert_eq!(tries, 2, "one target, two devices (rule 25): {changes:?}");
    assert_eq!(changes.iter().filter(|call| call.starts_with("AttachVolume source ")).count(), 1);
    // What was launched ends, but not before the customer is served.
    let (target, _) = evidence.state.dropped.first().expect("a target was given up").clone();
    assert!(target.launched);
    assert_eq!(rest::instance_states(&rig)[target.instance.as_str()], "terminated");
    let back = evidence.at("rolled_back").expect("it is back");
    let ended = evidence.intents().into_iter().find(|intent| intent.line.starts_with("Terminate")).expect("it ended");
    assert!(ended.at > back, "the target's end is no hurry");
    // The volume was away, so the final snapshot stays and so does the safety snapshot (invariant 4).
    assert!(!changes.iter().any(|call| call.starts_with("DeleteSnapshot")), "{changes:?}");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_target_that_takes_no_volume_is_replaced_by_an_idle_one() {
    // Both devices of the first target fail; the second target takes it.
    let (rig, evidence) = changed_under("upgrade-idle", &[(Fault::AttachFails, Some(2))]).await;
    evidence.holds();
    evidence.ended(End::Moved);
    let target = evidence.state.target.as_ref().expect("a target");
    assert_eq!(evidence.state.dropped.len(), 1);
    assert_ne!(evidence.state.dropped[0].0.instance, target.instance);
    rest::at_rest(&rig, &evidence.state, target.instance.as_str(), "ladybug-large").await;
    let dropped = evidence.state.dropped[0].0.instance.as_str();
    assert_eq!(rest::instance_states(&rig)[dropped], "running", "it came from the pool and is there again");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn an_agent_that_skips_the_unmount_is_found_out_and_nothing_opens_over_the_loss() {
    let (rig, evidence) = changed_under("upgrade-1", &[(Fault::AgentSkipsUnmount, Some(1))]).await;
    let stuck = evidence.state.stuck.as_ref().expect("an operator is needed");
    assert_eq!(stuck.reason, Reason::DataMismatch);
    assert_eq!(evidence.alerts, ["DATA_MISMATCH"]);
    assert!(evidence.audit.missing_count > 0, "the skipped unmount lost something: {:?}", evidence.audit);
    evidence.public_events_hold();
    let last = evidence.followed.events.last().expect("an event");
    assert_eq!((last.reads, last.writes), (Reads::Closed, Writes::Closed));
    assert!(matches!(evidence.gate.as_slice(), [(_, None)]), "the gate stays closed: {:?}", evidence.gate);
    // The volume is back on its source, whose door stays shut; the locks are kept.
    let spec = evidence.state.spec.as_ref().expect("a spec");
    assert!(matches!(&evidence.state.place, Place::At { instance, .. } if *instance == spec.source.instance));
    assert!(!evidence.changes().iter().any(|call| call.starts_with("AgentResume")), "no door was opened");
    let lock = rig.row(&volume_core::keys::volume_lock(&spec.volume)).await.expect("the lock");
    assert_eq!(lock.s("holder"), Some(evidence.state.id.as_str()));
    assert_eq!(rig.head(&evidence.state.id).await.view.status, Status::Stuck);
}

/// Each effect whose answer is lost once, behind its effect: it is found again and not made again.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_lost_answer_is_found_again() {
    for api in ["CreateSnapshot", "LaunchInstances", "DetachVolume", "AttachVolume"] {
        let fault = Fault::LostAnswerAfter { api: api.to_owned() };
        let (rig, evidence) = changed_under("upgrade-1", &[(fault, Some(1))]).await;
        evidence.holds();
        evidence.ended(End::Moved);
        let calls = |start: &str| {
            let calls: Vec<String> = evidence.changes().into_iter().filter(|call| call.starts_with(start)).collect();
            calls
        };
        assert!(calls(api).iter().any(|call| call.ends_with("(lost after)")), "{api}: {:?}", calls(api));
        assert_eq!(calls("CreateSnapshot safety").len(), 1, "{api}");
        assert_eq!(calls("CreateSnapshot final").len(), 1, "{api}");
        assert_eq!(calls("AttachVolume").len(), 1, "{api}: {:?}", calls("AttachVolume"));
        assert_eq!(calls("DetachVolume").len(), 1, "{api}: {:?}", calls("DetachVolume"));
        let expected = if api == "LaunchInstances" { 2 } else { 1 };
        assert_eq!(calls("LaunchInstances").len(), expected, "a launch is repeated under its token");
        let target = evidence.state.target.as_ref().expect("a target").instance.clone();
        // As many members as wanted: no second instance was launched.
        rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
    }
}

/// The same where the request never arrived: it is made again.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_lost_request_is_made_again() {
    for api in ["CreateSnapshot", "LaunchInstances", "DetachVolume", "AttachVolume", "AgentDrain", "AgentAdopt"] {
        let fault = Fault::LostAnswerBefore { api: api.to_owned() };
        let (rig, evidence) = changed_under("upgrade-1", &[(fault, Some(1))]).await;
        evidence.holds();
        evidence.ended(End::Moved);
        let lost = evidence.changes().into_iter().filter(|call| call.ends_with("(lost before)")).count();
        assert_eq!(lost, 1, "{api}");
        let target = evidence.state.target.as_ref().expect("a target").instance.clone();
        rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
    }
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn no_capacity_is_waited_for_while_the_customer_writes() {
    let rig = Rig::new(short_soak()).await;
    rig.cloud.fault(Fault::NoCapacity, Some(2));
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::Moved);
    let launches: Vec<String> =
        evidence.changes().into_iter().filter(|call| call.starts_with("LaunchInstances")).collect();
    assert_eq!(launches.len(), 3, "{launches:?}");
    assert!(evidence.writes_blocked_ms() < 75_000, "nobody waited for capacity behind a closed gate");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn no_capacity_at_all_ends_the_change_before_its_gate() {
    let (rig, evidence) = changed_under("upgrade-1", &[(Fault::NoCapacity, None)]).await;
    served_by_its_source_again(&rig, &evidence).await;
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::NoCapacity));
    assert_eq!(evidence.gate, []);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h33_a_target_that_dies_in_adopt_is_condemned_and_the_source_serves() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let head = run.until_stage(volume_core::stage::Stage::Adopt).await;
    let target = head.view.target.expect("a target");
    sleep_ms(&*rig.clock, 1_500).await;
    rig.cloud.fault(Fault::InstanceDead { instance_id: target.clone() }, None);
    let evidence = run.finish().await;
    served_by_its_source_again(&rig, &evidence).await;
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::TargetLost));
    assert_eq!(rest::instance_states(&rig)[target.as_str()], "terminated");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn throttling_costs_time_and_nothing_else() {
    let mut faults = vec![(Fault::SlowSnapshot, Some(1))];
    for api in ["CreateSnapshot", "AttachVolume", "DetachVolume", "DescribeVolumes", "LaunchInstances"] {
        faults.push((Fault::Throttle { api: api.to_owned() }, Some(2)));
    }
    let (rig, evidence) = changed_under("upgrade-1", &faults).await;
    evidence.holds();
    evidence.ended(End::Moved);
    for once in ["CreateSnapshot safety", "CreateSnapshot final", "LaunchInstances us-east-1b"] {
        assert_eq!(evidence.changes().iter().filter(|call| *call == once).count(), 1, "{once}");
    }
    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
}

/// Every second read of something that changed in the last 30 s goes back behind that change, so that two that agree
/// may both be wrong. That may cost the change. It must not cost a write, or leave anything behind.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn reads_that_go_back_may_end_a_change_and_break_nothing() {
    for seed in 1..=10 {
        let rig = Rig::with(Config { timing: Timing::Drawn, ..Config::default() }, seed, short_soak()).await;
        sleep_ms(&*rig.clock, 60_000).await;
        rig.cloud.fault(Fault::StaleReads, None);
        let process = Process::start(&rig, Fuse::endless());
        let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
        let evidence = run.finish().await;
        evidence.holds();
        let spec = evidence.state.spec.as_ref().expect("a spec");
        let (serves, tier) = match (evidence.state.end, &evidence.state.target) {
            (Some(End::Moved), Some(target)) => (target.instance.clone(), "ladybug-large"),
            _ => (spec.source.instance.clone(), "ladybug-standard"),
        };
        rest::at_rest(&rig, &evidence.state, serves.as_str(), tier).await;
    }
}
