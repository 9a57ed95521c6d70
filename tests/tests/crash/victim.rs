//! Runs one change on a stack of its own and kills its processes at given instants.

use super::aftermath;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tierctl::commands::change;
use tierctl::connect::Target;
use tierctl::exit::Fault;
use tierctl::feeds::ChangeFeed;
use tierctl::follow::{Patience, Watcher, follow};
use tiershift_core::event::ChangeEvent;
use tiershift_dev::cloud::Cloud;
use tiershift_dev::run;
use tiershift_dev::seed;
use tiershift_dev::stack::{Options, Process, Stack};
use tiershift_dev::workload::Customer;
use tiershift_proto::subscription::v1::{ChangeTierRequest, ChangeTiming};

/// Speed of the clock. A take-over takes 6 s of real time (the lease), so at 4 three of them stay within the drain
/// deadline of 120 s and the write-block limit of 300 s of simulated time.
const SPEED: u32 = 4;

/// How long an instant may take to be reached, and the change to end, in real time.
const BOUND: Duration = Duration::from_mins(4);

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Which process.
    pub process: Process,
    /// Where it is held.
    pub hold: &'static str,
}

/// Events as a watcher sees them, through everything.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In the order of arrival.
    pub events: Arc<Mutex<Vec<ChangeEvent>>>,
}

struct Eyes {
    seen: Seen,
    customer: Arc<Customer>,
}

impl Watcher for Eyes {
    fn event(&mut self, event: &ChangeEvent) -> std::io::Result<()> {
        if let Some(instance) = event.detail.get("instance") {
            self.customer.moved_to(instance);
        }
        self.seen.events.lock().expect("not poisoned").push(event.clone());
        Ok(())
    }

    fn note(&mut self, _text: &str) {}
}

/// What is left for `aftermath` to judge.
pub struct Remains {
    /// Keeps the stack running until everything is judged.
    _stack: Stack,
    /// Its services.
    pub target: Target,
    /// Its simulated cloud.
    pub cloud: Cloud,
    /// The graph.
    pub graph: String,
    /// The instance that served it before.
    pub source: String,
    /// The change.
    pub change_id: String,
    /// What a watcher saw.
    pub events: Vec<ChangeEvent>,
    /// The payment provider's own book.
    pub payments_book: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

/// A change that is killed at these instants, in this order, ends as if nothing had happened.
pub async fn survive(kills: &[Kill]) {
    let mut play = Play::begin(kills.first().copied()).await;
    for (i, kill) in kills.iter().enumerate() {
        play.wait_until_held(*kill).await;
        let next = kills[i + 1..].iter().find(|k| k.process == kill.process);
        play.stack.kill(kill.process).await.expect("killed");
        play.restart(kill.process, next.map(|k| k.hold)).await;
    }
    let remains = play.end().await;
    aftermath::as_if_nothing_had_happened(remains).await;
}

/// As `survive`, but all these processes are killed when volume-svc stands at an instant.
pub async fn survive_loss_of_everything(hold: &'static str, processes: &[Process]) {
    let kill = Kill { process: Process::Volume, hold };
    let mut play = Play::begin(Some(kill)).await;
    play.wait_until_held(kill).await;
    for process in processes {
        play.stack.kill(*process).await.expect("killed");
    }
    for process in processes {
        play.restart(*process, None).await;
    }
    let remains = play.end().await;
    aftermath::as_if_nothing_had_happened(remains).await;
}

struct Play {
    stack: Stack,
    target: Target,
    cloud: Cloud,
    graph: String,
    source: String,
    change_id: String,
    seen: Seen,
    customer: Arc<Customer>,
    following: tokio::task::JoinHandle<Result<(), Fault>>,
    folder: tempfile::TempDir,
}

impl Play {
    async fn begin(first: Option<Kill>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            data: folder.path().join("data"),
            speed: SPEED,
            cors_origins: Vec::new(),
            database: None,
            logs: folder.path().join("logs"),
        };
        let (mut stack, fleet) = run::start(options).await.expect("the stack starts");
        if let Some(kill) = first {
            stack.restart(kill.process, &["--hold", kill.hold]).await.expect("restarted with a hold");
        }
        let graph = fleet.graphs.iter().find(|g| g.name == "upgrade-1").expect("a small graph").clone();
        let target = seed::target(&stack.describe()).expect("addresses");
        let cloud = Cloud::at(&stack.cloud_url);
        let customer =
            Arc::new(Customer::start(target.clone(), cloud.clone(), graph.graph_id.clone(), graph.instance_id.clone()));
        let request = ChangeTierRequest {
            request_id: format!("crash-{}", ulid::Ulid::generate()),
            graph_id: graph.graph_id.clone(),
            target_tier: "ladybug-large".to_owned(),
            timing: ChangeTiming::Now.into(),
            expected_price: None,
        };
        // A service that was started a moment ago may still be about to serve.
        let change = retry(|| change::begin(&target, request.clone())).await;
        let seen = Seen::default();
        let mut feed = ChangeFeed::new(target.tiers().expect("an address"), change.change_id.clone());
        let mut eyes = Eyes { seen: seen.clone(), customer: Arc::clone(&customer) };
        let following = tokio::spawn(async move {
            let patience = Patience { attempts: 100, ..Patience::default() };
            follow(&mut feed, patience, &mut eyes).await
        });
        Self {
            stack,
            target,
            cloud,
            graph: graph.graph_id,
            source: graph.instance_id,
            change_id: change.change_id,
            seen,
            customer,
            following,
            folder,
        }
    }

