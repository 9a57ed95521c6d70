//! Everywhere that the machine can be, reached by really running it there: for each direction, stage and open effect
//! the first moment of a few lives that go well or ill.

use crate::world::driver::{Run, Step};
use crate::world::faults::{Fate, Shown};
use crate::world::fixture::{self, Setup};
use std::collections::BTreeMap;
use std::fmt;
use tiershift_core::event::Direction;
use volume_core::effect::Trouble;
use volume_core::stage::Stage;
use volume_core::state::{End, Migration};

/// A place. The order is that of the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub direction: Direction,
    pub stage: Stage,
    /// The gate was asked for, and is not confirmed.
    pub asked: bool,
    /// The target is being given up.
    pub dropping: bool,
    /// Behind the commit, on the way to another target.
    pub again: bool,
    /// In Settle: the graph has not moved.
    pub rolled_back: bool,
    pub stuck: bool,
    pub open: Option<&'static str>,
}

impl Place {
    fn of(m: &Migration) -> Self {
        Self {
            direction: m.direction,
            stage: m.stage,
            asked: m.gate.as_ref().is_some_and(|g| g.confirmed_at.is_none()) && m.direction != Direction::Settle,
            dropping: m.dropping.is_some() && m.direction == Direction::Forward,
            again: m.committed_at.is_some() && m.direction == Direction::Forward && m.stage < Stage::Open,
            rolled_back: m.end == Some(End::RolledBack),
            stuck: m.stuck.is_some(),
            open: m.open.as_ref().map(|o| o.effect.name()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Forward if self.again => "forward-again",
            Direction::Forward => "forward",
            Direction::Undo => "undo",
            Direction::Settle if self.rolled_back => "settle-rolled-back",
            Direction::Settle => "settle",
        };
        write!(f, "{way} {}", self.stage)?;
        if self.asked {
            f.write_str(" asked")?;
        }
        if self.dropping {
            f.write_str(" dropping")?;
        }
        if self.stuck {
            f.write_str(" stuck")?;
        }
        write!(f, " {}", self.open.unwrap_or("-"))
    }
}

/// Every effect's name. A new effect does not compile in `text::effect`, and is missed in the table by this list.
pub const EFFECTS: [&str; 15] = [
    "protect",
    "snapshot_safety",
    "snapshot_final",
    "launch",
    "terminate",
    "drain_writes",
    "drain_all",
    "resume",
    "release",
    "detach",
    "attach",
    "keep_on_termination",
    "adopt",
    "tag_volume",
    "delete_snapshot",
];

/// Short deadlines where long ones would only cost steps.
pub fn brief(mut setup: Setup) -> Setup {
    setup.settings.undo_step_ms = 300_000;
    setup.settings.safety_snapshot_ms = 1_800_000;
    setup
}

/// Notes every new place on a run's way to its end.
fn follow(reached: &mut BTreeMap<Place, Run>, mut run: Run) {
    loop {
        let place = Place::of(run.state());
        reached.entry(place).or_insert_with(|| run.clone());
        match run.step() {
            Step::Over | Step::Idle => return,
            _ => {}
        }
    }
}

/// Runs until something holds, then lets something happen.
fn spoiled(setup: Setup, moment: impl Fn(&Run) -> bool, spoil: impl FnOnce(&mut Run)) -> Run {
    let mut run = Run::start(&brief(setup));
    run.until("the moment to spoil it", moment);
    spoil(&mut run);
    run
}

fn at(stage: Stage) -> impl Fn(&Run) -> bool {
    move |run| run.state().stage == stage
}

fn opens(name: &'static str) -> impl Fn(&Run) -> bool {
    move |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == name)
}

/// All places, with a run that stands there.
pub fn reached() -> BTreeMap<Place, Run> {
    let mut reached = BTreeMap::new();
    let one = || Setup { idle: vec![fixture::idle(1)], ..Setup::idle_target() };
    for setup in [Setup::idle_target(), Setup::launched_target()] {
        follow(&mut reached, Run::start(&brief(setup)));
    }
    // Canceled wherever that is granted.
    let forward: Vec<Run> = reached.values().filter(|run| run.machine.cancel("user_a").is_ok()).cloned().collect();
    for mut run in forward {
        if run.request(|machine| machine.cancel("user_a")).is_ok() {
            follow(&mut reached, run);
        }
    }
    for run in ill(&one) {
        follow(&mut reached, run);
    }
    reached
}

/// The target does not answer right, and the source does not take the volume back: stuck with a sound target.
fn nowhere_to_go_back(setup: Setup) -> Run {
    let mut run = spoiled(setup, opens("adopt"), |run| {
        run.world.faults.probe_lies.insert(fixture::idle(1));
    });
    run.until("on its way back", |run| run.state().direction == Direction::Undo);
    run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
    run
}

