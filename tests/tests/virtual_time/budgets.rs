//! Client-side budgets of AWS's calls under a whole process: the way back does not queue behind new work (rule 17).

use crate::settings::short_soak;
use cloud_sim::faults::Fault;
use std::sync::Arc;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::fact::Fact;
use volume_core::state::End;
use volume_svc::adapters::budget::Api;
use volume_svc::ports::cloud::traffic::Traffic;

/// Attaches that new work asks for at once: at two a second they take more than eight minutes.
const NEW_WORK: usize = 1_000;

/// A failed attach is believed after 10 s; the way back then takes half a minute when all goes well.
const BACK_WITHIN_MS: i64 = 120_000;

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn the_way_back_does_not_queue_behind_new_work() {
    let rig = Rig::new(short_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    rig.cloud.fault(Fault::AttachFails, None);
    let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
    rig.until_fact(&run.id, "way back", |fact| matches!(fact, Fact::UndoBegun { .. })).await;
    let crowd: Vec<_> = (0..NEW_WORK)
        .map(|_| {
            let budget = Arc::clone(&process.budget);
            tokio::spawn(async move { budget.take(Api::AttachVolume, Traffic::Forward).await })
        })
        .collect();
    run.until_end().await;
    let waiting = crowd.iter().filter(|task| !task.is_finished()).count();
    assert!(waiting > NEW_WORK / 2, "there was a queue to pass: {waiting}");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    let evidence = run.finish().await;
    evidence.holds();
    evidence.ended(End::RolledBack);
    let at = |name| evidence.at(name).expect("it turned back and arrived");
    let took_ms = at("rolled_back").since(at("undo_begun"));
    assert!(took_ms <= BACK_WITHIN_MS, "the way back took {took_ms} ms");
}
