//! Deaths by the dozen: workers are killed (SIGKILL) under load at every instant of every step in turn, and others take
//! over. Used by a test and by `./x bench takeover`.
//!
//! Two workers stay. In each lane a third one is hired that holds at one instant, is given a change to move, and is killed
//! when any change of its stands there; who takes over may be about to die itself. Graphs go up and down between two tiers
//! as often as it takes.

use super::crew::{BOUND, Crew, Worker, patient};
use super::journey::Journey;
use super::judge;
use crate::world::dice::Dice;
use cloud_sim::api::control::LedgerEntry;
use cloud_sim::seed::{FRESH_GRAPHS, FleetGraph};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tiershift_core::ids::ChangeId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use volume_core::stage::Stage;
use volume_core::view::Status;
use volume_svc::hold;

/// Between two looks at the workers' logs: what a measured take-over is too long at most.
const LISTEN_EVERY: Duration = Duration::from_millis(10);

/// How often the cloud's ledger is read, so that nothing of it is forgotten.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Longest from the start of a change to its end, in real time: a death or two on the way, and a machine with other work.
const END_WITHIN: Duration = Duration::from_mins(4);

/// The tiers between which graphs go, lower first.
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
    /// From each death to where the new driver has loaded and observed (N1), in milliseconds, ascending. A change whose new
    /// driver dies before that counts from that death.
    pub takeovers_ms: Vec<u64>,
}

impl Outcome {
    /// A percentile of the take-overs, in milliseconds; 0 if there were none.
    pub fn takeover_ms(&self, percent: usize) -> u64 {
        let last = self.takeovers_ms.len().saturating_sub(1);
        self.takeovers_ms.get((last * percent).div_ceil(100)).copied().unwrap_or(0)
    }
}

/// Every instant at which a change on its way forward can be held.
pub fn instants() -> Vec<String> {
    let of = |stage: Stage| -> Vec<String> {
        let named = |instant: &hold::Instant| format!("{}.{}", stage.name(), instant.name());
        let all = hold::Instant::ALL;
        match stage {
            // Its effect is the request of the gate, which is answered from outside.
            Stage::Gate => vec![named(&hold::Instant::Intent)],
            // Its effect is the append itself.
            Stage::Commit => all.iter().filter(|i| **i != hold::Instant::Sending).map(named).collect(),
            _ => all.iter().map(named).collect(),
        }
    };
    Stage::ALL.into_iter().flat_map(of).collect()
}

/// What all lanes share.
struct Stage3 {
    crew: Crew,
    plan: Plan,
    instants: Vec<String>,
    next: AtomicUsize,
    graphs: tokio::sync::Mutex<mpsc::Receiver<(FleetGraph, usize)>>,
    back: mpsc::Sender<(FleetGraph, usize)>,
    ears: Mutex<Ears>,
    outcome: Mutex<Outcome>,
    begun: Mutex<BTreeSet<ChangeId>>,
}

/// What was heard of the workers.
#[derive(Default)]
struct Ears {
    /// Logs by process id, with how far they were read.
    logs: BTreeMap<u32, (PathBuf, u64)>,
    dead: BTreeSet<u32>,
    /// Workers that stand at their instant.
    held: BTreeSet<u32>,
    /// Changes without a driver, and since when.
    orphans: BTreeMap<ChangeId, Instant>,
    takeovers: Vec<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries a plan out; `tell` is told about every death.
pub async fn run(plan: Plan, tell: impl Fn(&str) + Send + Sync + 'static) -> Outcome {
    let (crew, first) = Crew::begin(plan.speed, &patient()).await;
    let second = crew.hire(&[]).await;
    let mut order = instants();
    shuffle(&mut order, plan.seed);
    let (back, graphs) = mpsc::channel(FRESH_GRAPHS);
    for number in 1..=FRESH_GRAPHS {
        back.try_send((crew.graph(&format!("upgrade-{number}")), 0)).expect("room for all");
    }
    let shared = Arc::new(Stage3 {
        crew,
        plan,
        instants: order,
        next: AtomicUsize::new(0),
        graphs: tokio::sync::Mutex::new(graphs),
        back,
        ears: Mutex::default(),
        outcome: Mutex::default(),
        begun: Mutex::default(),
    });
    shared.hear(&first);
    shared.hear(&second);
    let listening = tokio::spawn(Arc::clone(&shared).listen());
    let reading = tokio::spawn(Arc::clone(&shared).read_ledger());
    let tell: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(tell);
    let mut lanes = JoinSet::new();
    for _ in 0..plan.lanes.max(1) {
        lanes.spawn(Arc::clone(&shared).lane(Arc::clone(&tell)));
    }
    while let Some(ended) = lanes.join_next().await {
        ended.expect("a lane does not panic");
    }
    shared.all_back().await;
    listening.abort();
    reading.abort();
    let calls = reading_of(&shared.crew, reading).await;
    shared.outcome(&calls).await
}

/// The ledger's tail is read once more by the caller: what the reader had is lost with it, so it is read from the cloud,
/// which keeps 100,000 calls.
async fn reading_of(crew: &Crew, _reading: tokio::task::JoinHandle<()>) -> Vec<LedgerEntry> {
    judge::ledger(&crew.cloud).await
}

fn shuffle(list: &mut [String], seed: u64) {
    let mut dice = Dice::new(seed);
    for last in (1..list.len()).rev() {
        let other = usize::try_from(dice.between(0, last as u64)).unwrap_or(0);
        list.swap(last, other);
    }
}
