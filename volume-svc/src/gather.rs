//! Gathers what the rules of `volume_core::plan` need. Reads only, in any order, and says of each check whose read
//! failed that it could not be made: a fact that could not be read is never taken for a good one.

use crate::idle;
use crate::ports::agent::AgentError;
use crate::ports::cloud::{Group, InstanceState, ModificationState as Mod, Process, SnapshotState};
use crate::world::{World, attachments_of, bytes_of};
use tiershift_core::Reason;
use tiershift_core::ids::{AnyGraphId, GraphId, GroupName, InstanceId, TierName, VolumeId, Zone};
use volume_core::effect::{Candidate, Trouble};
use volume_core::item::{Index, Item};
use volume_core::keys;
use volume_core::plan::{Ask, AttachmentFacts, Facts, GraphFacts, GroupFacts, SourceFacts, VolumeFacts};

/// Usable instances found for one decision: one is taken, and one is there if somebody else was faster.
const CANDIDATES_MAX: usize = 2;

/// Instances of which EC2 and their agents are asked for one decision: where so many that look idle are not, it is not
/// worth a minute of a change's time to look at the rest.
const LOOKS_MAX: usize = 20;

/// What a graph needs an instance for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The graph that moves.
    pub graph: &'a GraphId,
    /// Tier of the instance.
    pub tier: &'a TierName,
    /// Its group.
    pub group: &'a GroupName,
    /// Its zone, which is the volume's.
    pub zone: &'a Zone,
}

impl World {
    /// Reads everything about a move. `instance_type` is the target tier's, if the caller knows it.
    pub async fn gather(&self, ask: &Ask, instance_type: Option<&str>) -> Facts {
        let mut facts = Facts {
            read_at: self.clock.now(),
            graph: None,
            volume: None,
            source: None,
            target_group: None,
            idle: 0,
            type_offered: None,
            usage_bytes: None,
            function: None,
            unreadable: Vec::new(),
        };
        match self.ops.function().await {
            Ok(function) => facts.function = function,
            Err(error) => {
                tracing::warn!(code = error.code, "the volume manager function could not be asked what it does");
                facts.unreadable.push(Reason::LambdaUnsupported);
            }
        }
        match self.journal.store().get(&keys::graph_row(&ask.graph)).await {
            Ok(row) => facts.graph = row.as_ref().map(graph_facts),
            Err(_) => facts.unreadable.push(Reason::GraphNotFound),
        }
        let Some(instance) = facts.graph.as_ref().and_then(|g| g.instance.clone()) else {
            self.gather_target(ask, instance_type, &mut facts).await;
            return facts;
        };
        match self.volume_of(&ask.graph, &instance).await {
            Ok(volume) => facts.volume = volume,
            Err(_) => facts.unreadable.push(Reason::VolumeNotFound),
        }
        self.gather_source(ask, &instance, &mut facts).await;
        self.gather_target(ask, instance_type, &mut facts).await;
        facts
    }

