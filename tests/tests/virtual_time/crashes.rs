//! Processes that die at any instant: another takes over after the lease, and the change ends as if nothing had happened.

use crate::settings::{hardly_any_soak, short_soak};
use std::sync::Arc;
use std::time::Duration;
use tiershift_tests::world::dice::Dice;
use tiershift_tests::world::evidence::Evidence;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rest;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use tokio::time::sleep;
use volume_core::state::End;

/// How a process dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// At the n-th border of a durable change since it started.
    Border(u64),
    /// After so many milliseconds.
    Instant(u64),
}

/// Lets the processes of a change die one after another, each followed by the next after a pause in milliseconds, and then
/// one live. Says how many died: one whose fuse is longer than the change outlives it.
async fn survive(rig: &Arc<Rig>, graph: &str, deaths: &[(Death, u64)]) -> (Evidence, usize) {
    let fuse = |death: Option<&(Death, u64)>| match death {
        Some((Death::Border(n), _)) => Fuse::ending_at(*n),
        _ => Fuse::endless(),
    };
    let mut process = Process::start(rig, fuse(deaths.first()));
    let run = Run::ask_for(rig, &process, rig.wish(graph, "ladybug-large"), Policy::Confirm);
    let mut died = 0;
    for (death, pause_ms) in deaths {
        let over = rig.until_late(&run.id, "done", 6 * 3_600_000, |head| head.done_at.is_some());
        let dies = async {
            match death {
                Death::Border(_) => process.fuse.ended().await,
                Death::Instant(ms) => sleep(Duration::from_millis(*ms)).await,
            }
        };
        tokio::select! {
            biased;
            () = dies => {}
            _ = over => break,
        }
        died += 1;
        process.kill();
        sleep(Duration::from_millis(*pause_ms)).await;
        process = Process::start(rig, fuse(deaths.get(died)));
        run.front.to(&process);
    }
    (run.finish().await, died)
}

async fn moved_as_if_nothing_had_happened(rig: &Rig, evidence: &Evidence, what: &str) {
    evidence.ended(End::Moved);
    evidence.holds();
    let took = |action: &str| evidence.ledger.iter().filter(|c| c.action == action && c.outcome == "ok").count();
    assert_eq!(took("CreateSnapshot"), 2, "one snapshot for each purpose: {what}");
    assert_eq!(took("AttachVolume"), 1, "{what}");
    assert_eq!(evidence.followed.refusals, [], "{what}");
    let target = evidence.state.target.as_ref().expect("a target").instance.clone();
    rest::at_rest(rig, &evidence.state, target.as_str(), "ladybug-large").await;
    assert_eq!(evidence.alerts, Vec::<String>::new(), "{what}");
}

/// How often somebody drove the change: once, and once more for each take-over.
fn drivers(evidence: &Evidence) -> usize {
    evidence.entries.iter().filter(|entry| entry.fact.name() == "taken_over").count()
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn one_to_four_deaths_at_random_instants() {
    let mut took_over = 0;
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let deaths: Vec<(Death, u64)> = (0..dice.between(1, 4))
            .map(|_| {
                let death = if dice.coin() {
                    Death::Border(dice.between(1, 60))
                } else {
                    Death::Instant(dice.between(0, 90_000))
                };
                (death, dice.between(0, 20_000))
            })
            .collect();
        let rig = Rig::new(short_soak()).await;
        let (evidence, died) = survive(&rig, "upgrade-1", &deaths).await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("seed {seed}: {deaths:?}")).await;
        // A process that dies before it drives is not taken over from.
        assert!(drivers(&evidence) <= died + 1, "seed {seed}");
        took_over += drivers(&evidence) - 1;
    }
    assert!(took_over >= 30, "only {took_over} take-overs were tested");
}

/// One death at each border of the change in turn, from the first on; `part` of so many `parts`. Says at how many.
async fn a_death_at_each_border(graph: &str, part: u64, parts: u64) -> u64 {
    let mut deaths = 0;
    for border in (1 + part..).step_by(usize::try_from(parts).expect("few parts")) {
        let rig = Rig::new(hardly_any_soak()).await;
        let (evidence, died) = survive(&rig, graph, &[(Death::Border(border), 0)]).await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("border {border}")).await;
        if died == 0 {
            break;
        }
        deaths += 1;
    }
    deaths
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_death_at_each_odd_border_of_a_change_with_a_launch() {
    let deaths = a_death_at_each_border("upgrade-1", 0, 2).await;
    assert!(deaths > 50, "only {deaths} borders");
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_death_at_each_even_border_of_a_change_with_a_launch() {
    let deaths = a_death_at_each_border("upgrade-1", 1, 2).await;
    assert!(deaths > 50, "only {deaths} borders");
}

/// A second process stands by: it takes over within ten seconds of the death of the first, whenever that is.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn who_stands_by_takes_over_within_ten_seconds() {
    for seed in 0..10 {
        let rig = Rig::new(hardly_any_soak()).await;
        let first = Process::start(&rig, Fuse::endless());
        let second = Process::start(&rig, Fuse::endless());
        let run = Run::begin(&rig, &first, "upgrade-1", "ladybug-large", Policy::Confirm).await;
        sleep(Duration::from_millis(Dice::new(seed).between(0, 120_000))).await;
        let died_at = rig.clock.now();
        first.kill();
        run.front.to(&second);
        let head = rig.until(&run.id, "taken over", 10_000, |head| head.owner == second.id).await;
        assert!(rig.clock.now().since(died_at) <= 10_000, "{:?}", head.updated_at);
        let evidence = run.finish().await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("seed {seed}")).await;
        assert_eq!(drivers(&evidence), 2);
    }
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_process_that_ends_by_itself_hands_over_at_once() {
    for seed in 0..10 {
        let rig = Rig::new(hardly_any_soak()).await;
        let first = Process::start(&rig, Fuse::endless());
        let second = Process::start(&rig, Fuse::endless());
        let run = Run::begin(&rig, &first, "upgrade-1", "ladybug-large", Policy::Confirm).await;
        sleep(Duration::from_millis(Dice::new(seed).between(0, 120_000))).await;
        run.front.to(&second);
        first.stop().await;
        rig.until(&run.id, "taken over", 2_000, |head| head.owner == second.id).await;
        let evidence = run.finish().await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("seed {seed}")).await;
    }
}

/// A process that works on while nobody hears its heartbeat stops by itself before another drives.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_process_that_nobody_hears_stops_before_another_drives() {
    for heard in [2, 10, 34, 40, 47, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60] {
        let rig = Rig::new(hardly_any_soak()).await;
        let first = Process::start_unheard(&rig, heard);
        let second = Process::start(&rig, Fuse::endless());
        let run = Run::begin(&rig, &first, "upgrade-1", "ladybug-large", Policy::Confirm).await;
        let evidence = run.finish().await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("heard {heard} times")).await;
        assert_eq!(drivers(&evidence), 2, "heard {heard} times");
        assert_eq!(rig.head(&evidence.state.id).await.owner, second.id);
    }
}

/// A store that refuses or loses four in ten transactions makes the change slower, and nothing else.
#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn an_unruly_store_is_asked_until_it_says() {
    for seed in 0..10 {
        let rig = Rig::new(hardly_any_soak()).await;
        let process = Process::start_unruly(&rig, seed);
        let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
        let evidence = run.finish().await;
        moved_as_if_nothing_had_happened(&rig, &evidence, &format!("seed {seed}")).await;
        assert_eq!(drivers(&evidence), 1);
    }
}
