//! Twenty workers killed under load, at instants drawn by lot: the code of `./x bench takeover`, in short. Its numbers of
//! a thousand are the bench's; here is what must be true of any.

use tiershift_tests::workers::crew::TAKEOVER;
use tiershift_tests::workers::kills::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dead_workers_strand_nothing_and_double_nothing() {
    let outcome = run(Plan { kills: 20, seed: 1, lanes: 3, speed: 40 }, |line| println!("{line}")).await;
    assert_eq!(outcome.kills, 20);
    assert!(outcome.stranded.is_empty(), "{:#?}", outcome.stranded);
    assert!(outcome.doubled.is_empty(), "{:#?}", outcome.doubled);
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
    assert!(outcome.takeovers_ms.len() >= 20 / 2, "most of the dead had something to do: {outcome:?}");
    // A machine that compiles beside it stretches single ones: the bench prints the longest.
    assert!(outcome.takeover_ms(50) <= TAKEOVER.as_millis(), "{:?}", outcome.takeovers_ms);
}
