//! What the machine does about everything that can happen, everywhere it can be: printed, and compared with
//! `tests/machine_table.txt`. `UPDATE_TABLES=1` writes it anew; read the difference.
//!
//! A fixture is a place that a real run reached (`places.rs`): direction, stage, open effect. A row is what the
//! machine does first after an event, and what it appends first while the event's cause goes on.

use crate::places::{self, Place};
use crate::text;
use crate::world::driver::{Run, Step};
use crate::world::faults::{Fate, Shown};
use crate::world::{Gate, fixture};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tiershift_core::event::Direction;
use volume_core::effect::Trouble;
use volume_core::fact::{Resume, Side};
use volume_core::machine::Machine;
use volume_core::requests::{Granted, Refused};
use volume_core::stage::Stage;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// All goes on well.
    GoesOn,
    /// Every call of the open effect is refused so.
    Refused(Trouble),
    /// No call of the open effect arrives or is answered.
    Unknown,
    /// A day passes in which nobody drives; then another process takes over.
    Deadline,
    Cancel,
    ConfirmRight,
    ConfirmWrong,
    Retry,
    GoForward,
    HandOver(Side),
    TakeOver,
    TargetSilent,
    SourceSilent,
    Volume(Shown),
    SourceLost,
    TargetLost,
    /// Somebody else writes to every row.
    RowsRefused,
}

/// The next trouble in a list of all of them: a new one does not compile until it has its place.
fn trouble_after(trouble: Trouble) -> Option<Trouble> {
    match trouble {
        // `Unknown` is an event of its own.
        Trouble::Unknown => Some(Trouble::Throttled),
        Trouble::Throttled => Some(Trouble::InProgress),
        Trouble::InProgress => Some(Trouble::IncorrectState),
        Trouble::IncorrectState => Some(Trouble::NotFound),
        Trouble::NotFound => Some(Trouble::InUse),
        Trouble::InUse => Some(Trouble::Zone),
        Trouble::Zone => Some(Trouble::DeviceTaken),
        Trouble::DeviceTaken => Some(Trouble::SlotsFull),
        Trouble::SlotsFull => Some(Trouble::NoCapacity),
        Trouble::NoCapacity => Some(Trouble::SnapshotLimit),
        Trouble::SnapshotLimit => Some(Trouble::Fenced),
        Trouble::Fenced => Some(Trouble::Unsupported),
        Trouble::Unsupported => Some(Trouble::Denied),
        Trouble::Denied => Some(Trouble::Permanent),
        Trouble::Permanent => Some(Trouble::Unlisted),
        Trouble::Unlisted => None,
    }
}

fn events() -> Vec<Event> {
    let troubles = std::iter::successors(trouble_after(Trouble::Unknown), |t| trouble_after(*t));
    let mut events = vec![Event::GoesOn];
    events.extend(troubles.map(Event::Refused));
    events.extend([
        Event::Unknown,
        Event::Deadline,
        Event::Cancel,
        Event::ConfirmRight,
        Event::ConfirmWrong,
        Event::Retry,
        Event::GoForward,
        Event::HandOver(Side::Source),
        Event::HandOver(Side::Target),
        Event::TakeOver,
        Event::TargetSilent,
        Event::SourceSilent,
        Event::Volume(Shown::Foreign),
        Event::Volume(Shown::Twice),
        Event::Volume(Shown::Gone),
        Event::SourceLost,
        Event::TargetLost,
        Event::RowsRefused,
    ]);
    events
}

fn label(event: Event) -> String {
    match event {
        Event::GoesOn => "goes on".to_owned(),
        Event::Refused(trouble) => format!("refused {trouble:?}"),
        Event::Unknown => "unknown".to_owned(),
        Event::Deadline => "a day passes".to_owned(),
        Event::Cancel => "cancel".to_owned(),
        Event::ConfirmRight => "confirm right gate".to_owned(),
        Event::ConfirmWrong => "confirm wrong gate".to_owned(),
        Event::Retry => "resume retry".to_owned(),
        Event::GoForward => "resume go_forward".to_owned(),
        Event::HandOver(Side::Source) => "hand over source".to_owned(),
        Event::HandOver(Side::Target) => "hand over target".to_owned(),
        Event::TakeOver => "take-over".to_owned(),
        Event::TargetSilent => "target agent silent".to_owned(),
        Event::SourceSilent => "source agent silent".to_owned(),
        Event::Volume(Shown::Foreign) => "volume at a stranger".to_owned(),
        Event::Volume(Shown::Twice) => "volume seen twice".to_owned(),
        Event::Volume(Shown::Gone) => "volume gone".to_owned(),
        Event::Volume(Shown::Unheard) => "volume in an unheard state".to_owned(),
        Event::SourceLost => "source lost".to_owned(),
        Event::TargetLost => "target lost".to_owned(),
        Event::RowsRefused => "rows refused".to_owned(),
    }
}

