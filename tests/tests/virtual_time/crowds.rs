//! Many changes at once: they share permits, describes and processes, and none gets in another's way.

use crate::settings::hardly_any_soak;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tiershift_tests::world::evidence::Evidence;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use tokio::time::sleep;
use volume_core::state::End;

/// Changes at once: one for each fresh graph of the development stack.
const CROWD: usize = cloud_sim::seed::FRESH_GRAPHS;

fn ask_for_all(rig: &Arc<Rig>, process: &Process) -> Vec<Run> {
    let wish = |number: usize| rig.wish(&format!("upgrade-{number}"), "ladybug-large");
    (1..=CROWD).map(|number| Run::ask_for(rig, process, wish(number), Policy::Confirm)).collect()
}

async fn finish_all(runs: Vec<Run>) -> Vec<Evidence> {
    let mut all = Vec::new();
    for run in runs {
        all.push(run.finish().await);
    }
    all
}

async fn all_moved(rig: &Rig, all: &[Evidence]) {
    for evidence in all {
        evidence.ended(End::Moved);
        evidence.holds_among_others();
        let target = evidence.state.target.as_ref().expect("a target").instance.clone();
        rest::at_rest(rig, &evidence.state, target.as_str(), "ladybug-large").await;
    }
    let targets: BTreeSet<_> = all.iter().filter_map(|e| e.state.target.as_ref()).map(|t| &t.instance).collect();
    assert_eq!(targets.len(), all.len(), "each has a target of its own");
    let ledger = rig.cloud.ledger();
    let launches: BTreeSet<_> = ledger.iter().filter_map(|call| call.parameters.get("client_token")).collect();
    assert_eq!(launches.len(), all.len(), "one launch for each");
}

/// Most changes of these that were between the request of their gate and their end at one time.
fn most_at_once(all: &[Evidence]) -> usize {
    let spans: Vec<_> = all.iter().filter_map(|e| Some((e.at("gate_requested")?, e.at("opened")?))).collect();
    let at = |instant| spans.iter().filter(|(from, to)| *from <= instant && instant < *to).count();
    spans.iter().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn h31_as_many_as_have_a_permit_block_writes_at_once() {
    let rig = Rig::new(hardly_any_soak()).await;
    let process = Process::start(&rig, Fuse::endless());
    let runs = ask_for_all(&rig, &process);
    let all = finish_all(runs).await;
    all_moved(&rig, &all).await;
    let permits = usize::try_from(rig.settings.permits_group).expect("a small number");
    assert_eq!(most_at_once(&all), permits, "all permits of the group are used, and no more");
    for evidence in &all {
        assert!(evidence.writes_blocked_ms() < 75_000, "who waits for a permit blocks nobody");
    }
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_crowd_survives_the_death_of_its_process() {
    for seconds in [3, 70, 95, 110, 125, 150] {
        let rig = Rig::new(hardly_any_soak()).await;
        let first = Process::start(&rig, Fuse::endless());
        let second = Process::start(&rig, Fuse::endless());
        let runs = ask_for_all(&rig, &first);
        sleep(Duration::from_secs(seconds)).await;
        first.kill();
        for run in &runs {
            run.front.to(&second);
        }
        let all = finish_all(runs).await;
        all_moved(&rig, &all).await;
    }
}
