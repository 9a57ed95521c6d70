//! The dev stack's fleet: groups of all three tiers in two zones and a graph for every story that the README tells.
//!
//! [`plant`] fills an empty [`Sim`] and says what is where, so that the dev stack can register it through the services'
//! own calls. Nothing in the model treats these graphs as special; what makes a story is a row of the table of stories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tiershift_core::catalogue::{Catalogue, Tier};

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

/// Greatest size of each tier's group, lowest rank first. The third has one serving in zone b and one idle in zone a: full.
const MAX_SIZES: [u32; 3] = [60, 60, 2];

const ACME: usize = 0;
const BOREALIS: usize = 1;
const COMMONS: usize = 2;

/// Id, name, owner's user id of each organisation.
const ORGANISATIONS: [(&str, &str, &str); 3] = [
    ("org_01K0DEV0000000000000000ACM", "Acme", "user_ada"),
    ("org_01K0DEV0000000000000000BRE", "Borealis", "user_bo"),
    ("org_01K0DEV0000000000000000CMN", "Commons", "user_cy"),
];

/// Name of the topic that alerts go to.
pub const ALERTS_TOPIC: &str = "tiershift-dev-alerts";

/// Name of the volume manager function.
pub const VOLUME_FUNCTION: &str = "tiershift-dev-volume-manager";

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
    /// Place in the catalogue, lowest rank first.
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
    let catalogue = Catalogue::default();
    let tiers = catalogue.tiers();
    let types: Vec<&str> = tiers.iter().map(|tier| tier.instance_type.as_str()).collect();
    sim.add_zone(ZONE_A, "use1-az1", &types);
    sim.add_zone(ZONE_B, "use1-az2", &types);
    if let Some(highest) = types.last() {
        sim.limit_capacity(ZONE_B, highest, 0)?;
    }
    sim.add_topic(ALERTS_TOPIC);
    sim.add_function(VOLUME_FUNCTION);
    let mut planter = Planter {
        sim,
        fleet: Fleet {
            organisations: ORGANISATIONS.map(organisation).into(),
            groups: Vec::new(),
            instances: Vec::new(),
            volumes: Vec::new(),
            graphs: Vec::new(),
        },
    };
    for (tier, max_size) in tiers.iter().zip(MAX_SIZES) {
        planter.group(tier, max_size)?;
    }
    for number in 1..=FRESH_GRAPHS {
        planter.graph(&FRESH, &format!("{}-{number}", FRESH.name))?;
    }
    for story in STORIES {
        planter.graph(story, story.name)?;
    }
    for _ in 0..IDLE_LARGE {
        planter.instance(1, ZONE_A)?;
    }
    planter.instance(2, ZONE_A)?;
    Ok(planter.fleet)
}

/// Puts things into the cloud and writes down what they are.
struct Planter<'a> {
    sim: &'a mut Sim,
    fleet: Fleet,
}

impl Planter<'_> {
    fn group(&mut self, tier: &Tier, max_size: u32) -> Result<(), FleetError> {
        let group = FleetGroup {
            name: tier.group("dev")?.into(),
            tier: tier.name.to_string(),
            instance_type: tier.instance_type.clone(),
            availability_zones: vec![ZONE_A.to_owned(), ZONE_B.to_owned()],
        };
        self.sim.add_group(GroupSpec {
            name: group.name.clone(),
            instance_type: group.instance_type.clone(),
            zones: group.availability_zones.clone(),
            max_size,
            tags: tags(&[("Environment", "dev"), ("Tier", &group.tier), ("NodeType", "writer")]),
            build: None,
        })?;
        self.fleet.groups.push(group);
        Ok(())
    }

    fn instance(&mut self, tier: usize, zone: &str) -> Result<String, FleetError> {
        let group = &self.fleet.groups[tier];
        let instance_id = self.sim.add_instance(&group.name, zone)?;
        self.fleet.instances.push(FleetInstance {
            instance_id: instance_id.clone(),
            group_name: group.name.clone(),
            tier: group.tier.clone(),
            instance_type: group.instance_type.clone(),
            availability_zone: zone.to_owned(),
            private_ip: self.sim.private_ip(&instance_id).unwrap_or_default(),
            volume_id: None,
        });
        Ok(instance_id)
    }

    fn volume(&mut self, story: &Story, name: &str) -> Result<(), FleetError> {
        let instance_id = self.instance(story.tier, story.zone)?;
        let tier = self.fleet.groups[story.tier].tier.clone();
        let volume_id = self.sim.add_volume(VolumeSpec {
            zone: story.zone.to_owned(),
            size_gib: story.size_gib,
            tags: tags(&[("Name", name), ("Environment", "dev"), ("Tier", &tier), ("NodeType", "writer")]),
            snapshotted: false,
            dirty_bytes: 0,
        })?;
        self.sim.serve(&instance_id, &volume_id, DEVICE)?;
        if let Some(instance) = self.fleet.instances.last_mut() {
            instance.volume_id = Some(volume_id.clone());
        }
        self.fleet.volumes.push(FleetVolume {
            fs_uuid: self.sim.fs_uuid(&volume_id).unwrap_or_default(),
            volume_id,
            instance_id,
            device: DEVICE.to_owned(),
            tier,
            availability_zone: story.zone.to_owned(),
            size_gib: story.size_gib,
            graph_ids: Vec::new(),
        });
        Ok(())
    }

    fn graph(&mut self, story: &Story, name: &str) -> Result<(), FleetError> {
        if !story.shares {
            self.volume(story, name)?;
        }
        let graph_id = self.sim.new_graph_id();
        let Some(volume) = self.fleet.volumes.last_mut() else { return Ok(()) };
        volume.graph_ids.push(graph_id.clone());
        // A subgraph takes a tenth of the whole, so that the sum stays what the story says.
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
        self.sim.add_graph(&volume.volume_id, &graph_id, spec)?;
        let (organisation_id, _, owner_user_id) = ORGANISATIONS[story.organisation];
        self.fleet.graphs.push(FleetGraph {
            graph_id,
            name: name.to_owned(),
            story: story.text.to_owned(),
            organisation_id: organisation_id.to_owned(),
            owner_user_id: owner_user_id.to_owned(),
            tier: volume.tier.clone(),
            kind: story.kind,
            subgraphs: subgraphs.into_keys().collect(),
            used_bytes,
            volume_id: volume.volume_id.clone(),
            instance_id: volume.instance_id.clone(),
            subscription: story.subscription,
        });
        Ok(())
    }
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
