//! What is ended and put away behind the customer's end, where the group does not make it easy (H35).

use crate::settings::short_soak;
use cloud_sim::api::autoscaling::DescribeAutoScalingGroups;
use cloud_sim::api::control::EditGroup;
use cloud_sim::faults::Fault;
use tiershift_common::clock::sleep_ms;
use tiershift_core::Reason;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::effect::Effect;
use volume_core::fact::Fact;
use volume_core::stage::Stage;
use volume_core::state::End;

/// The group may not get smaller than it is now.
fn at_its_smallest(rig: &Rig, group: &str) {
    let seen = rig.cloud.at_once(DescribeAutoScalingGroups::default());
    let desired = seen.groups.iter().find(|g| g.name == group).expect("the group is seeded").desired_capacity;
    rig.cloud.at_once(EditGroup { group_name: group.to_owned(), min_size: Some(desired), ..EditGroup::default() });
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h35_a_condemned_target_ends_without_lowering_a_group_at_its_smallest_size() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let head = run.until_stage(Stage::Adopt).await;
    let target = head.view.target.expect("a target");
    at_its_smallest(&rig, head.spec.expect("a spec").target_group.as_str());
    sleep_ms(&*rig.clock, 1_500).await;
    rig.cloud.fault(Fault::InstanceDead { instance_id: target.clone() }, None);
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::RolledBack);
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::TargetLost));
    let lowering: Vec<bool> = evidence
        .entries
        .iter()
        .filter_map(|entry| match &entry.fact {
            Fact::Intent { effect: Effect::Terminate { decrement, .. }, .. } => Some(*decrement),
            _ => None,
        })
        .collect();
    assert_eq!(lowering, [true, false], "{}", evidence.told);
    let asked: Vec<_> = evidence
        .ledger
        .iter()
        .filter(|call| call.action == "TerminateInstanceInAutoScalingGroup" && call.outcome == "ok")
        .map(|call| call.parameters.get("should_decrement_desired_capacity").cloned())
        .collect();
    assert_eq!(asked, [Some("false".to_owned())], "the call says what was decided");
    assert_eq!(rest::instance_states(&rig)[target.as_str()], "terminated");
    let spec = evidence.state.spec.as_ref().expect("a spec");
    rest::at_rest(&rig, &evidence.state, spec.source.instance.as_str(), "ladybug-standard").await;
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h35_at_its_smallest_size_a_group_keeps_its_source_as_an_idle_member() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let head = run.until_stage(Stage::Settle).await;
    let spec = head.spec.expect("a spec");
    at_its_smallest(&rig, spec.source.group.as_str());
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::Moved);
    assert!(evidence.state.source_kept, "{}", evidence.told);
    assert!(!evidence.changes().iter().any(|call| call.starts_with("Terminate")), "{:?}", evidence.changes());
    let row = rig.row(&volume_core::keys::instance_row(&spec.source.instance)).await.expect("the source's row");
    assert_eq!((row.s("status"), row.n("database_count"), row.s("ts_migration")), (Some("healthy"), Some(0), None));
    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
}
