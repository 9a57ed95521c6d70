//! A small honest world for one migration: a pure model of EC2, of agents with engines, of the other service and of
//! the store, in which a `Machine` can be run to its end. Time is a number; nothing happens but by `World::advance`.
//!
//! It is not cloud-sim: one volume, one graph, fixed durations, and faults that are named by the test. It knows the
//! truth (what is mounted where, which writes were acknowledged), so that `invariants.rs` can be checked against it.
//! `cloud.rs` is EC2 and Auto Scaling, `host.rs` the agents and engines, `store.rs` journal and registries,
//! `faults.rs` what may go wrong, `driver.rs` the driver that a process would run.

pub mod cloud;
pub mod driver;
pub mod faults;
pub mod fixture;
pub mod host;
pub mod invariants;
pub mod look;
pub mod store;

use cloud::{Cloud, Life};
use faults::{Fate, Faults};
use fixture::{Durations, Setup};
use host::{Door, Host};
use std::collections::BTreeMap;
use store::Store;
use tiershift_core::UnixMs;
use tiershift_core::ids::InstanceId;
use volume_core::effect::{Done, Effect, Scope, Trouble};
use volume_core::state::Migration;

/// Something that happens by itself at its time.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An attach comes through.
    Attached(InstanceId, String),
    /// An attach falls back to no attachment.
    FellBack(InstanceId, String),
    /// A detach comes through, if nothing is mounted.
    Detached(InstanceId, String),
    /// A snapshot is completed.
    Snapshot(tiershift_core::ids::SnapshotId),
    /// A launched instance is in service.
    Booted(InstanceId),
    /// An instance that was being ended is gone.
    Ended(InstanceId),
    /// An agent's job is through.
    Released(InstanceId),
    /// An agent's job is through.
    Adopted(InstanceId, Option<String>),
    /// A call of a driver arrives late: it may be dead by now.
    Late(Box<Call>),
    /// The other service closes its gate.
    CloseGate(u64),
    /// The other service confirms.
    Confirm(u64),
    /// Clients write.
    Clients,
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// What.
    pub effect: Effect,
    /// With which token.
    pub token: String,
    /// With which fence.
    pub fence: i64,
    /// With which uuid, for adopt.
    pub fs_uuid: Option<String>,
}

/// The gate of the other service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// Since when.
    Closed(i64),
}

/// A write that a client was told is done.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub write: u64,
    pub at: i64,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// Now, in milliseconds.
    pub now: i64,
    /// Grows with everything that changes anything but the clock.
    pub version: u64,
    queue: BTreeMap<(i64, u64), Happening>,
    ticket: u64,
    /// How long things take.
    pub durations: Durations,
    /// EC2 and Auto Scaling.
    pub cloud: Cloud,
    /// Agents and engines.
    pub hosts: BTreeMap<InstanceId, Host>,
    /// Journal and registries.
    pub store: Store,
    /// What goes wrong.
    pub faults: Faults,
    /// The other service's gate.
    pub gate: Gate,
    /// A gate that it wants to confirm now.
    pub confirm: Option<u64>,
    /// Whether it answers gate requests at all.
    pub confirms: bool,
    /// What clients were told.
    pub acknowledged: Vec<Acknowledged>,
    /// Writes that died with an instance that nobody of us ended: no migration could have saved them.
    pub died: std::collections::BTreeSet<u64>,
    /// Effects that arrived, in order, with what came of them.
    pub arrived: Vec<(i64, Effect, Result<Done, Trouble>)>,
    /// Broken invariants that only the moment of a call shows.
    pub broken: Vec<String>,
}

/// A late write may arrive for so long after its gate closed: it was admitted before.
const STRAGGLE_MS: i64 = 1_000;

impl World {
    pub fn new(setup: &Setup) -> Self {
        let mut world = Self {
            now: 1_000_000,
            version: 0,
            queue: BTreeMap::new(),
            ticket: 0,
            durations: setup.durations.clone(),
            cloud: Cloud::new(setup),
            hosts: BTreeMap::new(),
            store: Store::new(setup),
            faults: Faults::default(),
            gate: Gate::Open,
            confirm: None,
            confirms: true,
            acknowledged: Vec::new(),
            died: std::collections::BTreeSet::new(),
            arrived: Vec::new(),
            broken: Vec::new(),
        };
        world.hosts.insert(fixture::source(), Host::serving(&world.cloud.volume));
        for idle in &setup.idle {
            world.hosts.insert(idle.clone(), Host::idle());
        }
        world.after(0, Happening::Clients);
        world
    }

    pub fn at(&self) -> UnixMs {
        UnixMs(self.now)
    }

    /// Something is to happen.
    pub fn after(&mut self, ms: i64, what: Happening) {
        self.ticket += 1;
        self.queue.insert((self.now + ms, self.ticket), what);
    }

