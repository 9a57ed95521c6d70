//! Customers who go on writing while their graph moves: some obey the gate as a client library does, keeping an answer for
//! as long as it may be kept; one asks nobody. All write to where the registry says that the graph is served.

use crate::monitor::Monitor;
use crate::stack::Present;
use cloud_sim::api::engine::EngineWrite;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use subscription_core::access::Mode;
use tiershift_common::caller::Caller;
use tiershift_common::clock::sleep_ms;
use tiershift_core::UnixMs;
use tiershift_core::ids::GraphId;
use tiershift_tests::world::rig::Rig;
use tokio::task::JoinHandle;
use volume_core::keys;

/// Between two writes of a client that obeys; two of them, out of step.
const POLITE_EVERY_MS: [i64; 2] = [190, 310];

/// Between two tries of the client that does not.
const RUDE_EVERY_MS: i64 = 470;

/// A client of one graph.
struct Client {
    rig: Arc<Rig>,
    monitor: Arc<Monitor>,
    graph: GraphId,
    every_ms: i64,
    /// None: asks nobody.
    holder: Option<Holder>,
    next_id: Arc<AtomicU64>,
}

/// Keeps an answer for as long as it may be kept, counted from the asking.
struct Holder {
    present: Present,
    caller: Caller,
    until: UnixMs,
}

/// Starts the clients of a graph. They end with the runtime.
pub fn start(rig: &Arc<Rig>, monitor: &Arc<Monitor>, present: &Present, graph: &GraphId) -> Vec<JoinHandle<()>> {
    let next_id = Arc::new(AtomicU64::new(rig.cloud.audit(graph).acknowledged + 1));
    let client = |every_ms: i64, holder: Option<Holder>| {
        let client = Client {
            rig: Arc::clone(rig),
            monitor: Arc::clone(monitor),
            graph: graph.clone(),
            every_ms,
            holder,
            next_id: Arc::clone(&next_id),
        };
        tokio::spawn(client.run())
    };
    let holder = || Holder {
        present: present.clone(),
        caller: Caller::parse_dev("service:graph-api").expect("a caller"),
        until: UnixMs(0),
    };
    let mut all: Vec<_> = POLITE_EVERY_MS.into_iter().map(|every| client(every, Some(holder()))).collect();
    all.push(client(RUDE_EVERY_MS, None));
    all
}

impl Client {
    async fn run(mut self) {
        loop {
            let now = self.rig.clock.now();
            let polite = self.holder.is_some();
            let allowed = self.holder.as_mut().is_none_or(|holder| holder.may_write(&self.graph, now));
            if allowed {
                if polite {
                    self.monitor.admitted(&self.graph, now);
                }
                self.write().await;
            }
            sleep_ms(&*self.rig.clock, self.every_ms).await;
        }
    }

    async fn write(&self) {
        let row = self.rig.row(&keys::graph_row(&self.graph)).await;
        let Some(instance_id) = row.as_ref().and_then(|row| row.s("instance_id")) else { return };
        let write_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = EngineWrite { instance_id: instance_id.to_owned(), graph_id: self.graph.to_string(), write_id };
        // A refusal is no acknowledgement; the client comes again with another write.
        let _acknowledged = self.rig.cloud.ask(request).await.is_ok();
    }
}

impl Holder {
    /// Asks as seldom as it may: the one whom a shorter wait at the gate would let through.
    fn may_write(&mut self, graph: &GraphId, now: UnixMs) -> bool {
        if now < self.until {
            return true;
        }
        let Some(service) = self.present.get() else { return false };
        let Ok(answer) = service.replica.check(&self.caller, &graph.clone().into(), Mode::Write, None, now) else {
            return false;
        };
        if answer.decision.allowed {
            self.until = now.plus(answer.keep_ms);
        }
        answer.decision.allowed
    }
}
