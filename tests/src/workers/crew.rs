//! The processes: the simulated cloud, as many workers (processes of volume-svc) as a test wants, and subscription-svc.
//!
//! Workers are called through one road, `front`, as behind a load balancer; they reach the tables by `tables` and the
//! cloud each by a road of its own. Every one of them can be closed.

use super::road::Road;
use cloud_sim::seed::{Fleet, FleetGraph};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tierctl::connect::Target;
use tiershift_common::clock::{Clock, Scaled};
use tiershift_core::ids::WorkerId;
use tiershift_dev::cloud::Cloud;
use tiershift_dev::stack::{Options, Process, Stack};
use tiershift_dev::{run, seed};
use tokio::process::Child;
use volume_core::keys;
use volume_core::settings::Settings;
use volume_svc::adapters::aws::{Aws, Identity, Settings as AwsSettings};
use volume_svc::journal::Journal;
use volume_svc::ports::store::Store;
use volume_svc::store::dynamodb::Names;

/// How long anything may take that a test waits for, in real time.
pub const BOUND: Duration = Duration::from_mins(2);

/// Between two looks at something that is waited for.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A take-over of a dead worker's migrations is complete within this, in real time: its lease is 6 s.
pub const TAKEOVER: Duration = Duration::from_secs(10);

/// Settings for a fast clock. A take-over takes seconds of real time, which are minutes of such a clock: what a step may
/// take is scaled by thirty, what a customer or a cloud does stays as it is. The soak is over in a moment.
pub fn patient() -> Settings {
    let usual = Settings::default();
    Settings {
        capacity_ms: usual.capacity_ms * 30,
        gate_ms: usual.gate_ms * 30,
        drain_ms: usual.drain_ms * 30,
        release_ms: usual.release_ms * 30,
        adopt_ms: usual.adopt_ms * 30,
        detach_ms: usual.detach_ms * 30,
        attach_ms: usual.attach_ms * 30,
        offline_budget_ms: usual.offline_budget_ms * 30,
        open_alert_ms: usual.open_alert_ms * 30,
        soak_ms: 10_000,
        ..usual
    }
}

/// Everything that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Crew {
    /// Where workers are called.
    pub front: Road,
    /// Between the workers and their tables.
    pub tables: Road,
    /// The simulated cloud, to look at.
    pub cloud: Cloud,
    /// What was seeded.
    pub fleet: Fleet,
    /// The services: workers by `front`.
    pub target: Target,
    /// The journal, to look at; past `tables`.
    pub journal: Journal,
    /// Where the tables are, past the road.
    cloud_tables: String,
    stack: Stack,
    hired: AtomicUsize,
    folder: tempfile::TempDir,
}

/// One process of volume-svc.
#[derive(Debug)]
pub struct Worker {
    /// What its log is called.
    pub name: String,
    /// Between it and the simulated cloud.
    pub cloud: Road,
    /// Where it listens.
    pub address: String,
    /// Its process id.
    pub pid: u32,
    /// Its log.
    pub log_file: PathBuf,
    child: Child,
}

impl Crew {
    /// Starts cloud and one worker, whom calls reach first, and seeds them. subscription-svc is there for the seed only: it
    /// would cancel every migration that belongs to no change of its own (H9).
    pub async fn begin(speed: u32, settings: &Settings) -> (Self, Worker) {
        let (mut crew, first) = Self::begin_with_changes(speed, settings).await;
        crew.stack.kill(Process::Subscription).await.expect("killed");
        (crew, first)
    }