/// A request by another process: what was answered.
fn ask(run: &mut Run, decide: &dyn Fn(&Machine) -> Result<Granted, Refused>) -> String {
    match run.request(decide) {
        Ok(Granted::Append(facts)) => format!("{}; ", text::facts(&facts)),
        Ok(Granted::Already) => "already; ".to_owned(),
        Err(refused) => format!("{}; ", refused.reason),
    }
}

/// Makes it happen. `None`: it cannot happen there. `Some` of a text: what was answered.
fn happen(run: &mut Run, event: Event) -> Option<String> {
    let open = run.state().open.as_ref().map(|o| o.effect.name());
    let target = run.state().target.as_ref().map(|t| t.instance.clone());
    let now = run.world.now;
    let gate = run.state().gate.as_ref().map_or(1, |g| g.id);
    let at = run.world.at();
    match event {
        Event::GoesOn => {}
        Event::Refused(trouble) => run.world.faults.always(open?, Fate::Refuse(trouble)),
        Event::Unknown => run.world.faults.always(open?, Fate::LostBefore),
        Event::Deadline => {
            run.world.now += 86_400_000;
            run.crash();
        }
        Event::Cancel => return Some(ask(run, &|m| m.cancel("user_a"))),
        Event::ConfirmRight => {
            // Only behind its own closed gate does the other service confirm.
            if matches!(run.machine.confirm_gate(gate, at), Ok(Granted::Append(_))) {
                run.world.gate = Gate::Closed(now);
            }
            return Some(ask(run, &|m| m.confirm_gate(gate, at)));
        }
        Event::ConfirmWrong => return Some(ask(run, &|m| m.confirm_gate(gate + 1, at))),
        Event::Retry => return Some(ask(run, &|m| m.resume(Resume::Retry, "op", "n"))),
        Event::GoForward => return Some(ask(run, &|m| m.resume(Resume::GoForward, "op", "n"))),
        // Verified by its caller: only where the world agrees it may be granted, so only refusals are asked for here.
        Event::HandOver(side) => {
            return match run.machine.hand_over(side, "op", "n") {
                Ok(_) => Some("granted if verified; ".to_owned()),
                Err(refused) => Some(format!("{}; ", refused.reason)),
            };
        }
        Event::TakeOver => run.crash(),
        Event::TargetSilent => {
            run.world.faults.silent.entry(target?).or_insert(now);
        }
        Event::SourceSilent => {
            run.world.faults.silent.entry(fixture::source()).or_insert(now);
        }
        Event::Volume(shown) => run.world.faults.volume = Some(shown),
        Event::SourceLost => run.world.kill(&fixture::source()),
        Event::TargetLost => run.world.kill(&target?),
        Event::RowsRefused => {
            run.world.faults.foreign_rows = run.world.store.items.keys().map(|k| k.pk.clone()).collect();
        }
    }
    Some(String::new())
}

/// Longer than every deadline in use here.
const PATIENCE_MS: i64 = 3 * 3_600_000;

/// What it appends first.
fn first_append(run: &mut Run) -> String {
    let from = run.world.now;
    let after = |run: &Run| format!("after {} s", (run.world.now - from + 500) / 1_000);
    loop {
        match run.step() {
            Step::Appended(facts) => return format!("{} {}", after(run), text::facts(&facts)),
            Step::Idle => return "idle".to_owned(),
            Step::Over => return "over".to_owned(),
            _ if run.world.now - from > PATIENCE_MS => return "nothing".to_owned(),
            _ => {}
        }
    }
}

fn row(place: &Place, run: &Run, event: Event) -> Option<String> {
    let mut run = run.clone();
    run.note = format!("{place} | {}", label(event));
    run.steps = 0;
    let answer = happen(&mut run, event)?;
    let next = text::next(&run.next(), run.world.now);
    let then = first_append(&mut run);
    Some(format!("{answer}{next} | {then}"))
}

#[test]
fn the_machine_does_what_the_table_says() {
    let mut table = String::from(
        "# direction stage open-effect | event | first next thing | first append while the event's cause goes on\n\
         # A request shows first what it was answered: the facts that it appended, \"already\", or why it was refused.\n",
    );
    for (place, run) in places::reached() {
        for event in events() {
            if let Some(row) = row(&place, &run, event) {
                writeln!(table, "{place} | {} | {row}", label(event)).expect("a string");
            }
        }
        table.push('\n');
    }
    crate::printed::compare("machine_table.txt", &table);
}

#[test]
fn every_stage_direction_and_effect_is_in_the_table() {
    let reached = places::reached();
    let has = |direction, stage| {
        reached.keys().any(|place| place.direction == direction && place.stage == stage && !place.stuck)
    };
    for stage in Stage::ALL {
        if stage == Stage::Settle {
            assert!(has(Direction::Settle, stage), "settle");
        } else {
            assert!(has(Direction::Forward, stage), "forward {stage}");
        }
        assert_eq!(has(Direction::Undo, stage), stage <= Stage::Commit, "undo from {stage}");
    }
    let open: BTreeSet<&str> = reached.keys().filter_map(|place: &Place| place.open).collect();
    for name in places::EFFECTS {
        assert!(open.contains(name), "{name} is open nowhere in the table");
    }
}
