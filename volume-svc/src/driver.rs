//! Drives one migration: asks the machine what is next, writes it down, does it, tells the machine what came of it.
//!
//! One turn: lease, append of the intent (head's version and fence), last look at the lease, call, append of the
//! outcome, wake-up. An append refused by the head means somebody else appended: when the fence is still ours it
//! was a request from outside (confirm, cancel), and the driver takes its entries and goes on; else it stops at
//! once and cleans nothing up. It keeps nothing that the journal does not have but what it has seen.

use crate::alerts::Alerts;
use crate::hold::{Hold, Instant};
use crate::hub::Hub;
use crate::journal::{AppendError, Journal, ReadError};
use crate::lease::Lease;
use crate::ports::cloud::last_look::{self, Lasts};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::Clock;
use tiershift_core::ids::ChangeId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use volume_core::effect::Command;
use volume_core::fact::Fact;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::{Append, Machine, Next};

/// How often a waiting driver looks at the head by itself, in real time: another process may have taken a request,
/// and its wake-up does not reach us.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a store that does not answer.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// What every driver of a process shares.
#[derive(Clone, Debug)]
pub struct Drivers {
    /// The journal.
    pub journal: Journal,
    /// The ports.
    pub world: World,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Deadlines and gaps.
    pub settings: Settings,
    /// Wake-ups.
    pub hub: Arc<Hub>,
    /// The process's lease.
    pub lease: Arc<Lease>,
    /// Held instants.
    pub hold: Arc<Hold>,
    /// Who is called.
    pub alerts: Arc<dyn Alerts>,
}

/// Why a driver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The migration is over.
    Over,
    /// Another driver's fence is on the head.
    Lost,
    /// This process's lease ran out, or it was told to stop.
    LeaseLost,
    /// The journal cannot be read by this build.
    Unreadable,
}

impl Drivers {
    /// Drives a migration that this process owns, until it is over or not ours any more.
    pub async fn drive(&self, id: &ChangeId, stop: &CancellationToken) -> Stopped {
        let mut wake = self.hub.subscribe(id);
        loop {
            match self.load(id).await {
                Ok(Some((mut machine, epoch))) => {
                    if let Some(stopped) = self.turns(&mut machine, epoch, &mut wake, stop).await {
                        return stopped;
                    }
                    tracing::info!(migration = %id, "loading the journal anew");
                }
                Ok(None) => return Stopped::Lost,
                Err(ReadError::Corrupt { why, .. }) => {
                    self.alerts.raise(id, "journal unreadable", &why).await;
                    return Stopped::Unreadable;
                }
                Err(ReadError::Store(error)) => {
                    tracing::warn!(migration = %id, %error, "the journal could not be read; trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
            if stop.is_cancelled() || !self.lease.holds() {
                return Stopped::LeaseLost;
            }
        }
    }

    async fn load(&self, id: &ChangeId) -> Result<Option<(Machine, i64)>, ReadError> {
        let Some(head) = self.journal.head(id).await? else { return Ok(None) };
        if head.owner != *self.journal.worker() {
            return Ok(None);
        }
        let entries = self.journal.entries(id, 1).await?;
        let machine = Machine::load(id, &entries, self.settings.clone(), self.clock.now())
            .map_err(|e| ReadError::Corrupt { id: id.to_string(), why: e.to_string() })?;
        Ok(Some((machine, head.store_epoch)))
    }

    /// Turns until the driver must stop (`Some`) or load anew (`None`).
    async fn turns(
        &self,
        machine: &mut Machine,
        epoch: i64,
        wake: &mut watch::Receiver<u64>,
        stop: &CancellationToken,
    ) -> Option<Stopped> {
        loop {
            // A step's border: here a driver may always be stopped.
            if stop.is_cancelled() || !self.lease.holds() {
                return Some(Stopped::LeaseLost);
            }
            match machine.turn(self.clock.now()) {
                Next::Append(facts) => {
                    if let Some(end) = self.append(machine, facts, epoch).await {
                        return end;
                    }
                }
                Next::Run(command) => self.run(machine, &command).await,
                Next::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        _ = wake.changed() => {
                            if let Some(end) = self.catch_up(machine).await { return end; }
                        }
                        () = self.clock.sleep_until(until) => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {
                            if let Some(end) = self.catch_up(machine).await { return end; }
                        }
                    }
                }
                Next::Idle => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        _ = wake.changed() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                    if let Some(end) = self.catch_up(machine).await {
                        return end;
                    }
                }
                Next::Over => return Some(Stopped::Over),
            }
        }
    }

