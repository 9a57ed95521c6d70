//! The agent on an instance: drain, resume, release, adopt, and what it keeps on the root disk (H13, H14, H15).
//!
//! It starts the engine only from its record, and only on a mount of the recorded uuid; it never formats. Fences are kept
//! per volume, because they grow per volume: an instance that served one volume must be able to adopt another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::api::agent::{
    Address, AgentAdopt, AgentDrain, AgentProbe, AgentRelease, AgentResume, AgentState, Command, Connections,
    DrainScope, Health, Info, Probe, Usage, VolumeStatus,
};
use crate::engine::Door;
use crate::faults::Fault;
use crate::ids::nvme_serial;
use crate::sim::{Event, Sim};
use crate::timing::{Mishap, Op};

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// On the root disk: what to do after a restart.
    pub record: Record,
    /// On the root disk: the highest fence of each volume, with its migration.
    pub fences: BTreeMap<String, Fence>,
    /// The volume that it has, had, or is adopting; empty if none.
    pub volume_id: String,
    /// Where it stands.
    pub state: AgentState,
    /// Whether that volume is mounted.
    pub mounted: bool,
    /// The volume whose mount was left behind by an unmount that failed unseen ([`Fault::AgentKeepsMount`]).
    #[serde(default)]
    pub kept_mount: Option<String>,
    /// Who keeps the mount busy.
    pub holders: Vec<String>,
    /// Why the last job failed.
    pub error: Option<String>,
    /// What it is doing.
    pub job: Option<Job>,
    /// Counts jobs; a step of an older job does nothing.
    pub jobs: u64,
}

/// What an agent fsyncs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The volume.
    pub volume_id: String,
    /// Its file system.
    pub fs_uuid: String,
    /// How to open the engine after a restart; `None` = released, do not.
    pub door: Option<Door>,
    /// Migration of the last accepted command.
    pub migration_id: String,
}

/// The highest fence that was seen for a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The fence.
    pub fence: u64,
    /// Whose it is.
    pub migration_id: String,
}

/// Something that takes an agent a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Stop the engine, sync, unmount.
    Release,
    /// Find the device, check it, mount it.
    Mount {
        /// The uuid that it must have; `None` = any.
        fs_uuid: Option<String>,
        /// How to open the engine then.
        door: Door,
        /// Whether this is an adoption (which ends in `adopted`) or a restart.
        adoption: bool,
    },
    /// Open the engine on the mount.
    Open {
        /// With this door.
        door: Door,
        /// As in `Mount`.
        adoption: bool,
    },
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            record: Record::default(),
            fences: BTreeMap::new(),
            volume_id: String::new(),
            state: AgentState::Released,
            mounted: false,
            kept_mount: None,
            holders: Vec::new(),
            error: None,
            job: None,
            jobs: 0,
        }
    }
}

impl Agent {
    /// Forgets what is not on the root disk.
    pub(crate) fn power_off(&mut self) {
        self.state = AgentState::Released;
        self.mounted = false;
        self.kept_mount = None;
        self.holders.clear();
        self.error = None;
        self.job = None;
        self.jobs += 1;
    }

    /// Ends the job with an error.
    pub(crate) fn fail(&mut self, error: &str) {
        self.state = AgentState::Failed;
        self.error = Some(error.to_owned());
        self.job = None;
    }

    /// Writes the record.
    pub(crate) fn remember(&mut self, volume_id: &str, fs_uuid: &str, door: Option<Door>) {
        volume_id.clone_into(&mut self.record.volume_id);
        fs_uuid.clone_into(&mut self.record.fs_uuid);
        self.record.door = door;
    }

    fn start(&mut self, job: Job) -> u64 {
        self.jobs += 1;
        self.job = Some(job);
        self.holders.clear();
        self.error = None;
        self.jobs
    }
}

fn conflict(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(code, message, 409)
}

impl Sim {
    pub(crate) fn agent_health(&self, to: &Address) -> Result<Health, ApiError> {
        let host = self.answering(&to.instance_id)?;
        Ok(Health {
            status: "healthy".to_owned(),
            instance_id: to.instance_id.clone(),
            engine_open: host.engine.is_some(),
        })
    }

    pub(crate) fn agent_info(&self, to: &Address) -> Result<Info, ApiError> {
        self.authorised(to)?;
        Ok(self.answering(&to.instance_id)?.build.clone())
    }

