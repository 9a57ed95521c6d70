//! Where one more graph could be put now, by tier and zone: for price lists and operators, who have no graph in hand. A plan
//! of one graph's move says it better (`gather.rs`): it asks the instances themselves.
//!
//! Reads only. What could not be read is unknown and never none.

use crate::gather::group_facts;
use crate::idle::is_free;
use crate::migrations::away;
use crate::ports::cloud::{Group, Process};
use crate::ports::store::each_of_index;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tiershift_common::status::Fault;
use tiershift_core::catalogue::{Catalogue, Tier};
use tiershift_core::ids::{GroupName, TierName, Zone};
use tiershift_core::{Error, Kind, Reason};
use volume_core::item::{Index, Item};
use volume_core::plan::no_launch;

/// Whether there is room for one more graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// An instance waits for one.
    Idle,
    /// One can be launched.
    Launch,
    /// Neither.
    None,
    /// It could not be read.
    Unknown,
}

/// Instances of a tier in a zone, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They wait without a graph.
    pub idle: u32,
    /// Migrations hold them.
    pub reserved: u32,
    /// They have graphs.
    pub serving: u32,
}

/// One tier in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tier.
    pub tier: TierName,
    /// The zone.
    pub zone: Zone,
    /// The tier's group.
    pub group: GroupName,
    /// Whether there is room.
    pub room: Room,
    /// What is there, by the index.
    pub counts: Counts,
    /// Members of the whole group, and the most that it may have; none where it could not be read.
    pub size: Option<(i64, i64)>,
}

/// The use case.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// The ports.
    pub world: World,
    /// The tiers.
    pub catalogue: Arc<Catalogue>,
    /// In whose groups.
    pub environment: String,
}

impl Capacity {
    /// By tier and zone, of one tier and one zone where they are given.
    pub async fn list(&self, tier: Option<&TierName>, zone: Option<&Zone>) -> Result<Vec<Place>, Fault> {
        if let Some(wanted) = tier
            && !self.catalogue.tiers().iter().any(|tier| tier.name == *wanted)
        {
            let text = format!("there is no tier {wanted}; ListTiers names them");
            return Err(Error::new(Kind::NotFound, Reason::UnknownTier, text).into());
        }
        let mut places = Vec::new();
        for one in self.catalogue.tiers().iter().filter(|one| tier.is_none_or(|wanted| one.name == *wanted)) {
            places.extend(self.of(one).await?);
        }
        places.retain(|place| zone.is_none_or(|wanted| place.zone == *wanted));
        Ok(places)
    }

    async fn of(&self, tier: &Tier) -> Result<Vec<Place>, Fault> {
        let name = tier.group(&self.environment).map_err(Fault::internal)?;
        let counts = self.counts(&tier.name).await?;
        let group = self.world.describer.group(&name).await.map_err(|error| unread("a group", &error.code));
        let offered = self.world.describer.offering(&tier.instance_type).await;
        let offered = offered.map_err(|error| unread("the offerings of a type", &error.code));
        // A group that is not there is read, and has no room; zones with instances are told all the same.
        let own = group.iter().flatten().flat_map(|group| group.zones.iter().cloned());
        let zones: BTreeSet<Zone> = own.chain(counts.keys().cloned()).collect();
        let places = zones.into_iter().map(|zone| {
            let counts = counts.get(&zone).copied().unwrap_or_default();
            let seen = group.as_ref().map(Option::as_deref).map_err(|unread| *unread);
            let room = room(seen, offered.as_deref().map_err(|unread| *unread), &zone, counts.idle);
            let size = seen.ok().map(|group| group.map(group_facts).map_or((0, 0), |group| (group.members, group.max)));
            Place { tier: tier.name.clone(), zone, group: name.clone(), room, counts, size }
        });
        Ok(places.collect())
    }

    async fn counts(&self, tier: &TierName) -> Result<BTreeMap<Zone, Counts>, Fault> {
        let (store, mut zones) = (self.world.journal.store(), BTreeMap::<Zone, Counts>::new());
        let each = |row: &Item| {
            if let Some(zone) = row.s("availability_zone").and_then(|zone| Zone::parse(zone).ok()) {
                count(zones.entry(zone).or_default(), row);
            }
        };
        each_of_index(store.as_ref(), Index::InstanceByTierStatus, tier.as_str(), None, each).await.map_err(away)?;
        Ok(zones)
    }
}