/// Lives that go ill behind the detach.
fn ill(one: &dyn Fn() -> Setup) -> Vec<Run> {
    let two = Setup::idle_target;
    let idle = fixture::idle;
    vec![
        spoiled(two(), at(Stage::Detach), |run| run.world.faults.always("detach", Fate::Refuse(Trouble::Denied))),
        spoiled(two(), at(Stage::Attach), |run| run.world.faults.always("detach", Fate::LostBefore)),
        // The detach hangs until it turns back, then comes through.
        spoiled(two(), opens("detach"), |run| {
            run.world.faults.calls.push(crate::world::faults::Rule {
                effect: "detach",
                fate: Fate::LostBefore,
                times: 300,
                struck: 0,
            });
        }),
        spoiled(one(), at(Stage::Attach), |run| run.world.faults.once("attach", Fate::Refuse(Trouble::SlotsFull))),
        spoiled(two(), at(Stage::Attach), |run| run.world.faults.once("attach", Fate::Refuse(Trouble::SlotsFull))),
        // An attach that hangs: another device, another target, the way back.
        spoiled(two(), at(Stage::Attach), |run| run.world.faults.attach_hangs = true),
        spoiled(one(), opens("attach"), |run| run.world.faults.always("attach", Fate::LostBefore)),
        // A target that cannot mount: the next one, and with none the way back.
        spoiled(two(), at(Stage::Adopt), |run| {
            run.world.faults.adopt_fails.insert(idle(1));
        }),
        spoiled(one(), at(Stage::Adopt), |run| {
            run.world.faults.adopt_fails.insert(idle(1));
        }),
        // A silent target, by itself and with the group at its smallest size.
        spoiled(two(), at(Stage::Adopt), |run| {
            let now = run.world.now;
            run.world.faults.silent.insert(idle(1), now);
        }),
        spoiled(Setup { target_min: 2, ..two() }, at(Stage::Adopt), |run| {
            let now = run.world.now;
            run.world.faults.silent.insert(idle(1), now);
        }),
        // An adopt that does not end.
        spoiled(two(), opens("adopt"), |run| {
            run.world.faults.adopt_hangs.insert(idle(1));
        }),
        // An engine that answers something else on the target, and then on the source too.
        spoiled(two(), opens("adopt"), |run| {
            run.world.faults.probe_lies.insert(idle(1));
        }),
        spoiled(two(), opens("adopt"), |run| {
            run.world.faults.probe_lies.extend([idle(1), fixture::source()]);
        }),
        // Somebody else writes to the graph's row.
        spoiled(two(), at(Stage::Commit), |run| {
            run.world.faults.foreign_rows.insert(fixture::graph().to_string());
        }),
        // A target that ends behind the commit: another is taken, and with none one is launched.
        spoiled(two(), at(Stage::Open), |run| run.world.kill(&idle(1))),
        spoiled(one(), at(Stage::Open), |run| run.world.kill(&idle(1))),
        spoiled(Setup::launched_target(), at(Stage::Open), |run| run.world.kill(&fixture::launched(1))),
        // A source that ends behind the gate: the volume leaves it uncleanly, and the target takes it or does not; with no
        // target another instance takes its place.
        spoiled(two(), opens("drain_all"), |run| run.world.kill(&fixture::source())),
        spoiled(two(), at(Stage::DrainReads), |run| {
            run.world.faults.log_is_lost = true;
            run.world.kill(&fixture::source());
        }),
        spoiled(one(), opens("adopt"), |run| {
            run.world.faults.adopt_fails.insert(idle(1));
            run.world.kill(&fixture::source());
        }),
        spoiled(one(), opens("adopt"), |run| {
            run.world.faults.adopt_fails.insert(idle(1));
            run.world.faults.no_capacity = u32::MAX;
            run.world.kill(&fixture::source());
        }),
        // A target that ends before its gate is confirmed.
        spoiled(two(), at(Stage::Capacity), |run| run.world.kill(&idle(1))),
        // A volume that would die with its instance.
        spoiled(two(), at(Stage::Settle), |run| run.world.cloud.volume.flag_for_deletion()),
        spoiled(one(), at(Stage::Attach), |run| {
            run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
            run.world.faults.volume = Some(Shown::Foreign);
        }),
        // A stranger holds the volume, or the target's agent refuses to open its door: a human is called on the way
        // forward.
        spoiled(two(), opens("detach"), |run| run.world.faults.volume = Some(Shown::Foreign)),
        spoiled(two(), at(Stage::Open), |run| run.world.faults.always("resume", Fate::Refuse(Trouble::Permanent))),
        nowhere_to_go_back(two()),
        // A final snapshot that ends in error.
        spoiled(two(), at(Stage::Settle), |run| run.world.cloud.fail_snapshots()),
        spoiled(two(), opens("terminate"), |run| run.world.faults.always("terminate", Fate::Refuse(Trouble::Denied))),
    ]
}
