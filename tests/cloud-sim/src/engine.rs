//! The graph engine on an instance: doors, clients, acknowledged writes, and what is not on the device yet.
//!
//! A write is acknowledged when it is in memory and in the page cache; a checkpoint every 30 s and a clean stop bring it to
//! the device. So a forgotten unmount loses something here, as it does in life (docs/protocol.md, invariant 13). How an
//! engine is started and stopped is in `agent.rs`; what a dying host does to it is in `host.rs`.

use serde::{Deserialize, Serialize};

use crate::api::agent::{Connections, Probe, Usage};
use crate::api::control::{AuditWrites, EngineEvent, SetLoad, WriteAudit};
use crate::api::engine::{EngineRead, EngineWrite, ReadResult};
use crate::api::{ApiError, Done};
use crate::device::WRITE_BYTES;
use crate::sim::{Event, Sim, refused};
use crate::timing::{Mishap, Op, mix};
use crate::writes::WriteSet;

/// Simulated milliseconds between two checkpoints of an open engine: what was acknowledged since the last one is in
/// memory and in the unflushed WAL only. Five minutes, as databases have it, so that what a customer wrote shortly
/// before a move is lost by a forgotten unmount and by nothing else.
pub const CHECKPOINT_MS: u64 = 300_000;

/// Missing writes that an audit lists by id.
const MISSING_LISTED: usize = 100;

/// What an engine lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Reads and writes.
    Open,
    /// Reads only.
    WritesShut,
    /// The agent's probe only.
    Shut,
}

/// An engine that has a volume's files open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// The volume.
    pub volume_id: String,
    /// Since when.
    pub opened_ms: u64,
    /// What it lets through.
    pub door: Door,
    /// How its clients are going away.
    pub drain: Option<Drain>,
    /// Whether a checkpoint is queued.
    pub checkpoint_queued: bool,
}

/// A drain under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Time for running writes to end, and again for readers.
    pub half_ms: u64,
    /// Whether one reader never goes.
    pub endless: bool,
    /// When writes were shut out.
    pub writes_ms: u64,
    /// When reads were shut out.
    pub reads_ms: Option<u64>,
}

/// What is known of a graph apart from its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// The volume that it was put on.
    pub volume_id: String,
    /// Long-lived reader connections while the door is open.
    pub readers: u32,
    /// Running writes while the door is open.
    pub writers: u32,
    /// Every write that a client was told is done.
    pub acknowledged: WriteSet,
    /// Acknowledged writes that died with a host that a fault killed.
    pub lost_with_host: WriteSet,
}

impl Sim {
    pub(crate) fn engine_write(&mut self, request: &EngineWrite) -> Result<Done, ApiError> {
        let EngineWrite { instance_id, graph_id, write_id } = request;
        let volume_id = self.served(instance_id, graph_id, Door::Open)?;
        let now_ms = self.now_ms;
        let durable = self.on_device(&volume_id, graph_id, *write_id);
        let Some(host) = self.host_mut(instance_id) else { return Err(refused()) };
        if !durable {
            host.cache.entry(volume_id.clone()).or_default().entry(graph_id.clone()).or_default().insert(*write_id);
        }
        let mut checkpoint = None;
        if let Some(engine) = host.engine.as_mut().filter(|engine| !durable && !engine.checkpoint_queued) {
            engine.checkpoint_queued = true;
            let passed = (now_ms - engine.opened_ms) / CHECKPOINT_MS;
            checkpoint = Some((engine.opened_ms + (passed + 1) * CHECKPOINT_MS, engine.opened_ms));
        }
        if let Some((at_ms, opened_ms)) = checkpoint {
            self.queue(at_ms, Event::Checkpoint { instance_id: instance_id.clone(), opened_ms });
        }
        self.graphs.entry(graph_id.clone()).or_default().acknowledged.insert(*write_id);
        let event = EngineEvent::Write { graph_id: graph_id.clone(), write_id: *write_id };
        self.ledger.engine(now_ms, instance_id, &volume_id, event);
        Ok(Done {})
    }