    pub(crate) fn agent_volume(&self, to: &Address) -> Result<VolumeStatus, ApiError> {
        self.authorised(to)?;
        let agent = &self.answering(&to.instance_id)?.agent;
        let recorded = agent.record.volume_id == agent.volume_id && !agent.record.fs_uuid.is_empty();
        Ok(VolumeStatus {
            volume_id: some(&agent.volume_id),
            serial: self.guest_volume(&to.instance_id).map(|id| nvme_serial(&id)),
            mounted: agent.mounted,
            fs_uuid: recorded.then(|| agent.record.fs_uuid.clone()),
            state: agent.state,
            fence: agent.fences.get(&agent.volume_id).map(|mark| mark.fence),
            migration_id: some(&agent.record.migration_id),
            holders: agent.holders.clone(),
            error: agent.error.clone(),
        })
    }

    pub(crate) fn agent_connections(&mut self, to: &Address) -> Result<Connections, ApiError> {
        self.authorised(to)?;
        self.answering(&to.instance_id)?;
        let counted = self.connections(&to.instance_id);
        if counted.active_connections > 0 && self.faults.strikes(&Fault::AgentHidesConnections) {
            return Ok(Connections { active_connections: 0, active_writes: 0 });
        }
        Ok(counted)
    }

    pub(crate) fn agent_usage(&self, to: &Address) -> Result<Usage, ApiError> {
        self.authorised(to)?;
        let engine = self.answering(&to.instance_id)?.engine.as_ref();
        let engine = engine.ok_or_else(|| conflict("WRONG_STATE", "the engine is not open"))?;
        Ok(self.usage(&to.instance_id, &engine.volume_id))
    }

    pub(crate) fn agent_probe(&self, request: &AgentProbe) -> Result<Probe, ApiError> {
        self.authorised(&request.to)?;
        let instance_id = &request.to.instance_id;
        let host = self.answering(instance_id)?;
        // A stopping engine answers nobody.
        let engine = host.engine.as_ref().filter(|_| host.agent.state != AgentState::Releasing);
        let probe = engine.and_then(|engine| self.probe(instance_id, &engine.volume_id, &request.graph_id));
        probe.ok_or_else(|| {
            ApiError::new("GRAPH_NOT_SERVED", format!("{} is not served by {instance_id}", request.graph_id), 404)
        })
    }

    pub(crate) fn agent_drain(&mut self, request: &AgentDrain) -> Result<VolumeStatus, ApiError> {
        let (to, command) = (&request.to, &request.command);
        let state = self.accept(to, command)?;
        let wanted = match request.scope {
            DrainScope::Writes => Door::WritesShut,
            DrainScope::All => Door::Shut,
        };
        match state {
            AgentState::Serving | AgentState::Drained if self.faults.strikes(&Fault::AgentSkipsDrain) => {
                if let Some(host) = self.host_mut(&to.instance_id) {
                    host.agent.state = AgentState::Drained;
                }
            }
            AgentState::Serving | AgentState::Drained => {
                let engine = self.answering(&to.instance_id)?.engine.as_ref();
                // A repeated `writes` after `all` must not open the door for reads again.
                let door = engine.map_or(wanted, |engine| engine.door.max(wanted));
                self.set_door(&to.instance_id, door);
                self.settle(&to.instance_id, AgentState::Drained, door);
            }
            // Nobody is let in there anyway.
            AgentState::Adopted | AgentState::Releasing | AgentState::Released => {}
            AgentState::Adopting | AgentState::Failed => return Err(wrong_state(state)),
        }
        self.agent_volume(to)
    }

    pub(crate) fn agent_resume(&mut self, request: &AgentResume) -> Result<VolumeStatus, ApiError> {
        let (to, command) = (&request.to, &request.command);
        match self.accept(to, command)? {
            AgentState::Serving => {}
            AgentState::Drained | AgentState::Adopted => {
                self.set_door(&to.instance_id, Door::Open);
                self.settle(&to.instance_id, AgentState::Serving, Door::Open);
            }
            state => return Err(wrong_state(state)),
        }
        self.agent_volume(to)
    }

    pub(crate) fn agent_release(&mut self, request: &AgentRelease) -> Result<VolumeStatus, ApiError> {
        let (to, command) = (&request.to, &request.command);
        // A release of a volume that never came leaves the fence behind: an adopt that is late is then refused.
        if self.accept_idle(to, command)? {
            return self.agent_volume(to);
        }
        let instance_id = &to.instance_id;
        let agent = &self.answering(instance_id)?.agent;
        let mounted = agent.mounted;
        match agent.state {
            AgentState::Releasing | AgentState::Released => {}
            AgentState::Adopting | AgentState::Failed if !mounted => {
                if let Some(host) = self.host_mut(instance_id) {
                    host.agent.job = None;
                    host.agent.error = None;
                    host.agent.state = AgentState::Released;
                    // What a failed or cancelled mount leaves behind is nobody's to start after a restart.
                    host.agent.record.door = None;
                }
            }
            _ => {
                self.set_door(instance_id, Door::Shut);
                let after_ms = self.dice.duration_ms(Op::EngineStop);
                if let Some(host) = self.host_mut(instance_id) {
                    host.agent.state = AgentState::Releasing;
                    if host.agent.record.door.is_some() {
                        host.agent.record.door = Some(Door::Shut);
                    }
                }
                self.start_job(instance_id, Job::Release, after_ms);
            }
        }
        self.agent_volume(to)
    }

