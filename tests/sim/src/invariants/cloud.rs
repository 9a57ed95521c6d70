//! The invariants that a call of the cloud or a deed of an engine can break, asked right after each.

use super::journal::Journal;
use super::{Verdict, holds};
use cloud_sim::Sim;
use cloud_sim::api::control::{EngineEvent, EngineLogEntry, LedgerEntry};
use cloud_sim::api::engine::Door;
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::ids::ChangeId;
use volume_svc::world::{TAG_MIGRATION, TAG_STEP};

/// Journals by change.
pub type Journals = BTreeMap<ChangeId, Journal>;

/// What the calls and the engines' deeds so far say.
#[derive(Debug, Default)]
pub struct Seen {
    /// Which instance's engine has a volume open.
    open: BTreeMap<String, String>,
    /// Migration and step of every snapshot that was made.
    snapshots: BTreeMap<(String, String), u32>,
    /// Instances that were told to end.
    ended: BTreeSet<String>,
    /// Acknowledged writes that went with an instance which somebody else terminated, by graph.
    pub torn_off: BTreeMap<String, u64>,
}

impl Seen {
    /// Takes a call.
    pub fn call(&mut self, call: &LedgerEntry, journals: &Journals, sim: &Sim) -> Verdict {
        if call.outcome != "ok" {
            return Ok(());
        }
        let parameter = |name: &str| call.parameters.get(name).map_or("", String::as_str);
        match call.action.as_str() {
            "DetachVolume" => i03_no_detach_under_a_mount(parameter("volume_id"), sim),
            "TerminateInstanceInAutoScalingGroup" | "TerminateInstances" => {
                let instance = parameter("instance_id");
                let verdict = i15_no_end_of_a_holder(instance, journals, sim);
                self.ended.insert(instance.to_owned());
                verdict
            }
            "CreateSnapshot" => {
                let migration = parameter(&format!("tag:{TAG_MIGRATION}")).to_owned();
                let step = parameter(&format!("tag:{TAG_STEP}")).to_owned();
                let made = self.snapshots.entry((migration.clone(), step.clone())).or_insert(0);
                *made += 1;
                let tags = [(TAG_MIGRATION, migration.as_str()), (TAG_STEP, step.as_str())];
                rule18_no_blind_snapshot(*made, sim.failed_snapshots(&tags), &migration, &step, journals)
            }
            _ => Ok(()),
        }
    }

    /// Takes a deed of an engine. `lost` are instances that somebody else terminated.
    pub fn deed(&mut self, deed: &EngineLogEntry, journals: &Journals, lost: &BTreeSet<String>) -> Verdict {
        let (volume, instance) = (&deed.volume_id, &deed.instance_id);
        match &deed.event {
            EngineEvent::Opened => {
                let before = self.open.insert(volume.clone(), instance.clone());
                let one = before.as_ref().is_none_or(|other| other == instance);
                holds("14", one, || format!("{instance} and {before:?} have {volume} open"))
            }
            EngineEvent::Closed { .. } => {
                self.open.remove(volume);
                Ok(())
            }
            EngineEvent::Write { write_id, .. } => i02_no_write_behind_the_drain(volume, *write_id, journals),
            // What no mover of volumes can help: the memory of a host that somebody else takes away.
            EngineEvent::Lost { writes, graph_id, .. } if lost.contains(instance) => {
                *self.torn_off.entry(graph_id.clone()).or_insert(0) += writes;
                Ok(())
            }
            EngineEvent::Lost { with_host, writes, .. } => {
                holds("13", *with_host, || format!("{writes} acknowledged writes of {volume} were torn off {instance}"))
            }
            EngineEvent::Door { door } => i02_no_door_opens_unordered(volume, *door, journals),
        }
    }
}

/// The migration that a volume is in, if it is in one that has not ended for the customer.
fn moving<'a>(volume: &str, journals: &'a Journals) -> Option<&'a Journal> {
    let here = |journal: &&Journal| journal.spec.as_ref().is_some_and(|spec| spec.volume.as_str() == volume);
    journals.values().filter(here).find(|journal| !journal.ended)
}

/// 2: from drained to the order to open a door again, the engine itself takes no write.
fn i02_no_write_behind_the_drain(volume: &str, write_id: u64, journals: &Journals) -> Verdict {
    let shut = moving(volume, journals).is_some_and(|j| j.drained_at.is_some() && !j.door_ordered);
    holds("2", !shut, || format!("the engine took write {write_id} of {volume} behind the drain"))
}

/// 2: nor does any engine open its door without that order.
fn i02_no_door_opens_unordered(volume: &str, door: Door, journals: &Journals) -> Verdict {
    let shut = moving(volume, journals).is_some_and(|j| j.drained_at.is_some() && !j.door_ordered);
    holds("2", door != Door::Open || !shut, || format!("a door opens over {volume} behind the drain"))
}

/// 3: no detach of a volume that a living host has mounted.
fn i03_no_detach_under_a_mount(volume: &str, sim: &Sim) -> Verdict {
    let held = sim.held(volume);
    let mounted = held.as_ref().is_some_and(|held| held.mounted);
    holds("3", !mounted, || format!("{volume} is detached under its mount: {held:?}"))
}

/// 15: no instance is ended while it holds a data volume or is named by another migration; except a condemned target
/// before Opened whose agent was given up, or whose host is dark.
fn i15_no_end_of_a_holder(instance: &str, journals: &Journals, sim: &Sim) -> Verdict {
    let deciding = journals.iter().find(|(_, j)| j.condemned.iter().any(|id| id.as_str() == instance));
    let Some((owner, journal)) = deciding else {
        return holds("15", false, || format!("{instance} is ended, and no migration has condemned it"));
    };
    let volumes = sim.data_volumes(instance);
    let is_target = journal.targets.iter().any(|id| id.as_str() == instance);
    let given_up = journal.abandoned.iter().any(|id| id.as_str() == instance) || sim.powerless(instance);
    let excused = is_target && journal.opened_at.is_none() && given_up;
    holds("15", volumes.is_empty() || excused, || format!("{instance} is ended and holds {volumes:?}"))?;
    let named = journals.iter().filter(|(id, j)| *id != owner && !j.done).find(|(_, j)| {
        j.targets.iter().any(|id| id.as_str() == instance)
            || j.spec.as_ref().is_some_and(|s| s.source.instance.as_str() == instance)
    });
    holds("15", named.is_none(), || format!("{instance} is ended by {owner} and named by {:?}", named.map(|n| n.0)))
}

/// Rule 18: a snapshot is made anew only after what exists was looked for, and after a failed one: not twice for one
/// decision, but for those of them that are in `error`. A decision that was given up may have left one that appears later.
fn rule18_no_blind_snapshot(made: u32, failed: u32, migration: &str, step: &str, journals: &Journals) -> Verdict {
    let known = journals.iter().find(|(id, _)| id.as_str() == migration);
    let decided = known.map_or(0, |(_, journal)| journal.snapshots_decided(step));
    holds("rule 18", made <= decided + failed, || {
        format!("{made} snapshots, {failed} of them failed, for {decided} decisions of {migration} {step}")
    })
}
