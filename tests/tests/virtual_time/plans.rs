//! What a change is refused for, before anything is touched.

use crate::settings::short_soak;
use cloud_sim::api::control::EditGroup;
use cloud_sim::api::ec2::{CreateSnapshot, ModifyVolume};
use cloud_sim::faults::Fault;
use std::sync::Arc;
use tiershift_core::catalogue::GIB;
use tiershift_core::{Kind, Reason, Violation};
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::{FINGERPRINT, Policy};
use volume_svc::migrations::Wish;

/// The violations of a plan, which a start with the same facts must refuse with too; nothing may have changed.
async fn refused(rig: &Arc<Rig>, process: &Process, wish: &Wish) -> Vec<Violation> {
    let plan = process.migrations.plan(wish, None).await.expect("a plan");
    assert_eq!(plan.verdict.not_checked, [], "every check could be made");
    let fault = process.migrations.start(&rig.change_id(), wish, "user_ada", FINGERPRINT).await.expect_err("refused");
    let error = fault.error();
    if error.kind == Kind::FailedPrecondition {
        assert_eq!(error.violations, plan.verdict.violations, "plan and start agree");
    } else {
        assert_eq!((error.kind, plan.verdict.violations.len()), (Kind::Aborted, 1), "{error:?}");
        assert_eq!(error.reason, plan.verdict.violations[0].reason);
        assert!(error.retry_after_ms.is_some(), "something to wait for");
    }
    plan.verdict.violations
}

fn reasons(violations: &[Violation]) -> Vec<Reason> {
    violations.iter().map(|violation| violation.reason).collect()
}