    pub(crate) fn agent_adopt(&mut self, request: &AgentAdopt) -> Result<VolumeStatus, ApiError> {
        let (to, command) = (&request.to, &request.command);
        self.authorised(to)?;
        let agent = &self.answering(&to.instance_id)?.agent;
        let (state, mounted, same) = (agent.state, agent.mounted, agent.volume_id == command.volume_id);
        if !same && (mounted || matches!(state, AgentState::Adopting | AgentState::Releasing)) {
            self.fence(to, command, false)?;
            return Err(wrong_state(state));
        }
        self.fence(to, command, true)?;
        match state {
            AgentState::Serving | AgentState::Drained | AgentState::Adopted | AgentState::Adopting => {}
            AgentState::Releasing => return Err(wrong_state(state)),
            AgentState::Released | AgentState::Failed => {
                let record = &self.answering(&to.instance_id)?.agent.record;
                let own = Some(&record.fs_uuid).filter(|_| record.volume_id == command.volume_id);
                let fs_uuid = request.fs_uuid.as_ref().or(own).cloned();
                self.start_mount(&to.instance_id, &command.volume_id, fs_uuid, Door::Shut, true);
            }
        }
        self.agent_volume(to)
    }

    /// Starts to mount a volume and to open the engine on it.
    pub(crate) fn start_mount(
        &mut self,
        instance_id: &str,
        volume_id: &str,
        fs_uuid: Option<String>,
        door: Door,
        adoption: bool,
    ) {
        if let Some(host) = self.host_mut(instance_id) {
            volume_id.clone_into(&mut host.agent.volume_id);
            host.agent.state = AgentState::Adopting;
        }
        let after_ms = self.dice.duration_ms(Op::Mount);
        self.start_job(instance_id, Job::Mount { fs_uuid, door, adoption }, after_ms);
    }

    fn start_job(&mut self, instance_id: &str, job: Job, after_ms: u64) {
        let Some(host) = self.host_mut(instance_id) else { return };
        let job = host.agent.start(job);
        self.queue(self.now_ms + after_ms, Event::AgentStep { instance_id: instance_id.to_owned(), job });
    }

    /// An agent's job has got through.
    pub(crate) fn agent_step(&mut self, instance_id: &str, job: u64) {
        let Some(host) = self.host_mut(instance_id).filter(|host| host.agent.jobs == job && !host.dead) else { return };
        let volume_id = host.agent.volume_id.clone();
        match host.agent.job.take() {
            None => {}
            Some(Job::Release) => self.finish_release(instance_id, &volume_id),
            Some(Job::Mount { fs_uuid, door, adoption }) => {
                match self.mountable(instance_id, &volume_id, fs_uuid.as_deref()) {
                    Err(error) => self.fail_agent(instance_id, error),
                    Ok(found) => {
                        self.mounted(instance_id, &volume_id, &found, adoption);
                        let after_ms = self.dice.duration_ms(Op::EngineOpen);
                        self.start_job(instance_id, Job::Open { door, adoption }, after_ms);
                    }
                }
            }
            Some(Job::Open { door, adoption }) => {
                self.open_engine(instance_id, &volume_id, door);
                let state = match (adoption, door) {
                    (true, _) => AgentState::Adopted,
                    (false, Door::Open) => AgentState::Serving,
                    (false, _) => AgentState::Drained,
                };
                self.settle(instance_id, state, door);
            }
        }
    }

    fn mounted(&mut self, instance_id: &str, volume_id: &str, fs_uuid: &str, adoption: bool) {
        if let Some(host) = self.host_mut(instance_id) {
            host.agent.mounted = true;
            host.agent.kept_mount.take_if(|kept| kept == volume_id);
            // The record of a restart keeps its door; an adoption that is cut short is not to be repeated by one.
            let kept = host.agent.record.door.filter(|_| !adoption);
            host.agent.remember(volume_id, fs_uuid, kept);
        }
    }

