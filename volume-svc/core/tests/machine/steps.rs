//! The four generic checks at every step: each call twice; a crash at each of its three instants, and a call that
//! arrives when its driver is dead; failing there and going back; the same for every step of every way back. Ways
//! forward are those with an idle target, with a launched one, and without a source from the drain on (H34).
//!
//! The name of the step is checked each time, so that no round fails somewhere else and proves nothing, and each round
//! has a world of its own: no fault of one is left over in the next.

use crate::places;
use crate::world::driver::{Ended, Run, Step};
use crate::world::faults::Fate;
use crate::world::fixture::{Setup, idle, source};
use tiershift_core::Reason;
use tiershift_core::event::Direction;
use volume_core::effect::Trouble;
use volume_core::fact::{Fact, Resume};

/// The effects of the way forward and of Settle, in order.
const IDLE: [&str; 14] = [
    "protect",
    "snapshot_safety",
    "protect",
    "drain_writes",
    "drain_all",
    "release",
    "snapshot_final",
    "detach",
    "attach",
    "adopt",
    "resume",
    "tag_volume",
    "terminate",
    "delete_snapshot",
];
const LAUNCHED: [&str; 15] = [
    "protect",
    "snapshot_safety",
    "launch",
    "protect",
    "drain_writes",
    "drain_all",
    "release",
    "snapshot_final",
    "detach",
    "attach",
    "adopt",
    "resume",
    "tag_volume",
    "terminate",
    "delete_snapshot",
];

/// From the loss of the source in its drain on: the volume leaves it uncleanly.
const WITHOUT_SOURCE: [&str; 8] =
    ["snapshot_final", "detach", "attach", "adopt", "resume", "tag_volume", "terminate", "delete_snapshot"];

/// What is done to a step whose intent is open and whose call is not sent.
#[derive(Clone, Copy, Debug)]
enum Upset {
    CallTwice,
    CrashBeforeCall,
    CrashAfterCall,
    CrashAfterOutcome,
    /// The call leaves, its driver dies, another takes over, and then it arrives.
    CallArrivesLate,
    /// The same, much later.
    CallArrivesVeryLate,
    /// The answer is lost once.
    AnswerLost,
    /// Throttled once.
    Throttled,
}

const UPSETS: [Upset; 8] = [
    Upset::CallTwice,
    Upset::CrashBeforeCall,
    Upset::CrashAfterCall,
    Upset::CrashAfterOutcome,
    Upset::CallArrivesLate,
    Upset::CallArrivesVeryLate,
    Upset::AnswerLost,
    Upset::Throttled,
];

/// A way forward: where it begins, how many intents are behind it there, and the effects that follow.
struct Way {
    start: Run,
    behind: usize,
    names: &'static [&'static str],
}

impl Way {
    /// The runs that stand at each of its intents, with the effect's name.
    fn steps(&self) -> impl Iterator<Item = (Run, &'static str)> {
        self.names.iter().enumerate().map(|(n, name)| (at_intent(&self.start, self.behind + n + 1, name), *name))
    }
}

fn ways() -> [Way; 3] {
    let mut lost = Run::start(&places::brief(Setup::idle_target()));
    lost.until("the drain", |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == "drain_all"));
    lost.world.kill(&source());
    lost.until("the loss", |run| run.state().source_lost);
    // Its loss and the first intent behind it are one append.
    let behind = usize::try_from(lost.state().intents).expect("few") - 1;
    [
        Way { start: Run::start(&places::brief(Setup::idle_target())), behind: 0, names: &IDLE },
        Way { start: Run::start(&places::brief(Setup::launched_target())), behind: 0, names: &LAUNCHED },
        Way { start: lost, behind, names: &WITHOUT_SOURCE },
    ]
}

/// A run that stands at the `n`th intent (from 1), which must be that effect's.
fn at_intent(run: &Run, n: usize, name: &str) -> Run {
    let mut run = run.clone();
    let wanted = u32::try_from(n).expect("few");
    run.until("its intent", |run| run.state().open.as_ref().is_some_and(|o| o.n == wanted));
    let open = run.state().open.as_ref().expect("it is open").effect.name();
    assert_eq!(open, name, "intent {n}");
    run
}

