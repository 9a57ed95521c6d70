//! Plays a plan: asks for the changes, lets go wrong what is to go wrong, then nothing more, and waits until everything
//! has ended. What came of it is counted; a broken rule ends it at once.

use crate::clients;
use crate::customer::{self, Customer};
use crate::invariants::Violation;
use crate::monitor::Monitor;
use crate::operator;
use crate::plan::{Mishap, Plan, What};
use crate::stack::{Fate, Stack};
use cloud_sim::Config;
use cloud_sim::api::autoscaling::DescribeAutoScalingGroups;
use cloud_sim::api::control::{ClearFault, ListFaults, RebootInstance};
use cloud_sim::faults::Fault;
use cloud_sim::timing::Timing;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use subscription_svc::payments::book::Book;
use subscription_svc::payments::sim::Sim as Provider;
use subscription_svc::store::memory::Memory as Subscriptions;
use tiershift_core::Reason;
use tiershift_core::ids::{GraphId, OrgId, VolumeId};
use tiershift_core::mutant::{self, Mutant};
use tiershift_tests::world::rig::Rig;
use tokio::time::{Instant, sleep};
use volume_core::settings::Settings;

/// The soak of a simulated change: long enough that a source which ends early is seen, short enough for thousands of
/// histories.
const SOAK_MS: i64 = 120_000;

/// What was seeded has been so for long, so that no read goes back behind it.
const BEFORE: Duration = Duration::from_mins(1);

/// How often mishaps and deaths are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long everything may take to end once nothing goes wrong any more: the undo of one step is patient for half an
/// hour, and an operator is needed three times at most.
const END_WITHIN: Duration = Duration::from_hours(4);

/// Between two rounds of the operator.
const OPERATOR_EVERY: Duration = Duration::from_mins(5);

/// What came of a history.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The rule that was broken.
    pub violation: Option<Violation>,
    /// The history, line by line.
    pub trace: Vec<String>,
    /// Events after which everything was looked at.
    pub events: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Faults that were switched on, hosts that lost their power, processes that stood still.
    pub faults: u64,
    /// Migrations that moved.
    pub committed: u64,
    /// Migrations that went back.
    pub rolled_back: u64,
    /// Migrations that needed an operator at some time.
    pub stuck: u64,
    /// Why those of them are stuck that no retry could end.
    pub left_stuck: Vec<Reason>,
    /// Changes that were refused at once.
    pub refused: u64,
}

/// Plays a plan on a runtime of its own. A panic is a broken rule like any other: it has a seed and ends one history, not
/// the run.
pub fn play(plan: &Plan, with: Option<Mutant>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    let _armed = mutant::arm(with);
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(played(plan))));
    outcome.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let what = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        Outcome { violation: Some(Violation { rule: "panic", what }), ..Outcome::default() }
    })
}

struct Player<'a> {
    plan: &'a Plan,
    rig: Arc<Rig>,
    monitor: Arc<Monitor>,
    provider: Arc<Provider>,
    stack: Stack,
    begun: Instant,
    /// Places that are empty, and when they are taken again.
    empty: BTreeMap<u64, Instant>,
    /// How the next process in a place will end.
    next_fate: BTreeMap<u64, Fate>,
    subscription_back: Option<Instant>,
    dark: Vec<Fault>,
    faults: u64,
    refused: Arc<AtomicU64>,
}

