//! What there is: the clock, the cloud with the development stack's fleet, the store with that fleet's rows, and what
//! the operators were called for. Processes of volume-svc come and go (`process.rs`); this stays.

use super::cloud::Cloud;
use async_trait::async_trait;
use cloud_sim::fleet::FleetError;
use cloud_sim::seed::{self, Fleet, FleetGraph, GraphKind};
use cloud_sim::{Config, Sim};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_common::clock::{Clock, Virtual, sleep_ms};
use tiershift_core::Reason;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::{AnyGraphId, ChangeId, GraphId, GroupName, InstanceId, TierName, VolumeId, WorkerId, Zone};
use tokio::time::Instant;
use volume_core::fact::{Entry, Fact};
use volume_core::item::{Item, Key};
use volume_core::settings::Settings;
use volume_svc::alerts::{Alert, NotPublished, Publisher};
use volume_svc::journal::{Head, Journal};
use volume_svc::migrations::Wish;
use volume_svc::ports::store::Store;
use volume_svc::registry::{NewGraph, NewInstance, NewVolume, Registry};
use volume_svc::store::memory::Memory;

/// When simulated time begins: 2026-01-01T00:00:00Z.
pub const ORIGIN_MS: i64 = 1_767_225_600_000;

/// Between two looks of `until`: short enough to meet every stage.
const LOOK_EVERY_MS: i64 = 20;

/// Between two looks at what takes minutes and need not be met at once.
const LOOK_SELDOM_MS: i64 = 1_000;

thread_local!(static BOOTED: Cell<Option<Instant>> = const { Cell::new(None) });

