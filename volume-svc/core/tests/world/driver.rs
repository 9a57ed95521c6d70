//! A driver of the machine as a process would run it, one step at a time, and the requests from outside. After
//! every step the journal must give the state that the machine has, and every invariant must hold.

use super::fixture::{self, Setup};
use super::host::Door;
use super::invariants;
use super::store::Refused;
use super::{Gate, Happening, World};
use tiershift_core::Reason;
use volume_core::effect::{Answer, Command, Done, Effect, Observe, Trouble};
use volume_core::fact::{Entry, Fact, Spec};
use volume_core::requests::Granted;
use volume_core::settings::Settings;
use volume_core::state::{End, Migration};
use volume_core::{Machine, Next, requests};

/// What one step was.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Appended(Vec<Fact>),
    RowsRefused(Vec<Fact>),
    Called(Effect, Result<Done, Trouble>),
    Looked(Observe),
    Waited,
    Idle,
    Over,
}

/// A migration being driven.
#[derive(Clone, Debug)]
pub struct Run {
    pub world: World,
    pub machine: Machine,
    pub settings: Settings,
    /// Processes so far.
    pub workers: u32,
    /// Steps so far: a run that does not end is a failure.
    pub steps: u32,
    /// What people were called for.
    pub alerts: Vec<Reason>,
    /// What the test is about, for the report of a failure.
    pub note: String,
    /// Where in the journal it was when an invariant was last checked, and the world's version then.
    checked: (usize, u64),
}

/// More steps than any migration with a handful of faults takes.
const STEPS_MAX: u32 = 60_000;

impl Run {
    /// Accepted by the first process.
    pub fn start(setup: &Setup) -> Self {
        let mut world = World::new(setup);
        let spec = Spec { max_write_block_ms: setup.max_write_block_ms, ..fixture::spec() };
        let append =
            Machine::start(spec, &fixture::worker(1), 1, &setup.settings, world.at()).expect("a start can be prepared");
        world.store.append(&append, &fixture::worker(1), &world.faults.foreign_rows).expect("nobody holds the locks");
        let machine = Machine::load(&fixture::change(), &world.store.entries, setup.settings.clone(), world.at())
            .expect("it was just written");
        Self {
            world,
            machine,
            settings: setup.settings.clone(),
            workers: 1,
            steps: 0,
            alerts: Vec::new(),
            note: String::new(),
            checked: (0, 0),
        }
    }

    pub fn state(&self) -> &Migration {
        &self.machine.state
    }

    /// What the machine would do now.
    pub fn next(&self) -> Next {
        self.machine.next(self.world.at())
    }

