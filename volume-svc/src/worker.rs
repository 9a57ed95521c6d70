//! Finds the migrations that this process must drive: its own, and those of processes seen dead.
//!
//! The index of live migrations is a hint; each head is read consistently before anything is done. A migration of
//! another process is taken over only after its heartbeat stood still for a full lease by our own clock; the
//! take-over raises the volume's fence and the head's in one transaction, so of two who try one does.

use crate::driver::{Drivers, Stopped};
use crate::journal::{AppendError, Head, ReadError};
use crate::lease::Watched;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tiershift_core::ids::ChangeId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use volume_core::Machine;

/// How often the index is read, in real time: the take-over of a dead process is due within 10 s, of which its
/// lease takes six.
const SWEEP: Duration = Duration::from_secs(1);

/// Most migrations that one process drives.
const DRIVEN_MAX: usize = 1_000;

/// Starts and ends drivers.
#[derive(Debug)]
pub struct Worker {
    drivers: Arc<Drivers>,
    driven: Mutex<BTreeSet<ChangeId>>,
    nudge: tokio::sync::Notify,
}

impl Worker {
    /// With nothing to drive yet.
    pub fn new(drivers: Arc<Drivers>) -> Arc<Self> {
        Arc::new(Self { drivers, driven: Mutex::default(), nudge: tokio::sync::Notify::new() })
    }

    /// A migration was just accepted by this process: do not wait for the next sweep.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Migrations driven now.
    pub fn driven(&self) -> usize {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sweeps until told to stop, then waits until every driver has stopped at a step's border.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut watched = Watched::default();
        loop {
            if self.drivers.lease.holds() {
                self.sweep(&mut watched, &mut tasks, &stop).await;
            }
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.nudge.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn sweep(self: &Arc<Self>, watched: &mut Watched, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let ids = match self.drivers.journal.live().await {
            Ok(ids) => ids,
            Err(error) => {
                tracing::warn!(%error, "live migrations could not be listed");
                return;
            }
        };
        for id in ids {
            if self.is_driven(&id) || self.driven() >= DRIVEN_MAX {
                continue;
            }
            match self.mine(&id, watched).await {
                Ok(true) => self.spawn(id, tasks, stop),
                Ok(false) => {}
                Err(ReadError::Corrupt { why, .. }) => self.drivers.unreadable(&id, &why).await,
                Err(error) => tracing::warn!(migration = %id, %error, "a migration could not be looked at"),
            }
        }
    }

    /// Whether a migration is ours to drive, after taking it over if its owner is dead.
    async fn mine(&self, id: &ChangeId, watched: &mut Watched) -> Result<bool, ReadError> {
        let journal = &self.drivers.journal;
        let Some(head) = journal.head(id).await? else { return Ok(false) };
        if head.done_at.is_some() {
            return Ok(false);
        }
        if head.owner == *journal.worker() {
            return Ok(true);
        }
        let beat = journal.store().get(&Watched::key(&head.owner)).await?;
        if !watched.is_dead(&head.owner, beat.as_ref(), self.drivers.lease.now_ms()) {
            return Ok(false);
        }
        self.take_over(&head).await
    }

    async fn take_over(&self, head: &Head) -> Result<bool, ReadError> {
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

    fn is_driven(&self, id: &ChangeId) -> bool {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn spawn(self: &Arc<Self>, id: ChangeId, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        let me = Arc::clone(self);
        let stop = stop.clone();
        tasks.spawn(async move {
            let stopped = me.drivers.drive(&id, &stop).await;
            tracing::info!(migration = %id, ?stopped, "a driver stopped");
            if stopped == Stopped::Unreadable {
                // It stays in the list, so that the next sweep does not start it again: an operator was called.
                return;
            }
            me.driven.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }
}
