//! The smallest honest cloud: one volume, its source, one idle instance, and what is true of them whatever anybody has
//! been told. It answers at once; what becomes of an answer is the search's to decide (`volume.rs`).

use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::UnixMs;
use tiershift_core::ids::{ChangeId, GraphId, GroupName, InstanceId, SnapshotId, TierName, VolumeId, Zone};
use volume_core::effect::{
    AgentState, AgentVolume, Attachment, AttachmentState, Candidate, Done, Effect, Engine, GroupSeen, InstanceSeen,
    Observe, Probe, Purpose, Seen, SnapshotSeen, SnapshotState, Trouble,
};
use volume_core::fact::{Party, Spec};
use volume_core::plan::{AttachmentFacts, Facts, GraphFacts, GroupFacts, SourceFacts, VolumeFacts};

macro_rules! id {
    ($kind:ident, $text:expr) => {
        $kind::parse($text).expect("well formed")
    };
}

pub fn source() -> InstanceId {
    id!(InstanceId, "i-50000000")
}
pub fn target() -> InstanceId {
    id!(InstanceId, "i-1d1e0001")
}
pub fn zone() -> Zone {
    id!(Zone, "us-east-1a")
}
pub fn group(name: &str) -> GroupName {
    id!(GroupName, name)
}
pub fn engine() -> Engine {
    Engine { engine: "ladybug".to_owned(), version: "1".to_owned(), format: "7".to_owned() }
}
pub fn probe() -> Probe {
    Probe { nodes: 5, relationships: 6, checksum: "c".to_owned() }
}
pub fn change() -> ChangeId {
    id!(ChangeId, "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV")
}

pub fn spec() -> Spec {
    Spec {
        id: change(),
        graph: id!(GraphId, "kg0123456789abcdef"),
        volume: id!(VolumeId, "vol-0000000a"),
        zone: zone(),
        device: "/dev/sdf".to_owned(),
        source: Party {
            instance: source(),
            private_ip: "10.0.0.9".to_owned(),
            endpoint_url: None,
            group: group("standard"),
            launched: false,
        },
        engine: engine(),
        source_tier: id!(TierName, "ladybug-standard"),
        target_tier: id!(TierName, "ladybug-large"),
        target_group: group("large"),
        storage_limit_bytes: None,
        // Time is abstracted; the limit of the block is tested with the clock.
        max_write_block_ms: i64::MAX / 4,
        requested_by: "user_a".to_owned(),
        fingerprint: "f".to_owned(),
        store_epoch: 1,
    }
}

/// An instance from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub state: AgentState,
    pub mounted: bool,
    pub door_open: bool,
}

impl Host {
    pub const IDLE: Self = Self { state: AgentState::Released, mounted: false, door_open: false };
    pub const SERVING: Self = Self { state: AgentState::Serving, mounted: true, door_open: true };

    /// Whether an engine has the volume open.
    pub fn engine(self) -> bool {
        self.mounted && matches!(self.state, AgentState::Serving | AgentState::Drained | AgentState::Adopted)
    }
}

/// What is true, whatever anybody has been told.
#[derive(Clone, Debug)]
pub struct Truth {
    pub at: Option<(InstanceId, String)>,
    pub hosts: BTreeMap<InstanceId, Host>,
    pub ended: BTreeSet<InstanceId>,
    pub snapshots: Vec<(SnapshotId, Purpose)>,
}

impl Truth {
    fn attachments(&self) -> Vec<Attachment> {
        let shown = |(instance, device): &(InstanceId, String)| Attachment {
            instance: instance.clone(),
            device: device.clone(),
            state: AttachmentState::Attached,
            delete_on_termination: false,
        };
        self.at.iter().map(shown).collect()
    }

    fn instance(&self, id: &InstanceId) -> InstanceSeen {
        let ended = self.ended.contains(id) || !self.hosts.contains_key(id);
        InstanceSeen {
            running: !ended,
            terminated: ended,
            in_service: !ended,
            protected: true,
            group: (!ended).then(|| group(if *id == source() { "standard" } else { "large" })),
            zone: Some(zone()),
            private_ip: Some("10.0.0.1".to_owned()),
            data_volumes: u32::from(self.at.as_ref().is_some_and(|(on, _)| on == id)),
            engine: (!ended).then(engine),
        }
    }

    pub fn look(&self, what: &Observe, now: i64) -> Seen {
        let silent = Seen::Nothing(Trouble::Unknown);
        let host = |id: &InstanceId| self.hosts.get(id).filter(|_| !self.ended.contains(id));
        match what {
            Observe::Facts => Seen::Facts(Box::new(self.facts(now))),
            Observe::Snapshots { purpose } => self.shown(Some(*purpose)),
            Observe::AllSnapshots => self.shown(None),
            Observe::Candidates => {
                let seen = self.instance(&target());
                let fits = seen.running && seen.data_volumes == 0;
                let idle = fits.then(|| Candidate {
                    instance: target(),
                    private_ip: "10.0.0.1".to_owned(),
                    endpoint_url: None,
                    engine: engine(),
                });
                Seen::Candidates(idle.into_iter().collect())
            }
            Observe::Instance { instance } => Seen::Instance(self.instance(instance)),
            Observe::Volume => Seen::Volume(Some(self.attachments())),
            Observe::AgentVolume { instance } => host(instance).map_or(silent, |host| {
                Seen::AgentVolume(AgentVolume {
                    sees_volume: self.at.as_ref().is_some_and(|(on, _)| on == instance),
                    mounted: host.mounted,
                    fs_uuid: Some("u".to_owned()),
                    state: host.state,
                    holders: Vec::new(),
                    error: None,
                })
            }),
            Observe::Writers { instance } => host(instance).map_or(silent, |h| Seen::Count(i64::from(h.door_open))),
            Observe::Connections { instance } => host(instance).map_or(silent, |h| Seen::Count(i64::from(h.door_open))),
            Observe::Probe { instance } => match host(instance) {
                Some(host) if host.engine() => Seen::Probe(probe()),
                Some(_) => Seen::Nothing(Trouble::Permanent),
                None => silent,
            },
            Observe::Usage { .. } => Seen::Usage(1),
            Observe::Group { .. } => Seen::Group(GroupSeen { desired: 3, min: 0, max: 9 }),
            Observe::Permits => Seen::Permits(BTreeMap::new()),
        }
    }

