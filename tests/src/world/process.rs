//! One process of volume-svc: heartbeat, worker and use cases, put together as its `app` does it, but over the ports of
//! virtual time. It ends by being told to, or by being killed: then its tasks stop where they are.

use super::face::Face;
use super::fuse::Fuse;
use super::rig::{Rig, virtual_boottime_ms};
use super::store::Away;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tiershift_common::status::Fault;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::WorkerId;
use tiershift_core::{Error, Kind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use volume_svc::adapters::budget::Budget;
use volume_svc::adapters::budgeted::Budgeted;
use volume_svc::adapters::describe::Describer;
use volume_svc::adapters::direct::Direct;
use volume_svc::alerts::{Alerts, Desk};
use volume_svc::driver::Drivers;
use volume_svc::hold::Hold;
use volume_svc::hub::Hub;
use volume_svc::idle::Idle;
use volume_svc::journal::Journal;
use volume_svc::lease::Lease;
use volume_svc::migrations::Migrations;
use volume_svc::permits::Permits;
use volume_svc::ports::cloud::{AutoScalingApi, Ec2Api};
use volume_svc::ports::store::Store;
use volume_svc::worker::{SWEEP, Worker};
use volume_svc::world::World;

/// As in production: inside the blocked window every read waits for it.
const DESCRIBE_WINDOW_MS: i64 = 50;

/// Between two looks at the index of a process that is alone: each costs a copy of all that lives.
const ALONE_SWEEP: Duration = Duration::from_secs(30);

/// Between two tries of a call that found no process.
const CALL_AGAIN: Duration = Duration::from_millis(100);

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// Its name.
    pub id: WorkerId,
    /// Its use cases.
    pub migrations: Migrations,
    /// What it may ask of AWS.
    pub budget: Arc<Budget>,
    /// Where it dies, if it does.
    pub fuse: Arc<Fuse>,
    dead: CancellationToken,
    stop_drivers: CancellationToken,
    stop_lease: CancellationToken,
    driving: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
}

impl Process {
    /// Starts one under a name that no other had.
    pub fn start(rig: &Rig, fuse: Arc<Fuse>) -> Self {
        let store = Away::new(rig.store.clone(), Arc::clone(&fuse));
        Self::start_over(rig, fuse, Arc::new(store), Arc::new(Away::new(rig.store.clone(), Fuse::endless())))
    }

    /// Starts one whose store refuses or loses four in ten transactions, by lot.
    pub fn start_unruly(rig: &Rig, seed: u64) -> Self {
        let store = Away::unruly(rig.store.clone(), Fuse::endless(), seed);
        Self::start_over(rig, Fuse::endless(), Arc::new(store), Arc::new(Away::new(rig.store.clone(), Fuse::endless())))
    }

    /// Starts one that works on, but whose heartbeats reach nobody from the n-th on.
    pub fn start_unheard(rig: &Rig, heard: u64) -> Self {
        let store = Away::new(rig.store.clone(), Fuse::endless());
        // A beat is one transaction: two borders.
        let beats = Away::new(rig.store.clone(), Fuse::ending_at(2 * heard + 1));
        Self::start_over(rig, Fuse::endless(), Arc::new(store), Arc::new(beats))
    }

    /// Starts one that is alone and knows it: it looks seldom for what others have left, or appended to.
    pub fn start_alone(rig: &Rig) -> Self {
        let store = || Arc::new(Away::new(rig.store.clone(), Fuse::endless()));
        Self::start_sweeping(rig, Fuse::endless(), store(), store(), ALONE_SWEEP)
    }

    /// Starts one over its own ways to the store: one for everything, one for its heartbeats. Heartbeats have a way of
    /// their own because there are thousands of them, and they are no place to die at.
    pub fn start_over(rig: &Rig, fuse: Arc<Fuse>, store: Arc<dyn Store>, beats: Arc<dyn Store>) -> Self {
        Self::start_sweeping(rig, fuse, store, beats, SWEEP)
    }

