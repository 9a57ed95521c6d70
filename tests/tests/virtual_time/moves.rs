//! Changes in which nothing goes wrong.

use crate::settings::short_soak;
use tiershift_core::event::{Direction, Reads, Writes};
use tiershift_tests::world::evidence::Evidence;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::End;

/// The calls of a change with a launch: each once, in this order.
const WITH_A_LAUNCH: &[&str] = &[
    "SetInstanceProtection source",
    "CreateSnapshot safety",
    "LaunchInstances us-east-1b",
    "AgentDrain source writes",
    "AgentDrain source all",
    "AgentRelease source",
    "CreateSnapshot final",
    "DetachVolume source /dev/sdf",
    "AttachVolume target /dev/sdf",
    "AgentAdopt target",
    "AgentResume target",
    "CreateTags volume",
    "TerminateInstanceInAutoScalingGroup source",
    "DeleteSnapshot safety",
];

/// Nothing slow lies between the confirmation and the opening: no launch, and nobody asks for a snapshot.
fn nothing_slow_is_waited_for(evidence: &Evidence) {
    let from = evidence.at("gate_confirmed").expect("the gate was confirmed").0;
    let to = evidence.at("opened").expect("it was opened").0;
    let inside = |at_ms: u64| (from..=to).contains(&i64::try_from(at_ms).expect("an instant of this era"));
    let slow = ["LaunchInstances", "DescribeSnapshots", "DescribeScalingActivities"];
    for call in evidence.ledger.iter().filter(|call| inside(call.at_ms)) {
        assert!(!slow.contains(&call.action.as_str()), "{} while writes are blocked", call.action);
    }
}

fn stages(evidence: &Evidence) -> Vec<&str> {
    let mut stages: Vec<&str> = evidence.followed.events.iter().map(|event| event.stage.as_str()).collect();
    stages.dedup();
    stages
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn an_upgrade_launches_its_target_and_blocks_writes_for_seconds() {
    let rig = Rig::new(Settings::default()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    let evidence = run.finish().await;
    process.stop().await;

    evidence.holds();
    evidence.ended(End::Moved);
    assert_eq!(evidence.changes(), WITH_A_LAUNCH);
    assert!(evidence.intents().iter().all(|intent| intent.calls.len() == 1), "each once: {:?}", evidence.intents());
    assert_eq!(evidence.followed.refusals, []);
    assert_eq!(evidence.alerts, Vec::<String>::new());

    let names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(stages(&evidence), names, "watchers see every stage, in order");
    assert!(evidence.followed.events.iter().all(|event| event.direction != Direction::Undo));
    nothing_slow_is_waited_for(&evidence);
    let blocked_ms = evidence.writes_blocked_ms();
    assert!((20_000..75_000).contains(&blocked_ms), "writes were blocked for {blocked_ms} ms");
    let opened = evidence.at("opened").expect("it was opened");
    let offline_ms = opened.since(evidence.entered(Stage::Release).expect("it was released"));
    assert!((15_000..45_000).contains(&offline_ms), "the volume was offline for {offline_ms} ms");

    let confirmed = evidence.at("gate_confirmed").expect("the gate was confirmed");
    let behind = evidence.acks.iter().filter(|ack| ack.sent_at > opened).count();
    let before = evidence.acks.iter().filter(|ack| ack.sent_at < confirmed).count();
    assert!(before > 500 && behind > 100, "the customer wrote on both sides: {before} and {behind}");
    let soaked = evidence.at("done").expect("it is done").since(opened);
    assert!(soaked >= Settings::default().soak_ms, "the source went after {soaked} ms");

    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-large").await;
    let source = evidence.state.spec.as_ref().expect("a spec").source.instance.clone();
    assert_eq!(rest::instance_states(&rig)[source.as_str()], "terminated");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn an_idle_instance_is_taken_and_nothing_is_launched() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-idle", "ladybug-large", Policy::Confirm).await;
    let evidence = run.finish().await;

    evidence.holds();
    evidence.ended(End::Moved);
    let without: Vec<&str> = WITH_A_LAUNCH.iter().copied().filter(|line| !line.starts_with("Launch")).collect();
    assert_eq!(evidence.changes(), without);
    let target = evidence.state.target.as_ref().expect("a target");
    assert!(!target.launched);
    let idle = rig.fleet.instances.iter().filter(|i| i.volume_id.is_none() && i.tier == "ladybug-large");
    assert!(idle.map(|i| i.instance_id.as_str()).any(|id| id == target.instance.as_str()), "an idle one");
    rest::at_rest(&rig, &evidence.state, target.instance.as_str(), "ladybug-large").await;
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_downgrade_is_a_move_like_any_other() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "downgrade", "ladybug-standard", Policy::Confirm).await;
    let evidence = run.finish().await;

    evidence.holds();
    evidence.ended(End::Moved);
    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(&rig, &evidence.state, target.as_str(), "ladybug-standard").await;
    let last = evidence.followed.events.last().expect("an event");
    assert_eq!((last.reads, last.writes, last.permille), (Reads::Open, Writes::Open, 1_000));
}
