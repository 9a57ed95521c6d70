//! A volume-svc that follows a script: durable journals in memory, real answers, bad manners at will.
//!
//! It keeps the rules that the real one keeps: a start is idempotent, a canceled unknown id is a tombstone, a gate is
//! confirmed once and by its id, a cancel is refused past the detach. Everything else is the script's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use subscription_core::change::Side;
use subscription_svc::migrations::{Fact, MigrationEvent, Position, Room, Status, View, endpoint};
use tiershift_common::clock::{Clock, sleep_ms};
use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};
use tiershift_core::ids::{ChangeId, GraphId, TierName};
use tiershift_core::{Error, Kind, Reason, UnixMs, Violation};
use tokio::sync::watch;

/// How long the gate waits, in milliseconds: the contract's ten minutes.
pub const GATE_MS: i64 = 600_000;

/// The stages before the gate, at it, and after it, in order.
const BEFORE: [&str; 3] = ["preflight", "safety_snapshot", "capacity"];
const AFTER: [&str; 9] =
    ["drain_writes", "drain_reads", "release", "final_snapshot", "detach", "attach", "adopt", "commit", "open"];

/// What a graph's migration does.
#[derive(Clone, Debug)]
pub struct Script {
    /// Milliseconds of each stage.
    pub stage_ms: i64,
    /// Turns back instead of entering this stage.
    pub turn_back_at: Option<&'static str>,
    /// Is stuck instead of entering this stage, until it is resumed or handed over.
    pub stuck_at: Option<&'static str>,
    /// What the graph stores, in bytes; none: nobody can say.
    pub usage_bytes: Option<i64>,
    /// What it stores when the gate is requested, if that is something else.
    pub usage_at_gate: Option<i64>,
    /// Faults of preflight.
    pub violations: Vec<Violation>,
    /// A start is refused for this reason.
    pub refuse_start: Option<Reason>,
    /// Each event is sent twice.
    pub doubled: bool,
    /// How long it waits at its gate, in milliseconds.
    pub gate_ms: i64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            stage_ms: 1_000,
            turn_back_at: None,
            stuck_at: None,
            usage_bytes: Some(1 << 30),
            usage_at_gate: None,
            violations: Vec::new(),
            refuse_start: None,
            doubled: false,
            gate_ms: GATE_MS,
        }
    }
}

/// What an operator does about a stuck migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Goes on.
    Retry,
    /// Ends where the operator says.
    HandOver(Side),
}

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) graph: GraphId,
    pub(super) script: Script,
    pub(super) events: Vec<MigrationEvent>,
    pub(super) position: Position,
    pub(super) status: Status,
    pub(super) direction: Direction,
    pub(super) gate_id: u64,
    pub(super) gate_until: UnixMs,
    pub(super) confirmed: bool,
    pub(super) cancel: bool,
    /// It goes, or went, back to its source.
    pub(super) back: bool,
    pub(super) committed: bool,
    pub(super) resume: Option<Resume>,
    pub(super) tombstone: bool,
    pub(super) ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) scripts: BTreeMap<GraphId, Script>,
    pub(super) journals: BTreeMap<ChangeId, Journal>,
    /// Where there is room for a graph that nobody has named.
    pub(super) rooms: BTreeMap<TierName, Room>,
    /// Calls that get no answer, by name, and how many more.
    pub(super) silent: BTreeMap<&'static str, u32>,
    /// The answer is lost after the call was done.
    pub(super) lossy: BTreeMap<&'static str, u32>,
    pub(super) calls: BTreeMap<&'static str, u32>,
    /// When each confirmation was accepted.
    pub(super) confirmed_at: BTreeMap<ChangeId, UnixMs>,
    /// Every call takes up to so many milliseconds, and which one takes how many.
    pub(super) latency: (i64, u64),
    /// Each event of a stream takes so many milliseconds.
    pub(super) lag_ms: i64,
    pub(super) away: bool,
}