fn upset(run: &mut Run, how: Upset) {
    let open = run.state().open.clone().expect("an intent is open");
    let name = open.effect.name();
    match how {
        Upset::CallTwice => run.call_unheard(),
        Upset::CrashBeforeCall => run.crash(),
        Upset::CrashAfterCall => {
            run.call_unheard();
            run.crash();
        }
        Upset::CrashAfterOutcome => {
            while run.state().open.as_ref().is_some_and(|o| o.n == open.n) {
                let step = run.step();
                assert!(!matches!(step, Step::Idle | Step::Over), "{name} has no outcome; {}", run.describe());
            }
            run.crash();
        }
        Upset::CallArrivesLate | Upset::CallArrivesVeryLate => {
            let ms = if matches!(how, Upset::CallArrivesLate) { 4_000 } else { 45_000 };
            run.world.faults.once(name, Fate::Late(ms));
            run.call_unheard();
            run.crash();
        }
        Upset::AnswerLost => run.world.faults.once(name, Fate::LostAfter),
        Upset::Throttled => run.world.faults.once(name, Fate::Refuse(Trouble::Throttled)),
    }
}

#[test]
fn every_step_of_the_way_forward_survives_every_upset() {
    for way in ways() {
        for (base, name) in way.steps() {
            for how in UPSETS {
                let mut run = base.clone();
                run.note = format!("{how:?} at {name}, without source: {}", run.state().source_lost);
                upset(&mut run, how);
                let ended = run.finish();
                assert_eq!(ended, Ended::Moved, "{}", run.describe());
            }
        }
    }
}

/// Where a step ends that fails for good on the way forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    /// It turns back with this reason; in a world that is healthy again the source serves.
    Back(Reason),
    /// A human is called; when it is mended, a retry goes on to the end.
    Stuck(Reason),
    /// It is done without.
    Shrug,
}

fn when_refused(name: &str, source_lost: bool) -> Fails {
    match name {
        // What is asked for has happened by itself, whatever the call is told.
        "detach" | "terminate" if source_lost => Fails::Shrug,
        "protect" => Fails::Back(Reason::GroupNotReady),
        "snapshot_safety" | "snapshot_final" => Fails::Back(Reason::SnapshotFailed),
        "launch" => Fails::Back(Reason::NoCapacity),
        "drain_writes" | "drain_all" => Fails::Back(Reason::DrainTimeout),
        "release" => Fails::Back(Reason::ReleaseFailed),
        "detach" => Fails::Back(Reason::DetachFailed),
        "attach" => Fails::Back(Reason::AttachFailed),
        "adopt" => Fails::Back(Reason::AdoptFailed),
        "resume" => Fails::Stuck(Reason::TargetLost),
        "terminate" => Fails::Stuck(Reason::CloudRefused),
        "tag_volume" | "delete_snapshot" => Fails::Shrug,
        other => panic!("what when {other} is refused?"),
    }
}

fn when_unknown(name: &str, another: bool, source_lost: bool) -> Fails {
    match name {
        // There is no way back that is shorter, so that the limit of the block does not turn it around.
        "adopt" if source_lost => Fails::Back(Reason::AdoptFailed),
        "terminate" if source_lost => Fails::Shrug,
        "protect" => Fails::Back(Reason::StepTimeout),
        // The agents answer, the command never arrives: each target has its adopt deadline, and two are too long.
        "adopt" if another => Fails::Back(Reason::WriteBlockExceeded),
        "resume" | "terminate" | "tag_volume" | "delete_snapshot" => Fails::Stuck(Reason::StepTimeout),
        other => when_refused(other, source_lost),
    }
}

/// Fails a step for as long as the way goes forward, then heals the world.
fn fail(run: &mut Run, name: &'static str, fate: Fate, expected: Fails) {
    run.world.faults.always(name, fate);
    let ended = loop {
        match run.step() {
            Step::Appended(facts) if facts.iter().any(|f| matches!(f, Fact::UndoBegun { .. })) => {
                run.world.faults.calls.clear();
            }
            Step::Idle => break Ended::Stuck(run.state().stuck.as_ref().expect("idle is stuck").reason),
            Step::Over => break run.finish(),
            _ => {}
        }
    };
    match expected {
        Fails::Back(reason) => assert_eq!(ended, Ended::RolledBack(reason), "{}", run.describe()),
        Fails::Shrug => assert_eq!(ended, Ended::Moved, "{}", run.describe()),
        Fails::Stuck(reason) => {
            assert_eq!(ended, Ended::Stuck(reason), "{}", run.describe());
            run.world.faults.calls.clear();
            run.request(|machine| machine.resume(Resume::Retry, "op_a", "mended")).expect("it is stuck");
            assert_eq!(run.finish(), Ended::Moved, "{}", run.describe());
        }
    }
}

