//! The registries as use cases: rows are put here (`RegisterInstance`, `RegisterVolume`) and by a migration's own
//! transactions, and nowhere else.
//!
//! Registering is idempotent: the same row again is the same answer, another one for a known id is refused and
//! changes nothing. A row that a migration holds is never touched.

use crate::journal::Journal;
use crate::migrations::away;
use crate::ports::store::TransactError;
use std::sync::Arc;
use tiershift_common::clock::Clock;
use tiershift_common::status::Fault;
use tiershift_core::ids::{AnyGraphId, GraphId, GroupName, InstanceId, TierName, VolumeId, Zone};
use tiershift_core::{Error, Kind, Reason};
use volume_core::item::{Cond, Item, Key, Write};
use volume_core::keys;

/// A graph of a volume to register.
#[derive(Clone, Debug)]
pub struct NewGraph {
    /// The graph.
    pub id: GraphId,
    /// Its subgraphs: they have no row of their own and stand in the volume's list.
    pub subgraphs: Vec<AnyGraphId>,
    /// The predecessor's entity id.
    pub entity_id: String,
    /// Engine family.
    pub backend_type: String,
    /// For shared repositories, which one.
    pub repository_type: String,
}

/// A volume to register, with the graphs on it.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// The volume.
    pub id: VolumeId,
    /// Where it is attached, if it is.
    pub instance: Option<InstanceId>,
    /// Its zone.
    pub zone: Zone,
    /// Its tier.
    pub tier: TierName,
    /// `writer`, `shared_master` or `shared_replica`.
    pub node_type: &'static str,
    /// GiB.
    pub size_gib: i64,
    /// Provisioned operations per second.
    pub iops: i64,
    /// Provisioned MiB per second.
    pub throughput_mibps: i64,
    /// Billing graphs on it.
    pub graphs: Vec<NewGraph>,
}

/// An instance to register.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The instance.
    pub id: InstanceId,
    /// Its private address.
    pub private_ip: String,
    /// The agent's address, if it is not the usual port there.
    pub endpoint_url: String,
    /// Its zone.
    pub zone: Zone,
    /// Its tier.
    pub tier: TierName,
    /// Its group.
    pub group: Option<GroupName>,
    /// EC2 type.
    pub instance_type: String,
    /// `writer`, `shared_master` or `shared_replica`.
    pub node_type: &'static str,
    /// Engine family.
    pub backend_type: String,
    /// `initializing`, `healthy` or `unhealthy`.
    pub status: &'static str,
    /// Databases that it may carry.
    pub max_databases: i64,
    /// AWS region.
    pub region: String,
    /// Stack that made it.
    pub stack_name: String,
    /// When EC2 launched it; 0 if unknown.
    pub launched_ms: i64,
}

/// The use cases.
#[derive(Clone, Debug)]
pub struct Registry {
    /// For the store and the process's name.
    pub journal: Journal,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Puts an attribute only if there is something to put: empty strings are no keys of an index.
fn text(item: Item, name: &str, value: &str) -> Item {
    if value.is_empty() { item } else { item.with(name, value) }
}

impl Registry {
    async fn row(&self, key: &Key) -> Result<Option<Item>, Fault> {
        self.journal.store().get(key).await.map_err(away)
    }

    /// Registers an instance.
    pub async fn instance(&self, new: &NewInstance) -> Result<Item, Fault> {
        let key = keys::instance_row(&new.id);
        let now = self.clock.now().0;
        let item = Item::default()
            .with("instance_id", new.id.as_str())
            .with("availability_zone", new.zone.as_str())
            .with("tier", new.tier.as_str())
            .with("cluster_tier", new.tier.as_str())
            .with("node_type", new.node_type)
            .with("status", new.status)
            .with("max_databases", new.max_databases)
            .with("database_count", 0)
            .with("created_at", now)
            .with("launch_time", new.launched_ms);
        let item = text(item, "private_ip", &new.private_ip);
        let item = text(item, "endpoint_url", &new.endpoint_url);
        let item = text(item, "cluster_group", new.group.as_ref().map_or("", GroupName::as_str));
        let item = text(item, "instance_type", &new.instance_type);
        let item = text(item, "backend_type", &new.backend_type);
        let item = text(item, "region", &new.region);
        let item = text(item, "stack_name", &new.stack_name);
        let same = ["availability_zone", "tier", "private_ip", "endpoint_url", "cluster_group", "instance_type"];
        self.create(vec![(key.clone(), item, &same[..])], Vec::new(), "instance").await?;
        self.row(&key).await?.ok_or_else(|| Fault::internal("a row that was just written is not there"))
    }