/// The next of a sequence of random numbers (SplitMix64).
pub fn next(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The fake.
#[derive(Debug)]
pub struct Fake {
    pub(super) state: Mutex<State>,
    pub(super) clock: Arc<dyn Clock>,
    /// Moves with every append.
    pub(super) moved: watch::Sender<u64>,
}

pub(super) fn away() -> Error {
    Error::new(Kind::Unavailable, Reason::Unavailable, "volume-svc is away")
}

impl Fake {
    /// Nothing there.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), clock, moved: watch::Sender::new(0) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the fake")
    }

    /// What a graph's next migration does.
    pub fn script(&self, graph: &GraphId, script: Script) {
        self.lock().scripts.insert(graph.clone(), script);
    }

    /// How much room a tier has.
    pub fn has_room(&self, tier: &str, room: Room) {
        self.lock().rooms.insert(TierName::parse(tier).expect("a tier"), room);
    }

    /// Every call takes up to so many milliseconds.
    pub fn latency(&self, most_ms: i64, seed: u64) {
        self.lock().latency = (most_ms, seed);
    }

    /// When the gate's confirmation was accepted.
    pub fn confirmed_at(&self, id: &ChangeId) -> Option<UnixMs> {
        self.lock().confirmed_at.get(id).copied()
    }

    /// Each event of a stream takes so many milliseconds.
    pub fn lag(&self, ms: i64) {
        self.lock().lag_ms = ms;
    }

    /// What its journal says, without the settling.
    pub fn told(&self, id: &ChangeId) -> Vec<ChangeEvent> {
        let state = self.lock();
        let events = state.journals.get(id).map(|j| j.events.as_slice()).unwrap_or_default();
        events.iter().map(|e| e.event.clone()).filter(|e| e.direction != Direction::Settle).collect()
    }

    /// Whether it answers at all.
    pub fn away(&self, away: bool) {
        self.lock().away = away;
        self.moved.send_modify(|n| *n += 1);
    }

    /// The next `n` calls of this name get no answer and do nothing.
    pub fn silence(&self, call: &'static str, n: u32) {
        self.lock().silent.insert(call, n);
    }

    /// The answers of the next `n` calls of this name are lost after they were done.
    pub fn lose(&self, call: &'static str, n: u32) {
        self.lock().lossy.insert(call, n);
    }

    /// How often a call was made.
    pub fn calls(&self, call: &'static str) -> u32 {
        self.lock().calls.get(call).copied().unwrap_or(0)
    }

    /// Whether a migration of this id exists, and is no tombstone.
    pub fn exists(&self, id: &ChangeId) -> bool {
        self.lock().journals.get(id).is_some_and(|j| !j.tombstone)
    }

    /// Whether its gate was confirmed.
    pub fn confirmed(&self, id: &ChangeId) -> bool {
        self.lock().journals.get(id).is_some_and(|j| j.confirmed)
    }

    /// Loses a migration, as a restore would (H19).
    pub fn forget(&self, id: &ChangeId) {
        self.lock().journals.remove(id);
        self.moved.send_modify(|n| *n += 1);
    }

    /// An operator acts on a stuck migration.
    pub fn resume(&self, id: &ChangeId, how: Resume) {
        let mut state = self.lock();
        state.journals.get_mut(id).expect("a migration").resume = Some(how);
        drop(state);
        self.moved.send_modify(|n| *n += 1);
    }

    /// The same, if it is stuck.
    pub fn resume_if_stuck(&self, id: &ChangeId, how: Resume) {
        self.with(id, |j| {
            if j.status == Status::Stuck {
                j.resume = Some(how);
            }
        });
        self.moved.send_modify(|n| *n += 1);
    }

    /// A migration of ours that no change asked for: running, at a position.
    pub fn orphan(&self, id: &ChangeId, graph: &GraphId, position: Position) {
        let mut journal = self.journal(graph.clone());
        journal.position = position;
        self.lock().journals.insert(id.clone(), journal);
    }

    /// Moves a migration past its gate without a confirmation, as no real one does.
    pub fn misplace(&self, id: &ChangeId, position: Position) {
        self.lock().journals.get_mut(id).expect("a migration").position = position;
    }

    pub(super) fn journal(&self, graph: GraphId) -> Journal {
        let script = self.lock().scripts.get(&graph).cloned().unwrap_or_default();
        Journal {
            graph,
            script,
            events: Vec::new(),
            position: Position::BeforeGate,
            status: Status::Running,
            direction: Direction::Forward,
            gate_id: 0,
            gate_until: UnixMs(0),
            confirmed: false,
            cancel: false,
            back: false,
            committed: false,
            resume: None,
            tombstone: false,
            ended: false,
        }
    }

    /// Half of a call's time passes on its way there, half on the way back.
    async fn travel(&self) {
        let ms = {
            let mut state = self.lock();
            let (most_ms, seed) = state.latency;
            state.latency.1 = next(seed);
            most_ms * i64::from(u8::try_from(seed >> 56).expect("a byte")) / 512
        };
        if ms > 0 {
            sleep_ms(self.clock.as_ref(), ms).await;
        }
    }

    /// Counts a call; whether it is away, silent, or its answer will be lost.
    pub(super) async fn called(&self, call: &'static str) -> Result<bool, Error> {
        self.travel().await;
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        let counted = |left: Option<&mut u32>| match left {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        if state.away || counted(state.silent.get_mut(call)) {
            return Err(away());
        }
        Ok(counted(state.lossy.get_mut(call)))
    }

    /// The way back of an answer; `lost` is told nobody.
    pub(super) async fn answer<T>(&self, answer: Result<T, Error>, lost: bool) -> Result<T, Error> {
        self.travel().await;
        if lost { Err(away()) } else { answer }
    }

    fn append(&self, id: &ChangeId, stage: &str, fact: Fact) {
        let mut state = self.lock();
        let journal = state.journals.get_mut(id).expect("a migration");
        let seq = journal.events.len() as u64 + 1;
        let fact = match fact {
            Fact::GateRequested { usage_bytes, store_epoch, .. } => {
                journal.gate_id = seq;
                journal.gate_until = self.clock.now().plus(journal.script.gate_ms);
                Fact::GateRequested { gate_id: seq, usage_bytes, store_epoch }
            }
            fact => fact,
        };
        let forward = journal.direction == Direction::Forward;
        let order = BEFORE.iter().chain(["gate"].iter()).chain(&AFTER).position(|s| *s == stage);
        let permille = match (journal.direction, order) {
            (Direction::Forward, Some(n)) => u32::try_from((n + 1) * 1_000 / 13).expect("small"),
            (Direction::Forward | Direction::Undo | Direction::Settle, _) => 500,
        };
        let past = |s: &str| order.is_some_and(|n| n >= 4 + AFTER.iter().position(|a| *a == s).expect("a stage"));
        let serves = matches!(fact, Fact::Opened { .. } | Fact::RolledBack { .. } | Fact::HandedOver { .. })
            || journal.direction == Direction::Settle;
        let event = ChangeEvent {
            change_id: id.to_string(),
            seq,
            at_ms: 0,
            source: Source::Volume,
            stage: stage.to_owned(),
            direction: journal.direction,
            permille,
            eta_ms: 1_000,
            reads: if forward && past("drain_reads") && !serves { Reads::Closed } else { Reads::Open },
            writes: if forward && past("drain_writes") && !serves { Writes::Closed } else { Writes::Open },
            message: format!("{stage} begins"),
            detail: BTreeMap::new(),
        };
        journal.events.push(MigrationEvent { event, fact });
        drop(state);
        self.moved.send_modify(|n| *n += 1);
    }

    pub(super) fn with<T>(&self, id: &ChangeId, act: impl FnOnce(&mut Journal) -> T) -> Option<T> {
        self.lock().journals.get_mut(id).map(act)
    }

    /// Waits until something of the journal is true.
    async fn until(&self, id: &ChangeId, mut when: impl FnMut(&Journal, UnixMs) -> bool, deadline: UnixMs) -> bool {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            match self.lock().journals.get(id) {
                Some(journal) if when(journal, self.clock.now()) => return true,
                Some(_) => {}
                None => return false,
            }
            tokio::select! {
                biased;
                _ = moved.changed() => {}
                () = self.clock.sleep_until(deadline) => return false,
            }
        }
    }

    /// Plays the script of one migration.
    pub(super) async fn play(self: Arc<Self>, id: ChangeId) {
        let Some(script) = self.with(&id, |j| j.script.clone()) else { return };
        for stage in BEFORE {
            if !self.enter(&id, &script, stage, Fact::Progress).await {
                return;
            }
        }
        let usage_bytes = script.usage_at_gate.or(script.usage_bytes);
        if !self.enter(&id, &script, "gate", Fact::GateRequested { gate_id: 0, usage_bytes, store_epoch: 1 }).await {
            return;
        }
        self.with(&id, |j| j.position = Position::AtGate);
        self.moved.send_modify(|n| *n += 1);
        let until = self.clock.now().plus(script.gate_ms);
        let left = self.until(&id, |j, _| j.confirmed || j.cancel, until).await;
        if !left || !self.with(&id, |j| j.confirmed).unwrap_or(false) {
            let reason = if left { Reason::CanceledByRequest } else { Reason::GateTimeout };
            self.back(&id, reason).await;
            return;
        }
        self.append(&id, "gate", Fact::GateConfirmed);
        for stage in AFTER {
            let place = || endpoint("i-0123456789abcdef0", "10.0.0.9", "us-east-1b", self.clock.now());
            let fact = match stage {
                "drain_reads" => Fact::Offline,
                "commit" => Fact::Committed(place()),
                "open" => Fact::Opened { endpoint: place(), offline_ms: 7 * script.stage_ms },
                _ => Fact::Progress,
            };
            if !self.enter(&id, &script, stage, fact).await {
                return;
            }
            match stage {
                "detach" => self.with(&id, |j| j.position = Position::PastDetach),
                "commit" => self.with(&id, |j| j.committed = true),
                "open" => self.with(&id, |j| j.status = Status::Serves),
                _ => None,
            };
        }
        self.finish(&id, script.stage_ms).await;
    }

    /// Enters a stage, unless the script or a cancel has it go back or stick here.
    async fn enter(&self, id: &ChangeId, script: &Script, stage: &'static str, fact: Fact) -> bool {
        sleep_ms(self.clock.as_ref(), script.stage_ms).await;
        let early = self.with(id, |j| j.position < Position::PastDetach && j.cancel);
        match early {
            None => return false,
            Some(true) => {
                self.back(id, Reason::CanceledByRequest).await;
                return false;
            }
            Some(false) => {}
        }
        if script.turn_back_at == Some(stage) {
            self.back(id, Reason::DrainTimeout).await;
            return false;
        }
        if script.stuck_at == Some(stage) && !self.stuck(id).await {
            return false;
        }
        self.append(id, stage, fact);
        true
    }

    /// Sticks until an operator acts; whether it goes on.
    async fn stuck(&self, id: &ChangeId) -> bool {
        self.with(id, |j| j.status = Status::Stuck);
        self.append(id, "attach", Fact::Stuck { reason: Reason::AttachFailed });
        self.until(id, |j, _| j.resume.is_some(), UnixMs(i64::MAX)).await;
        match self.with(id, |j| j.resume.take()).flatten() {
            Some(Resume::Retry) => {
                self.with(id, |j| j.status = Status::Running);
                self.append(id, "attach", Fact::Resumed);
                true
            }
            Some(Resume::HandOver(side)) => {
                self.with(id, |j| {
                    j.status = Status::Serves;
                    j.back = side == Side::Source;
                });
                let endpoint = endpoint("i-0123456789abcdef1", "10.0.0.10", "us-east-1b", self.clock.now());
                self.append(id, "attach", Fact::HandedOver { side, endpoint });
                self.finish(id, 1).await;
                false
            }
            None => false,
        }
    }

    async fn back(&self, id: &ChangeId, reason: Reason) {
        self.with(id, |j| {
            j.direction = Direction::Undo;
            j.back = true;
        });
        self.append(id, "preflight", Fact::TurnedBack { reason, violations: Vec::new() });
        sleep_ms(self.clock.as_ref(), 500).await;
        self.with(id, |j| j.status = Status::Serves);
        self.append(
            id,
            "preflight",
            Fact::RolledBack { reason, violations: Vec::new(), endpoint: None, offline_ms: 0 },
        );
        self.finish(id, 1).await;
    }

    async fn finish(&self, id: &ChangeId, stage_ms: i64) {
        self.with(id, |j| j.direction = Direction::Settle);
        sleep_ms(self.clock.as_ref(), stage_ms).await;
        self.append(id, "settle", Fact::Settled);
        self.with(id, |j| j.ended = true);
        self.moved.send_modify(|n| *n += 1);
    }

    pub(super) fn view(&self, id: &ChangeId, journal: &Journal) -> View {
        let waits = journal.position == Position::AtGate && !journal.confirmed && !journal.cancel;
        View {
            id: id.clone(),
            position: journal.position,
            status: journal.status,
            direction: journal.direction,
            gate_id: journal.gate_id,
            gate_remaining_ms: if waits { journal.gate_until.since(self.clock.now()) } else { 0 },
            committed: journal.committed,
        }
    }
}
