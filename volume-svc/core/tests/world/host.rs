//! An instance from inside: the agent and its engine. The engine acknowledges a write before it is on the disk, so
//! that a forgotten unmount loses something.

use super::cloud::Volume;
use volume_core::effect::{AgentState, Done, Probe, Trouble};

/// Who is let in. The order is: ever fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    Open,
    WritesShut,
    Shut,
}

/// An engine that has the volume open.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    /// Acknowledged, and not on the disk yet.
    pub unflushed: Vec<u64>,
}

/// So many acknowledged writes stay in memory.
const UNFLUSHED_MAX: usize = 3;

/// An agent, with what it runs.
#[derive(Clone, Debug)]
pub struct Host {
    pub state: AgentState,
    pub mounted: bool,
    pub fs_uuid: Option<String>,
    /// The highest fence that it has obeyed.
    pub fence: i64,
    pub door: Door,
    pub engine: Option<Engine>,
    /// When the last writer ends, once the door is shut.
    pub writers_until: i64,
    /// When the last connection ends, once the door is shut.
    pub readers_until: i64,
}

impl Host {
    pub fn idle() -> Self {
        Self {
            state: AgentState::Released,
            mounted: false,
            fs_uuid: None,
            fence: 0,
            door: Door::Shut,
            engine: None,
            writers_until: 0,
            readers_until: 0,
        }
    }

    pub fn serving(volume: &Volume) -> Self {
        Self {
            state: AgentState::Serving,
            mounted: true,
            fs_uuid: Some(volume.fs_uuid.clone()),
            door: Door::Open,
            engine: Some(Engine::default()),
            ..Self::idle()
        }
    }

    /// The instance ends: what was not on the disk is lost.
    pub fn die(&mut self) {
        *self = Self { fence: i64::MAX, ..Self::idle() };
    }

    /// A client's write; true: acknowledged.
    pub fn write(&mut self, write: u64, volume: &mut Volume) -> bool {
        match &mut self.engine {
            Some(engine) if self.door == Door::Open => {
                engine.unflushed.push(write);
                if engine.unflushed.len() > UNFLUSHED_MAX {
                    volume.disk.push(engine.unflushed.remove(0));
                }
                true
            }
            _ => false,
        }
    }

    pub fn drain(&mut self, door: Door, writers_until: i64, readers_until: i64) -> Result<Done, Trouble> {
        match self.state {
            AgentState::Serving | AgentState::Drained => {
                if self.door == Door::Open {
                    self.writers_until = writers_until;
                }
                if self.door < Door::Shut {
                    self.readers_until = readers_until;
                }
                self.door = self.door.max(door);
                self.state = AgentState::Drained;
                Ok(Done::Accepted)
            }
            AgentState::Adopted | AgentState::Releasing | AgentState::Released => Ok(Done::Accepted),
            _ => Err(Trouble::Permanent),
        }
    }

    pub fn resume(&mut self) -> Result<Done, Trouble> {
        match self.state {
            AgentState::Serving | AgentState::Drained | AgentState::Adopted => {
                self.door = Door::Open;
                self.state = AgentState::Serving;
                Ok(Done::Accepted)
            }
            _ => Err(Trouble::Permanent),
        }
    }

    /// True: a job has begun.
    pub fn release(&mut self) -> bool {
        match self.state {
            AgentState::Releasing | AgentState::Released => false,
            AgentState::Adopting | AgentState::Failed if !self.mounted => {
                self.state = AgentState::Released;
                false
            }
            _ => {
                self.door = Door::Shut;
                self.state = AgentState::Releasing;
                true
            }
        }
    }

    /// The release is through: stopped, synced, unmounted. `busy`: somebody keeps the mount.
    pub fn released(&mut self, volume: &mut Volume, attached: bool, busy: bool) {
        if self.state != AgentState::Releasing {
            return;
        }
        if let Some(engine) = self.engine.take()
            && attached
        {
            volume.disk.extend(engine.unflushed);
        }
        if busy {
            self.state = AgentState::Failed;
            return;
        }
        self.mounted = false;
        self.state = AgentState::Released;
    }

    /// True: a job has begun.
    pub fn adopt(&mut self) -> Result<bool, Trouble> {
        match self.state {
            AgentState::Serving | AgentState::Drained | AgentState::Adopted | AgentState::Adopting => Ok(false),
            AgentState::Releasing => Err(Trouble::Permanent),
            _ => {
                self.state = AgentState::Adopting;
                Ok(true)
            }
        }
    }

    /// The adopt is through: mounted if the device is there and is the right one, engine open and recovered, door shut.
    pub fn adopted(&mut self, volume: &mut Volume, attached: bool, uuid: Option<&str>) {
        if self.state != AgentState::Adopting {
            return;
        }
        if !attached || uuid.is_some_and(|wanted| wanted != volume.fs_uuid) {
            self.state = AgentState::Failed;
            return;
        }
        self.mounted = true;
        self.fs_uuid = Some(volume.fs_uuid.clone());
        volume.disk.append(&mut volume.log);
        self.engine = Some(Engine::default());
        self.door = Door::Shut;
        self.state = AgentState::Adopted;
    }

    /// What the engine answers about the graph: exact, so that one lost write shows.
    pub fn probe(&self, volume: &Volume) -> Option<Probe> {
        let engine = self.engine.as_ref().filter(|_| self.state != AgentState::Releasing)?;
        let mut all: Vec<u64> = volume.disk.iter().chain(&engine.unflushed).copied().collect();
        all.sort_unstable();
        let checksum = all.iter().fold(7_u64, |sum, write| sum.wrapping_mul(31).wrapping_add(*write));
        let nodes = i64::try_from(all.len()).expect("few");
        Some(Probe { nodes, relationships: nodes * 2, checksum: format!("{checksum:x}") })
    }

    /// Writes that are running.
    pub fn writers(&self, now: i64) -> Option<i64> {
        self.engine.as_ref().map(|_| i64::from(self.door == Door::Open || now < self.writers_until))
    }

    /// Connections that are open.
    pub fn connections(&self, now: i64) -> Option<i64> {
        self.engine.as_ref().map(|_| if self.door < Door::Shut || now < self.readers_until { 3 } else { 0 })
    }
}
