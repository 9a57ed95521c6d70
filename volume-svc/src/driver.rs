//! Drives one migration: asks the machine what is next, writes it down, does it, tells the machine what came of it.
//!
//! One turn: lease, append of the intent (head's version and fence), last look at the lease, call, append of the
//! outcome, wake-up. An append refused by the head means somebody else appended: when the fence is still ours it
//! was a request from outside (confirm, cancel), and the driver takes its entries and goes on; else it stops at
//! once and cleans nothing up. It keeps nothing that the journal does not have but what it has seen.

use crate::alerts::{Alert, Alerts};
use crate::hold::{Hold, Instant};
use crate::hub::{Ear, Hub};
use crate::journal::{AppendError, Journal, ReadError};
use crate::lease::{Lease, Term};
use crate::ports::cloud::last_look;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::Clock;
use tiershift_core::Reason;
use tiershift_core::ids::ChangeId;
use tokio_util::sync::CancellationToken;
use volume_core::effect::Command;
use volume_core::fact::Fact;
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::{Append, Machine, Next};

/// How often a waiting driver looks at the head by itself, in real time: another process may have taken a request,
/// and its wake-up does not reach us. The worker's sweep sees it in the index sooner; this is for what the index misses.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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

/// What a driver begins with.
struct Loaded {
    machine: Machine,
    /// The life of the store that the migration belongs to.
    epoch: i64,
    /// The store's present one.
    present: i64,
    /// What in its journal calls for a human.
    owed: Vec<Alert>,
}

impl Drivers {
    /// Drives a migration that this process owns, until it is over or not ours any more.
    pub async fn drive(&self, id: &ChangeId, stop: &CancellationToken) -> Stopped {
        let mut wake = self.hub.subscribe(id);
        loop {
            // Before the journal is read: what it says is good for this term only.
            let Some(term) = self.lease.term() else { return Stopped::LeaseLost };
            match self.load(id).await {
                Ok(Some(Loaded { mut machine, epoch, present, owed })) => {
                    // Whoever appended it may have died before it was told.
                    for alert in owed {
                        self.alerts.raise(alert);
                    }
                    let held_back = self.hold_back(&mut machine, epoch, present).await;
                    let ended = match held_back {
                        Some(ended) => ended,
                        None => self.turns(&mut machine, epoch, term, &mut wake, stop).await,
                    };
                    if let Some(stopped) = ended {
                        return stopped;
                    }
                    tracing::info!(migration = %id, "loading the journal anew");
                }
                Ok(None) => return Stopped::Lost,
                Err(ReadError::Corrupt { why, .. }) => {
                    self.unreadable(id, &why).await;
                    return Stopped::Unreadable;
                }
                Err(ReadError::Store(error)) => {
                    tracing::warn!(migration = %id, %error, "the journal could not be read; trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
            if stop.is_cancelled() {
                return Stopped::LeaseLost;
            }
        }
    }

    /// Calls a human for a journal that cannot be read.
    pub async fn unreadable(&self, id: &ChangeId, why: &str) {
        let version = self.journal.head(id).await.ok().flatten().map(|head| head.version);
        self.alerts.raise(Alert::unreadable(id, version, why, self.clock.now()));
    }

    /// A migration of another life of the store: what its journal does not tell may have been done all the same, so that
    /// nothing of it is sent before a person has decided (H19, invariant 17). `Some` as of `append`.
    async fn hold_back(&self, machine: &mut Machine, epoch: i64, present: i64) -> Option<Option<Stopped>> {
        if epoch == present || machine.state.stuck.is_some() || machine.state.is_over() {
            return None;
        }
        let detail =
            format!("the store was restored: the migration is of its epoch {epoch}, and this is epoch {present}");
        self.append(machine, vec![Fact::Stuck { reason: Reason::StoreRestored, detail }], epoch).await
    }

    async fn load(&self, id: &ChangeId) -> Result<Option<Loaded>, ReadError> {
        let present = self.journal.epoch().await?;
        let Some(head) = self.journal.head(id).await? else { return Ok(None) };
        if head.owner != *self.journal.worker() {
            return Ok(None);
        }
        let entries = self.journal.entries(id, 1).await?;
        let machine = Machine::load(id, &entries, self.settings.clone(), self.clock.now())
            .map_err(|e| ReadError::Corrupt { id: id.to_string(), why: e.to_string() })?;
        let owed = Alert::all_of(&machine.state, &entries);
        Ok(Some(Loaded { machine, epoch: head.store_epoch, present, owed }))
    }

    /// Turns until the driver must stop (`Some`) or load anew (`None`).
    async fn turns(
        &self,
        machine: &mut Machine,
        epoch: i64,
        term: Term,
        wake: &mut Ear,
        stop: &CancellationToken,
    ) -> Option<Stopped> {
        let mut observed = false;
        loop {
            // A step's border: here a driver may always be stopped.
            if stop.is_cancelled() || !self.lease.holds(term) {
                return Some(Stopped::LeaseLost);
            }
            let next = machine.turn(self.clock.now());
            if !observed && !matches!(next, Next::Append(_) | Next::Run(Command::Observe(_))) {
                observed = true;
                // From here on a take-over is complete (N1): everything that must be read before something is done was.
                tracing::info!(migration = %machine.state.id, fence = machine.state.fence, "loaded and observed");
            }
            match next {
                Next::Append(facts) => {
                    if let Some(end) = self.append(machine, facts, epoch).await {
                        return end;
                    }
                }
                Next::Run(command) => self.run(machine, &command, term).await,
                Next::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = wake.changed() => {
                            if let Some(end) = self.catch_up(machine, epoch).await { return end; }
                        }
                        () = self.clock.sleep_until(until) => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {
                            if let Some(end) = self.catch_up(machine, epoch).await { return end; }
                        }
                    }
                }
                Next::Idle => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = wake.changed() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                    if let Some(end) = self.catch_up(machine, epoch).await {
                        return end;
                    }
                }
                Next::Over => return Some(Stopped::Over),
            }
        }
    }