    fn finish_release(&mut self, instance_id: &str, volume_id: &str) {
        let lies = self.faults.strikes(&Fault::AgentSkipsUnmount);
        let keeps = !lies && self.faults.strikes(&Fault::AgentKeepsMount);
        let busy = !lies && !keeps && self.dice.mishap(Mishap::MountBusy);
        if !lies {
            self.flush(instance_id, volume_id);
        }
        self.close_engine(instance_id, !lies);
        if busy {
            self.fail_agent(instance_id, "MOUNT_BUSY");
            if let Some(host) = self.host_mut(instance_id) {
                host.agent.holders = vec!["backup[4711]".to_owned()];
            }
            return;
        }
        if let Some(host) = self.host_mut(instance_id) {
            host.agent.mounted = false;
            host.agent.state = AgentState::Released;
            host.agent.record.door = None;
            host.agent.kept_mount = keeps.then(|| volume_id.to_owned());
        }
        if !keeps {
            self.unmounted(self.now_ms, volume_id);
        }
    }

    /// The uuid of a volume's file system if it can be mounted, else why not.
    fn mountable(&self, instance_id: &str, volume_id: &str, fs_uuid: Option<&str>) -> Result<String, &'static str> {
        let volume = self.volumes.get(volume_id).filter(|_| self.in_guest(instance_id, volume_id));
        let device = &volume.ok_or("SERIAL_NOT_FOUND")?.device;
        let found = device.fs_uuid.as_ref().ok_or("NO_FILE_SYSTEM")?;
        if fs_uuid.is_some_and(|wanted| wanted != found) {
            return Err("FS_UUID_MISMATCH");
        }
        let reads = self.instances.get(instance_id).map(|instance| &instance.host.build.format);
        if !device.format.is_empty() && reads != Some(&device.format) {
            return Err("ENGINE_MISMATCH");
        }
        Ok(found.clone())
    }

    fn fail_agent(&mut self, instance_id: &str, error: &str) {
        if let Some(host) = self.host_mut(instance_id) {
            host.agent.fail(error);
        }
    }

    /// Enters a state in which the engine is open, and writes the record.
    fn settle(&mut self, instance_id: &str, state: AgentState, door: Door) {
        if let Some(host) = self.host_mut(instance_id) {
            host.agent.state = state;
            host.agent.record.door = Some(door);
        }
    }

    fn authorised(&self, to: &Address) -> Result<(), ApiError> {
        self.answering(&to.instance_id)?;
        if to.api_key.as_deref() == Some(self.config.agent_api_key.as_str()) {
            return Ok(());
        }
        Err(ApiError::new("UNAUTHORIZED", "the API key is missing or wrong", 401))
    }

    /// Checks a command for the volume that this agent has, stores its fence, and says where the agent stands.
    fn accept(&mut self, to: &Address, command: &Command) -> Result<AgentState, ApiError> {
        self.authorised(to)?;
        let agent = &self.answering(&to.instance_id)?.agent;
        let (state, here) = (agent.state, agent.volume_id == command.volume_id);
        self.fence(to, command, here)?;
        if here { Ok(state) } else { Err(not_here(command)) }
    }

    /// The same for a release, which is also for an agent that has no volume at all: then true.
    fn accept_idle(&mut self, to: &Address, command: &Command) -> Result<bool, ApiError> {
        self.authorised(to)?;
        let agent = &self.answering(&to.instance_id)?.agent;
        let here = agent.volume_id == command.volume_id;
        let idle = !here && agent.state == AgentState::Released;
        self.fence(to, command, here || idle)?;
        if here || idle { Ok(idle) } else { Err(not_here(command)) }
    }

    /// H14: the right instance, and no lower fence than the highest seen for the volume. Stores it if told to.
    fn fence(&mut self, to: &Address, command: &Command, store: bool) -> Result<(), ApiError> {
        if command.instance_id != to.instance_id {
            return Err(conflict("FENCED", format!("this is {}, not {}", to.instance_id, command.instance_id)));
        }
        let Some(host) = self.host_mut(&to.instance_id) else { return Err(crate::sim::refused()) };
        let known = host.agent.fences.get(&command.volume_id).cloned().unwrap_or_default();
        let other = command.fence == known.fence && command.migration_id != known.migration_id;
        if command.fence < known.fence || (other && !known.migration_id.is_empty()) {
            return Err(conflict("FENCED", format!("fence {} of {} is known", known.fence, known.migration_id)));
        }
        if store {
            let mark = Fence { fence: command.fence, migration_id: command.migration_id.clone() };
            host.agent.fences.insert(command.volume_id.clone(), mark);
            host.agent.record.migration_id.clone_from(&command.migration_id);
        }
        Ok(())
    }
}

/// Empty in the agent's own record means none.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn wrong_state(state: AgentState) -> ApiError {
    conflict("WRONG_STATE", format!("not possible in state {state:?}").to_lowercase())
}

fn not_here(command: &Command) -> ApiError {
    conflict("VOLUME_NOT_HERE", format!("{} is not on {}", command.volume_id, command.instance_id))
}