    pub(crate) fn engine_read(&self, request: &EngineRead) -> Result<ReadResult, ApiError> {
        let volume_id = self.served(&request.instance_id, &request.graph_id, Door::WritesShut)?;
        let visible = self.visible_writes(&request.instance_id, &volume_id, &request.graph_id);
        Ok(ReadResult { present: visible.contains(request.write_id) })
    }

    /// The volume through which an instance serves a graph, to clients for whom `most` is the most that may be shut.
    fn served(&self, instance_id: &str, graph_id: &str, most: Door) -> Result<String, ApiError> {
        let host = self.answering(instance_id)?;
        let not_served =
            || ApiError::new("GRAPH_NOT_SERVED", format!("{graph_id} is not served by {instance_id}"), 404);
        let engine = host.engine.as_ref().ok_or_else(not_served)?;
        let device = self.volumes.get(&engine.volume_id).map(|volume| &volume.device);
        if device.is_none_or(|device| !device.graphs.contains_key(graph_id)) {
            return Err(not_served());
        }
        match engine.door {
            door if door <= most => Ok(engine.volume_id.clone()),
            Door::Shut => Err(ApiError::new("VOLUME_MOVING", "the volume is being moved", 503)),
            _ => Err(ApiError::new("DRAINING", "writes are being drained", 503)),
        }
    }

    /// Writes that an engine on this instance can see: on the device, or not flushed yet.
    pub(crate) fn visible_writes(&self, instance_id: &str, volume_id: &str, graph_id: &str) -> WriteSet {
        let files = self.volumes.get(volume_id).and_then(|volume| volume.device.graphs.get(graph_id));
        let mut visible = files.map(|files| files.writes.clone()).unwrap_or_default();
        let cache = self.instances.get(instance_id).and_then(|instance| instance.host.cache.get(volume_id));
        if let Some(unflushed) = cache.and_then(|graphs| graphs.get(graph_id)) {
            visible.extend(unflushed);
        }
        visible
    }

    fn on_device(&self, volume_id: &str, graph_id: &str, write_id: u64) -> bool {
        let files = self.volumes.get(volume_id).and_then(|volume| volume.device.graphs.get(graph_id));
        files.is_some_and(|files| files.writes.contains(write_id))
    }

    /// Opens the engine on a mounted volume.
    pub(crate) fn open_engine(&mut self, instance_id: &str, volume_id: &str, door: Door) {
        let opened_ms = self.now_ms;
        let Some(host) = self.host_mut(instance_id) else { return };
        host.engine =
            Some(Engine { volume_id: volume_id.to_owned(), opened_ms, door, drain: None, checkpoint_queued: false });
        self.ledger.engine(opened_ms, instance_id, volume_id, EngineEvent::Opened);
        self.ledger.engine(opened_ms, instance_id, volume_id, EngineEvent::Door { door });
    }

    /// Moves an open engine's door and starts or ends its drain.
    pub(crate) fn set_door(&mut self, instance_id: &str, door: Door) {
        let now_ms = self.now_ms;
        let known = self.host_mut(instance_id).and_then(|host| host.engine.as_ref()).map(|engine| engine.drain);
        let Some(mut drain) = known else { return };
        if door == Door::Open {
            drain = None;
        } else {
            let mut started = match drain {
                Some(drain) => drain,
                None => Drain {
                    half_ms: self.dice.duration_ms(Op::Drain) / 2,
                    endless: self.dice.tail(Mishap::DrainNever),
                    writes_ms: now_ms,
                    reads_ms: None,
                },
            };
            if door == Door::Shut {
                started.reads_ms.get_or_insert(now_ms);
            }
            drain = Some(started);
        }
        let Some(engine) = self.host_mut(instance_id).and_then(|host| host.engine.as_mut()) else { return };
        let moved = engine.door != door;
        engine.door = door;
        engine.drain = drain;
        let volume_id = engine.volume_id.clone();
        if moved {
            self.ledger.engine(now_ms, instance_id, &volume_id, EngineEvent::Door { door });
        }
    }