    /// When the next thing happens by itself.
    pub fn next_happening(&self) -> i64 {
        self.queue.keys().next().map_or(i64::MAX, |(at, _)| *at)
    }

    /// Lets time pass.
    pub fn advance(&mut self, to: i64) {
        while let Some((&(at, ticket), _)) = self.queue.first_key_value()
            && at <= to
        {
            self.now = self.now.max(at);
            let what = self.queue.remove(&(at, ticket)).expect("it is the first");
            self.happen(what);
        }
        self.now = self.now.max(to);
    }

    fn happen(&mut self, what: Happening) {
        self.version += 1;
        match what {
            Happening::Attached(instance, device) => self.cloud.attached(self.now, &instance, &device),
            Happening::FellBack(instance, device) => self.cloud.fell_back(self.now, &instance, &device),
            Happening::Detached(instance, device) => self.detached(&instance, &device),
            Happening::Snapshot(id) => self.cloud.snapshot_completed(&id),
            Happening::Booted(instance) => {
                if self.cloud.booted(&instance) {
                    self.hosts.insert(instance, Host::idle());
                }
            }
            Happening::Ended(instance) => {
                self.cloud.ended(self.now, &instance);
            }
            Happening::Released(instance) => self.released(&instance),
            Happening::Adopted(instance, uuid) => self.adopted(&instance, uuid.as_deref()),
            Happening::Late(call) => {
                let result = self.arrive(&call);
                self.arrived.push((self.now, call.effect, result));
            }
            // Only behind a read that says that the migration waits for it (H10).
            Happening::CloseGate(id) if self.store.waits_at(id) => {
                self.gate = Gate::Closed(self.now);
                self.after(self.durations.gate, Happening::Confirm(id));
            }
            Happening::CloseGate(_) => {}
            Happening::Confirm(id) => self.confirm = Some(id),
            Happening::Clients => self.clients(),
        }
    }

    /// Clients write wherever a door is open, while the gate is, and shortly after: what was admitted before.
    fn clients(&mut self) {
        let admitted = match self.gate {
            Gate::Open => true,
            Gate::Closed(at) => self.now - at < STRAGGLE_MS,
        };
        if admitted {
            for host in self.hosts.values_mut() {
                let write = u64::try_from(self.acknowledged.len()).expect("few") + 1;
                if host.write(write, &mut self.cloud.volume) {
                    self.acknowledged.push(Acknowledged { write, at: self.now });
                }
            }
        }
        // Rare where nothing depends on the moment, so that hours cost no time.
        let pause_ms = if self.store.is_moving() { self.durations.write } else { 60 * self.durations.write };
        self.after(pause_ms, Happening::Clients);
    }

    /// A driver sends a call. `None`: it will never be answered.
    pub fn call(&mut self, m: &Migration, effect: &Effect, token: &str) -> Result<Done, Trouble> {
        let call = Call { effect: effect.clone(), token: token.to_owned(), fence: m.fence, fs_uuid: m.fs_uuid.clone() };
        invariants::at_call(self, m, effect);
        let fate = if self.faults.is_silent(effect) { Fate::LostBefore } else { self.faults.fate(effect) };
        match fate {
            Fate::Normal => {
                self.advance(self.now + self.durations.call / 2);
                let result = self.arrive(&call);
                self.arrived.push((self.now, call.effect, result.clone()));
                self.advance(self.now + self.durations.call / 2);
                result
            }
            Fate::Refuse(trouble) => {
                self.advance(self.now + self.durations.call);
                Err(trouble)
            }
            Fate::LostBefore => {
                self.advance(self.now + self.durations.unanswered);
                Err(Trouble::Unknown)
            }
            Fate::LostAfter => {
                self.advance(self.now + self.durations.call / 2);
                let result = self.arrive(&call);
                self.arrived.push((self.now, call.effect, result));
                self.advance(self.now + self.durations.unanswered);
                Err(Trouble::Unknown)
            }
            Fate::Late(ms) => {
                self.after(ms, Happening::Late(Box::new(call)));
                self.advance(self.now + self.durations.unanswered);
                Err(Trouble::Unknown)
            }
        }
    }

