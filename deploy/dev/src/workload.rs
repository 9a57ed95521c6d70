//! A customer: writes and reads through the path that a customer's requests take, and counts what was acknowledged.
//!
//! Each write asks `CheckAccess` first and is sent only when that allows it; the engine's own door may still refuse
//! (that is the second wall). What it could not do is no failure: that writes stop and come back is what is shown.

use crate::cloud::{Cloud, CloudError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tierctl::connect::Target;
use tiershift_proto::subscription::v1::{AccessMode, CheckAccessRequest};
use tokio_util::sync::CancellationToken;

/// Between two writes, in real time: enough to see the gate, little enough for two cores.
const PACE: Duration = Duration::from_millis(40);

/// What happened to the customer's writes.
#[derive(Debug, Default)]
pub struct Counts {
    /// Acknowledged by the engine.
    pub acknowledged: AtomicU64,
    /// Refused by the access check.
    pub refused_at_gate: AtomicU64,
    /// Refused by the engine, or not answered.
    pub refused_at_engine: AtomicU64,
}

/// What the simulated cloud found of the acknowledged writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Audit {
    /// Acknowledged.
    pub acknowledged: u64,
    /// Of those, readable now.
    pub readable: u64,
    /// How many are not.
    pub missing_count: u64,
}

/// A running customer.
#[derive(Debug)]
pub struct Customer {
    /// What it has counted so far.
    pub counts: Arc<Counts>,
    instance: Arc<Mutex<String>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Customer {
    /// Starts writing to a graph on the instance that serves it now.
    pub fn start(target: Target, cloud: Cloud, graph: String, instance: String) -> Self {
        let counts = Arc::new(Counts::default());
        let instance = Arc::new(Mutex::new(instance));
        let stop = CancellationToken::new();
        let task = tokio::spawn(write(target, cloud, graph, Arc::clone(&instance), Arc::clone(&counts), stop.clone()));
        Self { counts, instance, stop, task }
    }

    /// The graph is served elsewhere now, as the change's events told.
    pub fn moved_to(&self, instance: &str) {
        instance.clone_into(&mut self.instance.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Stops writing.
    pub async fn stop(self) -> Arc<Counts> {
        self.stop.cancel();
        let _ended = self.task.await;
        self.counts
    }
}

async fn write(
    target: Target,
    cloud: Cloud,
    graph: String,
    instance: Arc<Mutex<String>>,
    counts: Arc<Counts>,
    stop: CancellationToken,
) {
    let Ok(mut access) = target.access() else { return };
    // Ids of its own, so that two customers of one graph never collide.
    let mut next = u64::from(std::process::id()) << 32;
    loop {
        let request = CheckAccessRequest {
            graph_id: graph.clone(),
            mode: AccessMode::Write.into(),
            ..CheckAccessRequest::default()
        };
        let allowed = match access.check_access(request).await {
            Ok(answer) => answer.into_inner().decision.is_some_and(|d| d.allowed),
            // No answer is no permission.
            Err(_) => false,
        };
        if allowed {
            next += 1;
            let at = instance.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let answer: Result<Value, CloudError> =
                cloud.post(&format!("/engine/{at}/{graph}/write"), &json!({ "write_id": next })).await;
            let counter = if answer.is_ok() { &counts.acknowledged } else { &counts.refused_at_engine };
            counter.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.refused_at_gate.fetch_add(1, Ordering::Relaxed);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PACE) => {}
        }
    }
}

/// Whether every write that was ever acknowledged for a graph can be read (invariant 13).
pub async fn audit(cloud: &Cloud, graph: &str) -> Result<Audit, CloudError> {
    cloud.get(&format!("/sim/audit/{graph}")).await
}