    /// Runs a command and feeds the machine. Nothing is sent by a process whose lease has run out (F7).
    async fn run(&self, machine: &mut Machine, command: &Command) {
        if !self.lease.holds() {
            return;
        }
        let stage = machine.state.stage;
        let lease: Arc<dyn Lasts> = self.lease.clone();
        // Boxed: a command's reads and waits would make every driver's task three times as large.
        let running = Box::pin(self.world.run(&machine.state, command));
        let answer = last_look::under_lease(lease, running).await;
        let Some(answer) = answer else { return };
        if matches!(command, Command::Effect { .. }) {
            self.hold.reached(stage, Instant::Called).await;
        }
        machine.heard(self.clock.now(), answer);
    }

    /// `None`: appended, or to be asked again. `Some`: what `turns` is to give back.
    async fn append(&self, machine: &mut Machine, facts: Vec<Fact>, epoch: i64) -> Option<Option<Stopped>> {
        let id = machine.state.id.clone();
        let append = match machine.prepare(facts.clone(), self.clock.now()) {
            Ok(append) => append,
            Err(error) => {
                self.alerts.raise(&id, "the machine contradicts its journal", &error.to_string()).await;
                return Some(Some(Stopped::Unreadable));
            }
        };
        if commits(&append) {
            self.hold.reached(Stage::Commit, Instant::Intent).await;
        }
        match self.journal.append(&append, self.journal.worker(), epoch).await {
            Ok(()) => {
                let before = machine.state.stage;
                machine.committed(&append);
                self.hub.wake(&id);
                self.told(machine, &append).await;
                self.instants(before, &append).await;
                None
            }
            Err(AppendError::HeadMoved) => self.catch_up(machine).await,
            Err(AppendError::Rows(keys)) => {
                tracing::warn!(migration = %id, rows = ?keys, "an append was refused by rows of the registries");
                machine.refused(&facts);
                // A refusal that the machine has no answer to would come again at once.
                tokio::time::sleep(STORE_PAUSE).await;
                None
            }
            Err(AppendError::Unavailable(error)) => {
                tracing::warn!(migration = %id, %error, "the store does not answer; loading anew");
                tokio::time::sleep(STORE_PAUSE).await;
                Some(None)
            }
            Err(AppendError::Invalid(error)) => {
                self.alerts.raise(&id, "an append is not valid", &error.to_string()).await;
                Some(Some(Stopped::Unreadable))
            }
        }
    }

    /// Takes entries that others appended. `Some` when the driver must stop or load anew.
    async fn catch_up(&self, machine: &mut Machine) -> Option<Option<Stopped>> {
        let id = machine.state.id.clone();
        let head = match self.journal.head(&id).await {
            Ok(Some(head)) => head,
            Ok(None) => return Some(Some(Stopped::Lost)),
            // The next append will tell; waiting goes on.
            Err(error) => {
                tracing::warn!(migration = %id, %error, "the head could not be read");
                return None;
            }
        };
        if head.fence != machine.state.fence || head.owner != *self.journal.worker() {
            tracing::warn!(migration = %id, owner = %head.owner, "another driver took over; stopping");
            return Some(Some(Stopped::Lost));
        }
        if head.version == machine.state.seq {
            return None;
        }
        match self.journal.entries(&id, machine.state.seq + 1).await {
            Ok(entries) => match machine.caught_up(&entries) {
                Ok(()) => None,
                Err(_) => Some(None),
            },
            Err(_) => Some(None),
        }
    }

    /// Tells people what they must know.
    async fn told(&self, machine: &Machine, append: &Append) {
        for entry in &append.entries {
            tracing::info!(
                migration = %machine.state.id,
                seq = entry.seq,
                fact = entry.fact.name(),
                stage = %machine.state.stage,
                "journalled"
            );
            if let Fact::Stuck { reason, detail } = &entry.fact {
                self.alerts.raise(&machine.state.id, reason.as_str(), detail).await;
            }
        }
    }

    /// The instants of an append, for crash tests.
    async fn instants(&self, before: Stage, append: &Append) {
        let mut stage = before;
        for entry in &append.entries {
            match &entry.fact {
                Fact::Outcome { .. } => self.hold.reached(stage, Instant::Outcome).await,
                Fact::GateRequested { .. } => self.hold.reached(Stage::Gate, Instant::Intent).await,
                Fact::Committed { .. } => {
                    self.hold.reached(Stage::Commit, Instant::Called).await;
                    self.hold.reached(Stage::Commit, Instant::Outcome).await;
                }
                Fact::Entered { stage: next } => stage = *next,
                Fact::Intent { .. } => self.hold.reached(stage, Instant::Intent).await,
                _ => {}
            }
        }
    }
}

fn commits(append: &Append) -> bool {
    append.entries.iter().any(|e| matches!(e.fact, Fact::Committed { .. }))
}