    fn start_sweeping(
        rig: &Rig,
        fuse: Arc<Fuse>,
        store: Arc<dyn Store>,
        beats: Arc<dyn Store>,
        sweep: Duration,
    ) -> Self {
        let id = rig.worker_id();
        let clock = Arc::clone(&rig.clock);
        let journal = Journal::new(store, Arc::clone(&clock), id.clone(), rig.settings.clone());
        let face = Face::new(Arc::clone(&rig.cloud), Arc::clone(&fuse));
        // Marks are made without the process's distance to the store and its fuse, as heartbeats are.
        let alerts: Arc<dyn Alerts> = Desk::start(rig.alarm.clone(), rig.store.clone());
        let (ec2, autoscaling): (Arc<dyn Ec2Api>, Arc<dyn AutoScalingApi>) =
            (Arc::new(face.clone()), Arc::new(face.clone()));
        let budget = Budget::new(Arc::clone(&clock), 100);
        let describer = Describer::start(&ec2, &autoscaling, &budget, &clock, DESCRIBE_WINDOW_MS);
        let ec2: Arc<dyn Ec2Api> = Arc::new(Budgeted::new(&ec2, &budget));
        let world = World {
            describer,
            ops: Arc::new(Direct::over(Arc::clone(&ec2))),
            ec2,
            autoscaling: Arc::new(Budgeted::new(&autoscaling, &budget)),
            agents: Arc::new(face),
            alerts: Arc::clone(&alerts),
            journal: journal.clone(),
            permits: Permits::new(journal.clone(), Arc::clone(&clock)),
            idle: Idle::new(journal.clone(), Arc::clone(&clock)),
            clock: Arc::clone(&clock),
            agent_url_template: Some("http://agents/{instance_id}".to_owned()),
            environment: "dev".to_owned(),
        };
        let (hub, lease) = (Hub::new(), Lease::counted_by(virtual_boottime_ms));
        let drivers = Arc::new(Drivers {
            journal: journal.clone(),
            world: world.clone(),
            clock: Arc::clone(&clock),
            settings: rig.settings.clone(),
            hub: Arc::clone(&hub),
            lease: Arc::clone(&lease),
            hold: Arc::new(Hold::none()),
            alerts,
        });
        let worker = Worker::sweeping(drivers, sweep);
        let (stop_drivers, stop_lease) = (CancellationToken::new(), CancellationToken::new());
        let heartbeat = tokio::spawn(lease.keep(beats, id.clone(), stop_lease.clone()));
        let driving = tokio::spawn(Arc::clone(&worker).run(stop_drivers.clone()));
        let migrations = Migrations {
            journal,
            world,
            clock,
            settings: rig.settings.clone(),
            hub,
            worker,
            catalogue: Arc::new(Catalogue::default()),
            environment: "dev".to_owned(),
        };
        Self {
            id,
            migrations,
            budget,
            fuse,
            dead: CancellationToken::new(),
            stop_drivers,
            stop_lease,
            driving,
            heartbeat,
        }
    }

    /// Ends with the process: calls into it are cut there.
    pub fn death(&self) -> CancellationToken {
        self.dead.clone()
    }

    /// Kills it: nothing that it was doing goes on, nothing is cleaned up, its lease runs out by itself.
    pub fn kill(self) {
        drop(self);
    }

    /// Tells it to end and waits until it has: drivers first, the lease last.
    pub async fn stop(mut self) {
        self.stop_drivers.cancel();
        (&mut self.driving).await.expect("the worker does not panic");
        self.stop_lease.cancel();
        (&mut self.heartbeat).await.expect("the heartbeat does not panic");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.dead.cancel();
        self.fuse.blow();
        self.driving.abort();
        self.heartbeat.abort();
    }
}

/// Where volume-svc is called: whichever process runs now.
#[derive(Clone, Debug, Default)]
pub struct Front {
    present: Arc<Mutex<Option<(Migrations, CancellationToken)>>>,
}

impl Front {
    /// Calls go to this process from here on.
    pub fn to(&self, process: &Process) {
        let next = (process.migrations.clone(), process.dead.clone());
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// Calls, again and again while no process answers or it says that it cannot now; a call that its process died in
    /// is made again.
    pub async fn call<T, F, Fut>(&self, ask: F) -> Result<T, Error>
    where
        F: Fn(Migrations) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Fault>> + Send,
        T: Send,
    {
        loop {
            let present = self.present.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((migrations, dead)) = present.filter(|(_, dead)| !dead.is_cancelled()) {
                let answer = tokio::select! {
                    biased;
                    () = dead.cancelled() => None,
                    answer = ask(migrations) => Some(answer),
                };
                match answer {
                    Some(Err(fault)) if fault.error().kind == Kind::Unavailable => {}
                    Some(answer) => return answer.map_err(|fault| fault.error().clone()),
                    None => {}
                }
            }
            tokio::time::sleep(CALL_AGAIN).await;
        }
    }
}