    /// The volume that carries a graph: among the volumes that EC2 shows on the graph's instance, the one whose row
    /// lists it. No index decides (rule 6), and no "first volume of the instance" either (D-30).
    async fn volume_of(&self, graph: &GraphId, instance: &InstanceId) -> Result<Option<VolumeFacts>, Trouble> {
        let attached = self.describer.attached(instance).await.map_err(|e| self.trouble(&e))?;
        let mut ids: Vec<VolumeId> = attached.into_iter().map(|v| v.volume_id).collect();
        // The volume may be away from where the row says: the index is the hint that remains.
        let hint = self.journal.store().query_index(Index::VolumeByInstance, instance.as_str(), None, None, 50).await;
        let hinted = hint.map_err(|e| Self::store_trouble(&e))?.items;
        ids.extend(hinted.iter().filter_map(|i| VolumeId::parse(i.s("volume_id")?).ok()));
        ids.sort();
        ids.dedup();
        for id in ids {
            let row = self.journal.store().get(&keys::volume_row(&id)).await.map_err(|e| Self::store_trouble(&e))?;
            if let Some(row) = row
                && graphs_of(&row).contains(graph)
            {
                return self.volume_facts(&id, &row).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn volume_facts(&self, id: &VolumeId, row: &Item) -> Result<VolumeFacts, Trouble> {
        let lock = self
            .journal
            .store()
            .get(&keys::volume_lock(id))
            .await
            .map_err(|e| Self::store_trouble(&e))?
            .unwrap_or_default();
        let volume = self.describer.volume(id).await.map_err(|e| self.trouble(&e))?;
        let modification = self.describer.modification(id).await.map_err(|e| self.trouble(&e))?;
        let snapshots = self.describer.snapshots(id).await.map_err(|e| self.trouble(&e))?;
        let pending = snapshots.iter().filter(|s| s.state == SnapshotState::Pending).count();
        Ok(VolumeFacts {
            id: id.clone(),
            graphs: graphs_of(row),
            tier: TierName::parse(row.s("tier").unwrap_or_default()).map_err(|_| Trouble::Permanent)?,
            instance: row.s("instance_id").and_then(|i| InstanceId::parse(i).ok()),
            holder: lock.s("holder").map(str::to_owned),
            settling: lock.s("kind") == Some("settling"),
            zone: volume.as_ref().map(|v| v.zone.clone()),
            attachments: volume
                .as_ref()
                .map(attachments_of)
                .unwrap_or_default()
                .iter()
                .map(AttachmentFacts::of)
                .collect(),
            modifying: modification.is_some_and(|m| !matches!(m.state, Mod::Completed | Mod::Failed)),
            pending_snapshots: u32::try_from(pending).unwrap_or(u32::MAX),
        })
    }

    async fn gather_source(&self, ask: &Ask, row_instance: &InstanceId, facts: &mut Facts) {
        // The instance that holds the volume by EC2; the row's only when EC2 shows none.
        let id = match facts.volume.as_ref().and_then(|v| v.attachments.first()) {
            Some(attachment) => attachment.instance.clone(),
            None => row_instance.clone(),
        };
        match self.source_facts(&id).await {
            Ok(Some(source)) => {
                let address = self.address_of(&id, source.endpoint_url.as_deref(), Some(&source.private_ip));
                match self.agents.usage(&address).await {
                    Ok(usage) => facts.usage_bytes = Some(bytes_of(&usage.graphs, ask.graph.as_str())),
                    Err(error) => tracing::warn!(%error, instance = %id, "the graph's size could not be read"),
                }
                facts.source = Some(source);
            }
            Ok(None) => {}
            Err(_) => facts.unreadable.push(Reason::AgentUnreachable),
        }
    }

    async fn source_facts(&self, id: &InstanceId) -> Result<Option<SourceFacts>, Trouble> {
        let Some(instance) = self.describer.instance(id).await.map_err(|e| self.trouble(&e))? else { return Ok(None) };
        let group = match self.describer.member(id).await.map_err(|e| self.trouble(&e))? {
            Some(member) => self.group_facts(&member.group).await?,
            None => None,
        };
        let row = self.row(id).await?;
        let endpoint_url = row.as_ref().and_then(|r| r.s("endpoint_url")).map(str::to_owned);
        let private_ip = instance.private_ip.clone().unwrap_or_default();
        let address = self.address_of(id, endpoint_url.as_deref(), Some(&private_ip));
        let engine = self.engine(&address).await.ok();
        let agent_supported = match self.agents.volume(&address).await {
            Ok(_) => Some(true),
            Err(AgentError::Unsupported) => Some(false),
            Err(_) => None,
        };
        let source = SourceFacts {
            instance: id.clone(),
            private_ip,
            endpoint_url,
            running: instance.state == InstanceState::Running,
            group,
            engine,
            agent_supported,
        };
        Ok(Some(source))
    }

    async fn gather_target(&self, ask: &Ask, instance_type: Option<&str>, facts: &mut Facts) {
        match self.group_facts(&ask.target_group).await {
            Ok(group) => facts.target_group = group,
            Err(_) => facts.unreadable.push(Reason::GroupNotReady),
        }
        let Some(zone) = facts.volume.as_ref().and_then(|v| v.zone.clone()) else { return };
        let target = Target { graph: &ask.graph, tier: &ask.target_tier, group: &ask.target_group, zone: &zone };
        match self.candidates(target, &|_| false).await {
            Ok(list) => facts.idle = u32::try_from(list.len()).unwrap_or(u32::MAX),
            Err(_) => facts.unreadable.push(Reason::NoCapacity),
        }
        if let Some(instance_type) = instance_type.filter(|t| !t.is_empty()) {
            match self.describer.offering(instance_type).await {
                Ok(zones) => facts.type_offered = Some(zones.contains(&zone)),
                Err(error) => tracing::warn!(code = error.code, "the offerings of a type could not be read"),
            }
        }
    }

    async fn group_facts(&self, name: &GroupName) -> Result<Option<GroupFacts>, Trouble> {
        let Some(group) = self.describer.group(name).await.map_err(|e| self.trouble(&e))? else { return Ok(None) };
        // The group itself is not held while refreshes are waited for, which are asked for one group at a time.
        let facts = group_facts(&group);
        drop(group);
        let refreshes = self.describer.refreshes(name).await.map_err(|e| self.trouble(&e))?;
        let refreshing = refreshes.iter().any(|r| !r.status.ended());
        Ok(Some(GroupFacts { refreshing, ..facts }))
    }

    /// Idle instances of a tier's group in a zone: by the index (a hint), confirmed by their rows, by EC2, by the
    /// group and by their agents (rule 31), without those that the caller wants no more.
    pub async fn candidates(
        &self,
        ask: Target<'_>,
        unwanted: &(dyn Fn(&InstanceId) -> bool + Sync),
    ) -> Result<Vec<Candidate>, Trouble> {
        let Target { graph, tier, group, zone } = ask;
        let hints = self.idle.instances(graph, tier, group, zone).await.map_err(|e| Self::store_trouble(&e))?;
        let mut usable = Vec::new();
        let mut looked_at = 0;
        for id in hints.filter(|id| !unwanted(id)) {
            if usable.len() >= CANDIDATES_MAX || looked_at >= LOOKS_MAX {
                break;
            }
            let Some(row) = self.row(&id).await? else { continue };
            let fits = row.s("availability_zone") == Some(zone.as_str())
                && row.s("cluster_group").is_none_or(|own| own == group.as_str());
            if !(fits && idle::is_free(&row)) {
                continue;
            }
            looked_at += 1;
            let address = self.address_of(&id, row.s("endpoint_url"), row.s("private_ip"));
            let seen = self.instance_at(&id, &address).await?;
            let fits = seen.running && seen.in_service && seen.data_volumes == 0 && seen.group.as_ref() == Some(group);
            if let (true, Some(engine), Some(private_ip)) =
                (fits && seen.zone.as_ref() == Some(zone), seen.engine, seen.private_ip)
            {
                let endpoint_url = row.s("endpoint_url").map(str::to_owned);
                usable.push(Candidate { instance: id, private_ip, endpoint_url, engine });
            }
        }
        Ok(usable)
    }
}

fn graph_facts(row: &Item) -> GraphFacts {
    GraphFacts {
        instance: row.s("instance_id").and_then(|i| InstanceId::parse(i).ok()),
        status: row.s("status").unwrap_or_default().to_owned(),
        migration: row.s("ts_migration").map(str::to_owned),
    }
}

/// Billing graphs of a volume's row; the list also names subgraphs, which belong to their parents.
fn graphs_of(row: &Item) -> Vec<GraphId> {
    let mut graphs: Vec<GraphId> =
        row.l("databases").iter().filter_map(|d| AnyGraphId::parse(d.clone()).ok()).map(|d| d.parent()).collect();
    graphs.sort();
    graphs.dedup();
    graphs
}

/// All but its refreshes, which are read by a call of their own.
pub(crate) fn group_facts(group: &Group) -> GroupFacts {
    GroupFacts {
        members: i64::try_from(group.members.len()).unwrap_or(i64::MAX),
        max: group.max,
        health_checks: group.health_checks.iter().map(ToString::to_string).collect(),
        suspended: group
            .suspended
            .iter()
            .filter(|p| matches!(p, Process::Launch | Process::Terminate))
            .map(ToString::to_string)
            .collect(),
        rebalances: group.zones.len() > 1 && !group.suspended.contains(&Process::AzRebalance),
        refreshing: false,
        zones: group.zones.clone(),
        name: group.name.clone(),
    }
}