    /// Clients of an engine right now.
    pub(crate) fn connections(&self, instance_id: &str) -> Connections {
        let none = Connections { active_connections: 0, active_writes: 0 };
        let Some(engine) = self.instances.get(instance_id).and_then(|instance| instance.host.engine.as_ref()) else {
            return none;
        };
        let graphs = self.volumes.get(&engine.volume_id).map(|volume| volume.device.graphs.keys());
        let loads = graphs.into_iter().flatten().filter_map(|id| self.graphs.get(id));
        let (readers, writers) = loads.fold((0, 0), |(r, w), graph| (r + graph.readers, w + graph.writers));
        let (mut readers_left, mut writers_left) = (readers, writers);
        match &engine.drain {
            Some(drain) => {
                writers_left = falling(writers, drain.writes_ms, drain.half_ms, self.now_ms);
                if let Some(reads_ms) = drain.reads_ms {
                    let least = u32::from(drain.endless && readers > 0);
                    readers_left = falling(readers, reads_ms, drain.half_ms, self.now_ms).max(least);
                }
            }
            // Adopted: the engine is open and nobody was ever let in.
            None if engine.door == Door::Shut => return none,
            None => {}
        }
        Connections { active_connections: readers_left + writers_left, active_writes: writers_left }
    }

    /// Brings everything that an engine acknowledged to the device.
    pub(crate) fn flush(&mut self, instance_id: &str, volume_id: &str) {
        let Some(unflushed) = self.host_mut(instance_id).and_then(|host| host.cache.remove(volume_id)) else { return };
        let Some(volume) = self.volumes.get_mut(volume_id) else { return };
        for (graph_id, writes) in unflushed {
            volume.dirty_bytes += writes.len() * WRITE_BYTES;
            if let Some(files) = volume.device.graphs.get_mut(&graph_id) {
                files.writes.extend(&writes);
            }
        }
    }

    pub(crate) fn checkpoint(&mut self, instance_id: &str, opened_ms: u64) {
        let engine = self.host_mut(instance_id).and_then(|host| host.engine.as_mut());
        let Some(engine) = engine.filter(|engine| engine.opened_ms == opened_ms) else { return };
        engine.checkpoint_queued = false;
        let volume_id = engine.volume_id.clone();
        self.flush(instance_id, &volume_id);
    }

    /// The engine lets the files go. What it has not flushed stays in the cache, until that goes too.
    pub(crate) fn close_engine(&mut self, instance_id: &str, clean: bool) {
        let Some(engine) = self.host_mut(instance_id).and_then(|host| host.engine.take()) else { return };
        self.ledger.engine(self.now_ms, instance_id, &engine.volume_id, EngineEvent::Closed { clean });
    }

    /// Drops what was not flushed to a volume.
    pub(crate) fn lose_cache(&mut self, instance_id: &str, volume_id: &str, with_host: bool) {
        let Some(unflushed) = self.host_mut(instance_id).and_then(|host| host.cache.remove(volume_id)) else { return };
        for (graph_id, lost) in unflushed {
            let writes = lost.len();
            if with_host {
                self.graphs.entry(graph_id.clone()).or_default().lost_with_host.extend(&lost);
            }
            let event = EngineEvent::Lost { graph_id, writes, with_host };
            self.ledger.engine(self.now_ms, instance_id, volume_id, event);
        }
    }