    /// A call arrives.
    fn arrive(&mut self, call: &Call) -> Result<Done, Trouble> {
        self.version += 1;
        match &call.effect {
            Effect::Protect { instance, .. } => self.cloud.protect(instance),
            Effect::Snapshot { purpose } => {
                let (id, ms) = self.cloud.snapshot(self.now, *purpose, &self.durations);
                self.after(ms, Happening::Snapshot(id.clone()));
                Ok(Done::Snapshot(id))
            }
            Effect::Launch { .. } if self.faults.no_capacity > 0 => {
                self.faults.no_capacity -= 1;
                Err(Trouble::NoCapacity)
            }
            Effect::Launch { group, zone } => {
                let (id, new) = self.cloud.launch(group, zone, &call.token)?;
                if new {
                    self.after(self.durations.boot, Happening::Booted(id.clone()));
                }
                Ok(Done::Launched(vec![id]))
            }
            Effect::Terminate { instance, decrement, .. } => {
                self.cloud.terminate(instance, *decrement)?;
                self.end(instance);
                Ok(Done::Accepted)
            }
            Effect::Drain { instance, scope } => {
                let door = if *scope == Scope::All { Door::Shut } else { Door::WritesShut };
                let now = self.now;
                let (writers, readers) = (self.durations.writers, self.durations.readers);
                self.host(instance, call.fence)?.drain(door, now + writers, now + readers)
            }
            Effect::Resume { instance } => self.host(instance, call.fence)?.resume(),
            Effect::Release { instance } => {
                if self.host(instance, call.fence)?.release() {
                    self.after(self.durations.release, Happening::Released(instance.clone()));
                }
                Ok(Done::Accepted)
            }
            Effect::Adopt { instance } => {
                if self.host(instance, call.fence)?.adopt()? {
                    let what = Happening::Adopted(instance.clone(), call.fs_uuid.clone());
                    self.after(self.durations.adopt, what);
                }
                Ok(Done::Accepted)
            }
            Effect::Detach { instance, device } => {
                self.cloud.detach(self.now, instance, device)?;
                self.after(self.durations.detach, Happening::Detached(instance.clone(), device.clone()));
                Ok(Done::Accepted)
            }
            Effect::Attach { instance, device } => {
                self.cloud.attach(self.now, instance, device)?;
                if self.faults.attach_falls_back > 0 {
                    self.faults.attach_falls_back -= 1;
                    self.after(self.durations.attach, Happening::FellBack(instance.clone(), device.clone()));
                } else if !self.faults.attach_hangs {
                    self.after(self.durations.attach, Happening::Attached(instance.clone(), device.clone()));
                }
                Ok(Done::Accepted)
            }
            Effect::KeepOnTermination { instance, device } => self.cloud.keep(instance, device),
            Effect::TagVolume { tier } => {
                self.cloud.volume.tier_tag = tier.to_string();
                Ok(Done::Accepted)
            }
            Effect::DeleteSnapshot { snapshot } => self.cloud.delete_snapshot(snapshot),
        }
    }

    /// The agent of an instance, if it answers and obeys the fence.
    fn host(&mut self, instance: &InstanceId, fence: i64) -> Result<&mut Host, Trouble> {
        let running = self.cloud.instances.get(instance).is_some_and(|i| i.life == Life::Running);
        let host = self.hosts.get_mut(instance).filter(|_| running).ok_or(Trouble::Unknown)?;
        if fence < host.fence {
            return Err(Trouble::Fenced);
        }
        host.fence = fence;
        Ok(host)
    }

    /// Ends an instance: its engine dies at once, EC2 takes its time.
    fn end(&mut self, instance: &InstanceId) {
        if let Some(host) = self.hosts.get_mut(instance) {
            host.die();
        }
        self.after(self.durations.terminate, Happening::Ended(instance.clone()));
    }

    /// An instance dies, by no call of ours.
    pub fn kill(&mut self, instance: &InstanceId) {
        if let Some(seen) = self.cloud.instances.get_mut(instance)
            && matches!(seen.life, Life::Booting | Life::Running)
        {
            self.version += 1;
            seen.life = Life::Ending;
            seen.in_service = false;
            seen.replaced = true;
            if let Some(engine) = self.hosts.get(instance).and_then(|h| h.engine.as_ref()) {
                if self.faults.log_is_lost {
                    self.died.extend(&engine.unflushed);
                } else {
                    self.cloud.volume.log.extend(&engine.unflushed);
                }
            }
            self.end(instance);
        }
    }

    /// A detach comes through; a mounted volume is `busy` until it is unmounted.
    fn detached(&mut self, instance: &InstanceId, device: &str) {
        let mounted = self.hosts.get(instance).is_some_and(|h| h.mounted);
        self.cloud.detached(self.now, instance, device, mounted);
    }

    fn released(&mut self, instance: &InstanceId) {
        let attached = self.cloud.is_attached(instance);
        let busy = self.faults.unmount_fails.contains(instance);
        if let Some(host) = self.hosts.get_mut(instance) {
            host.released(&mut self.cloud.volume, attached, busy);
        }
        // What was busy leaves now.
        self.cloud.unmounted(self.now, instance);
    }

    fn adopted(&mut self, instance: &InstanceId, uuid: Option<&str>) {
        let attached = self.cloud.is_attached(instance);
        let fails = self.faults.adopt_fails.contains(instance);
        if self.faults.adopt_hangs.contains(instance) {
            return;
        }
        if let Some(host) = self.hosts.get_mut(instance) {
            host.adopted(&mut self.cloud.volume, attached && !fails, uuid);
        }
    }
}
