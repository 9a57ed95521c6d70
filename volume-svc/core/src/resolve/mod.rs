//! The life of one effect: from its journalled intent to an established outcome.
//!
//! An answer of the call is a hint; an attachment, a mount or an end is established by reading. An unknown
//! outcome is never guessed: the effect is observed and, where it must be, completed by repeating it, also on the
//! way back (H12). What an outcome means for the migration is decided in `stages/` and `undo.rs`.
//!
//! Here are the words that all of them share, and the calls whose answer is their outcome; the others are in
//! `volume.rs` (attach, detach), `snapshot.rs`, `fleet.rs` (launch, protect, terminate) and `agent.rs`.

mod agent;
mod fleet;
mod snapshot;
mod volume;

use crate::effect::{AgentState, Command, Done, Effect, Observe, Purpose, Trouble};
use crate::fact::{Fact, Outcome};
use crate::machine::{Next, Turn};
use crate::stages;
use crate::state::Open;
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use tiershift_core::ids::InstanceId;

/// What to do about the open intent.
pub(crate) fn next(t: &Turn<'_>, open: &Open) -> Next {
    if let Some(back) = held_up(t, open) {
        return back;
    }
    match &open.effect {
        Effect::Snapshot { purpose } => snapshot::next(t, open, *purpose),
        Effect::Detach { instance, device } => volume::detach(t, open, instance, device),
        Effect::Attach { instance, device } => volume::attach(t, open, instance, device),
        Effect::Launch { .. } => fleet::launch(t, open),
        Effect::Terminate { instance, .. } => fleet::terminate(t, open, instance),
        Effect::Release { instance } => agent::until(t, open, instance, AgentState::Released),
        Effect::Adopt { instance } => agent::until(t, open, instance, AgentState::Adopted),
        Effect::Drain { instance, .. } | Effect::Resume { instance } => agent::at_once(t, open, instance),
        Effect::Protect { instance, .. } => fleet::protect(t, open, instance),
        Effect::KeepOnTermination { .. } | Effect::TagVolume { .. } | Effect::DeleteSnapshot { .. } => plain(t, open),
    }
}

/// Calls that are idempotent and whose answer is their outcome.
fn plain(t: &Turn<'_>, open: &Open) -> Next {
    match &t.s.calls.answer {
        None => call(open),
        Some(Ok(answer)) => done(open, answer.clone()),
        Some(Err(trouble)) => match trouble {
            Trouble::Unknown | Trouble::Throttled | Trouble::InProgress | Trouble::IncorrectState => {
                overdue(t, open).unwrap_or_else(|| call_after(t, open, t.set.retry_ms))
            }
            // A snapshot that is gone is deleted.
            Trouble::NotFound if matches!(open.effect, Effect::DeleteSnapshot { .. }) => done(open, Done::Accepted),
            other => refused(open, *other),
        },
    }
}

fn done(open: &Open, done: Done) -> Next {
    conclude(open, Outcome::Done(done))
}

fn refused(open: &Open, trouble: Trouble) -> Next {
    conclude(open, Outcome::Refused(trouble))
}

/// The effect's outcome is established.
fn conclude(open: &Open, outcome: Outcome) -> Next {
    Next::Append(vec![Fact::Outcome { n: open.n, outcome }])
}

/// Sends the call.
fn call(open: &Open) -> Next {
    Next::Run(Command::Effect { n: open.n, effect: open.effect.clone(), token: open.token.clone() })
}

/// Sends it again, but not before `gap_ms` after the last answer.
fn call_after(t: &Turn<'_>, open: &Open, gap_ms: i64) -> Next {
    match t.s.calls.last_at.map(|at| at.plus(gap_ms)) {
        Some(ready) if t.now < ready => Next::Wait(ready),
        _ => call(open),
    }
}

/// Whether no call of the intent can have been sent by anybody: this process wrote it, and has not called yet.
fn never_sent(t: &Turn<'_>) -> bool {
    t.s.calls.fresh && t.s.calls.made == 0
}

/// Whether every call of the intent was answered, and to this process.
fn all_answered(t: &Turn<'_>) -> bool {
    t.s.calls.fresh && !t.s.calls.doubtful
}

/// Looks once before anything is given up: a deadline that passed while nobody drove says nothing of the world.
fn look_or_give_up(t: &Turn<'_>, open: &Open, what: Observe, gap_ms: i64) -> Next {
    if t.seen(&what).is_none() {
        return t.ask(what, gap_ms);
    }
    overdue(t, open).unwrap_or_else(|| t.ask(what, gap_ms))
}