    pub(crate) fn probe(&self, instance_id: &str, volume_id: &str, graph_id: &str) -> Option<Probe> {
        let files = self.volumes.get(volume_id)?.device.graphs.get(graph_id)?;
        let writes = self.visible_writes(instance_id, volume_id, graph_id);
        let start = mix(files.nodes ^ mix(files.relationships));
        Some(Probe {
            nodes: files.nodes + writes.len(),
            relationships: files.relationships + writes.len(),
            checksum: format!("{:016x}", writes.checksum(start)),
        })
    }

    pub(crate) fn usage(&self, instance_id: &str, volume_id: &str) -> Usage {
        let mut usage = Usage::default();
        let Some(volume) = self.volumes.get(volume_id) else { return usage };
        for (graph_id, files) in &volume.device.graphs {
            let unflushed = self.visible_writes(instance_id, volume_id, graph_id).minus(&files.writes).len();
            usage.graphs.insert(graph_id.clone(), files.total_bytes() + unflushed * WRITE_BYTES);
            usage.subgraphs.extend(files.subgraphs.clone());
        }
        usage
    }

    pub(crate) fn audit_writes(&self, request: &AuditWrites) -> Result<WriteAudit, ApiError> {
        let graph_id = &request.graph_id;
        let graph = self.known_graph(graph_id)?;
        let serves = |instance_id: &&String| {
            let engine = self.instances.get(*instance_id).and_then(|instance| instance.host.engine.as_ref());
            let volume = engine.and_then(|engine| self.volumes.get(&engine.volume_id));
            volume.is_some_and(|volume| volume.device.graphs.contains_key(graph_id))
        };
        let open_on = self.instances.keys().find(serves);
        let engine = open_on.and_then(|id| self.instances.get(id)).and_then(|instance| instance.host.engine.as_ref());
        let readable = if let (Some(instance_id), Some(engine)) = (open_on, engine) {
            self.visible_writes(instance_id, &engine.volume_id, graph_id)
        } else {
            let files = self.volumes.get(&graph.volume_id).and_then(|volume| volume.device.graphs.get(graph_id));
            files.map(|files| files.writes.clone()).unwrap_or_default()
        };
        let missing = graph.acknowledged.minus(&readable);
        Ok(WriteAudit {
            acknowledged: graph.acknowledged.len(),
            readable: graph.acknowledged.len() - missing.len(),
            missing: missing.iter().take(MISSING_LISTED).collect(),
            missing_count: missing.len(),
            lost_with_host: missing.len() - missing.minus(&graph.lost_with_host).len(),
            open_on: open_on.cloned(),
        })
    }

    pub(crate) fn set_load(&mut self, request: &SetLoad) -> Result<Done, ApiError> {
        self.known_graph(&request.graph_id)?;
        let graph = self.graphs.entry(request.graph_id.clone()).or_default();
        (graph.readers, graph.writers) = (request.readers, request.writers);
        Ok(Done {})
    }

    fn known_graph(&self, graph_id: &str) -> Result<&Graph, ApiError> {
        let unknown = || ApiError::new("UNKNOWN_GRAPH", format!("there is no graph {graph_id}"), 404);
        self.graphs.get(graph_id).ok_or_else(unknown)
    }
}

/// How many of `count` clients are left, if they go one by one over `over_ms` from `from_ms` on.
fn falling(count: u32, from_ms: u64, over_ms: u64, now_ms: u64) -> u32 {
    let left_ms = (from_ms + over_ms).saturating_sub(now_ms).min(over_ms);
    let left = (u64::from(count) * left_ms).div_ceil(over_ms.max(1));
    u32::try_from(left).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use super::falling;

    #[test]
    fn clients_go_one_by_one() {
        let left: Vec<u32> = [0, 1, 2_500, 4_999, 5_000, 9_000].map(|now| falling(4, 0, 5_000, now)).into();
        assert_eq!(left, [4, 4, 2, 1, 0, 0]);
        assert_eq!(falling(0, 0, 5_000, 0), 0);
        assert_eq!(falling(4, 10, 0, 10), 0);
    }
}