async fn played(plan: &Plan) -> Outcome {
    let config = Config { timing: Timing::Drawn, mishaps: true, ..Config::default() };
    let settings = Settings { soak_ms: SOAK_MS, ..Settings::default() };
    let rig = Rig::with(config, plan.seed, settings).await;
    sleep(BEFORE).await;
    let subscriptions = Arc::new(Subscriptions::default());
    let provider = Arc::new(Provider::new(Arc::new(Book::in_memory()), BTreeMap::new()));
    let monitor = Monitor::new(
        Arc::clone(&rig.clock),
        SOAK_MS,
        Arc::clone(&rig.store),
        Arc::clone(&subscriptions),
        Arc::clone(&provider),
    );
    monitor.watch(&rig.cloud);
    let stack = Stack::new(Arc::clone(&rig), Arc::clone(&monitor), subscriptions, Arc::clone(&provider));
    let mut player = Player {
        plan,
        rig,
        monitor: Arc::clone(&monitor),
        provider,
        stack,
        begun: Instant::now(),
        empty: BTreeMap::new(),
        next_fate: BTreeMap::new(),
        subscription_back: None,
        dark: Vec::new(),
        faults: 0,
        refused: Arc::default(),
    };
    tokio::select! {
        biased;
        () = monitor.broken.cancelled() => {}
        () = player.run() => {}
    }
    player.outcome()
}