#[test]
fn every_step_may_fail_and_the_way_back_works_in_a_healthy_world() {
    for way in ways() {
        for (base, name) in way.steps() {
            let lost = base.state().source_lost;
            for (fate, expected) in [
                (Fate::Refuse(Trouble::Permanent), when_refused(name, lost)),
                (Fate::LostBefore, when_unknown(name, base.world.cloud.launches.is_empty(), lost)),
            ] {
                let mut run = base.clone();
                run.note = format!("{fate:?} for ever at {name}, without source: {lost}");
                fail(&mut run, name, fate, expected);
            }
        }
    }
}

/// Runs that have just turned back: from every place where a cancel is granted, and by every failure behind it.
fn turned_back() -> Vec<Run> {
    let mut runs: Vec<Run> = places::reached()
        .into_iter()
        .filter(|(place, run)| place.direction == Direction::Forward && run.machine.cancel("user_a").is_ok())
        .map(|(place, mut run)| {
            run.note = format!("canceled at {place}");
            run.request(|machine| machine.cancel("user_a")).expect("it is not too late");
            run
        })
        .collect();
    for (name, fate) in [
        ("detach", Fate::Refuse(Trouble::Denied)),
        ("detach", Fate::LostBefore),
        ("attach", Fate::Refuse(Trouble::SlotsFull)),
        ("attach", Fate::LostBefore),
        ("adopt", Fate::Refuse(Trouble::Permanent)),
        ("adopt", Fate::LostBefore),
    ] {
        let mut run = Run::start(&places::brief(Setup::idle_target()));
        run.note = format!("{name} {fate:?}");
        run.world.faults.always(name, fate);
        run.until("its way back", |run| run.state().direction == Direction::Undo);
        run.world.faults.calls.clear();
        runs.push(run);
    }
    let mut lying = Run::start(&places::brief(Setup::idle_target()));
    "a target that answers something else".clone_into(&mut lying.note);
    lying.world.faults.probe_lies.insert(idle(1));
    lying.until("its way back", |run| run.state().direction == Direction::Undo);
    runs.push(lying);
    let mut lost = Run::start(&places::brief(Setup { idle: vec![idle(1)], ..Setup::idle_target() }));
    "a target that cannot mount, and a source that has ended".clone_into(&mut lost.note);
    lost.until("its adopt", |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == "adopt"));
    lost.world.faults.adopt_fails.insert(idle(1));
    lost.world.kill(&source());
    lost.until("the loss", |run| run.state().source_lost);
    runs.push(lost);
    runs
}

/// The effects of a way back, with the numbers of their intents.
fn intents_back(run: &Run) -> (Vec<(usize, &'static str)>, Ended) {
    let mut run = run.clone();
    let from = run.world.store.entries.len();
    let open = run.state().open.clone();
    let ended = run.finish();
    let mut intents: Vec<(usize, &'static str)> =
        open.into_iter().map(|o| (usize::try_from(o.n).expect("small"), o.effect.name())).collect();
    intents.extend(run.world.store.entries[from..].iter().filter_map(|e| match &e.fact {
        Fact::Intent { n, effect, .. } => Some((usize::try_from(*n).expect("small"), effect.name())),
        _ => None,
    }));
    (intents, ended)
}

#[test]
fn every_step_of_every_way_back_survives_every_upset() {
    let runs = turned_back();
    assert!(runs.len() > 12, "only {} ways back", runs.len());
    let mut steps = 0;
    for start in runs {
        let (intents, expected) = intents_back(&start);
        assert!(matches!(expected, Ended::RolledBack(_)), "{}: {expected:?}", start.note);
        for (n, name) in intents {
            for how in UPSETS {
                let mut run = at_intent(&start, n, name);
                run.note = format!("{how:?} at {name}, intent {n}, after: {}", start.note);
                upset(&mut run, how);
                let ended = run.finish();
                assert_eq!(ended, expected, "{}", run.describe());
                steps += 1;
            }
        }
    }
    assert!(steps > 300, "only {steps} steps were upset");
}