/// Whichever of two can go on sooner; something to run comes before any wait.
fn earlier(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::Wait(a), Next::Wait(b)) => Next::Wait(a.min(b)),
        (Next::Wait(_), run) | (run, _) => run,
    }
}

/// The step's own deadline. On the way forward it turns back (the intent stays open and is completed there);
/// on the way back, behind the commit and in Settle a human is called.
fn overdue(t: &Turn<'_>, open: &Open) -> Option<Next> {
    let patient = t.m.direction != Direction::Forward || t.m.is_committed();
    let (late, limit_ms) = if patient {
        (t.out_of_patience(open.at.max(t.m.moved_at)), t.set.undo_step_ms)
    } else {
        let limit_ms = forward_limit_ms(t, &open.effect);
        (forward_ms(t, open) >= limit_ms, limit_ms)
    };
    late.then(|| {
        let what = format!("{} did not end within {} s", open.effect.name(), limit_ms / 1_000);
        t.give_up(reason_of(&open.effect), what)
    })
}

/// H36 while an effect hangs that the way back needs no longer: the intent stays open there and is completed before
/// it is undone, as after its own deadline. Not an attach: once it is established there is no turning back for the
/// block's sake, and until then nobody knows that it is not.
fn held_up(t: &Turn<'_>, open: &Open) -> Option<Next> {
    match &open.effect {
        Effect::Drain { .. } | Effect::Release { .. } | Effect::Snapshot { .. } | Effect::Detach { .. } => {
            stages::write_block(t)
        }
        Effect::Attach { .. }
        | Effect::Adopt { .. }
        | Effect::Resume { .. }
        | Effect::Launch { .. }
        | Effect::Terminate { .. }
        | Effect::Protect { .. }
        | Effect::KeepOnTermination { .. }
        | Effect::TagVolume { .. }
        | Effect::DeleteSnapshot { .. } => None,
    }
}

/// What counts against the deadline of a step on the way forward. Both drains share one (H30).
fn forward_ms(t: &Turn<'_>, open: &Open) -> i64 {
    let confirmed_at = t.m.gate.as_ref().and_then(|gate| gate.confirmed_at);
    match (&open.effect, confirmed_at) {
        (Effect::Drain { .. }, Some(at)) => t.now.since(at),
        _ => open_ms(t, open),
    }
}

/// How long the intent is open, from the later of its decision and the last turn: a resumed migration gets a fresh
/// deadline.
fn open_ms(t: &Turn<'_>, open: &Open) -> i64 {
    t.now.since(open.at.max(t.m.moved_at))
}

fn forward_limit_ms(t: &Turn<'_>, effect: &Effect) -> i64 {
    match effect {
        Effect::Snapshot { purpose: Purpose::Safety } => t.set.safety_snapshot_ms,
        Effect::Snapshot { purpose: Purpose::Final } | Effect::Release { .. } => t.set.release_ms,
        Effect::Launch { .. } | Effect::Protect { .. } | Effect::Terminate { .. } => t.set.capacity_ms,
        Effect::Drain { .. } => t.set.drain_ms,
        Effect::Adopt { .. } => t.set.adopt_ms,
        Effect::Detach { .. } => t.set.detach_ms,
        Effect::Attach { .. } => t.set.attach_ms,
        // Decided behind the commit or on the way back only, where the limit is another.
        Effect::Resume { .. }
        | Effect::KeepOnTermination { .. }
        | Effect::TagVolume { .. }
        | Effect::DeleteSnapshot { .. } => t.set.undo_step_ms,
    }
}

/// Why a migration fails when this effect does.
fn reason_of(effect: &Effect) -> Reason {
    match effect {
        Effect::Snapshot { .. } => Reason::SnapshotFailed,
        Effect::Launch { .. } => Reason::NoCapacity,
        Effect::Drain { .. } => Reason::DrainTimeout,
        Effect::Release { .. } => Reason::ReleaseFailed,
        Effect::Detach { .. } => Reason::DetachFailed,
        Effect::Attach { .. } => Reason::AttachFailed,
        Effect::Adopt { .. } => Reason::AdoptFailed,
        Effect::Protect { .. }
        | Effect::Terminate { .. }
        | Effect::Resume { .. }
        | Effect::KeepOnTermination { .. }
        | Effect::TagVolume { .. }
        | Effect::DeleteSnapshot { .. } => Reason::StepTimeout,
    }
}

/// Whether an instance plays a part in this migration.
pub(crate) fn ours(t: &Turn<'_>, instance: &InstanceId) -> bool {
    t.m.is_source(instance)
        || t.spec().is_some_and(|s| s.source.instance == *instance)
        || t.target().is_some_and(|p| p.instance == *instance)
        || t.m.dropped.iter().any(|(p, _)| p.instance == *instance)
}
