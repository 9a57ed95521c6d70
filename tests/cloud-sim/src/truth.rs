//! What *is*, without read lag, backward reads or lost answers: for whoever judges a history in process, never for a
//! client. No API shows this, and nothing in the model reads it.

use crate::sim::Sim;

/// Where a volume hangs at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The instance.
    pub instance_id: String,
    /// Device name as requested.
    pub device: String,
    /// EC2's word: `attaching`, `attached`, `detaching` or `busy`.
    pub state: &'static str,
    /// A living host has it mounted.
    pub mounted: bool,
}

impl Sim {
    /// The attachment of a volume now; none if it hangs nowhere, or is not there.
    pub fn held(&self, volume_id: &str) -> Option<Held> {
        let link = self.volumes.get(volume_id)?.link(self.now_ms)?;
        Some(Held {
            instance_id: link.instance_id.clone(),
            device: link.device.clone(),
            state: link.state(self.now_ms)?.name(),
            mounted: self.mounted_on(&link.instance_id, volume_id),
        })
    }

    /// Data volumes that hang on an instance now, in the order of their ids.
    pub fn data_volumes(&self, instance_id: &str) -> Vec<String> {
        let Some(instance) = self.instances.get(instance_id) else { return Vec::new() };
        let here = |id: &&String| self.held(id).is_some_and(|held| held.instance_id == instance_id);
        instance.touched.iter().filter(|id| **id != instance.root_volume_id).filter(here).cloned().collect()
    }

    /// Whether an instance's end was asked for, or it never was.
    pub fn ending(&self, instance_id: &str) -> bool {
        self.instances.get(instance_id).is_none_or(|instance| instance.end.is_some())
    }

    /// Whether a host has no power, by a fault or by its end.
    pub fn powerless(&self, instance_id: &str) -> bool {
        self.instances.get(instance_id).is_none_or(|instance| instance.host.dead)
    }

    /// How many snapshots with all of these tags are in `error` now.
    pub fn failed_snapshots(&self, tags: &[(&str, &str)]) -> u32 {
        let failed = self.snapshots.values().filter(|snapshot| snapshot.fails && snapshot.end_ms <= self.now_ms);
        let tagged = failed.filter(|s| tags.iter().all(|(key, value)| s.tags.get(*key).is_some_and(|v| v == value)));
        u32::try_from(tagged.count()).unwrap_or(u32::MAX)
    }

    /// The instant whose bytes a snapshot holds, if it is completed now.
    pub fn completed_snapshot(&self, snapshot_id: &str) -> Option<u64> {
        let snapshot = self.snapshots.get(snapshot_id)?;
        (!snapshot.fails && snapshot.end_ms <= self.now_ms).then_some(snapshot.start_ms)
    }
}
