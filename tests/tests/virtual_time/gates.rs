//! The gate: who may answer it, and what happens when nobody does.

use crate::settings::short_soak;
use tiershift_core::{Kind, Reason};
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::stage::Stage;
use volume_core::state::End;

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h10_a_gate_that_nobody_confirms_aborts_at_its_deadline() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Ignore).await;
    let evidence = run.finish().await;

    evidence.holds();
    evidence.ended(End::RolledBack);
    assert_eq!(evidence.state.undo.as_ref().map(|undo| undo.reason), Some(Reason::GateTimeout));
    let requested = evidence.at("gate_requested").expect("it was requested");
    let waited_ms = evidence.at("undo_begun").expect("it went back").since(requested);
    let gate_ms = short_soak().gate_ms;
    assert!((gate_ms..gate_ms + 2_000).contains(&waited_ms), "it waited {waited_ms} ms");
    assert!(!evidence.changes().iter().any(|call| call.starts_with("Agent")), "nobody was drained");
    let spec = evidence.state.spec.as_ref().expect("a spec");
    rest::at_rest(&rig, &evidence.state, spec.source.instance.as_str(), "ladybug-standard").await;
    let target = evidence.state.target.as_ref().expect("a target");
    assert_eq!(rest::instance_states(&rig)[target.instance.as_str()], "terminated");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h10_only_the_gate_that_is_open_can_be_confirmed_and_a_repeat_is_the_same() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Ignore).await;
    let early = run.confirm(1).await.expect_err("no gate was requested yet");
    assert_eq!((early.kind, early.reason), (Kind::FailedPrecondition, Reason::GateMismatch));
    let head = rig.until(&run.id, "at the gate", 600_000, |head| head.view.gate_id.is_some()).await;
    let gate_id = head.view.gate_id.expect("a gate");
    for wrong in [gate_id - 1, gate_id + 1] {
        let refused = run.confirm(wrong).await.expect_err("another gate");
        assert_eq!((refused.kind, refused.reason), (Kind::FailedPrecondition, Reason::GateMismatch));
    }
    let restored = process.migrations.confirm_gate(&run.id, gate_id, 2).await.expect_err("another store");
    assert_eq!(restored.error().reason, Reason::StoreRestored);
    assert_eq!(rig.head(&run.id).await.version, head.version, "a refusal changes nothing");

    run.access.close();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    run.confirm(gate_id).await.expect("the gate is confirmed");
    run.confirm(gate_id).await.expect("a repeat is the same confirmation");
    run.until_stage(Stage::Adopt).await;
    run.confirm(gate_id).await.expect("a late repeat too");
    run.confirm(gate_id + 1).await.expect_err("another gate");
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::Moved);
    let confirmations = evidence.entries.iter().filter(|entry| entry.fact.name() == "gate_confirmed").count();
    assert_eq!(confirmations, 1);
}
