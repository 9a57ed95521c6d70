//! Filling a cloud with what is there from the beginning: zones, groups, instances, volumes, graphs, all up and serving.
//!
//! For tests and seeds. Nothing here takes simulated time, nothing is in the ledger; the engines' opens are in their log.

use std::collections::BTreeMap;

use tiershift_core::ids::Malformed;

use crate::api::agent::{AgentState, Info};
use crate::api::ec2::{Subnet, Tags};
use crate::asg::Group;
use crate::asg::launch::Newcomer;
use crate::device::{Device, GraphFiles};
use crate::ec2::link::Link;
use crate::ec2::places::Zone;
use crate::ec2::volumes::Volume;
use crate::engine::{Door, Graph};
use crate::ids::Kind;
use crate::sim::Sim;

/// Why something cannot be put there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// There is no such thing.
    #[error("there is no {kind} {id}")]
    Unknown {
        /// `zone`, `group`, `instance`, `volume`.
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The volume is attached, or the instance has a volume.
    #[error("{id} is taken")]
    Taken {
        /// The volume or instance.
        id: String,
    },
    /// A tier of the catalogue has no usable group name.
    #[error("the catalogue names no usable group")]
    Group(#[from] Malformed),
    /// Volume and instance lie in different zones.
    #[error("{volume_id} is not in the zone of {instance_id}")]
    OtherZone {
        /// The volume.
        volume_id: String,
        /// The instance.
        instance_id: String,
    },
}

/// An Auto Scaling group to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// Name.
    pub name: String,
    /// Instance type.
    pub instance_type: String,
    /// Zones; it gets a subnet in each.
    pub zones: Vec<String>,
    /// Greatest size. Least size is 0, desired follows the instances that are added.
    pub max_size: u32,
    /// Tags, also of its instances.
    pub tags: Tags,
    /// What its launch template installs; `None` = what the configuration says.
    pub build: Option<Info>,
}

/// A volume to be: formatted, empty, attached nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Zone.
    pub zone: String,
    /// GiB.
    pub size_gib: u32,
    /// Tags.
    pub tags: Tags,
    /// Whether a snapshot of it exists, so that the next one is incremental.
    pub snapshotted: bool,
    /// Bytes changed since that snapshot.
    pub dirty_bytes: u64,
}

/// A graph to be, with its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphSpec {
    /// Nodes.
    pub nodes: u64,
    /// Relationships.
    pub relationships: u64,
    /// Bytes without subgraphs.
    pub bytes: u64,
    /// Subgraph id to bytes.
    pub subgraphs: BTreeMap<String, u64>,
    /// Long-lived reader connections.
    pub readers: u32,
    /// Running writes at any time.
    pub writers: u32,
}

impl Sim {
    /// Adds a zone that offers some instance types, without limit.
    pub fn add_zone(&mut self, name: &str, zone_id: &str, offered: &[&str]) {
        let offered = offered.iter().map(|name| (*name).to_owned()).collect();
        self.zones.insert(name.to_owned(), Zone { id: zone_id.to_owned(), offered, ..Zone::default() });
    }

    /// Says how many more of a type a zone has.
    pub fn limit_capacity(&mut self, zone: &str, instance_type: &str, left: u32) -> Result<(), FleetError> {
        let zone = self.zones.get_mut(zone).ok_or_else(|| unknown("zone", zone))?;
        zone.left.insert(instance_type.to_owned(), left);
        Ok(())
    }

    /// Adds an empty group with a subnet in each of its zones. `AZRebalance` is suspended, as data groups need (rule 35).
    pub fn add_group(&mut self, spec: GroupSpec) -> Result<(), FleetError> {
        if let Some(zone) = spec.zones.iter().find(|zone| !self.has_zone(zone)) {
            return Err(unknown("zone", zone));
        }
        let mut subnet_ids = Vec::new();
        for zone in &spec.zones {
            let subnet_id = Kind::Subnet.make(&mut self.dice);
            let subnet = Subnet {
                subnet_id: subnet_id.clone(),
                availability_zone: zone.clone(),
                availability_zone_id: self.zone_id(zone),
                vpc_id: "vpc-0a1b2c3d4e5f60718".to_owned(),
                cidr_block: format!("10.255.{}.0/24", self.subnets.len() % 256),
            };
            self.subnets.insert(subnet_id.clone(), subnet);
            subnet_ids.push(subnet_id);
        }
        let group = Group {
            instance_type: spec.instance_type,
            subnet_ids,
            min_size: 0,
            max_size: spec.max_size,
            desired: 0,
            health_check_type: "EC2".to_owned(),
            suspended: ["AZRebalance".to_owned()].into(),
            created_ms: self.now_ms,
            tags: spec.tags,
            build: spec.build.unwrap_or_else(|| self.config.build.clone()),
            members: std::collections::BTreeSet::new(),
            activities: Vec::new(),
            refreshes: Vec::new(),
        };
        self.groups.insert(spec.name, group);
        Ok(())
    }

