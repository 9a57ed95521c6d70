//! Crash tests with real processes: each process is killed (SIGKILL) at named instants of one change and started
//! again; the change must end as if nothing had happened.
//!
//! An instant is reached by the process's own `--hold`: it stands still there, with its heartbeat going, until it is
//! killed. One change is killed several times, at instants in the order in which they come. What "as if nothing had
//! happened" means is `crash/aftermath.rs`; how a change is killed is `crash/victim.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test is the report")]

#[path = "crash/aftermath.rs"]
mod aftermath;
#[path = "crash/victim.rs"]
mod victim;

use tiershift_dev::stack::Process::{Cloud, Subscription, Volume};
use victim::{Kill, survive};

const fn volume(instant: &'static str) -> Kill {
    Kill { process: Volume, hold: instant }
}

const fn subscription(instant: &'static str) -> Kill {
    Kill { process: Subscription, hold: instant }
}

#[tokio::test]
async fn killed_while_everything_slow_happens() {
    survive(&[
        volume("preflight.called"),
        volume("safety_snapshot.intent"),
        volume("safety_snapshot.called"),
        volume("capacity.intent"),
        volume("capacity.called"),
    ])
    .await;
}

#[tokio::test]
async fn killed_at_the_gate_and_in_the_drains() {
    survive(&[volume("gate.intent"), volume("drain_writes.called"), volume("drain_reads.outcome")]).await;
}

#[tokio::test]
async fn killed_while_the_volume_leaves_the_source() {
    survive(&[volume("release.called"), volume("final_snapshot.called"), volume("detach.intent")]).await;
}

#[tokio::test]
async fn killed_while_the_volume_reaches_the_target() {
    survive(&[volume("detach.called"), volume("attach.called"), volume("adopt.called")]).await;
}

#[tokio::test]
async fn killed_around_the_point_of_no_return() {
    survive(&[volume("commit.intent"), volume("commit.called"), volume("open.called")]).await;
}

#[tokio::test]
async fn killed_where_money_and_gate_change() {
    survive(&[
        subscription("starting.called"),
        subscription("charging.called"),
        subscription("gating.called"),
        subscription("moving.called"),
        subscription("finalizing.outcome"),
    ])
    .await;
}

#[tokio::test]
async fn killed_whole_in_the_middle_of_the_move() {
    // The cloud is killed too: its state must be where it was, and simulated time must not have passed meanwhile.
    victim::survive_loss_of_everything("attach.called", &[Cloud, Volume, Subscription]).await;
}
