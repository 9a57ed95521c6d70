//! Journals that this build cannot read, and those of another life of the store: nothing of them is guessed, an operator is
//! called once, and everything else goes on (V6, H19). That journals of older versions can be read is `volume-svc/core/tests/machine/journals.rs`.

use crate::settings::hardly_any_soak;
use std::sync::Arc;
use tiershift_common::clock::sleep_ms;
use tiershift_core::Reason;
use tiershift_core::ids::ChangeId;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::fact::{Fact, Resume, SCHEMA};
use volume_core::item::{Item, Write};
use volume_core::keys;
use volume_core::stage::Stage;
use volume_core::state::End;
use volume_core::view::Status;
use volume_svc::alerts::Kind;
use volume_svc::ports::store::Store;

/// The newest entry of a journal, as another version wrote it.
async fn rewrite_newest(rig: &Rig, id: &ChangeId, rewrite: impl Fn(&str) -> String) {
    let entry = rig.entries(id).await.pop().expect("there are entries");
    let key = keys::entry(id, entry.seq);
    let text = serde_json::to_string(&entry).expect("an entry has a JSON form");
    let rewritten = rewrite(&text);
    assert_ne!(rewritten, text);
    let write = Write::update(key, Item::default().with("entry", rewritten), &[], vec![]);
    rig.store.transact("another version", vec![write]).await.expect("the store takes it");
}

/// A change whose driver dies in a stage, with a journal that the next one cannot read.
async fn unreadable(rewrite: impl Fn(&str) -> String) -> (Arc<Rig>, Run, Process) {
    let rig = Rig::new(hardly_any_soak()).await;
    let first = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &first, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    run.until_stage(Stage::Capacity).await;
    first.kill();
    rewrite_newest(&rig, &run.id, rewrite).await;
    let second = Process::start(&rig, Fuse::endless());
    run.front.to(&second);
    (rig, run, second)
}

async fn calls_an_operator_and_touches_nothing(rig: &Arc<Rig>, run: &Run, process: &Process) {
    let before = rig.head(&run.id).await;
    let calls = rig.cloud.ledger().len();
    // Far behind every take-over, and many sweeps.
    sleep_ms(&*rig.clock, 120_000).await;
    assert_eq!(rig.alerts(), [Kind::JournalUnreadable.as_str()], "once, and not with every sweep");
    let after = rig.head(&run.id).await;
    assert_eq!((after.version, after.fence), (before.version, before.fence), "nobody has taken it over");
    assert_eq!(rig.cloud.ledger().len(), calls, "nothing was asked of the cloud");
    // Others are driven as ever.
    let other = Run::begin(rig, process, "upgrade-2", "ladybug-large", Policy::Confirm).await;
    let evidence = other.finish().await;
    evidence.ended(End::Moved);
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn an_entry_of_an_unknown_version_refuses_to_load_and_calls_an_operator_once() {
    let (this, next) = (format!("\"schema\":{SCHEMA}"), format!("\"schema\":{}", SCHEMA + 1));
    let (rig, run, process) = unreadable(|text| text.replacen(&this, &next, 1)).await;
    calls_an_operator_and_touches_nothing(&rig, &run, &process).await;
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_fact_that_this_build_does_not_know_refuses_to_load_and_calls_an_operator_once() {
    let (rig, run, process) = unreadable(|text| text.replacen("\"kind\":\"", "\"kind\":\"unheard_", 1)).await;
    calls_an_operator_and_touches_nothing(&rig, &run, &process).await;
}

/// The store is restored while a change looks for its target: what the journal tells may be behind what was done.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h19_a_migration_of_another_life_of_the_store_sends_nothing_until_a_person_has_decided() {
    let rig = Rig::new(hardly_any_soak()).await;
    let first = Process::start(&rig, Fuse::endless());
    let run = Run::begin(&rig, &first, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    run.until_stage(Stage::Capacity).await;
    first.kill();
    let epoch = Write::upsert(keys::epoch(), Item::default().with("epoch", 2), &[], vec![]);
    rig.store.transact("the restore's last step", vec![epoch]).await.expect("the store takes it");
    let calls = rig.cloud.ledger().len();
    let second = Process::start(&rig, Fuse::endless());
    run.front.to(&second);

    let held = rig.until(&run.id, "held back", 60_000, |head| head.view.status == Status::Stuck).await;
    assert_eq!(held.view.reason, Some(Reason::StoreRestored));
    sleep_ms(&*rig.clock, 120_000).await;
    assert_eq!(rig.alerts(), [Reason::StoreRestored.as_str()]);
    assert_eq!(rig.cloud.ledger().len(), calls, "nothing was sent");
    // Nobody but an operator lets it go on: not the customer who cancels, not another process.
    let canceled = second.migrations.cancel(&run.id, "user_a").await.expect_err("refused");
    assert_eq!(canceled.error().reason, Reason::StoreRestored);
    second.kill();
    let third = Process::start(&rig, Fuse::endless());
    run.front.to(&third);
    sleep_ms(&*rig.clock, 60_000).await;
    assert_eq!(rig.cloud.ledger().len(), calls, "nor has another process");

    let head = third.migrations.resume(&run.id, Resume::Retry, "op_a", "reconciled").await.expect("it is stuck");
    assert_eq!(head.store_epoch, 2);
    // Whoever followed it has a cursor of the other life, so that nobody confirms its gate: it goes on, and then back.
    rig.until_fact(&run.id, "its gate", |fact| matches!(fact, Fact::GateRequested { .. })).await;
    let evidence = run.finish().await;
    evidence.ended(End::RolledBack);
}