    /// Registers a volume and the graphs on it, in one transaction.
    pub async fn volume(&self, new: &NewVolume) -> Result<(Item, Vec<Item>), Fault> {
        let now = self.clock.now().0;
        let instance = match &new.instance {
            Some(id) => Some(self.row(&keys::instance_row(id)).await?.ok_or_else(|| {
                let error =
                    Error::new(Kind::NotFound, Reason::InstanceNotFound, "register the volume's instance first");
                Fault::from(error.with("instance_id", id.as_str()))
            })?),
            None => None,
        };
        let databases: Vec<String> = new
            .graphs
            .iter()
            .flat_map(|g| std::iter::once(g.id.to_string()).chain(g.subgraphs.iter().map(ToString::to_string)))
            .collect();
        let volume = Item::default()
            .with("volume_id", new.id.as_str())
            .with("availability_zone", new.zone.as_str())
            .with("tier", new.tier.as_str())
            .with("status", if new.instance.is_some() { "attached" } else { "available" })
            .with("databases", databases)
            .with("node_type", new.node_type)
            .with("size", new.size_gib)
            .with("iops", new.iops)
            .with("throughput", new.throughput_mibps)
            .with("created_at", now)
            .with_opt("instance_id", new.instance.as_ref().map(InstanceId::as_str));
        let volume_key = keys::volume_row(&new.id);
        let mut rows =
            vec![(volume_key.clone(), volume, &["availability_zone", "tier", "databases", "instance_id"][..])];
        for graph in &new.graphs {
            let item = Item::default()
                .with("graph_id", graph.id.as_str())
                .with("availability_zone", new.zone.as_str())
                .with("status", "active")
                .with("created_at", now)
                .with("last_updated", now)
                .with_opt("instance_id", new.instance.as_ref().map(InstanceId::as_str));
            let item = text(item, "private_ip", instance.as_ref().and_then(|i| i.s("private_ip")).unwrap_or_default());
            let item = text(item, "entity_id", &graph.entity_id);
            let item = text(item, "backend_type", &graph.backend_type);
            let item = text(item, "repository_type", &graph.repository_type);
            rows.push((keys::graph_row(&graph.id), item, &["availability_zone", "instance_id"][..]));
        }
        // The instance carries them now; the count is a hint of the predecessor's allocator, never a decision.
        let count = i64::try_from(new.graphs.len()).unwrap_or(i64::MAX);
        let also = match (&new.instance, instance.as_ref().and_then(|i| i.s("ts_migration"))) {
            (Some(id), None) => {
                let set = Item::default().with("database_count", count);
                vec![Write::update(keys::instance_row(id), set, &[], vec![Cond::absent("ts_migration")])]
            }
            _ => Vec::new(),
        };
        let graph_keys: Vec<Key> = new.graphs.iter().map(|g| keys::graph_row(&g.id)).collect();
        self.create(rows, also, "volume or graph").await?;
        let lost = || Fault::internal("a row that was just written is not there");
        let mut graphs = Vec::with_capacity(graph_keys.len());
        for key in &graph_keys {
            graphs.push(self.row(key).await?.ok_or_else(lost)?);
        }
        Ok((self.row(&volume_key).await?.ok_or_else(lost)?, graphs))
    }

    /// Creates all rows or none. When some exist, they must all exist and agree in the named attributes.
    async fn create(&self, rows: Vec<(Key, Item, &[&str])>, also: Vec<Write>, what: &str) -> Result<(), Fault> {
        let mut writes: Vec<Write> =
            rows.iter().map(|(key, item, _)| Write::create(key.clone(), item.clone())).collect();
        writes.extend(also);
        let first = rows.first().map_or("", |(key, _, _)| key.pk.as_str());
        let round = rand::random::<u64>();
        let mut token = format!("reg-{round:016x}");
        token.truncate(36);
        match self.journal.store().transact(&token, writes).await {
            Ok(()) => Ok(()),
            Err(TransactError::Refused(_)) => {
                for (key, item, same) in &rows {
                    let have = self.row(key).await?;
                    let agrees =
                        have.as_ref().is_some_and(|h| same.iter().all(|name| h.0.get(*name) == item.0.get(*name)));
                    if !agrees {
                        let message = format!("a {what} with this id is registered and differs; nothing was changed");
                        let error = Error::new(Kind::AlreadyExists, Reason::AlreadyExists, message);
                        return Err(error.with("id", first).into());
                    }
                }
                Ok(())
            }
            Err(TransactError::Invalid(cause)) => Err(Fault::internal(cause)),
            Err(error) => Err(away(error)),
        }
    }
}