    /// Adds a running instance to a group; its agent answers at once.
    pub fn add_instance(&mut self, group_name: &str, zone: &str) -> Result<String, FleetError> {
        let group = self.groups.get(group_name).ok_or_else(|| unknown("group", group_name))?;
        let subnet = self.subnet_in(&group.subnet_ids, zone).ok_or_else(|| unknown("zone", zone))?;
        let (subnet_id, now_ms) = (subnet.subnet_id.clone(), self.now_ms);
        let instance_id = self.add_member(&Newcomer {
            group_name,
            zone,
            subnet_id: &subnet_id,
            launch_ms: now_ms,
            lag_ms: 0,
            running_ms: now_ms,
            up_ms: now_ms,
        });
        if let Some(group) = self.groups.get_mut(group_name) {
            group.desired += 1;
            group.max_size = group.max_size.max(group.desired);
        }
        Ok(instance_id)
    }

    /// Adds a formatted volume.
    pub fn add_volume(&mut self, spec: VolumeSpec) -> Result<String, FleetError> {
        if !self.has_zone(&spec.zone) {
            return Err(unknown("zone", &spec.zone));
        }
        let volume_id = Kind::Volume.make(&mut self.dice);
        let volume = Volume {
            zone: spec.zone,
            size_gib: spec.size_gib,
            volume_type: "gp3".to_owned(),
            iops: 3_000,
            throughput: 125,
            encrypted: true,
            snapshot_id: String::new(),
            created_ms: self.now_ms,
            available_ms: self.now_ms,
            visible_ms: self.now_ms,
            deleted_ms: None,
            root: false,
            tags: spec.tags,
            links: Vec::new(),
            device: Device {
                fs_uuid: Some(self.uuid()),
                format: self.config.build.format.clone(),
                ..Device::default()
            },
            dirty_bytes: spec.dirty_bytes,
            snapshotted: spec.snapshotted,
            home: None,
            modifications: Vec::new(),
        };
        self.volumes.insert(volume_id.clone(), volume);
        Ok(volume_id)
    }

    /// Puts a graph's files on a volume.
    pub fn add_graph(&mut self, volume_id: &str, graph_id: &str, spec: GraphSpec) -> Result<(), FleetError> {
        let volume = self.volumes.get_mut(volume_id).ok_or_else(|| unknown("volume", volume_id))?;
        let GraphSpec { nodes, relationships, bytes, subgraphs, readers, writers } = spec;
        let files = GraphFiles { nodes, relationships, bytes, subgraphs, writes: crate::writes::WriteSet::default() };
        volume.device.graphs.insert(graph_id.to_owned(), files);
        let graph = Graph { volume_id: volume_id.to_owned(), readers, writers, ..Graph::default() };
        self.graphs.insert(graph_id.to_owned(), graph);
        Ok(())
    }

    /// Attaches a volume, mounts it and serves its graphs, as if it had been so for long.
    pub fn serve(&mut self, instance_id: &str, volume_id: &str, device: &str) -> Result<(), FleetError> {
        let now_ms = self.now_ms;
        let instance = self.instances.get(instance_id).ok_or_else(|| unknown("instance", instance_id))?;
        let volume = self.volumes.get(volume_id).ok_or_else(|| unknown("volume", volume_id))?;
        if volume.zone != instance.zone {
            let (volume_id, instance_id) = (volume_id.to_owned(), instance_id.to_owned());
            return Err(FleetError::OtherZone { volume_id, instance_id });
        }
        if volume.link(now_ms).is_some() {
            return Err(FleetError::Taken { id: volume_id.to_owned() });
        }
        if instance.host.agent.mounted {
            return Err(FleetError::Taken { id: instance_id.to_owned() });
        }
        let fs_uuid = volume.device.fs_uuid.clone().unwrap_or_default();
        if let Some(volume) = self.volumes.get_mut(volume_id) {
            volume.links.push(standing_link(instance_id, device, now_ms));
        }
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.touched.insert(volume_id.to_owned());
            let agent = &mut instance.host.agent;
            volume_id.clone_into(&mut agent.volume_id);
            agent.mounted = true;
            agent.state = AgentState::Serving;
            agent.remember(volume_id, &fs_uuid, Some(Door::Open));
        }
        self.open_engine(instance_id, volume_id, Door::Open);
        Ok(())
    }

    /// A new graph id.
    pub fn new_graph_id(&mut self) -> String {
        format!("kg{:016x}", self.dice.id())
    }

    /// The uuid of a volume's file system.
    pub fn fs_uuid(&self, volume_id: &str) -> Option<String> {
        self.volumes.get(volume_id)?.device.fs_uuid.clone()
    }

    /// An instance's address in the VPC.
    pub fn private_ip(&self, instance_id: &str) -> Option<String> {
        self.instances.get(instance_id).map(|instance| instance.private_ip.clone())
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.dice.id(), self.dice.id());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }
}

fn standing_link(instance_id: &str, device: &str, now_ms: u64) -> Link {
    Link {
        instance_id: instance_id.to_owned(),
        device: device.to_owned(),
        delete_on_termination: false,
        start_ms: now_ms,
        attached_ms: Some(now_ms),
        detach_ms: None,
        busy_ms: None,
        gone_ms: None,
        attach_lag_ms: 0,
        detach_lag_ms: 0,
        instance_lag_ms: 0,
        hidden_from_ms: None,
    }
}

fn unknown(kind: &'static str, id: &str) -> FleetError {
    FleetError::Unknown { kind, id: id.to_owned() }
}
