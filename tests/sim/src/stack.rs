//! Two services on one thread: processes of volume-svc in numbered places, one process of subscription-svc, and how each of
//! them dies and comes back. What survives a death is what a crash leaves: the stores and the provider's book.

use crate::hazard::{Hazard, Manners};
use crate::monitor::Monitor;
use crate::volume_store::Watched;
use crate::wire::{Door, Switch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subscription_svc::migrations::grpc::{VolumeService, caller};
use subscription_svc::payments::Payments;
use subscription_svc::payments::sim::Sim as Provider;
use subscription_svc::saga;
use subscription_svc::service::Service;
use subscription_svc::store::Store as SubscriptionStore;
use subscription_svc::store::memory::Memory as Subscriptions;
use tiershift_common::ids::Ids;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::store::Away;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use volume_svc::migrations::Migrations;
use volume_svc::ports::store::Store as VolumeStore;

/// The process of subscription-svc that runs now; none while it is down.
#[derive(Clone, Default)]
pub struct Present(Arc<Mutex<Option<Arc<Service>>>>);

impl Present {
    /// The process.
    pub fn get(&self) -> Option<Arc<Service>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, service: Option<Arc<Service>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = service;
    }
}

/// How the next process in a place will end.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Not by itself.
    Lives,
    /// At its n-th border.
    Dies(u64),
    /// Stands still for a while at its n-th border.
    Pauses(u64, Duration),
    /// Not by itself, but its store is unruly.
    Unruly(u64),
}

/// Both services.
pub struct Stack {
    rig: Arc<Rig>,
    monitor: Arc<Monitor>,
    /// volume-svc's store, as all of its processes reach it.
    pub store: Arc<Watched>,
    switch: Switch,
    places: BTreeMap<u64, Process>,
    /// Deaths of processes of either service.
    pub deaths: u64,
    subscriptions: Arc<Subscriptions>,
    provider: Arc<Provider>,
    /// How badly subscription-svc's database behaves.
    pub manners: Arc<Manners>,
    /// The process of subscription-svc.
    pub present: Present,
    running: Option<(JoinHandle<()>, CancellationToken)>,
    starts: u64,
}

impl Stack {
    /// Over a rig; nothing runs yet.
    pub fn new(
        rig: Arc<Rig>,
        monitor: Arc<Monitor>,
        subscriptions: Arc<Subscriptions>,
        provider: Arc<Provider>,
    ) -> Self {
        let store = Arc::new(Watched::new(Arc::clone(&rig.store), Arc::clone(&monitor)));
        Self {
            rig,
            monitor,
            store,
            switch: Switch::default(),
            places: BTreeMap::new(),
            deaths: 0,
            subscriptions,
            provider,
            manners: Arc::default(),
            present: Present::default(),
            running: None,
            starts: 0,
        }
    }

    /// Starts a process of volume-svc in a place that is empty; calls go to the newest.
    pub fn start_volume(&mut self, place: u64, fate: Fate) {
        let fuse = match fate {
            Fate::Lives | Fate::Unruly(_) => Fuse::endless(),
            Fate::Dies(border) => Fuse::ending_at(border),
            Fate::Pauses(border, length) => Fuse::pausing_at(border, length),
        };
        let store: Arc<dyn VolumeStore> = self.store.clone();
        let way = match fate {
            Fate::Unruly(seed) => Away::unruly(store, Arc::clone(&fuse), seed),
            _ => Away::new(store, Arc::clone(&fuse)),
        };
        let beats = Away::new(self.store.clone(), fuse.beside());
        let process = Process::start_over(&self.rig, fuse, Arc::new(way), Arc::new(beats));
        self.monitor.tell(format_args!("process {} starts in place {place}: {fate:?}", process.id));
        self.switch.to(Door::open(process.migrations.clone(), process.death()));
        let before = self.places.insert(place, process);
        assert!(before.is_none(), "the place was empty");
    }

    /// Kills the process in a place, if there is one; calls go to another that lives.
    pub fn kill_volume(&mut self, place: u64) {
        let Some(process) = self.places.remove(&place) else { return };
        self.monitor.tell(format_args!("process {} is killed", process.id));
        process.kill();
        self.deaths += 1;
        if let Some(other) = self.places.values().next() {
            self.switch.to(Door::open(other.migrations.clone(), other.death()));
        }
    }

    /// Lets the process in a place stand still from now.
    pub fn pause_volume(&self, place: u64, length: Duration) {
        let Some(process) = self.places.get(&place) else { return };
        self.monitor.tell(format_args!("process {} stands still for {} ms", process.id, length.as_millis()));
        process.fuse.pause(length);
    }

    /// Whether a place is taken.
    pub fn runs(&self, place: u64) -> bool {
        self.places.contains_key(&place)
    }

    /// Places whose process has reached the end of its fuse.
    pub fn ended(&self) -> Vec<u64> {
        let ended = self.places.iter().filter(|(_, process)| process.fuse.has_ended());
        ended.map(|(place, _)| *place).collect()
    }

    /// The use cases of a process of volume-svc that lives: what an operator's command reaches.
    pub fn migrations(&self) -> Option<Migrations> {
        self.places.values().next().map(|process| process.migrations.clone())
    }

    /// Starts subscription-svc.
    pub async fn start_subscription(&mut self) {
        self.starts += 1;
        let clock = Arc::clone(&self.rig.clock);
        let ids = Ids::seeded(Arc::clone(&clock), self.starts);
        let hazard = Hazard::new(Arc::clone(&self.subscriptions), Arc::clone(&self.monitor), Arc::clone(&self.manners));
        let store: Arc<dyn SubscriptionStore> = Arc::new(hazard);
        let volume = VolumeService::new(self.switch.channel(&caller()), Arc::clone(&clock));
        let payments: Arc<dyn Payments> = Arc::clone(&self.provider) as Arc<dyn Payments>;
        let service = Arc::new(Service::new(store, Arc::new(volume), payments, clock, ids));
        service.committer.reload().await.expect("memory answers");
        let stop = CancellationToken::new();
        let running = tokio::spawn(saga::run(Arc::clone(&service), stop.clone()));
        self.running = Some((running, stop));
        self.present.set(Some(service));
        self.monitor.tell("subscription-svc starts");
    }

    /// Kills subscription-svc: its tasks stop where they stand.
    pub async fn kill_subscription(&mut self) {
        let Some((running, _)) = self.running.take() else { return };
        self.present.set(None);
        running.abort();
        let _aborted = running.await;
        self.deaths += 1;
        self.monitor.tell("subscription-svc is killed");
    }
}