    async fn restart(&mut self, process: Process, hold: Option<&str>) {
        let more: Vec<&str> = hold.map(|h| vec!["--hold", h]).unwrap_or_default();
        self.stack.restart(process, &more).await.expect("restarted");
    }

    /// Waits for the line that a held process writes. Its log is appended to by every start, so only what came after
    /// the last start counts: instants differ from kill to kill, so the line itself tells.
    async fn wait_until_held(&mut self, kill: Kill) {
        let line = format!("holding at {}", kill.hold);
        let log = self.stack.log(kill.process);
        let begun = Instant::now();
        while !contains(&log, &line) {
            assert!(!self.following.is_finished(), "the change ended before {}: {}", kill.hold, self.story());
            assert!(begun.elapsed() < BOUND, "{} was not reached: {}\n{}", kill.hold, self.story(), tail(&log));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn story(&self) -> String {
        let events = self.seen.events.lock().expect("not poisoned");
        events.iter().map(|e| format!("{}:{}:{}", e.seq, e.stage, e.message)).collect::<Vec<_>>().join("\n  ")
    }

    async fn end(self) -> Remains {
        let logs = self.stack.log(Process::Volume);
        let story = |seen: &Seen| {
            let events = seen.events.lock().expect("not poisoned");
            events.iter().map(|e| format!("{}:{}:{}", e.seq, e.stage, e.message)).collect::<Vec<_>>().join("\n  ")
        };
        let ended = tokio::time::timeout(BOUND, self.following).await;
        let ended = ended.unwrap_or_else(|_| panic!("the change did not end: {}\n{}", story(&self.seen), tail(&logs)));
        ended.expect("the follower lives").expect("the change can be followed to its end");
        let customer = Arc::into_inner(self.customer).expect("only the follower shared it");
        customer.stop().await;
        let events = self.seen.events.lock().expect("not poisoned").clone();
        Remains {
            _stack: self.stack,
            target: self.target,
            cloud: self.cloud,
            graph: self.graph,
            source: self.source,
            change_id: self.change_id,
            events,
            payments_book: self.folder.path().join("data/payments.jsonl"),
            _folder: self.folder,
        }
    }
}

async fn retry<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Fault>>,
{
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(fault) => assert!(begun.elapsed() < Duration::from_secs(30), "not accepted: {fault}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn contains(log: &Path, line: &str) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains(line))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
