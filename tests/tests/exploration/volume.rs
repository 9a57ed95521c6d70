//! The migration's machine in the smallest honest cloud (`cloud.rs`). It runs by itself until it wants to append, to send an
//! effect, or waits for somebody: there the search decides what
//! happens next.
//!
//! Not here: durations, lagging reads, other volumes. `volume-svc/core/tests` has them for the migration alone.

use crate::cloud::{Host, Truth, change, source, spec, target};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use subscription_core::change::{Event, Side as ToldSide};
use tiershift_core::event::Direction;
use tiershift_core::ids::{InstanceId, WorkerId};
use tiershift_core::{Reason, UnixMs};
use volume_core::effect::{Answer, Command, Effect, Trouble};
use volume_core::fact::{Entry, Fact, Outcome, Resume, Side};
use volume_core::requests::Granted;
use volume_core::scratch::Scratch;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::{End, Migration, Place};
use volume_core::{Append, Machine, Next};

/// Reads and waits in a row that bring nothing: it waits for somebody.
const RESTING: u32 = 60;

/// What a read takes.
const LOOK_MS: i64 = 3_000;

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    LostBefore,
    LostAfter,
    Refused,
}

/// Where it stands when it runs no further by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    Append(Vec<Fact>),
    Call {
        n: u32,
        effect: Effect,
        token: String,
    },
    /// At its gate, or for an instance that nobody gives it.
    Resting,
    Stuck,
    Over,
    NotStarted,
}

/// The migration with its world.
#[derive(Clone, Debug)]
pub struct Volume {
    machine: Option<Machine>,
    truth: Truth,
    now: i64,
    workers: u32,
    /// Where it stands.
    pub halt: Halt,
    /// What the other side has not been told yet, in order.
    pub news: Vec<Event>,
    /// A broken invariant that only the moment of a call shows.
    pub broken: Option<String>,
    /// The broken rule of a test: no answer counts as a refusal.
    pub takes_silence_for_refusal: bool,
}

impl Volume {
    pub fn new() -> Self {
        let hosts = [(source(), Host::SERVING), (target(), Host::IDLE)].into();
        let at = Some((source(), "/dev/sdf".to_owned()));
        Self {
            machine: None,
            truth: Truth { at, hosts, ended: BTreeSet::new(), snapshots: Vec::new() },
            now: 1_000_000,
            workers: 1,
            halt: Halt::NotStarted,
            news: Vec::new(),
            broken: None,
            takes_silence_for_refusal: false,
        }
    }

    fn at(&self) -> UnixMs {
        UnixMs(self.now)
    }

    fn worker(&self) -> WorkerId {
        WorkerId::parse(format!("w-{}", self.workers)).expect("well formed")
    }

    fn state(&self) -> Option<&Migration> {
        self.machine.as_ref().map(|m| &m.state)
    }

    // ---- What the other side asks ----

    /// StartMigration; false: a tombstone stands there.
    pub fn start(&mut self) -> bool {
        if let Some(state) = self.state() {
            return state.end != Some(End::Tombstone);
        }
        let append = Machine::start(spec(), &self.worker(), 1, &Settings::default(), self.at()).expect("it can start");
        let machine =
            Machine { state: append.after.clone(), scratch: Scratch::loaded(self.at()), settings: Settings::default() };
        self.machine = Some(machine);
        self.tell(&append.entries);
        self.run();
        true
    }

    /// CancelMigration: whether nothing was ever started, or why not.
    pub fn cancel(&mut self) -> Result<bool, Reason> {
        match self.state() {
            None => {
                let append = Machine::tombstone(&change(), "user_a", &Settings::default(), self.at()).expect("it can");
                let scratch = Scratch::loaded(self.at());
                self.machine = Some(Machine { state: append.after, scratch, settings: Settings::default() });
                self.run();
                return Ok(true);
            }
            Some(state) if state.end == Some(End::Tombstone) => return Ok(true),
            Some(_) => {}
        }
        self.request(|machine, _| machine.cancel("user_a")).map(|()| false)
    }

