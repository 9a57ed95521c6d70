//! An instance from the inside: power, the devices that the guest sees, and the memory that a crash takes away.
//!
//! The root disk survives a crash (the agent's record and fences are there), the page cache does not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::api::agent::Info;
use crate::api::{ApiError, Done, control::RebootInstance};
use crate::ec2::instances::Instance;
use crate::engine::Engine;
use crate::ids::Kind;
use crate::sim::{Event, Sim, refused};
use crate::timing::Op;
use crate::writes::WriteSet;

/// Acknowledged writes that are not on the device, by volume and graph.
pub type Cache = BTreeMap<String, BTreeMap<String, WriteSet>>;

/// What runs on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// No power: by a fault, or because the instance was terminated.
    pub dead: bool,
    /// The agent never starts, whatever happens to the power.
    #[serde(default)]
    pub no_agent: bool,
    /// Counts starts; a start that was overtaken by a power cut does nothing.
    pub boot: u64,
    /// From when on the agent answers.
    pub up_ms: u64,
    /// What is installed.
    pub build: Info,
    /// The agent.
    pub agent: Agent,
    /// The engine, while it has files open.
    pub engine: Option<Engine>,
    /// What is not flushed.
    pub cache: Cache,
}

impl Sim {
    /// The host behind an instance id, if its agent answers now.
    pub(crate) fn answering(&self, instance_id: &str) -> Result<&Host, ApiError> {
        let host = self.instances.get(instance_id).map(|instance| &instance.host);
        host.filter(|host| !host.dead && !host.no_agent && host.up_ms <= self.now_ms).ok_or_else(refused)
    }

    pub(crate) fn host_mut(&mut self, instance_id: &str) -> Option<&mut Host> {
        self.instances.get_mut(instance_id).map(|instance| &mut instance.host)
    }

    /// Whether a volume is mounted on an instance, which makes EC2's detach wait.
    pub(crate) fn mounted_on(&self, instance_id: &str, volume_id: &str) -> bool {
        let host = self.instances.get(instance_id).map(|instance| &instance.host);
        host.is_some_and(|host| {
            let known = host.agent.mounted && host.agent.volume_id == volume_id;
            !host.dead && (known || host.agent.kept_mount.as_deref() == Some(volume_id))
        })
    }

    /// Whether the guest sees a volume's device now.
    pub(crate) fn in_guest(&self, instance_id: &str, volume_id: &str) -> bool {
        let link = self.volumes.get(volume_id).and_then(|volume| volume.link(self.now_ms));
        link.is_some_and(|link| link.instance_id == instance_id && link.in_guest(self.now_ms))
    }

    /// The data volume whose device the guest sees: the agent's own one if it is there, else the newest.
    pub(crate) fn guest_volume(&self, instance_id: &str) -> Option<String> {
        let instance = self.instances.get(instance_id)?;
        let own = &instance.host.agent.volume_id;
        if self.in_guest(instance_id, own) {
            return Some(own.clone());
        }
        let seen =
            instance.touched.iter().filter(|id| **id != instance.root_volume_id && self.in_guest(instance_id, id));
        let start_ms = |id: &&String| self.volumes.get(*id).and_then(|volume| volume.link(self.now_ms)?.attached_ms);
        seen.max_by_key(start_ms).cloned()
    }

    /// The power goes: no agent, no engine, no memory. `with_host` says whether a fault did it.
    pub(crate) fn power_off(&mut self, instance_id: &str, with_host: bool) {
        let Some(host) = self.host_mut(instance_id) else { return };
        host.dead = true;
        host.boot += 1;
        let known = host.agent.mounted.then(|| host.agent.volume_id.clone());
        let was_mounted: Vec<String> = known.into_iter().chain(host.agent.kept_mount.take()).collect();
        let cached: Vec<String> = host.cache.keys().cloned().collect();
        host.agent.power_off();
        self.close_engine(instance_id, false);
        for volume_id in cached {
            self.lose_cache(instance_id, &volume_id, with_host);
        }
        for volume_id in was_mounted {
            self.unmounted(self.now_ms, &volume_id);
        }
    }

    /// Somebody goes to every host whose agent left a mount behind, and unmounts.
    pub(crate) fn unmount_by_hand(&mut self) {
        let kept = |instance: &mut Instance| instance.host.agent.kept_mount.take();
        let left: Vec<String> = self.instances.values_mut().filter_map(kept).collect();
        for volume_id in left {
            self.unmounted(self.now_ms, &volume_id);
        }
    }

    /// The power comes back: the agent is up a little later.
    pub(crate) fn power_on(&mut self, instance_id: &str) {
        let up_ms = self.now_ms + self.dice.duration_ms(Op::AgentUp);
        let Some(instance) = self.instances.get_mut(instance_id).filter(|instance| instance.end.is_none()) else {
            return;
        };
        // An instance that was still booting does not get faster by this.
        let up_ms = up_ms.max(instance.host.up_ms);
        instance.host.dead = false;
        instance.host.boot += 1;
        instance.host.up_ms = up_ms;
        let event = Event::HostUp { instance_id: instance_id.to_owned(), boot: instance.host.boot };
        self.queue(up_ms, event);
    }

    /// The agent has started after a power cut: it goes on as its record on the root disk says (H13).
    pub(crate) fn host_up(&mut self, instance_id: &str, boot: u64) {
        let Some(host) = self.host_mut(instance_id).filter(|host| host.boot == boot && !host.dead) else { return };
        let record = host.agent.record.clone();
        host.agent.volume_id.clone_from(&record.volume_id);
        if let Some(door) = record.door {
            self.start_mount(instance_id, &record.volume_id, Some(record.fs_uuid), door, false);
        }
    }

    /// A device has left the guest. Under a mount that is an accident.
    pub(crate) fn device_gone(&mut self, instance_id: &str, volume_id: &str) {
        if self.in_guest(instance_id, volume_id) {
            // The link that ended is an older one; the volume is back.
            return;
        }
        let kept = self.host_mut(instance_id).filter(|host| host.agent.kept_mount.as_deref() == Some(volume_id));
        if let Some(host) = kept {
            // The agent does not look there any more.
            host.agent.kept_mount = None;
        } else if self.mounted_on(instance_id, volume_id) {
            self.close_engine(instance_id, false);
            if let Some(host) = self.host_mut(instance_id) {
                host.agent.mounted = false;
                host.agent.fail("DEVICE_LOST");
            }
        }
        self.lose_cache(instance_id, volume_id, false);
    }

    pub(crate) fn reboot_instance(&mut self, request: &RebootInstance) -> Result<Done, ApiError> {
        self.living(&request.instance_id)?;
        self.power_off(&request.instance_id, true);
        self.power_on(&request.instance_id);
        Ok(Done {})
    }

    /// Refuses an instance that does not exist or is being terminated.
    pub(crate) fn living(&self, instance_id: &str) -> Result<(), ApiError> {
        match self.instances.get(instance_id) {
            Some(instance) if instance.end.is_none() => Ok(()),
            _ => Err(Kind::Instance.not_found(&[instance_id])),
        }
    }
}