    /// The same with a subscription-svc that stays, for whole changes of a tier.
    pub async fn begin_with_changes(speed: u32, settings: &Settings) -> (Self, Worker) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            data: folder.path().join("data"),
            speed,
            cors_origins: Vec::new(),
            database: None,
            logs: folder.path().join("logs"),
        };
        let mut stack = Stack::idle(options).expect("its folders");
        stack.restart(Process::Cloud, &[]).await.expect("the cloud starts");
        let text = serde_json::to_string(settings).expect("JSON");
        std::fs::write(folder.path().join("settings.json"), text).expect("a file");
        let journal = journal(&stack, settings).await;
        let (cloud, tables) = (Cloud::at(&stack.cloud_url), Road::to(host(&stack.dynamodb_url)).await);
        let cloud_tables = std::mem::replace(&mut stack.dynamodb_url, tables.url());
        let first = Self::start_worker(&stack, folder.path(), "worker-1", &[]).await;
        let front = Road::to(&first.address).await;
        stack.volume_url = front.url();
        stack.restart(Process::Subscription, &[]).await.expect("subscription-svc starts");
        let target = seed::target(&stack.describe()).expect("addresses");
        let begun = Instant::now();
        let fleet = loop {
            match run::plant(&stack).await {
                Ok(fleet) => break fleet,
                // A service that was started a moment ago may still be about to serve.
                Err(error) => assert!(begun.elapsed() < BOUND, "not seeded: {error:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let crew = Self {
            front,
            tables,
            cloud,
            fleet,
            target,
            journal,
            cloud_tables,
            stack,
            hired: AtomicUsize::new(1),
            folder,
        };
        (crew, first)
    }

    /// Starts one more worker.
    pub async fn hire(&self, more: &[&str]) -> Worker {
        let number = self.hired.fetch_add(1, Ordering::Relaxed) + 1;
        Self::start_worker(&self.stack, self.folder.path(), &format!("worker-{number}"), more).await
    }

    /// One worker as it is called past `front`.
    pub fn target_of(&self, worker: &Worker) -> Target {
        let volume_url = format!("http://{}", worker.address);
        Target::of_stack(&tierctl::stack::Stack { volume_url, ..self.stack.describe() }).expect("an address")
    }

    /// The record version of a worker's heartbeat.
    async fn rvn(&self, id: &WorkerId) -> i64 {
        let beat = self.journal.store().get(&keys::worker(id)).await.expect("the tables can be read");
        beat.and_then(|item| item.n("rvn")).unwrap_or(0)
    }

    /// Waits until a worker's heartbeat is heard (again).
    pub async fn beats(&self, id: &WorkerId) {
        let (before, begun) = (self.rvn(id).await, Instant::now());
        while self.rvn(id).await == before {
            assert!(begun.elapsed() < BOUND, "{id} does not beat");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn start_worker(stack: &Stack, folder: &Path, name: &str, more: &[&str]) -> Worker {
        let log = folder.join("logs").join(format!("{name}.log"));
        let settings = folder.join("settings.json").display().to_string();
        let mut args = vec!["--settings", &settings];
        args.extend(more);
        let cloud = Road::to(host(&stack.cloud_url)).await;
        let (child, address) = stack.another_volume(&cloud.url(), &log, &args).await.expect("a worker starts");
        let pid = child.id().expect("it runs");
        Worker { name: name.to_owned(), cloud, address, pid, log_file: log, child }
    }

    /// Calls reach this worker from here on.
    pub fn call(&self, worker: &Worker) {
        self.front.lead(&worker.address);
    }

    /// The tables are there (again) for everyone.
    pub fn open_tables(&self) {
        self.tables.lead(host(&self.cloud_tables));
    }

    /// A seeded graph by its short name.
    pub fn graph(&self, name: &str) -> FleetGraph {
        self.fleet.graphs.iter().find(|g| g.name == name).unwrap_or_else(|| panic!("no graph {name}")).clone()
    }

    /// The provider's own book of charges.
    pub fn payments_book(&self) -> PathBuf {
        self.folder.path().join("data/payments.jsonl")
    }
}

impl Worker {
    /// Whether it is the process of that id.
    pub fn is(&self, id: &WorkerId) -> bool {
        id.as_str().starts_with(&format!("w-{}-", self.pid))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// Whether a line of its log has all these words.
    pub fn said(&self, words: &[&str]) -> bool {
        self.times(words) > 0
    }

    /// How many lines of its log have all these words.
    pub fn times(&self, words: &[&str]) -> usize {
        self.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits until it says so.
    pub async fn says(&self, words: &[&str]) {
        self.says_within(words, BOUND).await;
    }

    /// Waits until it says so more than `before` times.
    pub async fn says_again(&self, words: &[&str], before: usize) {
        let begun = Instant::now();
        while self.times(words) <= before {
            assert!(begun.elapsed() < BOUND, "{words:?} was not said again by {}", self.tail());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it says so, and gives the time that it took; panics with its log when it does not within `bound`.
    pub async fn says_within(&self, words: &[&str], bound: Duration) -> Duration {
        let begun = Instant::now();
        while !self.said(words) {
            assert!(begun.elapsed() < bound, "{words:?} was not said within {bound:?} by {}", self.tail());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        begun.elapsed()
    }

    /// Waits until it stands at an instant that it was told to hold at.
    pub async fn holds_at(&self, instant: &str) {
        self.says(&[&format!("holding at {instant}")]).await;
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Stops it in mid-air (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Lets go of whoever is held at an instant (SIGUSR1).
    pub fn release(&self) {
        self.signal("-USR1");
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal("-TERM");
        tokio::time::timeout(BOUND, self.child.wait()).await.expect("it ends").expect("a status")
    }

    fn signal(&self, signal: &str) {
        let sent =
            std::process::Command::new("kill").args([signal, &self.pid.to_string()]).status().expect("kill runs");
        assert!(sent.success(), "{signal} to {}", self.name);
    }
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

/// A journal that drives nothing.
async fn journal(stack: &Stack, settings: &Settings) -> Journal {
    let aws = Aws::load(&AwsSettings {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(stack.cloud_url.clone()),
        dynamodb_endpoint_url: Some(stack.dynamodb_url.clone()),
        identity: Identity::Dev,
    })
    .await
    .expect("local addresses");
    let store: Arc<dyn Store> = Arc::new(aws.dynamodb(Names::new("tiershift", "dev")));
    let clock: Scaled = run::clock(&stack.clock_file).expect("the stack's clock");
    let clock: Arc<dyn Clock> = Arc::new(clock);
    Journal::new(store, clock, WorkerId::parse("w-looker").expect("a worker id"), settings.clone())
}