/// Virtual milliseconds since this thread's newest rig was made: what CLOCK_BOOTTIME is to a real process. Of that rig and
/// not of the thread, because the clocks of two runtimes are apart by a stretch of real time, and a history must not depend
/// on which ones were played before it.
pub fn virtual_boottime_ms() -> i64 {
    let booted = BOOTED.get().expect("a rig was made on this thread");
    i64::try_from(booted.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// What the operators were called for: the reasons, or the kinds of what has none.
#[derive(Debug, Default)]
pub struct Alarm {
    raised: Mutex<Vec<String>>,
}

#[async_trait]
impl Publisher for Alarm {
    async fn publish(&self, alert: &Alert) -> Result<(), NotPublished> {
        let word = alert.reason.map_or_else(|| alert.kind.as_str(), Reason::as_str);
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).push(word.to_owned());
        Ok(())
    }
}

/// What there is.
#[derive(Debug)]
pub struct Rig {
    /// Virtual time.
    pub clock: Arc<dyn Clock>,
    /// The cloud.
    pub cloud: Arc<Cloud>,
    /// The store, without its distance.
    pub store: Arc<Memory>,
    /// Deadlines and gaps of all processes.
    pub settings: Settings,
    /// What was seeded.
    pub fleet: Fleet,
    /// Alerts.
    pub alarm: Arc<Alarm>,
    processes: AtomicU64,
    changes: AtomicU64,
}

impl Rig {
    /// The development stack's fleet, its rows registered; durations are medians and nothing goes wrong by itself.
    pub async fn new(settings: Settings) -> Arc<Self> {
        Self::with(Config::default(), 1, settings).await
    }

    /// The same with another temper of the cloud.
    pub async fn with(config: Config, seed: u64, settings: Settings) -> Arc<Self> {
        Self::planted(config, seed, settings, seed::plant).await
    }

    /// The same with another fleet.
    pub async fn planted(
        config: Config,
        seed: u64,
        settings: Settings,
        plant: impl FnOnce(&mut Sim) -> Result<Fleet, FleetError>,
    ) -> Arc<Self> {
        let mut sim = Sim::new(config, seed);
        sim.advance(u64::try_from(ORIGIN_MS).unwrap_or(0));
        let fleet = plant(&mut sim).expect("an empty cloud takes the fleet");
        Self::over(sim, fleet, settings).await
    }

    /// Over a cloud that was filled by somebody else, and what is in it.
    pub async fn over(sim: Sim, fleet: Fleet, settings: Settings) -> Arc<Self> {
        BOOTED.set(Some(Instant::now()));
        let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(ORIGIN_MS));
        let rig = Self {
            cloud: Cloud::new(sim, Arc::clone(&clock)),
            clock,
            store: Arc::new(Memory::new()),
            settings,
            fleet,
            alarm: Arc::default(),
            processes: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        rig.register().await;
        Arc::new(rig)
    }

    /// A journal to look with; it drives nothing.
    pub fn journal(&self) -> Journal {
        let looker = WorkerId::parse("w-looker").expect("a worker id");
        let store: Arc<dyn Store> = self.store.clone();
        Journal::new(store, Arc::clone(&self.clock), looker, self.settings.clone())
    }

    /// A name that no process had.
    pub(super) fn worker_id(&self) -> WorkerId {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        WorkerId::parse(format!("w-{number}")).expect("a worker id")
    }

    /// An id that no change had.
    pub fn change_id(&self) -> ChangeId {
        let number = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        ChangeId::parse(format!("chg_{number:026}")).expect("a change id")
    }

    /// A seeded graph by its short name.
    pub fn graph(&self, name: &str) -> &FleetGraph {
        self.fleet.graphs.iter().find(|graph| graph.name == name).expect("the graph is seeded")
    }

    /// The id of a seeded graph.
    pub fn graph_id(&self, name: &str) -> GraphId {
        GraphId::parse(self.graph(name).graph_id.clone()).expect("a graph id")
    }

    /// What is asked for to move a graph to a tier of the catalogue.
    pub fn wish(&self, graph: &str, tier: &str) -> Wish {
        let catalogue = Catalogue::default();
        let target = TierName::parse(tier).expect("a tier's name");
        let row = catalogue.get(&target).expect("a tier of the catalogue");
        Wish {
            graph: self.graph_id(graph),
            source_tier: Some(TierName::parse(self.graph(graph).tier.clone()).expect("a tier's name")),
            target_tier: target,
            target_instance_type: row.instance_type.clone(),
            storage_limit_bytes: Some(row.storage_limit_bytes),
            max_write_block_ms: row.max_write_block_ms,
        }
    }

    /// An item of the store.
    pub async fn row(&self, key: &Key) -> Option<Item> {
        self.store.get(key).await.expect("the store answers")
    }

    /// The head of a journal, if there is one.
    pub async fn find(&self, id: &ChangeId) -> Option<Head> {
        self.journal().head(id).await.expect("the journal can be read")
    }

    /// The head of a journal.
    pub async fn head(&self, id: &ChangeId) -> Head {
        self.find(id).await.expect("there is such a migration")
    }

    /// A journal.
    pub async fn entries(&self, id: &ChangeId) -> Vec<Entry> {
        self.journal().entries(id, 1).await.expect("the journal can be read")
    }

    /// Waits until a migration's head is as wanted; panics with the journal when it is not within so long.
    pub async fn until(&self, id: &ChangeId, what: &str, within_ms: i64, wanted: impl Fn(&Head) -> bool) -> Head {
        self.until_seen(id, what, within_ms, LOOK_EVERY_MS, wanted).await
    }

    /// The same for what takes minutes or hours and need not be met at once.
    pub async fn until_late(&self, id: &ChangeId, what: &str, within_ms: i64, wanted: impl Fn(&Head) -> bool) -> Head {
        self.until_seen(id, what, within_ms, LOOK_SELDOM_MS, wanted).await
    }

    async fn until_seen(
        &self,
        id: &ChangeId,
        what: &str,
        within_ms: i64,
        every_ms: i64,
        wanted: impl Fn(&Head) -> bool,
    ) -> Head {
        let end = self.clock.now().plus(within_ms);
        loop {
            if let Some(head) = self.find(id).await.filter(&wanted) {
                return head;
            }
            if self.clock.now() >= end {
                let told = self.told(id).await;
                panic!("not {what} within {within_ms} ms; the journal:\n{told}");
            }
            sleep_ms(&*self.clock, every_ms).await;
        }
    }

    /// Waits until a migration's journal has a fact that is wanted, at most an hour.
    pub async fn until_fact(&self, id: &ChangeId, what: &str, wanted: impl Fn(&Fact) -> bool) {
        let end = self.clock.now().plus(3_600_000);
        while !self.entries(id).await.iter().any(|entry| wanted(&entry.fact)) {
            if self.clock.now() >= end {
                let told = self.told(id).await;
                panic!("no {what} within an hour; the journal:\n{told}");
            }
            sleep_ms(&*self.clock, LOOK_EVERY_MS).await;
        }
    }

    /// A journal for people.
    pub async fn told(&self, id: &ChangeId) -> String {
        let entries = self.entries(id).await;
        let Some(first) = entries.first().map(|entry| entry.at) else { return String::new() };
        let line = |entry: &Entry| {
            let fact = serde_json::to_string(&entry.fact).unwrap_or_default();
            format!("{:>9} {:>3} {fact}\n", entry.at.since(first), entry.seq)
        };
        entries.iter().map(line).collect()
    }

    /// What the operators were called for so far.
    pub fn alerts(&self) -> Vec<String> {
        self.alarm.raised.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn register(&self) {
        let registry = Registry { journal: self.journal(), clock: Arc::clone(&self.clock) };
        for instance in &self.fleet.instances {
            let new = NewInstance {
                id: InstanceId::parse(instance.instance_id.clone()).expect("an instance id"),
                private_ip: instance.private_ip.clone(),
                endpoint_url: String::new(),
                zone: Zone::parse(instance.availability_zone.clone()).expect("a zone"),
                tier: TierName::parse(instance.tier.clone()).expect("a tier's name"),
                group: Some(GroupName::parse(instance.group_name.clone()).expect("a group's name")),
                instance_type: instance.instance_type.clone(),
                node_type: "writer",
                backend_type: "ladybug".to_owned(),
                status: "healthy",
                max_databases: 1,
                region: "us-east-1".to_owned(),
                stack_name: "dev".to_owned(),
                launched_ms: 0,
            };
            registry.instance(&new).await.expect("an instance can be registered");
        }
        for volume in &self.fleet.volumes {
            let graphs = self.fleet.graphs.iter().filter(|graph| graph.volume_id == volume.volume_id);
            let new = NewVolume {
                id: VolumeId::parse(volume.volume_id.clone()).expect("a volume id"),
                instance: Some(InstanceId::parse(volume.instance_id.clone()).expect("an instance id")),
                zone: Zone::parse(volume.availability_zone.clone()).expect("a zone"),
                tier: TierName::parse(volume.tier.clone()).expect("a tier's name"),
                node_type: "writer",
                size_gib: volume.size_gib.into(),
                iops: 3_000,
                throughput_mibps: 125,
                graphs: graphs.map(new_graph).collect(),
            };
            registry.volume(&new).await.expect("a volume can be registered");
        }
    }
}

fn new_graph(graph: &FleetGraph) -> NewGraph {
    let subgraph = |id: &String| AnyGraphId::parse(id.clone()).expect("a subgraph id");
    NewGraph {
        id: GraphId::parse(graph.graph_id.clone()).expect("a graph id"),
        subgraphs: graph.subgraphs.iter().map(subgraph).collect(),
        entity_id: String::new(),
        backend_type: "ladybug".to_owned(),
        repository_type: if graph.kind == GraphKind::SharedRepository { "shared".to_owned() } else { String::new() },
    }
}
