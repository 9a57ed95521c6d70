//! Finds the migrations that this process must drive: its own, and those of processes seen dead.
//!
//! The index of live migrations is a hint: it tells which heads are worth a consistent read, and nothing is done before
//! that. A sweep therefore costs the index, one read of the other owners' heartbeats, and a read of each head that looks
//! abandoned; not one of every migration in the fleet. What this process accepted itself needs no index.
//!
//! A migration of another process is taken over only after its heartbeat stood still for a full lease (`watched.rs`); the
//! take-over raises the volume's fence and the head's in one transaction, so of two who try one does. Sweeps do not wait
//! for take-overs: who stops looking has seen nothing.

use crate::driver::{Drivers, Stopped};
use crate::journal::{AppendError, Head, Hint, ReadError};
use crate::lease::Term;
use crate::watched::{Look, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tiershift_core::ids::{ChangeId, WorkerId};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use volume_core::{Machine, keys};

/// How often the index is read, in real time: the take-over of a dead process is due within 10 s, of which its
/// lease takes six.
pub const SWEEP: Duration = Duration::from_secs(1);

/// Heads read and migrations taken over at once. One take-over is four round trips, some 40 ms: a thousand of them are
/// done in less than two seconds, and a store that is slow is not flooded.
const AT_ONCE: usize = 32;

/// Most migrations that one process drives: what one was measured with. More are left to others, loudly.
const DRIVEN_MAX: usize = 10_000;

/// Starts and ends drivers.
#[derive(Debug)]
pub struct Worker {
    drivers: Arc<Drivers>,
    sweep: Duration,
    /// What is driven now, with the version that the index last showed of it.
    driven: Mutex<BTreeMap<ChangeId, u64>>,
    /// Ours, to be driven as soon as the loop turns.
    wanted: Mutex<BTreeSet<ChangeId>>,
    /// Journals that this build cannot go on with: an operator was called, and a restart tries again.
    given_up: Mutex<BTreeSet<ChangeId>>,
    /// Looks abandoned, and is being looked at.
    suspected: Mutex<BTreeSet<ChangeId>>,
    at_once: Semaphore,
    nudge: Notify,
}

/// A migration in the list of those that are driven, for as long as its driver lives, however that ends.
struct Driving {
    worker: Arc<Worker>,
    id: ChangeId,
}

impl Drop for Driving {
    fn drop(&mut self) {
        lock(&self.worker.driven).remove(&self.id);
    }
}

/// What a sweep found: migrations that look abandoned, and who is dead.
#[derive(Debug, Default)]
struct Found {
    abandoned: Vec<ChangeId>,
    dead: Arc<BTreeSet<WorkerId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// With nothing to drive yet.
    pub fn new(drivers: Arc<Drivers>) -> Arc<Self> {
        Self::sweeping(drivers, SWEEP)
    }

    /// The same with another time between two looks at the index. For virtual time only, where a process may be known to be
    /// alone for days.
    pub fn sweeping(drivers: Arc<Drivers>, sweep: Duration) -> Arc<Self> {
        Arc::new(Self {
            drivers,
            sweep,
            driven: Mutex::default(),
            wanted: Mutex::default(),
            given_up: Mutex::default(),
            suspected: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            nudge: Notify::new(),
        })
    }

    /// A migration is this process's from now on: it is driven at once, whatever the index shows.
    pub fn accepted(&self, id: &ChangeId) {
        lock(&self.wanted).insert(id.clone());
        self.nudge.notify_one();
    }

    /// Migrations driven now.
    pub fn driven(&self) -> usize {
        lock(&self.driven).len()
    }

    /// Sweeps until told to stop, then waits until every driver has stopped at a step's border.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut watched = Watched::default();
        while !stop.is_cancelled() {
            if let Some(term) = self.drivers.lease.term()
                && let Some(found) = self.driving_meanwhile(self.sweep(&mut watched), &mut tasks, &stop).await
            {
                self.suspect(found, term, &mut tasks);
            }
            while tasks.try_join_next().is_some() {}
            self.driving_meanwhile(tokio::time::sleep(self.sweep), &mut tasks, &stop).await;
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Waits for something, and drives what is wanted as soon as it is. None if it is told to stop meanwhile.
    async fn driving_meanwhile<T>(
        self: &Arc<Self>,
        something: impl Future<Output = T>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Option<T> {
        let mut something = pin!(something);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = self.nudge.notified() => {
                    let wanted = std::mem::take(&mut *lock(&self.wanted));
                    for id in wanted {
                        self.spawn(id, tasks, stop);
                    }
                }
                found = &mut something => return Some(found),
            }
        }
    }

    async fn sweep(&self, watched: &mut Watched) -> Found {
        let hints = match self.drivers.journal.hints().await {
            Ok(hints) => hints,
            Err(error) => {
                tracing::warn!(%error, "live migrations could not be listed");
                return Found::default();
            }
        };
        for hint in &hints {
            self.wake(hint);
        }
        let dead = match self.dead(&hints, watched).await {
            Ok(dead) => dead,
            Err(error) => {
                tracing::warn!(%error, "the heartbeats of others could not be read");
                return Found::default();
            }
        };
        let me = self.drivers.journal.worker();
        let ours_or_nobodys = |hint: &Hint| match &hint.owner {
            Some(owner) => owner == me || dead.contains(owner),
            None => true,
        };
        let abandoned = hints.into_iter().filter(ours_or_nobodys).map(|hint| hint.id);
        Found { abandoned: abandoned.filter(|id| !self.is_known(id)).collect(), dead: Arc::new(dead) }
    }

    /// Looks at what seems abandoned, so many at once, each once at a time.
    fn suspect(self: &Arc<Self>, found: Found, term: Term, tasks: &mut JoinSet<()>) {
        for id in found.abandoned {
            if !lock(&self.suspected).insert(id.clone()) {
                continue;
            }
            let (me, dead) = (Arc::clone(self), Arc::clone(&found.dead));
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _one_of_them = me.at_once.acquire().await;
                me.claim(&id, &dead, term).await;
                lock(&me.suspected).remove(&id);
            });
        }
    }

    /// Somebody else may have appended to a migration that is driven here: a request that another process took.
    fn wake(&self, hint: &Hint) {
        if let Some(shown) = lock(&self.driven).get_mut(&hint.id)
            && *shown < hint.version
        {
            *shown = hint.version;
            self.drivers.hub.wake(&hint.id);
        }
    }

    /// The other owners that are dead.
    async fn dead(&self, hints: &[Hint], watched: &mut Watched) -> Result<BTreeSet<WorkerId>, ReadError> {
        let journal = &self.drivers.journal;
        let others: BTreeSet<&WorkerId> =
            hints.iter().filter_map(|hint| hint.owner.as_ref()).filter(|owner| *owner != journal.worker()).collect();
        watched.retain(|worker| others.contains(worker));
        if others.is_empty() {
            return Ok(BTreeSet::new());
        }
        let keys: Vec<_> = others.iter().map(|worker| keys::worker(worker)).collect();
        let asked_ms = self.drivers.lease.now_ms();
        let beats = journal.store().get_many(&keys).await?;
        let look = Look { asked_ms, heard_ms: self.drivers.lease.now_ms() };
        let seen = others.into_iter().zip(&beats);
        Ok(seen.filter(|(worker, beat)| watched.is_dead(worker, beat.as_ref(), look)).map(|(w, _)| w.clone()).collect())
    }

    /// Drives a migration from here on if it is ours, after taking it over if its owner is dead.
    async fn claim(&self, id: &ChangeId, dead: &BTreeSet<WorkerId>, term: Term) {
        if self.driven() >= DRIVEN_MAX {
            tracing::error!(migration = %id, DRIVEN_MAX, "no room to drive a migration; start another process");
            return;
        }
        match self.is_ours(id, dead, term).await {
            Ok(true) => self.accepted(id),
            Ok(false) => {}
            Err(ReadError::Corrupt { why, .. }) => {
                self.give_up(id);
                self.drivers.unreadable(id, &why).await;
            }
            Err(error) => tracing::warn!(migration = %id, %error, "a migration could not be looked at"),
        }
    }

    async fn is_ours(&self, id: &ChangeId, dead: &BTreeSet<WorkerId>, term: Term) -> Result<bool, ReadError> {
        let journal = &self.drivers.journal;
        match journal.head(id).await? {
            Some(head) if head.done_at.is_some() => Ok(false),
            Some(head) if head.owner == *journal.worker() => Ok(true),
            Some(head) if dead.contains(&head.owner) => self.take_over(&head, term).await,
            _ => Ok(false),
        }
    }

    async fn take_over(&self, head: &Head, term: Term) -> Result<bool, ReadError> {
        let journal = &self.drivers.journal;
        let id = &head.id;
        let entries = journal.entries(id, 1).await?;
        let now = self.drivers.clock.now();
        let corrupt = |why: String| ReadError::Corrupt { id: id.to_string(), why };
        let machine =
            Machine::load(id, &entries, self.drivers.settings.clone(), now).map_err(|e| corrupt(e.to_string()))?;
        if machine.state.seq != head.version {
            // Somebody appended between the two reads: next sweep.
            return Ok(false);
        }
        let Some(spec) = machine.state.spec.as_ref() else { return Ok(false) };
        let fence = journal.volume_fence(&spec.volume).await?.unwrap_or(0) + 1;
        let fact = machine.take_over(journal.worker(), fence);
        let append = machine.prepare(vec![fact], now).map_err(|e| corrupt(e.to_string()))?;
        if !self.drivers.lease.holds(term) {
            // Paused meanwhile: whoever was dead then may be alive now, and we may be dead to others.
            return Ok(false);
        }
        match journal.append(&append, journal.worker(), head.store_epoch).await {
            Ok(()) => {
                tracing::warn!(migration = %id, from = %head.owner, fence = append.after.fence, "took over");
                Ok(true)
            }
            Err(AppendError::HeadMoved | AppendError::Rows(_)) => Ok(false),
            Err(AppendError::Unavailable(error) | AppendError::Invalid(error)) => {
                tracing::warn!(migration = %id, %error, "the take-over was not made");
                Ok(false)
            }
        }
    }

    fn is_known(&self, id: &ChangeId) -> bool {
        lock(&self.driven).contains_key(id) || lock(&self.given_up).contains(id)
    }

    fn give_up(&self, id: &ChangeId) {
        lock(&self.given_up).insert(id.clone());
    }

    fn spawn(self: &Arc<Self>, id: ChangeId, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        if self.is_known(&id) {
            return;
        }
        lock(&self.driven).insert(id.clone(), 0);
        let driving = Driving { worker: Arc::clone(self), id };
        let stop = stop.clone();
        tasks.spawn(async move {
            let Driving { worker, id } = &driving;
            let stopped = worker.drivers.drive(id, &stop).await;
            tracing::info!(migration = %id, ?stopped, "a driver stopped");
            if stopped == Stopped::Unreadable {
                // Not to be started again by the next sweep: an operator was called.
                worker.give_up(id);
            }
        });
    }
}