    /// Runs a command and feeds the machine. Nothing is sent by a process whose lease has run out (F7).
    async fn run(&self, machine: &mut Machine, command: &Command, term: Term) {
        let stage = machine.state.stage;
        if !self.lease.holds(term) {
            return;
        }
        // Boxed: a command's reads and waits would make every driver's task three times as large.
        let running = Box::pin(async {
            if matches!(command, Command::Effect { .. }) {
                self.hold.reached(stage, Instant::Sending).await;
            }
            self.world.run(&machine.state, command).await
        });
        let Some(answer) = last_look::under_lease(self.lease.during(term), running).await else { return };
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
                self.alerts.raise(Alert::defect(&machine.state, &error.to_string(), self.clock.now()));
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
                self.told(machine, &append);
                self.instants(before, &append).await;
                None
            }
            Err(AppendError::HeadMoved) => self.catch_up(machine, epoch).await,
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
                self.alerts.raise(Alert::defect(&machine.state, &error.to_string(), self.clock.now()));
                Some(Some(Stopped::Unreadable))
            }
        }
    }

    /// Takes entries that others appended. `Some` when the driver must stop or load anew.
    async fn catch_up(&self, machine: &mut Machine, epoch: i64) -> Option<Option<Stopped>> {
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
        if head.store_epoch != epoch {
            // A person has let it go on in the present life of the store.
            return Some(None);
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
    fn told(&self, machine: &Machine, append: &Append) {
        for entry in &append.entries {
            tracing::info!(
                migration = %machine.state.id,
                seq = entry.seq,
                fact = entry.fact.name(),
                stage = %machine.state.stage,
                "journalled"
            );
            if let Some(alert) = Alert::of(&machine.state, entry) {
                self.alerts.raise(alert);
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