    /// One step.
    pub fn step(&mut self) -> Step {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "it does not end; {}", self.describe());
        self.foresee();
        let step = match self.machine.turn(self.world.at()) {
            Next::Append(facts) => self.append(facts),
            Next::Run(command) => self.run(command),
            Next::Wait(until) => {
                assert!(until.0 > self.world.now, "a wait for the past; {}", self.describe());
                self.wait(until.0);
                Step::Waited
            }
            Next::Idle => {
                // Nothing more happens but from outside.
                let next = self.world.next_happening();
                self.wait(next.min(self.world.now + 1_000));
                Step::Idle
            }
            Next::Over => Step::Over,
        };
        self.outside();
        self.check();
        step
    }

    /// What `next` proposes can be appended, and `turn` begins with it.
    fn foresee(&self) {
        if let Next::Append(facts) = self.next() {
            let prepared = self.machine.prepare(facts.clone(), self.world.at());
            assert!(prepared.is_ok(), "{:?} for {facts:?}; {}", prepared.err(), self.describe());
            let Next::Append(joined) = self.machine.turn(self.world.at()) else {
                panic!("turn does not append what next appends; {}", self.describe());
            };
            assert!(joined.starts_with(&facts), "{joined:?} does not begin with {facts:?}");
        }
    }

    fn append(&mut self, facts: Vec<Fact>) -> Step {
        let append = match self.machine.prepare(facts.clone(), self.world.at()) {
            Ok(append) => append,
            Err(error) => panic!("{error} for {facts:?}; {}", self.describe()),
        };
        for fact in &facts {
            if let Fact::Intent { effect, .. } = fact {
                invariants::at_intent(&mut self.world, &append.after, effect);
            }
        }
        self.world.advance(self.world.now + 15);
        let foreign = self.world.faults.foreign_rows.clone();
        match self.world.store.append(&append, &fixture::worker(self.workers), &foreign) {
            Ok(()) => {
                self.machine.committed(&append);
                let called = facts.iter().filter_map(volume_core::alerts::of);
                self.alerts.extend(called.map(|(reason, _)| reason));
                self.told(&append.entries);
                Step::Appended(facts)
            }
            Err(Refused::Head) => {
                let known = usize::try_from(self.machine.state.seq).expect("small");
                let entries = self.world.store.entries[known..].to_vec();
                self.machine.caught_up(&entries).expect("what is in the journal can follow");
                Step::Waited
            }
            Err(Refused::Rows(_)) => {
                self.machine.refused(&facts);
                self.world.advance(self.world.now + 500);
                Step::RowsRefused(facts)
            }
        }
    }

    fn run(&mut self, command: Command) -> Step {
        match command {
            Command::Effect { n, effect, token } => {
                let result = self.world.call(&self.machine.state, &effect, &token);
                self.machine.heard(self.world.at(), Answer::Effect { n, result: result.clone() });
                Step::Called(effect, result)
            }
            Command::Observe(what) => {
                let seen = self.world.look(&what);
                self.machine.heard(self.world.at(), Answer::Seen { what: what.clone(), seen });
                Step::Looked(what)
            }
        }
    }

    /// Sends the open intent's call as this process would, and loses the process before it hears the answer.
    pub fn call_unheard(&mut self) {
        if let Next::Run(Command::Effect { effect, token, .. }) = self.machine.turn(self.world.at()) {
            let _ = self.world.call(&self.machine.state, &effect, &token);
        }
    }

    fn wait(&mut self, until: i64) {
        // Something from outside may come first.
        let to = until.min(self.world.next_happening().max(self.world.now + 1));
        self.world.advance(to);
    }

    /// The other service sees public events and acts on them.
    fn told(&mut self, entries: &[Entry]) {
        for entry in entries {
            match &entry.fact {
                Fact::GateRequested { .. } if self.world.confirms => {
                    let id = entry.public.as_ref().expect("it is public").seq;
                    let ms = self.world.durations.gate;
                    self.world.after(ms, Happening::CloseGate(id));
                }
                Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. } => self.world.gate = Gate::Open,
                _ => {}
            }
        }
    }

    /// A request by another process: decided over the journal, appended to it; the driver catches up.
    pub fn request(
        &mut self,
        decide: impl FnOnce(&Machine) -> Result<Granted, requests::Refused>,
    ) -> Result<Granted, requests::Refused> {
        let machine = self.loaded();
        let granted = decide(&machine)?;
        if let Granted::Append(facts) = granted.clone() {
            let append = machine.prepare(facts, self.world.at()).expect("what is granted can follow");
            let owner = self.world.store.owner.clone().expect("somebody drives");
            self.world
                .store
                .append(&append, &owner, &self.world.faults.foreign_rows.clone())
                .expect("nobody else is at the head");
            self.machine.caught_up(&append.entries).expect("it can follow");
            self.told(&append.entries);
            self.check();
        }
        Ok(granted)
    }

    fn outside(&mut self) {
        if let Some(gate) = self.world.confirm.take() {
            let now = self.world.at();
            // Refused when the migration has turned back meanwhile; then its RolledBack opens the gate.
            let _ = self.request(|machine| machine.confirm_gate(gate, now));
        }
    }

    /// A machine from the journal alone.
    fn loaded(&self) -> Machine {
        let entries = &self.world.store.entries;
        Machine::load(&fixture::change(), entries, self.settings.clone(), self.world.at()).expect("it can be folded")
    }

    /// The process dies; another takes over with a higher fence.
    pub fn crash(&mut self) {
        let before = self.state().open.clone();
        self.machine = self.loaded();
        self.workers += 1;
        let worker = fixture::worker(self.workers);
        let append = self
            .machine
            .prepare(vec![self.machine.take_over(&worker, self.world.store.fence + 1)], self.world.at())
            .expect("it can be taken over");
        self.world
            .store
            .append(&append, &worker, &self.world.faults.foreign_rows.clone())
            .expect("the dead do not append");
        self.machine = self.loaded();
        let after = self.state().open.clone();
        assert_eq!(before.map(|o| (o.n, o.token)), after.map(|o| (o.n, o.token)), "a restart repeats the same call");
        self.check();
    }

    /// Runs until something holds, which it must at some time.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let step = self.step();
            let stuck = self.state().stuck.clone();
            assert!(step != Step::Over, "it ended before: {what}; {}", self.describe());
            assert!(step != Step::Idle, "it is stuck before: {what}: {stuck:?}; {}", self.describe());
        }
    }

    /// Runs to an end: done, or stuck.
    pub fn finish(&mut self) -> Ended {
        loop {
            match self.step() {
                Step::Over => return self.ended(),
                Step::Idle => return Ended::Stuck(self.state().stuck.as_ref().expect("idle is stuck").reason),
                _ => {}
            }
        }
    }

    fn ended(&self) -> Ended {
        match self.state().end {
            Some(End::Moved) => Ended::Moved,
            Some(End::RolledBack) => Ended::RolledBack(self.state().undo.as_ref().expect("it went back").reason),
            other => panic!("over without an end: {other:?}"),
        }
    }

    /// Invariants, and that the journal gives this state.
    fn check(&mut self) {
        let here = (self.world.store.entries.len(), self.world.version);
        if here == self.checked {
            return;
        }
        if here.0 != self.checked.0 {
            assert_eq!(self.world.store.replay(), self.machine.state, "the journal tells another state");
        }
        let broken = invariants::check(&self.world, &self.machine.state, self.checked.0);
        self.checked = here;
        assert!(broken.is_empty(), "{broken:#?}; {}", self.describe());
    }

    /// Where it is, for the report of a failure.
    pub fn describe(&self) -> String {
        let m = self.state();
        let tail: Vec<String> =
            self.world.store.entries.iter().rev().take(14).rev().map(|e| format!("{} {:?}", e.at.0, e.fact)).collect();
        let doors: Vec<String> = self
            .world
            .hosts
            .iter()
            .map(|(id, h)| {
                let open = if h.door == Door::Open { "open" } else { "shut" };
                format!(
                    "{} {:?} mounted={} engine={} {open}",
                    fixture::word(id),
                    h.state,
                    h.mounted,
                    h.engine.is_some()
                )
            })
            .collect();
        let calls: Vec<String> = self.world.arrived.iter().rev().take(6).map(|call| format!("{call:?}")).collect();
        format!(
            "{}\nnow {} at {} {:?}, open {:?}\njournal:\n  {}\nvolume: {:?}\nhosts:\n  {}\nlast calls:\n  {}",
            self.note,
            self.world.now,
            m.stage,
            m.direction,
            m.open.as_ref().map(|o| &o.effect),
            tail.join("\n  "),
            self.world.cloud.volume.attachments,
            doors.join("\n  "),
            calls.join("\n  "),
        )
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Moved,
    RolledBack(Reason),
    Stuck(Reason),
}