/// It was asked, and not answered.
#[derive(Clone, Copy, Debug)]
struct Unread;

fn unread(what: &str, code: &str) -> Unread {
    tracing::warn!(code, "{what} could not be read; its room is unknown");
    Unread
}

fn count(counts: &mut Counts, row: &Item) {
    if row.s("ts_migration").is_some() {
        counts.reserved += 1;
    } else if row.n("database_count").unwrap_or(0) > 0 {
        counts.serving += 1;
    } else if is_free(row) {
        counts.idle += 1;
    }
}

/// `group`: none is not there; `offered`: the zones of its type.
fn room(group: Result<Option<&Group>, Unread>, offered: Result<&[Zone], Unread>, zone: &Zone, idle: u32) -> Room {
    // Idle ones count first: at its largest size a group may still have one to give (rule 31).
    if idle > 0 {
        return Room::Idle;
    }
    let Ok(group) = group else { return Room::Unknown };
    let here = offered.ok().map(|zones| zones.contains(zone));
    let launches = |group: &Group| {
        let held = group.deleting || group.suspended.contains(&Process::Launch);
        !held && no_launch(&group_facts(group), zone, here).is_none()
    };
    match (group.is_some_and(launches), here) {
        (false, _) => Room::None,
        (true, None) => Room::Unknown,
        (true, Some(_)) => Room::Launch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group of one zone with no members.
    fn group(zone: &Zone, max: i64) -> Group {
        Group {
            name: GroupName::parse("writers").unwrap(),
            min: 0,
            max,
            desired: 0,
            zones: vec![zone.clone()],
            zone_ids: Vec::new(),
            subnet_ids: Vec::new(),
            health_checks: Vec::new(),
            suspended: Vec::new(),
            members: Vec::new(),
            new_members_protected: false,
            replaces_by_age: false,
            warm_pool: false,
            deleting: false,
            tags: BTreeMap::default(),
        }
    }

    #[test]
    fn what_is_not_known_is_not_none() {
        let (here, there) = (Zone::parse("us-east-1a").unwrap(), Zone::parse("us-east-1b").unwrap());
        let offered = vec![here.clone()];
        let (open, full) = (group(&here, 1), group(&here, 0));
        let held = Group { suspended: vec![Process::Launch], ..open.clone() };
        let ask =
            |group: Result<Option<&Group>, Unread>, offered: Result<&[Zone], Unread>| room(group, offered, &here, 0);
        assert_eq!(ask(Ok(Some(&open)), Ok(&offered)), Room::Launch);
        assert_eq!(ask(Ok(Some(&open)), Err(Unread)), Room::Unknown);
        assert_eq!(ask(Err(Unread), Ok(&offered)), Room::Unknown);
        assert_eq!(ask(Ok(Some(&open)), Ok(&[])), Room::None, "its type is not offered there");
        for (group, zone) in [(None, &here), (Some(&full), &here), (Some(&held), &here), (Some(&open), &there)] {
            assert_eq!(room(Ok(group), Ok(&offered), zone, 0), Room::None, "{group:?}");
            assert_eq!(room(Ok(group), Ok(&offered), zone, 1), Room::Idle);
        }
    }

    #[test]
    fn each_row_is_counted_once() {
        let row = |graphs: i64, status: &str, migration: Option<&str>| {
            Item::default().with("status", status).with("database_count", graphs).with_opt("ts_migration", migration)
        };
        let mut counts = Counts::default();
        for row in [
            row(0, "healthy", None),
            row(2, "healthy", None),
            row(1, "unhealthy", None),
            row(0, "healthy", Some("chg_1")),
            row(1, "retiring", Some("chg_2")),
            row(0, "initializing", None),
        ] {
            count(&mut counts, &row);
        }
        assert_eq!(counts, Counts { idle: 1, reserved: 2, serving: 2 });
    }
}
