//! Deaths by the dozen: workers are killed (SIGKILL) under load at every instant of every step in turn, and others take
//! over. Used by a test and by `./x bench takeover`.
//!
//! Two workers stay. In each lane a third one is hired that holds at one instant, is given a change to move, and is killed
//! when a change stands there; who takes over may be about to die itself. Graphs go up and down between two tiers as often
//! as it takes.

use super::crew::{BOUND, Crew, LOOK_EVERY, Worker, patient};
use super::ears::Ears;
use super::journey::Journey;
use super::judge::{self, Engines};
use crate::world::dice::Dice;
use cloud_sim::api::control::LedgerEntry;
use cloud_sim::seed::{FRESH_GRAPHS, FleetGraph};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tiershift_core::ids::ChangeId;
use tokio::task::JoinSet;
use volume_core::stage::Stage;
use volume_core::view::Status;
use volume_svc::hold;

/// How often the cloud's ledger is read, so that nothing of it is forgotten before.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Longest from the start of a change to its end, in real time: a death or two on the way, and a machine with other work.
const END_WITHIN: Duration = Duration::from_mins(3);

/// The tiers between which graphs go.
const TIERS: [&str; 2] = ["ladybug-standard", "ladybug-large"];

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many workers are killed.
    pub kills: usize,
    /// Seed of the order of the instants.
    pub seed: u64,
    /// Workers that are about to die at the same time, 1 to 4.
    pub lanes: usize,
    /// Speed of the stack's clock, 1 to 100. Leases are real time.
    pub speed: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Workers killed.
    pub kills: usize,
    /// Changes that were moved.
    pub migrations: usize,
    /// Changes that nobody took over, or that did not end, in words.
    pub stranded: Vec<String>,
    /// Effects that happened twice, in words.
    pub doubled: Vec<String>,
    /// What agents and engines did against the rules (F5, invariants 2 and 14), in words.
    pub broken: Vec<String>,
    /// From each death to where the new driver has loaded and observed (N1), in milliseconds, ascending. A change whose new
    /// driver dies before that counts from that death.
    pub takeovers_ms: Vec<u128>,
}

impl Outcome {
    /// A percentile of the take-overs, in milliseconds; 0 if there were none.
    pub fn takeover_ms(&self, percent: usize) -> u128 {
        let last = self.takeovers_ms.len().saturating_sub(1);
        self.takeovers_ms.get((last * percent).div_ceil(100)).copied().unwrap_or(0)
    }
}

/// Every instant at which a change on its way forward can be held.
pub fn instants() -> Vec<String> {
    let of = |stage: Stage| {
        let held = move |instant: &hold::Instant| match stage {
            // Its effect is the request of the gate, which is answered from outside.
            Stage::Gate => *instant == hold::Instant::Intent,
            // Its effect is the append itself.
            Stage::Commit => *instant != hold::Instant::Sending,
            _ => true,
        };
        hold::Instant::ALL.into_iter().filter(held).map(move |instant| format!("{}.{}", stage.name(), instant.name()))
    };
    Stage::ALL.into_iter().flat_map(of).collect()
}

/// A graph that may be moved, and the place of its tier in `TIERS`.
type Free = (FleetGraph, usize);

/// What all lanes share.
struct Scene {
    crew: Crew,
    ears: Arc<Ears>,
    /// Instants that are still to be died at.
    to_die_at: Mutex<VecDeque<String>>,
    free: Mutex<VecDeque<Free>>,
    outcome: Mutex<Outcome>,
    moving: tokio::sync::Mutex<JoinSet<()>>,
    ledger: tokio::sync::Mutex<Vec<LedgerEntry>>,
    engines: tokio::sync::Mutex<Engines>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries a plan out; `tell` hears of every death.
pub async fn run(plan: Plan, tell: fn(&str)) -> Outcome {
    let (crew, first) = Crew::begin(plan.speed, &patient()).await;
    let second = crew.hire(&[]).await;
    let ears = Arc::new(Ears::default());
    ears.to(&first);
    ears.to(&second);
    let graphs = (1..=FRESH_GRAPHS).map(|number| (crew.graph(&format!("upgrade-{number}")), 0));
    let scene = Arc::new(Scene {
        free: Mutex::new(graphs.collect()),
        crew,
        ears: Arc::clone(&ears),
        to_die_at: Mutex::new(drawn(plan)),
        outcome: Mutex::default(),
        moving: tokio::sync::Mutex::default(),
        ledger: tokio::sync::Mutex::default(),
        engines: tokio::sync::Mutex::default(),
    });
    let mut beside = JoinSet::new();
    beside.spawn(ears.listen());
    beside.spawn(Arc::clone(&scene).read_ledger());
    let mut lanes = JoinSet::new();
    for _ in 0..plan.lanes.max(1) {
        lanes.spawn(Arc::clone(&scene).lane(tell));
    }
    while let Some(ended) = lanes.join_next().await {
        ended.expect("a lane does not panic");
    }
    scene.over().await
}

/// As many instants as there are kills: all of them in an order drawn by lot, again and again.
fn drawn(plan: Plan) -> VecDeque<String> {
    let mut order = instants();
    let mut dice = Dice::new(plan.seed);
    for last in (1..order.len()).rev() {
        let other = usize::try_from(dice.between(0, last as u64)).unwrap_or(0);
        order.swap(last, other);
    }
    order.into_iter().cycle().take(plan.kills).collect()
}

impl Scene {
    /// One death after another, until none is left.
    async fn lane(self: Arc<Self>, tell: fn(&str)) {
        loop {
            let Some(instant) = lock(&self.to_die_at).pop_front() else { return };
            let victim = self.crew.hire(&["--hold", &instant]).await;
            self.ears.to(&victim);
            // A change may end without meeting the instant (no launch where an instance is idle): then another is begun.
            while !self.meets_its_instant(&victim).await {}
            self.kill(victim, &instant, tell).await;
        }
    }

