//! A customer who goes on writing while the graph moves: one client that obeys the gate and one that does not, both to
//! where the registry says that the graph is served.

use super::access::{Access, Holder};
use super::rig::Rig;
use cloud_sim::api::engine::EngineWrite;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tiershift_common::clock::sleep_ms;
use tiershift_core::UnixMs;
use tiershift_core::ids::GraphId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use volume_core::keys;

/// Between two writes of the client that obeys.
const POLITE_EVERY_MS: i64 = 100;

/// Between two tries of the client that does not.
const RUDE_EVERY_MS: i64 = 330;

/// A write that the engine said is done.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// The write.
    pub write_id: u64,
    /// When it was sent: the engine took it at that instant.
    pub sent_at: UnixMs,
    /// Whether the gate had allowed it.
    pub polite: bool,
}

/// Both clients.
#[derive(Debug)]
pub struct Customer {
    stop: CancellationToken,
    clients: Vec<JoinHandle<Vec<Ack>>>,
}

impl Customer {
    /// Starts to write.
    pub fn start(rig: &Arc<Rig>, graph: &GraphId, access: &Arc<Access>) -> Self {
        let stop = CancellationToken::new();
        let next_id = Arc::new(AtomicU64::new(rig.cloud.audit(graph).acknowledged + 1));
        let client = |holder: Option<Holder>, every_ms: i64| {
            let client = Client {
                rig: Arc::clone(rig),
                graph: graph.clone(),
                holder,
                every_ms,
                next_id: Arc::clone(&next_id),
                stop: stop.clone(),
            };
            tokio::spawn(client.run())
        };
        let polite = client(Some(Holder::new(Arc::clone(access))), POLITE_EVERY_MS);
        let rude = client(None, RUDE_EVERY_MS);
        Self { stop, clients: vec![polite, rude] }
    }

    /// Ends it and says which writes were acknowledged.
    pub async fn stop(self) -> Vec<Ack> {
        self.stop.cancel();
        let mut acks = Vec::new();
        for client in self.clients {
            acks.extend(client.await.expect("a client does not panic"));
        }
        acks.sort_by_key(|ack| ack.sent_at);
        acks
    }
}

struct Client {
    rig: Arc<Rig>,
    graph: GraphId,
    holder: Option<Holder>,
    every_ms: i64,
    next_id: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Client {
    async fn run(mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        while !self.stop.is_cancelled() {
            let allowed = self.holder.as_mut().is_none_or(Holder::may_write);
            if allowed && let Some(instance_id) = self.served_by().await {
                let write_id = self.next_id.fetch_add(1, Ordering::Relaxed);
                let sent_at = self.rig.clock.now();
                let request = EngineWrite { instance_id, graph_id: self.graph.to_string(), write_id };
                // A refusal is no acknowledgement; the client comes again with another write.
                if self.rig.cloud.ask(request).await.is_ok() {
                    acks.push(Ack { write_id, sent_at, polite: self.holder.is_some() });
                }
            }
            sleep_ms(&*self.rig.clock, self.every_ms).await;
        }
        acks
    }

    async fn served_by(&self) -> Option<String> {
        let row = self.rig.row(&keys::graph_row(&self.graph)).await?;
        row.s("instance_id").map(str::to_owned)
    }
}