impl Player<'_> {
    async fn run(&mut self) {
        self.stack.start_subscription().await;
        for place in 0..self.plan.processes {
            self.stack.start_volume(place, Fate::Lives);
        }
        let mut graphs = BTreeMap::new();
        let mut asking = Vec::new();
        self.begun = Instant::now();
        for (n, wanted) in self.plan.changes.iter().enumerate() {
            let seeded = self.rig.graph(wanted.graph);
            let graph = GraphId::parse(seeded.graph_id.clone()).expect("a graph id");
            let volume = VolumeId::parse(seeded.volume_id.clone()).expect("a volume id");
            let org = OrgId::parse(seeded.organisation_id.clone()).expect("an organisation");
            if graphs.insert(graph.clone(), volume).is_none() {
                let service = self.stack.present.get().expect("it runs");
                customer::register(&service, seeded, n).await;
                self.provider.behave(&org, wanted.payments);
                drop(clients::start(&self.rig, &self.monitor, &self.stack.present, &graph));
            }
            let customer = Customer {
                present: self.stack.present.clone(),
                monitor: Arc::clone(&self.monitor),
                wanted: *wanted,
                n,
                graph,
                org,
                begun: self.begun,
                calm: self.begun + Duration::from_millis(self.plan.calm_ms),
                refused: Arc::clone(&self.refused),
            };
            asking.push(tokio::spawn(customer.ask()));
        }
        self.disturb().await;
        self.calm().await;
        for asked in asking {
            asked.await.expect("a customer does not panic");
        }
        self.end().await;
        self.monitor.at_rest(&graphs);
    }

    /// Everything that goes wrong, in its time.
    async fn disturb(&mut self) {
        let mut mishaps: Vec<Mishap> = self.plan.mishaps.clone();
        mishaps.reverse();
        let calm = self.begun + Duration::from_millis(self.plan.calm_ms);
        while Instant::now() < calm {
            while let Some(mishap) = mishaps.pop_if(|m| self.begun + Duration::from_millis(m.at_ms) <= Instant::now()) {
                self.go_wrong(&mishap.what).await;
            }
            self.tend().await;
            sleep(TICK).await;
        }
    }

    /// Takes away processes that have died, and starts what is due.
    async fn tend(&mut self) {
        for place in self.stack.ended() {
            self.kill(place, 2_000);
        }
        let due: Vec<u64> =
            self.empty.iter().filter(|(_, at)| **at <= Instant::now()).map(|(place, _)| *place).collect();
        for place in due {
            self.empty.remove(&place);
            let fate = self.next_fate.remove(&place).unwrap_or(Fate::Lives);
            self.stack.start_volume(place, fate);
        }
        if self.subscription_back.is_some_and(|at| at <= Instant::now()) {
            self.subscription_back = None;
            self.stack.start_subscription().await;
        }
    }

    fn kill(&mut self, place: u64, gap_ms: u64) {
        if self.stack.runs(place) {
            self.stack.kill_volume(place);
            self.empty.insert(place, Instant::now() + Duration::from_millis(gap_ms));
        }
    }

    async fn go_wrong(&mut self, what: &What) {
        match what {
            What::KillVolume { process, gap_ms } => self.kill(*process, *gap_ms),
            What::Fuse { process, border, pause_ms } => {
                let fate = match pause_ms {
                    Some(length) => Fate::Pauses(*border, Duration::from_millis(*length)),
                    None => Fate::Dies(*border),
                };
                self.faults += u64::from(pause_ms.is_some());
                self.next_fate.insert(*process, fate);
                self.kill(*process, 0);
            }
            What::PauseVolume { process, length_ms } => {
                self.faults += 1;
                self.stack.pause_volume(*process, Duration::from_millis(*length_ms));
            }
            What::Unruly { process, seed } => {
                self.faults += 1;
                self.next_fate.insert(*process, Fate::Unruly(*seed));
                self.kill(*process, 0);
            }
            What::KillSubscription { gap_ms } => {
                if self.subscription_back.is_none() {
                    self.stack.kill_subscription().await;
                    self.subscription_back = Some(Instant::now() + Duration::from_millis(*gap_ms));
                }
            }
            What::UnrulySubscription { transactions, seed } => {
                self.faults += 1;
                self.monitor.tell(format_args!("subscription-svc's database behaves badly {transactions} times"));
                self.stack.manners.worsen(*transactions, *seed);
            }
            What::Fault { fault, count } => {
                self.faults += 1;
                self.monitor.tell(format_args!("fault {fault:?} x{count}"));
                self.rig.cloud.fault(fault.clone(), Some(*count));
            }
            What::Siege { fault } => {
                self.faults += 1;
                self.monitor.tell(format_args!("fault {fault:?} until calm"));
                self.rig.cloud.fault(fault.clone(), None);
            }
            What::StoreDown { length_ms } => {
                self.faults += 1;
                self.monitor.tell(format_args!("volume-svc's store is away for {length_ms} ms"));
                self.stack.store.away_for(Duration::from_millis(*length_ms));
            }
            What::Terminate { source, n } => self.terminate(*source, *n),
            What::ScaleOut { tier } => self.scale_out(tier),
            What::PowerCut { source, n } => self.cut_power(*source, *n),
        }
    }

    fn terminate(&mut self, source: bool, n: u64) {
        let nth = |of: usize| usize::try_from(n).expect("a small number") % of;
        let instance_id = if source {
            let wanted = &self.plan.changes[nth(self.plan.changes.len())];
            Some(self.rig.graph(wanted.graph).instance_id.clone())
        } else {
            let targets = self.monitor.targets();
            (!targets.is_empty()).then(|| targets[nth(targets.len())].clone())
        };
        let Some(instance_id) = instance_id.filter(|id| !self.rig.cloud.truth(|sim| sim.ending(id))) else { return };
        self.faults += 1;
        self.monitor.lost(&instance_id);
        self.rig.cloud.fault(Fault::InstanceTerminated { instance_id }, Some(1));
    }

    fn scale_out(&mut self, tier: &str) {
        let group = self.rig.fleet.groups.iter().find(|group| group.tier == tier).expect("each tier has a group");
        let group_name = group.name.clone();
        let asked = DescribeAutoScalingGroups { names: vec![group_name.clone()], ..Default::default() };
        let group = self.rig.cloud.at_once(asked).groups.remove(0);
        if group.desired_capacity < group.max_size {
            self.faults += 1;
            self.monitor.grown(&group_name);
            self.rig.cloud.fault(Fault::ScaleOut { group_name }, None);
        }
    }

    fn cut_power(&mut self, source: bool, n: u64) {
        self.faults += 1;
        let nth = |of: usize| usize::try_from(n).expect("a small number") % of;
        if source {
            let wanted = &self.plan.changes[nth(self.plan.changes.len())];
            let instance_id = self.rig.graph(wanted.graph).instance_id.clone();
            // Behind its end nobody misses it.
            if !self.rig.cloud.truth(|sim| sim.ending(&instance_id)) {
                self.monitor.tell(format_args!("power of the source {instance_id} is cut for a moment"));
                self.rig.cloud.at_once(RebootInstance { instance_id });
            }
            return;
        }
        let idle: Vec<&String> =
            self.rig.fleet.instances.iter().filter(|i| i.volume_id.is_none()).map(|i| &i.instance_id).collect();
        let instance_id = idle[nth(idle.len())].clone();
        if !self.rig.cloud.truth(|sim| sim.ending(&instance_id) || !sim.data_volumes(&instance_id).is_empty()) {
            self.monitor.tell(format_args!("power of the idle {instance_id} is cut"));
            let fault = Fault::InstanceDead { instance_id };
            self.rig.cloud.fault(fault.clone(), None);
            self.dark.push(fault);
        }
    }

    /// Nothing goes wrong any more: faults are off, everything runs, and each place has a process that lives.
    async fn calm(&mut self) {
        self.monitor.tell("nothing goes wrong any more");
        for fault in self.rig.cloud.at_once(ListFaults {}).faults {
            self.rig.cloud.at_once(ClearFault { fault: fault.fault });
        }
        self.stack.manners.mend();
        self.next_fate.clear();
        for wanted in &self.plan.changes {
            let org = OrgId::parse(self.rig.graph(wanted.graph).organisation_id.clone()).expect("an organisation");
            self.provider.behave(&org, None);
        }
        for place in 0..self.plan.processes {
            self.stack.kill_volume(place);
            self.stack.start_volume(place, Fate::Lives);
        }
        self.empty.clear();
        if self.subscription_back.take().is_some() {
            self.stack.start_subscription().await;
        }
    }

    /// Waits until everything has ended, with an operator who retries what is stuck.
    async fn end(&mut self) {
        let end = Instant::now() + END_WITHIN;
        let mut retried = BTreeMap::new();
        let mut operator = Instant::now() + OPERATOR_EVERY;
        while Instant::now() < end {
            if self.is_over().await {
                // What was published is followed, and what is owed is delivered.
                sleep(Duration::from_mins(1)).await;
                return;
            }
            if Instant::now() >= operator {
                operator = Instant::now() + OPERATOR_EVERY;
                operator::retry(&self.stack, &self.monitor, &mut retried).await;
                let given_up = self.monitor.journals(|journals| {
                    journals.iter().any(|(id, journal)| {
                        journal.stuck.is_some() && retried.get(id).is_some_and(|n| *n >= operator::RETRIES_MAX)
                    })
                });
                if given_up && self.all_at_their_ends() {
                    return;
                }
            }
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Every migration is done, or stuck beyond retries.
    fn all_at_their_ends(&self) -> bool {
        self.monitor.journals(|journals| journals.values().all(|journal| journal.done || journal.stuck.is_some()))
    }

    async fn is_over(&self) -> bool {
        let Some(service) = self.stack.present.get() else { return false };
        let open = service.store.open_changes().await.expect("memory answers");
        open.is_empty() && self.monitor.journals(|journals| journals.values().all(|journal| journal.done))
    }

    fn outcome(self) -> Outcome {
        let count = |wanted: fn(&crate::invariants::journal::Journal) -> bool| {
            self.monitor.journals(|journals| journals.values().filter(|j| wanted(j)).count() as u64)
        };
        let left_stuck = self.monitor.journals(|journals| journals.values().filter_map(|j| j.stuck).collect());
        Outcome {
            violation: self.monitor.violation(),
            events: self.monitor.events(),
            crashes: self.stack.deaths,
            faults: self.faults,
            committed: count(|j| j.committed),
            rolled_back: count(|j| j.rolled_back),
            stuck: count(|j| j.was_stuck),
            left_stuck,
            refused: self.refused.load(Ordering::Relaxed),
            trace: self.monitor.trace(),
        }
    }
}