    /// Gives a worker a change; whether the worker stands at its instant before that change is over.
    async fn meets_its_instant(self: &Arc<Self>, victim: &Worker) -> bool {
        let (graph, tier) = loop {
            if let Some(free) = lock(&self.free).pop_front() {
                break free;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let (from, to) = (TIERS[tier], TIERS[1 - tier]);
        let journey = Journey::move_by(&self.crew, &self.crew.target_of(victim), &graph, [from, to]).await;
        let id = journey.id.clone();
        self.moving.lock().await.spawn(Arc::clone(self).see_home(journey, tier));
        let begun = Instant::now();
        loop {
            if self.ears.is_held(victim.pid) {
                return true;
            }
            let over = self.crew.journal.head(&id).await.is_ok_and(|head| head.is_some_and(|h| h.done_at.is_some()));
            if over || begun.elapsed() > BOUND {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn kill(&self, mut victim: Worker, instant: &str, tell: fn(&str)) {
        let since = Instant::now();
        victim.kill().await;
        self.ears.died(victim.pid);
        // Nobody can take over before a lease is over, so who belongs to it now belonged to it then.
        let mut orphans = Vec::new();
        for id in self.crew.journal.live().await.expect("the tables can be read") {
            let head = self.crew.journal.head(&id).await.expect("the journal can be read");
            if head.is_some_and(|head| head.done_at.is_none() && victim.is(&head.owner)) {
                orphans.push(id);
            }
        }
        let count = orphans.len();
        self.ears.orphaned(orphans, since);
        let kills = {
            let mut outcome = lock(&self.outcome);
            outcome.kills += 1;
            outcome.kills
        };
        tell(&format!("kill {kills}: {} at {instant} with {count} of its own", victim.name));
    }

    /// Waits for the end of a change, judges it, and gives its graph back.
    async fn see_home(self: Arc<Self>, journey: Journey, tier: usize) {
        let begun = Instant::now();
        let head = loop {
            let head = journey.head().await;
            if head.done_at.is_some() || head.view.status == Status::Stuck || begun.elapsed() > END_WITHIN {
                break head;
            }
            tokio::time::sleep(LOOK_EVERY * 5).await;
        };
        if head.done_at.is_none() || head.view.status != Status::Succeeded {
            let told = journey.told().await;
            lock(&self.outcome).stranded.push(format!("{} is {:?}:\n{told}", journey.id, head.view.status));
            return;
        }
        let mut doubled = self.doubled(&journey.id).await;
        let mut outcome = lock(&self.outcome);
        outcome.migrations += 1;
        outcome.doubled.append(&mut doubled);
        drop(outcome);
        lock(&self.free).push_back((journey.graph, 1 - tier));
    }

    async fn doubled(&self, id: &ChangeId) -> Vec<String> {
        self.read_on().await;
        let entries = self.crew.journal.entries(id, 1).await.expect("the journal can be read");
        let doubled = judge::doubled(&self.ledger.lock().await, id, &entries);
        doubled.into_iter().map(|line| format!("{id}: {line}")).collect()
    }

    async fn read_ledger(self: Arc<Self>) {
        loop {
            self.read_on().await;
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    /// Takes what is new in the ledger and in the engines' log.
    async fn read_on(&self) {
        self.engines.lock().await.read_on(&self.crew.cloud).await;
        let mut ledger = self.ledger.lock().await;
        let after = ledger.last().map_or(0, |call| call.seq);
        ledger.extend(judge::ledger_after(&self.crew.cloud, after).await);
    }

    /// Waits until every change has ended, and says what came of it all.
    async fn over(self: Arc<Self>) -> Outcome {
        let mut moving = std::mem::take(&mut *self.moving.lock().await);
        while let Some(ended) = moving.join_next().await {
            ended.expect("a change that is seen home does not panic");
        }
        let mut outcome = std::mem::take(&mut *lock(&self.outcome));
        // Who ended without being heard was never taken over, or nobody listened: either is a fault.
        outcome.stranded.extend(self.ears.orphans().iter().map(|id| format!("{id} was not taken over")));
        outcome.takeovers_ms = self.ears.takeovers().iter().map(Duration::as_millis).collect();
        outcome.takeovers_ms.sort_unstable();
        self.read_on().await;
        outcome.broken = judge::fences_only_grow(&self.ledger.lock().await);
        outcome.broken.append(&mut self.engines.lock().await.faults);
        outcome
    }
}
