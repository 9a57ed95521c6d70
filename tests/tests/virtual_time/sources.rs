//! A source that ends in the middle of a change (H34): its volume goes on to the target, or back to a new instance.

use crate::settings::short_soak;
use cloud_sim::api::control::EngineEvent;
use cloud_sim::api::ec2::TerminateInstances;
use cloud_sim::faults::Fault;
use std::collections::BTreeSet;
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
use volume_core::stage::Stage;
use volume_core::state::End;
use volume_core::{item::Item, keys};

/// Somebody, or EC2 itself, ends the source.
async fn end_source(rig: &Rig, run: &Run) {
    let spec = rig.head(&run.id).await.spec.expect("a spec");
    rig.cloud.at_once(TerminateInstances { instance_ids: vec![spec.source.instance.to_string()] });
}

async fn source_row(rig: &Rig, evidence: &Evidence) -> Item {
    let spec = evidence.state.spec.as_ref().expect("a spec");
    rig.row(&keys::instance_row(&spec.source.instance)).await.expect("the source's row")
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h34_a_source_that_ends_before_it_says_released_is_left_uncleanly_and_the_change_succeeds() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    run.until_stage(Stage::Release).await;
    // The engine has stopped and flushed, so that nothing dies with the source; its agent has told nobody yet.
    let stopped = || rig.cloud.engine_log().iter().any(|entry| entry.event == EngineEvent::Closed { clean: true });
    while !stopped() {
        sleep_ms(&*rig.clock, 1).await;
    }
    end_source(&rig, &run).await;
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::Moved);
    assert_eq!(evidence.alerts, ["SOURCE_LOST"], "people are told, once");
    assert!(evidence.entries.iter().any(|entry| entry.fact.name() == "source_lost"), "{}", evidence.told);
    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
    assert_eq!(source_row(&rig, &evidence).await.s("status"), Some("terminated"));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h34_what_died_with_the_source_is_noticed_and_no_gate_opens_over_it() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let head = run.until_stage(Stage::DrainReads).await;
    let source = head.spec.as_ref().expect("a spec").source.instance.to_string();
    // The power goes, with what was not flushed; then EC2 ends it.
    rig.cloud.fault(Fault::InstanceDead { instance_id: source }, None);
    end_source(&rig, &run).await;
    let evidence = run.finish().await;
    let stuck = evidence.state.stuck.as_ref().expect("an operator is needed");
    assert_eq!(stuck.reason, Reason::DataMismatch, "{}", evidence.told);
    assert_eq!(evidence.alerts, ["SOURCE_LOST", "DATA_MISMATCH"]);
    assert!(evidence.audit.lost_with_host > 0, "{:?}", evidence.audit);
    evidence.writes_hold();
    let last = evidence.followed.events.last().expect("an event");
    assert_eq!((last.reads, last.writes), (Reads::Closed, Writes::Closed));
    assert!(matches!(evidence.gate.as_slice(), [(_, None)]), "the gate stays closed: {:?}", evidence.gate);
}

async fn back_to_a_new_instance(deaths: bool) -> (Arc<Rig>, Evidence) {
    let rig = Rig::new(short_soak()).await;
    sleep_ms(&*rig.clock, 60_000).await;
    let mut process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    run.until_stage(Stage::FinalSnapshot).await;
    // The target takes no volume, and the source ends before it can have it back.
    rig.cloud.fault(Fault::AttachFails, Some(2));
    end_source(&rig, &run).await;
    if deaths {
        for name in ["source_lost", "source_replaced"] {
            rig.until_fact(&run.id, name, |fact| fact.name() == name).await;
            process.kill();
            process = Process::start(&rig, Fuse::endless());
            run.front.to(&process);
        }
    }
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::RolledBack);
    (rig, evidence)
}

/// The graph serves in its old tier on another instance of the source's group, whole, and every row says so.
async fn served_by_a_new_instance(rig: &Rig, evidence: &Evidence) {
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::AttachFailed));
    assert_eq!(evidence.alerts, ["SOURCE_LOST"]);
    let back = evidence.at("rolled_back").expect("it is back");
    assert!(evidence.acks.iter().any(|ack| ack.polite && ack.sent_at > back), "the customer writes again");
    let home = evidence.state.home.as_ref().expect("another took its place").clone();
    rest::at_rest(rig, &evidence.state, home.instance.as_str(), "ladybug-standard").await;
    let told =
        evidence.followed.events.iter().find(|event| event.detail.contains_key("reason") && event.permille == 1_000);
    let told = told.expect("the end says where");
    assert_eq!(told.detail.get("instance").map(String::as_str), Some(home.instance.as_str()));
    assert_eq!(source_row(rig, evidence).await.s("status"), Some("terminated"));
    let launches =
        evidence.ledger.iter().filter_map(|call| call.parameters.get("client_token")).collect::<BTreeSet<_>>();
    assert_eq!(launches.len(), 2, "a target, and one in the source's place, however often each was asked for");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h34_on_the_way_back_a_new_instance_takes_the_place_of_a_source_that_ended() {
    let (rig, evidence) = back_to_a_new_instance(false).await;
    served_by_a_new_instance(&rig, &evidence).await;
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h34_that_way_back_survives_the_death_of_its_drivers() {
    let (rig, evidence) = back_to_a_new_instance(true).await;
    served_by_a_new_instance(&rig, &evidence).await;
    assert_eq!(evidence.entries.iter().filter(|entry| entry.fact.name() == "taken_over").count(), 3);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h34_before_the_gate_nothing_is_taken_from_a_source_that_ended_and_the_locks_are_freed() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    run.until_stage(Stage::SafetySnapshot).await;
    end_source(&rig, &run).await;
    let evidence = run.finish().await;
    evidence.ended(End::RolledBack);
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::SourceLost));
    assert_eq!(evidence.gate, [], "no gate was ever closed");
    assert!(evidence.state.home.is_none(), "its replacement claims the volume");
    let spec = evidence.state.spec.as_ref().expect("a spec");
    let lock = rig.row(&keys::volume_lock(&spec.volume)).await.expect("the lock");
    assert_eq!(lock.s("holder"), None);
}
