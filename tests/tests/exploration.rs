//! The two machines together, exhaustively: every order in which their steps, their messages, a customer, an operator and
//! a few faults can come, breadth first, over a small honest cloud. The services meet in one process nowhere else: a core
//! never names the other, so only this crate can see both.
//!
//! Both cores are pure, so a step is a function call and a state can be copied. Time is abstracted: what only waits is let
//! wait, and a deadline is an event. A state is its control part (stage, open effect, what is owed, who holds what); two
//! that differ in clocks and counters only are one. `exploration/volume.rs` runs the migration in its world (`exploration/cloud.rs`),
//! `exploration/subscription.rs` the change, its owed effects and the money, `exploration/joint.rs` is both with every
//! step that can be next, `exploration/search.rs` goes through them.
//!
//! Checked in every state: a closed gate opens only by Opened, RolledBack or HandedOver, and is closed for as long as a
//! confirmed migration moves (invariant 6); money is taken once, never given back beside a commit, and its sum is nothing
//! after any end but success (invariant 7); no effect is sent against one whose outcome is open (invariant 16); one
//! engine has the volume open (invariant 14). And from every state an end, or a person who is called, can be reached
//! without any further fault (invariant 9).

#![expect(clippy::expect_used, clippy::panic, reason = "a failed expectation is the report")]

#[path = "exploration/cloud.rs"]
mod cloud;
#[path = "exploration/joint.rs"]
mod joint;
#[path = "exploration/search.rs"]
mod search;
#[path = "exploration/subscription.rs"]
mod subscription;
#[path = "exploration/volume.rs"]
mod volume;

use joint::{Budget, Joint};

/// Fewer states than this, and something that should be explored is not any more.
const STATES_MIN: usize = 80_000;

#[test]
fn every_order_of_two_faults_keeps_the_invariants_and_can_end() {
    let found = search::explore(Joint::new(Budget { faults: 2, customer: 1, operator: 1 }));
    println!("{} states, {} steps, ends: {:#?}", found.states, found.steps, found.ends);
    assert!(found.broken.is_none(), "{}", found.broken.unwrap_or_default());
    assert!(found.states >= STATES_MIN, "only {} states were met", found.states);
    for end in ["succeeded", "failed", "canceled", "needs attention"] {
        assert!(found.ends.get(end).is_some_and(|n| *n > 10), "hardly any life ends {end}: {:?}", found.ends);
    }
}

#[test]
fn without_faults_there_is_one_end() {
    let found = search::explore(Joint::new(Budget::default()));
    assert!(found.broken.is_none(), "{}", found.broken.unwrap_or_default());
    assert_eq!(found.ends.keys().copied().collect::<Vec<_>>(), ["succeeded"]);
    assert!(found.states > 100, "only {} states were met", found.states);
}

/// A gate that a timer opens while the migration moves: the smallest broken rule that both must see.
#[test]
fn a_gate_that_opens_by_itself_is_found() {
    let mut start = Joint::new(Budget { faults: 1, customer: 0, operator: 0 });
    start.subscription.opens_gate_by_timer = true;
    let broken = search::explore(start).broken.expect("it is found");
    assert!(broken.contains("invariant 6"), "{broken}");
}

/// A refund as soon as a cancel is asked for, and not behind the rollback (H20).
#[test]
fn a_refund_before_the_volume_is_back_is_found() {
    let mut start = Joint::new(Budget { faults: 0, customer: 1, operator: 0 });
    start.subscription.refunds_at_once = true;
    let broken = search::explore(start).broken.expect("it is found");
    assert!(broken.contains("invariant 7"), "{broken}");
}

/// A lost answer of a detach that is taken for a refusal: the source mounts under it (H12).
#[test]
fn an_unknown_outcome_that_is_taken_for_a_refusal_is_found() {
    let mut start = Joint::new(Budget { faults: 2, customer: 0, operator: 0 });
    start.volume.takes_silence_for_refusal = true;
    let broken = search::explore(start).broken.expect("it is found");
    assert!(broken.contains("invariant 1"), "{broken}");
}