    /// ConfirmGate.
    pub fn confirm(&mut self, gate_id: u64) -> Result<(), Reason> {
        self.request(|machine, now| machine.confirm_gate(gate_id, now))
    }

    /// Whether GetMigration, just read, says that it waits at that gate.
    pub fn waits_at(&self, gate_id: u64) -> bool {
        let waits = |m: &Migration| {
            let open = m.gate.as_ref().is_some_and(|g| g.id == gate_id && g.confirmed_at.is_none());
            open && m.stage == Stage::Gate && m.direction == Direction::Forward && m.stuck.is_none()
        };
        self.state().is_some_and(waits)
    }

    fn request(
        &mut self,
        decide: impl FnOnce(&Machine, UnixMs) -> Result<Granted, volume_core::requests::Refused>,
    ) -> Result<(), Reason> {
        let now = self.at();
        let machine = self.machine.as_ref().ok_or(Reason::MigrationNotFound)?;
        if let Granted::Append(facts) = decide(machine, now).map_err(|r| r.reason)? {
            let append = machine.prepare(facts, now).expect("what is granted can follow");
            self.machine.as_mut().expect("it is there").caught_up(&append.entries).expect("it can follow");
            self.tell(&append.entries);
            self.run();
        }
        Ok(())
    }

    // ---- What happens to it ----

    /// The append is made.
    pub fn append(&mut self) {
        let Halt::Append(facts) = self.halt.clone() else { return };
        let (now, machine) = (self.at(), self.machine.as_mut().expect("it runs"));
        let append: Append = machine.prepare(facts, now).unwrap_or_else(|e| panic!("a step that cannot follow: {e}"));
        machine.committed(&append);
        self.now += 20;
        self.tell(&append.entries);
        self.run();
    }

    /// The call is made, and comes to this.
    pub fn call(&mut self, fate: Fate) {
        let Halt::Call { n, effect, .. } = self.halt.clone() else { return };
        self.look_at_call(&effect);
        let result = match fate {
            Fate::Answered => self.truth.takes(&effect),
            Fate::LostBefore => Err(Trouble::Unknown),
            Fate::LostAfter => {
                let _unheard = self.truth.takes(&effect);
                Err(Trouble::Unknown)
            }
            Fate::Refused => Err(Trouble::Permanent),
        };
        self.now += 1_000;
        let now = self.at();
        let machine = self.machine.as_mut().expect("it runs");
        if self.takes_silence_for_refusal && fate == Fate::LostAfter && matches!(effect, Effect::Detach { .. }) {
            // Concluded without a look, as if nothing had happened.
            let refused = Fact::Outcome { n, outcome: Outcome::Refused(Trouble::Permanent) };
            let append = machine.prepare(vec![refused], now).expect("an outcome follows its intent");
            machine.committed(&append);
        } else {
            machine.heard(now, Answer::Effect { n, result });
        }
        self.run();
    }

    /// Its driver dies; another takes over.
    pub fn crash(&mut self) {
        let (now, worker) = (self.at(), self.worker());
        self.workers += 1;
        let machine = self.machine.as_mut().expect("it runs");
        machine.scratch = Scratch::loaded(now);
        let taken = machine.take_over(&worker, machine.state.fence + 1);
        let append = machine.prepare(vec![taken], now).expect("it can be taken over");
        machine.committed(&append);
        self.run();
    }

    /// So much time passes that every deadline has.
    pub fn deadline(&mut self) {
        self.now += 86_400_000;
        self.run();
    }

    /// An operator says: go on.
    pub fn resume(&mut self, action: Resume) -> bool {
        self.request(|machine, _| machine.resume(action, "op_a", "mended")).is_ok()
    }