/// Calls so far that changed something in the cloud, on behalf of volume-svc.
fn changes(rig: &Rig) -> usize {
    rig.cloud.ledger().iter().filter(|call| call.parameters.keys().any(|key| key == "tag:volsvc:migration")).count()
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn every_violation_is_told_at_once() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let mut wish = rig.wish("shared-volume-1", "ladybug-large");
    wish.storage_limit_bytes = Some(GIB);
    let volume_id = rig.graph("shared-volume-1").volume_id.clone();
    rig.cloud.fault(Fault::SlowSnapshot, None);
    for _ in 0..4 {
        let request = CreateSnapshot { volume_id: volume_id.clone(), ..CreateSnapshot::default() };
        rig.cloud.at_once(request);
    }
    rig.cloud.at_once(ModifyVolume { volume_id, size_gib: Some(40), iops: None, throughput: None });
    rig.cloud.at_once(EditGroup {
        group_name: "tiershift-ladybug-large-writers-dev-asg".to_owned(),
        health_check_type: Some("EC2,ELB".to_owned()),
        suspended_processes: Some(vec!["Launch".to_owned()]),
        refresh_in_progress: Some(true),
        ..EditGroup::default()
    });
    // Reads lag behind what was just done.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;

    let violations = refused(&rig, &process, &wish).await;
    let expected = [
        Reason::VolumeShared,
        Reason::VolumeModifying,
        Reason::SnapshotsPending,
        Reason::HealthCheckType,
        // Launches are suspended, balancing the zones is not, and a refresh runs.
        Reason::GroupNotReady,
        Reason::GroupNotReady,
        Reason::GroupNotReady,
        Reason::StorageExceedsLimit,
    ];
    assert_eq!(reasons(&violations), expected, "{violations:#?}");
    let of = |reason: Reason| violations.iter().find(|v| v.reason == reason).expect("it is among them");
    assert_eq!((of(Reason::VolumeShared).limit, of(Reason::VolumeShared).actual), (Some(1), Some(2)));
    assert_eq!((of(Reason::SnapshotsPending).limit, of(Reason::SnapshotsPending).actual), (Some(3), Some(4)));
    let storage = of(Reason::StorageExceedsLimit);
    assert_eq!((storage.limit, storage.actual), (Some(GIB), Some(4 * GIB)));
    assert!(violations.iter().all(|violation| !violation.fix.is_empty()), "each says what would mend it");
    assert_eq!(changes(&rig), 0, "nothing was touched");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_full_group_has_no_room_in_the_volumes_zone() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    // Its idle instance lies in zone a; in zone b, where the volume is, one would have to be launched.
    let violations = refused(&rig, &process, &rig.wish("upgrade-1", "ladybug-xlarge")).await;
    assert_eq!(reasons(&violations), [Reason::NoCapacity], "{violations:#?}");
    assert_eq!((violations[0].limit, violations[0].actual), (Some(2), Some(2)), "its size, used up");
    // In zone a that idle instance will do.
    let plan = process.migrations.plan(&rig.wish("upgrade-idle", "ladybug-xlarge"), None).await.expect("a plan");
    assert!(plan.verdict.clean(), "{:?}", plan.verdict);
    assert!(!plan.launch_needed);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h35_a_graph_is_changed_once_at_a_time() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let wish = rig.wish("upgrade-1", "ladybug-large");
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let violations = refused(&rig, &process, &wish).await;
    assert_eq!(reasons(&violations), [Reason::ChangeActive]);
    // The same request again is the same change; another one under its id is not.
    let again = process.migrations.start(&run.id, &wish, "user_ada", FINGERPRINT).await;
    assert_eq!(again.expect("the same change").0.id, run.id);
    let other = process.migrations.start(&run.id, &wish, "user_ada", "another").await.expect_err("another request");
    assert_eq!((other.error().kind, other.error().reason), (Kind::AlreadyExists, Reason::RequestIdReused));

    // Behind the end it is settling, and the target has the tier that was asked for.
    let id = run.id.clone();
    rig.until(&id, "opened", 3_600_000, |head| head.opened_at.is_some()).await;
    let mut back = rig.wish("upgrade-1", "ladybug-standard");
    back.source_tier = None;
    assert_eq!(reasons(&refused(&rig, &process, &back).await), [Reason::Settling]);
    let evidence = run.finish().await;
    evidence.holds();
    let plan = process.migrations.plan(&back, None).await.expect("a plan");
    assert!(plan.verdict.clean(), "free again: {:?}", plan.verdict);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn two_starts_at_once_are_one_change() {
    let rig = Rig::new(short_soak()).await;
    let (one, other) = (Process::start(&rig, Fuse::endless()), Process::start(&rig, Fuse::endless()));
    let wish = rig.wish("upgrade-1", "ladybug-large");
    let (first, second) = (rig.change_id(), rig.change_id());
    let started = tokio::join!(
        one.migrations.start(&first, &wish, "user_ada", FINGERPRINT),
        other.migrations.start(&second, &wish, "user_ada", FINGERPRINT),
    );
    let lost = match started {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("one must win: {both:?}"),
    };
    assert_eq!((lost.error().kind, lost.error().reason), (Kind::Aborted, Reason::ChangeActive));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn what_is_not_there_is_said_to_be_not_there() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let mut wish = rig.wish("upgrade-1", "ladybug-large");
    wish.graph = tiershift_core::ids::GraphId::parse("kg0000000000000bad").expect("a graph id");
    let plan = process.migrations.plan(&wish, None).await.expect("a plan");
    assert_eq!(reasons(&plan.verdict.violations), [Reason::GraphNotFound]);
    assert!(plan.verdict.not_checked.iter().all(|skipped| skipped.because != Reason::Unavailable));
    let mut wish = rig.wish("upgrade-1", "ladybug-large");
    wish.target_tier = tiershift_core::ids::TierName::parse("ladybug-huge").expect("a tier's name");
    let fault = process.migrations.plan(&wish, None).await.expect_err("no such tier");
    assert_eq!(reasons(&fault.error().violations), [Reason::UnknownTier]);
    let same = rig.wish("upgrade-1", "ladybug-standard");
    assert_eq!(reasons(&refused(&rig, &process, &same).await), [Reason::SameTier]);
}
