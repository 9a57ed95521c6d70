//! The dev stack's fleet: groups of all three tiers in two zones and a graph for every story that the README tells.
//!
//! [`plant`] fills an empty [`Sim`] and says what is where, so that the dev stack can register it through the services'
//! own calls. Nothing in the model treats these graphs as special; what makes a story is written in [`STORIES`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::ec2::Tags;
use crate::device::GIB;
use crate::fleet::{FleetError, GraphSpec, GroupSpec, VolumeSpec};
use crate::sim::Sim;

/// Zone with idle instances.
pub const ZONE_A: &str = "us-east-1a";

/// Zone where an upgrade has to launch.
pub const ZONE_B: &str = "us-east-1b";

/// Device name of every seeded data volume.
pub const DEVICE: &str = "/dev/sdf";

/// Fresh small graphs, one for each run of the demo.
pub const FRESH_GRAPHS: usize = 8;

/// Idle instances of the large tier in zone a.
const IDLE_LARGE: usize = 2;

/// Tier, instance type, greatest size of its group.
const TIERS: [(&str, &str, u32); 3] = [
    ("ladybug-standard", "m7g.medium", 60),
    ("ladybug-large", "m7g.large", 60),
    // One serving in zone b and one idle in zone a: full.
    ("ladybug-xlarge", "r7g.xlarge", 2),
];

const ACME: usize = 0;
const BOREALIS: usize = 1;
const COMMONS: usize = 2;

/// Id, name, owner's user id of each organisation.
const ORGANISATIONS: [(&str, &str, &str); 3] = [
    ("org_01K0DEV0000000000000000ACM", "Acme", "user_ada"),
    ("org_01K0DEV0000000000000000BRE", "Borealis", "user_bo"),
    ("org_01K0DEV0000000000000000CMN", "Commons", "user_cy"),
];

/// What is there, for registering it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Organisations.
    pub organisations: Vec<Organisation>,
    /// Groups.
    pub groups: Vec<FleetGroup>,
    /// Instances, serving and idle.
    pub instances: Vec<FleetInstance>,
    /// Data volumes.
    pub volumes: Vec<FleetVolume>,
    /// Graphs.
    pub graphs: Vec<FleetGraph>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// `org_` and a ULID.
    pub organisation_id: String,
    /// Name.
    pub name: String,
    /// The user who owns it.
    pub owner_user_id: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetGroup {
    /// `tiershift-<tier>-writers-dev-asg`.
    pub name: String,
    /// Tier.
    pub tier: String,
    /// Instance type.
    pub instance_type: String,
    /// Zones.
    pub availability_zones: Vec<String>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetInstance {
    /// Id.
    pub instance_id: String,
    /// Its group.
    pub group_name: String,
    /// Tier.
    pub tier: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub availability_zone: String,
    /// Address.
    pub private_ip: String,
    /// The volume that it serves; `None` = idle.
    pub volume_id: Option<String>,
}

/// A data volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetVolume {
    /// Id.
    pub volume_id: String,
    /// Instance that serves it.
    pub instance_id: String,
    /// Device name.
    pub device: String,
    /// Tier.
    pub tier: String,
    /// Zone.
    pub availability_zone: String,
    /// GiB.
    pub size_gib: u32,
    /// Uuid of its file system.
    pub fs_uuid: String,
    /// Graphs on it.
    pub graph_ids: Vec<String>,
}

/// A graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetGraph {
    /// `kg` and 16 hex digits.
    pub graph_id: String,
    /// Short name of its story, with a number where there are several.
    pub name: String,
    /// What it is there for, in one sentence.
    pub story: String,
    /// Organisation that owns it.
    pub organisation_id: String,
    /// User who owns that.
    pub owner_user_id: String,
    /// Tier.
    pub tier: String,
    /// What sort of graph it is.
    pub kind: GraphKind,
    /// Ids of its subgraphs.
    pub subgraphs: Vec<String>,
    /// Bytes in use, subgraphs included.
    pub used_bytes: u64,
    /// Volume that it is on.
    pub volume_id: String,
    /// Instance that serves it.
    pub instance_id: String,
    /// The state that its subscription is to be brought into.
    pub subscription: Wanted,
}

/// What sort of graph it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphKind {
    /// A customer's own.
    Entity,
    /// Read by many, changed by nobody's tier.
    SharedRepository,
}