    /// An operator mounts it by hand on a side, and says so.
    pub fn hand_over(&mut self, side: Side) -> bool {
        let on = if side == Side::Source { source() } else { target() };
        let mut mended = self.clone();
        if mended.request(|machine, _| machine.hand_over(side, "op_a", "by hand")).is_err() {
            return false;
        }
        *self = mended;
        self.truth.at = Some((on.clone(), "/dev/sdp".to_owned()));
        for host in self.truth.hosts.values_mut() {
            *host = Host::IDLE;
        }
        self.truth.hosts.insert(on, Host::SERVING);
        true
    }

    /// Runs as far as it goes by itself.
    fn run(&mut self) {
        for _ in 0..RESTING {
            let Some(machine) = self.machine.as_mut() else { return };
            let waits =
                machine.state.gate.as_ref().is_some_and(|g| self.now < g.deadline_at.0 && g.confirmed_at.is_none());
            if waits && machine.state.stage == Stage::Gate && machine.state.direction == Direction::Forward {
                self.halt = Halt::Resting;
                return;
            }
            self.halt = match machine.turn(UnixMs(self.now)) {
                Next::Append(facts) => Halt::Append(facts),
                Next::Run(Command::Effect { n, effect, token }) => Halt::Call { n, effect, token },
                Next::Run(Command::Observe(what)) => {
                    self.now += LOOK_MS;
                    let seen = self.truth.look(&what, self.now);
                    machine.heard(UnixMs(self.now), Answer::Seen { what, seen });
                    continue;
                }
                Next::Wait(until) => {
                    self.now = until.0.max(self.now + 1);
                    continue;
                }
                Next::Idle => Halt::Stuck,
                Next::Over => Halt::Over,
            };
            return;
        }
        self.halt = Halt::Resting;
    }

    fn tell(&mut self, entries: &[Entry]) {
        self.news.extend(entries.iter().filter_map(meaning));
    }

    // ---- What is checked ----