    fn shown(&self, purpose: Option<Purpose>) -> Seen {
        let ours = self.snapshots.iter().enumerate().filter(|(_, (_, of))| purpose.is_none_or(|p| p == *of));
        let seen = |(n, (id, _)): (usize, &(SnapshotId, Purpose))| SnapshotSeen {
            id: id.clone(),
            state: SnapshotState::Completed,
            started_ms: i64::try_from(n).expect("few"),
            percent: 100,
        };
        Seen::Snapshots(ours.map(seen).collect())
    }

    /// A call arrives.
    pub fn takes(&mut self, effect: &Effect) -> Result<Done, Trouble> {
        let on = |truth: &Self, id: &InstanceId| truth.at.as_ref().is_some_and(|(at, _)| at == id);
        match effect {
            Effect::Snapshot { purpose } => {
                let id = id!(SnapshotId, format!("snap-{:08x}", self.snapshots.len() + 1));
                self.snapshots.push((id.clone(), *purpose));
                return Ok(Done::Snapshot(id));
            }
            Effect::Launch { .. } => return Err(Trouble::NoCapacity),
            Effect::Terminate { instance, .. } => {
                self.ended.insert(instance.clone());
                self.hosts.insert(instance.clone(), Host::IDLE);
                if on(self, instance) {
                    self.at = None;
                }
            }
            Effect::Drain { instance, .. } => {
                let host = self.agent(instance)?;
                host.door_open = false;
                if host.engine() {
                    host.state = AgentState::Drained;
                }
            }
            Effect::Resume { instance } => {
                let host = self.agent(instance)?;
                if !host.engine() {
                    return Err(Trouble::Permanent);
                }
                *host = Host::SERVING;
            }
            Effect::Release { instance } => *self.agent(instance)? = Host::IDLE,
            Effect::Adopt { instance } => {
                let here = on(self, instance);
                let host = self.agent(instance)?;
                if !host.engine() {
                    let state = if here { AgentState::Adopted } else { AgentState::Failed };
                    *host = Host { state, mounted: here, door_open: false };
                }
            }
            Effect::Detach { instance, device } => {
                if self.at.as_ref() != Some(&(instance.clone(), device.clone())) {
                    return Err(Trouble::NotFound);
                }
                self.at = None;
            }
            Effect::Attach { instance, device } => {
                if self.at.is_some() {
                    return Err(Trouble::InUse);
                }
                if self.ended.contains(instance) {
                    return Err(Trouble::NotFound);
                }
                self.at = Some((instance.clone(), device.clone()));
            }
            Effect::Protect { .. }
            | Effect::KeepOnTermination { .. }
            | Effect::TagVolume { .. }
            | Effect::DeleteSnapshot { .. } => {}
        }
        Ok(Done::Accepted)
    }

    fn agent(&mut self, id: &InstanceId) -> Result<&mut Host, Trouble> {
        let ended = self.ended.contains(id);
        self.hosts.get_mut(id).filter(|_| !ended).ok_or(Trouble::Unknown)
    }

    fn facts(&self, now: i64) -> Facts {
        let spec = spec();
        let sized = |name: &GroupName| GroupFacts {
            name: name.clone(),
            members: 2,
            max: 9,
            health_checks: vec!["EC2".to_owned()],
            suspended: Vec::new(),
            rebalances: false,
            refreshing: false,
            zones: vec![zone()],
        };
        Facts {
            read_at: UnixMs(now),
            function: None,
            graph: Some(GraphFacts {
                instance: Some(source()),
                status: "active".to_owned(),
                migration: Some(spec.id.to_string()),
            }),
            volume: Some(VolumeFacts {
                id: spec.volume,
                graphs: vec![spec.graph],
                tier: spec.source_tier,
                instance: Some(source()),
                holder: Some(spec.id.to_string()),
                settling: false,
                zone: Some(zone()),
                attachments: self.attachments().iter().map(AttachmentFacts::of).collect(),
                modifying: false,
                pending_snapshots: 0,
            }),
            source: Some(SourceFacts {
                instance: source(),
                private_ip: "10.0.0.9".to_owned(),
                endpoint_url: None,
                running: true,
                group: Some(sized(&spec.source.group)),
                agent_supported: Some(true),
                engine: Some(engine()),
            }),
            target_group: Some(sized(&spec.target_group)),
            idle: 1,
            type_offered: Some(true),
            usage_bytes: Some(1),
            unreadable: Vec::new(),
        }
    }
}
