//! Every transaction of this process, and what must follow it at once: the access replica, the hub, the workers.
//!
//! One at a time, so that what follows happens in commit order; SQLite has one writer anyway. A transaction whose
//! outcome is not known is followed by a full reload before the next one begins: nothing is assumed (H7).
//!
//! A call that began must come to its end: callers that can vanish (a gRPC client) run it in a task of its own.

use crate::access::Replica;
use crate::hold::Hold;
use crate::hub::Hub;
use crate::store::{Fault, Key, Loaded, Store, Write};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// The committer.
pub struct Committer {
    store: Arc<dyn Store>,
    replica: Arc<Replica>,
    hub: Arc<Hub>,
    /// Held by the transaction that runs, with the number of those that wrote something.
    order: Mutex<u64>,
    /// Where to stand still; set by [`crate::service::Service::hold_at`].
    pub hold: Hold,
    /// Wakes the worker that delivers effects and watches deadlines.
    pub owed: Notify,
    /// Wakes the worker that keeps the time of subscriptions.
    pub lives: Notify,
    /// Wakes the refresh of the access records: others have committed what a commit of this process came after.
    pub refresh: Notify,
}

impl Committer {
    /// Over a store. [`Committer::reload`] must follow before anything is served.
    pub fn new(store: Arc<dyn Store>, replica: Arc<Replica>, hub: Arc<Hub>) -> Self {
        Self {
            store,
            replica,
            hub,
            order: Mutex::new(0),
            hold: Hold::never(),
            owed: Notify::new(),
            lives: Notify::new(),
            refresh: Notify::new(),
        }
    }

    /// Loads the replica from the store.
    pub async fn reload(&self) -> Result<(), Fault> {
        let _order = self.order.lock().await;
        self.load().await
    }

    async fn load(&self) -> Result<(), Fault> {
        let (revision, leases, all) = self.store.access().await?;
        self.replica.load(revision, leases, all);
        Ok(())
    }

    /// Runs one transaction: `plan` sees everything of the graph, locked, and says what to write or why not.
    pub async fn transact<T: Send, E: Send>(
        &self,
        key: &Key,
        plan: impl FnOnce(&Loaded) -> Result<(Vec<Write>, T), E> + Send,
    ) -> Result<Result<T, E>, Fault> {
        let mut order = self.order.lock().await;
        if !self.replica.trusted() {
            self.load().await?;
        }
        let mut plan = Some(plan);
        let mut said = None;
        let mut wrote = false;
        let mut lives = false;
        let outcome = self
            .store
            .transact(key, &mut |loaded| {
                let Some(plan) = plan.take() else { return Vec::new() };
                if let Some(found) = &loaded.access {
                    self.replica.learn(found);
                }
                match plan(loaded) {
                    Ok((writes, value)) => {
                        said = Some(Ok(value));
                        wrote = !writes.is_empty();
                        lives = writes.iter().any(|write| matches!(write, Write::Subscription(_)));
                        writes
                    }
                    Err(refusal) => {
                        said = Some(Err(refusal));
                        Vec::new()
                    }
                }
            })
            .await;
        match outcome {
            Ok(committed) => {
                if wrote {
                    *order += 1;
                    self.hold.committed(*order).await;
                }
                if let Some((revision, changed)) = committed.access
                    && !self.replica.apply(revision, changed)
                {
                    self.refresh.notify_one();
                }
                self.hub.publish(committed.published);
                if committed.owes {
                    self.owed.notify_one();
                }
                if lives {
                    self.lives.notify_one();
                }
            }
            Err(fault @ Fault::Unknown(_)) => {
                self.replica.distrust();
                self.hub.forget();
                // Under the lock first, so that a COMMIT which is still on its way is outwaited (H7). If this fails too,
                // the next transaction tries it first.
                let outwaited = self.store.transact(key, &mut |_| Vec::new()).await.map(|_| ());
                let loaded = match outwaited {
                    Ok(()) => self.load().await,
                    Err(fault) => Err(fault),
                };
                if let Err(error) = loaded {
                    tracing::warn!(%error, "cannot reload after a transaction without an answer");
                }
                // It may be committed, and then it owes what nobody else will ever tell of.
                self.owed.notify_one();
                self.lives.notify_one();
                self.refresh.notify_one();
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        }
        said.ok_or_else(|| Fault::Corrupt("a store committed without asking what to write".to_owned()))
    }
}