    /// What the moment of a call shows.
    fn look_at_call(&mut self, effect: &Effect) {
        let m = &self.machine.as_ref().expect("it runs").state;
        let here = |instance: &InstanceId| self.truth.at.as_ref().is_some_and(|(on, _)| on == instance);
        let mounted = |instance: &InstanceId| self.truth.hosts.get(instance).is_some_and(|h| h.mounted);
        let wrong = match effect {
            Effect::Attach { .. } if m.place != Place::Free => {
                Some("invariant 1: an attach of what is not known to be free")
            }
            Effect::Adopt { instance } if !here(instance) => Some("invariant 16: a mount of what is not there"),
            Effect::Detach { instance, .. } if mounted(instance) && !self.truth.ended.contains(instance) => {
                Some("invariant 3: a detach under a mount")
            }
            Effect::Terminate { instance, .. } if here(instance) && self.truth.hosts[instance].door_open => {
                Some("invariant 15: an end of what serves")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.broken = Some(format!("{wrong}: {effect:?}"));
        }
    }

    /// What holds at any time.
    pub fn check(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let open = self.truth.hosts.values().filter(|h| h.engine()).count();
        if open > 1 {
            return Err("invariant 14: two engines have the volume open".to_owned());
        }
        let astray =
            |(on, host): (&InstanceId, &Host)| host.engine() && self.truth.at.as_ref().is_none_or(|(at, _)| at != on);
        if self.truth.hosts.iter().any(astray) {
            return Err("invariant 1: an engine is open on an instance that the volume is not attached to".to_owned());
        }
        let Some(m) = self.state() else { return Ok(()) };
        let serves = |on: &InstanceId| self.truth.hosts[on].door_open;
        match m.end {
            Some(End::Moved) if m.opened_at.is_some() && !serves(&target()) => {
                Err("the target was said to serve".to_owned())
            }
            Some(End::RolledBack) if !serves(&source()) => Err("the source was said to serve".to_owned()),
            _ => Ok(()),
        }
    }

    /// Behind a confirmed gate, and before the end for the customer.
    pub fn moves(&self) -> bool {
        let moves = |m: &Migration| m.end.is_none() && m.gate.as_ref().is_some_and(|g| g.confirmed_at.is_some());
        self.state().is_some_and(moves)
    }

    /// Behind the point of no return.
    pub fn committed(&self) -> bool {
        self.state().is_some_and(|m| m.committed_at.is_some())
    }

    /// Whether anything may still change where the graph is served.
    pub fn ended(&self) -> bool {
        self.state().is_none_or(|m| m.end.is_some())
    }

    /// The control part, as a text.
    pub fn key(&self, out: &mut String) {
        let _infallible = write!(out, "{:?}|{:?}|{:?}|", self.halt_name(), self.truth, self.news);
        let Some(machine) = &self.machine else { return };
        let (m, s) = (&machine.state, &machine.scratch);
        let open =
            m.open.as_ref().map(|o| (&o.effect, s.calls.fresh, s.calls.made.min(2), s.calls.doubtful, &s.calls.answer));
        let gate = m.gate.as_ref().map(|g| (g.id, g.confirmed_at.is_some(), self.now < g.deadline_at.0));
        let refusal = m.refusal.as_ref().map(|r| (r.effect.name(), r.trouble));
        let tries: Vec<(&String, u32)> = m.attempts.iter().map(|(k, n)| (k, (*n).min(3))).collect();
        let _infallible = write!(
            out,
            "{:?} {:?} {open:?} {gate:?} {refusal:?} {tries:?} {:?} {:?} {:?} {:?}",
            m.stage,
            m.direction,
            m.place,
            m.source_host,
            m.target_host,
            m.target.as_ref().map(|t| &t.instance)
        );
        let _infallible = write!(
            out,
            "{} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {:?} {:?} {:?} {} {} {} {:?}",
            m.target_ready,
            m.dropping,
            m.dropped.len(),
            m.condemned,
            m.terminated,
            m.silent,
            m.safety,
            m.last,
            m.completed,
            m.permit,
            m.detach_journalled,
            m.undo.as_ref().map(|u| u.reason),
            m.stuck.as_ref().map(|s| s.reason),
            m.end,
            m.committed_at.is_some(),
            m.forced,
            m.source_lost,
            s.foreign.as_ref().map(|(e, _)| e)
        );
    }

    fn halt_name(&self) -> String {
        match &self.halt {
            Halt::Append(facts) => facts.iter().map(Fact::name).collect::<Vec<_>>().join(","),
            Halt::Call { effect, .. } => effect.name().to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// For the report of a failure.
    pub fn describe(&self) -> String {
        let stage = self.state().map(|m| (m.stage, m.direction, m.open.as_ref().map(|o| o.effect.name())));
        format!("{stage:?} at {} with {:?}", self.halt_name(), self.truth.at)
    }
}

/// What a public event means to the other side, as its follower reads it (`subscription-svc/src/migrations`).
fn meaning(entry: &Entry) -> Option<Event> {
    let public = entry.public.as_ref()?;
    Some(match &entry.fact {
        Fact::GateRequested { usage_bytes, .. } => {
            Event::GateRequested { gate_id: public.seq, usage_bytes: Some(*usage_bytes) }
        }
        Fact::GateConfirmed { .. } => Event::GateConfirmed,
        Fact::Entered { stage: Stage::DrainReads } => Event::Offline,
        Fact::Committed { .. } => Event::Committed,
        Fact::Opened => Event::Opened,
        Fact::RolledBack => Event::RolledBack { reason: Reason::UndoFailed },
        Fact::HandedOver { side: Side::Source, .. } => Event::HandedOver { side: ToldSide::Source },
        Fact::HandedOver { side: Side::Target, .. } => Event::HandedOver { side: ToldSide::Target },
        Fact::Stuck { reason, .. } => Event::Stuck { reason: *reason },
        Fact::Resumed { .. } => Event::Resumed,
        Fact::Done => Event::Settled,
        _ if public.stage == Stage::Detach.name() && public.direction == Direction::Forward => Event::DetachJournalled,
        _ => return None,
    })
}