/// The state that a seeded subscription is to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// There is none.
    None,
    /// Paid.
    Active,
    /// A payment failed.
    PastDue,
    /// Canceled, end of the paid period ahead.
    CanceledInGrace,
    /// Canceled and ended, graph suspended.
    Suspended,
}

struct Story {
    name: &'static str,
    text: &'static str,
    organisation: usize,
    tier: usize,
    zone: &'static str,
    used_gib: u64,
    size_gib: u32,
    subgraphs: usize,
    subscription: Wanted,
    kind: GraphKind,
    /// Lies on the volume of the story before.
    shares: bool,
}

impl Story {
    const fn new(name: &'static str, text: &'static str, organisation: usize, tier: usize, zone: &'static str) -> Self {
        Self {
            name,
            text,
            organisation,
            tier,
            zone,
            used_gib: 4,
            size_gib: if tier == 0 { 20 } else { 50 },
            subgraphs: 0,
            subscription: Wanted::Active,
            kind: GraphKind::Entity,
            shares: false,
        }
    }
}

const FRESH: Story = Story::new(
    "upgrade",
    "small graph to upgrade; the large tier has no idle instance in its zone, so that one is launched",
    ACME,
    0,
    ZONE_B,
);

/// Every story but the fresh graphs.
const STORIES: &[Story] = &[
    Story::new("upgrade-idle", "small graph to upgrade; an idle instance waits in its zone", ACME, 0, ZONE_A),
    Story::new("downgrade", "large graph that fits the standard tier", ACME, 1, ZONE_A),
    Story {
        subgraphs: 5,
        used_gib: 12,
        ..Story::new("five-subgraphs", "5 subgraphs: more than the standard tier allows", ACME, 1, ZONE_A)
    },
    Story {
        used_gib: 30,
        ..Story::new("too-much-data", "30 GiB in use: more than the standard tier holds", ACME, 1, ZONE_A)
    },
    Story::new("shared-volume-1", "shares its volume with another graph: refused", ACME, 0, ZONE_A),
    Story {
        shares: true,
        ..Story::new("shared-volume-2", "shares its volume with another graph: refused", BOREALIS, 0, ZONE_A)
    },
    Story {
        subscription: Wanted::PastDue,
        ..Story::new("past-due", "payment overdue: no access, no change of tier", ACME, 0, ZONE_A)
    },
    Story {
        subscription: Wanted::CanceledInGrace,
        ..Story::new("canceled-in-grace", "canceled, paid period still running: reads only", ACME, 0, ZONE_A)
    },
    Story {
        subscription: Wanted::Suspended,
        ..Story::new("suspended", "canceled and ended: no access", ACME, 0, ZONE_A)
    },
    Story {
        subscription: Wanted::None,
        kind: GraphKind::SharedRepository,
        ..Story::new("shared-repository", "shared repository: its tier is not for sale", COMMONS, 0, ZONE_A)
    },
    Story::new("other-organisation", "belongs to another organisation", BOREALIS, 0, ZONE_A),
    Story { used_gib: 40, ..Story::new("xlarge", "fills the xlarge group's place in zone b", BOREALIS, 2, ZONE_B) },
];

/// Fills an empty cloud with the dev fleet.
pub fn plant(sim: &mut Sim) -> Result<Fleet, FleetError> {
    let types = TIERS.map(|(_, instance_type, _)| instance_type);
    sim.add_zone(ZONE_A, "use1-az1", &types);
    sim.add_zone(ZONE_B, "use1-az2", &types);
    sim.limit_capacity(ZONE_B, TIERS[2].1, 0)?;

    let mut fleet = Fleet {
        organisations: ORGANISATIONS.map(organisation).into(),
        groups: Vec::new(),
        instances: Vec::new(),
        volumes: Vec::new(),
        graphs: Vec::new(),
    };
    for (tier, instance_type, max_size) in TIERS {
        let zones = vec![ZONE_A.to_owned(), ZONE_B.to_owned()];
        sim.add_group(GroupSpec {
            name: group_name(tier),
            instance_type: instance_type.to_owned(),
            zones: zones.clone(),
            max_size,
            tags: tags(&[("Environment", "dev"), ("Tier", tier), ("NodeType", "writer")]),
            build: None,
        })?;
        fleet.groups.push(FleetGroup {
            name: group_name(tier),
            tier: tier.to_owned(),
            instance_type: instance_type.to_owned(),
            availability_zones: zones,
        });
    }
    for number in 1..=FRESH_GRAPHS {
        plant_graph(sim, &mut fleet, &FRESH, &format!("{}-{number}", FRESH.name))?;
    }
    for story in STORIES {
        plant_graph(sim, &mut fleet, story, story.name)?;
    }
    for _ in 0..IDLE_LARGE {
        plant_instance(sim, &mut fleet, 1, ZONE_A)?;
    }
    plant_instance(sim, &mut fleet, 2, ZONE_A)?;
    Ok(fleet)
}

fn plant_graph(sim: &mut Sim, fleet: &mut Fleet, story: &Story, name: &str) -> Result<(), FleetError> {
    if !story.shares {
        plant_volume(sim, fleet, story, name)?;
    }
    let graph_id = sim.new_graph_id();
    let Some(volume) = fleet.volumes.last_mut() else { return Ok(()) };
    volume.graph_ids.push(graph_id.clone());
    // A subgraph takes a tenth of the whole each, so that the sum stays what the story says.
    let used_bytes = story.used_gib * GIB;
    let subgraphs: BTreeMap<String, u64> =
        (1..=story.subgraphs).map(|number| (format!("{graph_id}_part{number}"), used_bytes / 10)).collect();
    let spec = GraphSpec {
        // About 500 bytes for a node with its relationships.
        nodes: used_bytes / 500,
        relationships: used_bytes / 200,
        bytes: used_bytes - subgraphs.values().sum::<u64>(),
        subgraphs: subgraphs.clone(),
        readers: 4,
        writers: 2,
    };
    sim.add_graph(&volume.volume_id, &graph_id, spec)?;
    let (organisation_id, _, owner_user_id) = ORGANISATIONS[story.organisation];
    fleet.graphs.push(FleetGraph {
        graph_id,
        name: name.to_owned(),
        story: story.text.to_owned(),
        organisation_id: organisation_id.to_owned(),
        owner_user_id: owner_user_id.to_owned(),
        tier: TIERS[story.tier].0.to_owned(),
        kind: story.kind,
        subgraphs: subgraphs.into_keys().collect(),
        used_bytes,
        volume_id: volume.volume_id.clone(),
        instance_id: volume.instance_id.clone(),
        subscription: story.subscription,
    });
    Ok(())
}

fn plant_volume(sim: &mut Sim, fleet: &mut Fleet, story: &Story, name: &str) -> Result<(), FleetError> {
    let tier = TIERS[story.tier].0;
    let instance_id = plant_instance(sim, fleet, story.tier, story.zone)?;
    let volume_id = sim.add_volume(VolumeSpec {
        zone: story.zone.to_owned(),
        size_gib: story.size_gib,
        tags: tags(&[("Name", name), ("Environment", "dev"), ("Tier", tier), ("NodeType", "writer")]),
        snapshotted: false,
    })?;
    sim.serve(&instance_id, &volume_id, DEVICE)?;
    if let Some(instance) = fleet.instances.last_mut() {
        instance.volume_id = Some(volume_id.clone());
    }
    fleet.volumes.push(FleetVolume {
        fs_uuid: sim.fs_uuid(&volume_id).unwrap_or_default(),
        volume_id,
        instance_id,
        device: DEVICE.to_owned(),
        tier: tier.to_owned(),
        availability_zone: story.zone.to_owned(),
        size_gib: story.size_gib,
        graph_ids: Vec::new(),
    });
    Ok(())
}

fn plant_instance(sim: &mut Sim, fleet: &mut Fleet, tier: usize, zone: &str) -> Result<String, FleetError> {
    let (tier, instance_type, _) = TIERS[tier];
    let instance_id = sim.add_instance(&group_name(tier), zone)?;
    fleet.instances.push(FleetInstance {
        instance_id: instance_id.clone(),
        group_name: group_name(tier),
        tier: tier.to_owned(),
        instance_type: instance_type.to_owned(),
        availability_zone: zone.to_owned(),
        private_ip: sim.private_ip(&instance_id).unwrap_or_default(),
        volume_id: None,
    });
    Ok(instance_id)
}

fn group_name(tier: &str) -> String {
    format!("tiershift-{tier}-writers-dev-asg")
}

fn organisation((organisation_id, name, owner_user_id): (&str, &str, &str)) -> Organisation {
    Organisation {
        organisation_id: organisation_id.to_owned(),
        name: name.to_owned(),
        owner_user_id: owner_user_id.to_owned(),
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
