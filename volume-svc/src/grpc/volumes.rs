//! `VolumeService`: registration and reading. The calls that change volumes outside a migration are not built yet;
//! they will take the same lock item as a migration (H18).

use super::{authorise, migrations::finish, not_built, operator};
use crate::registry::{NewGraph, NewVolume, Registry};
use tiershift_common::fields::FieldsExt;
use tiershift_core::error::Fields;
use tiershift_core::ids::{AnyGraphId, GraphId, InstanceId, RequestId, TierName, VolumeId, Zone};
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::volume_service_server::VolumeService;
use tonic::{Request, Response, Status};
use volume_core::item::{Item, Table};
use volume_core::keys;

/// Graphs of one volume: what fits a transaction with the rest.
const GRAPHS_MAX: usize = 50;

/// The handlers.
#[derive(Clone, Debug)]
pub struct Volumes {
    /// The use cases.
    pub registry: Registry,
}

pub(super) const fn node_type_word(value: pb::NodeType) -> &'static str {
    match value {
        pb::NodeType::SharedMaster => "shared_master",
        pb::NodeType::SharedReplica => "shared_replica",
        pb::NodeType::Writer | pb::NodeType::Unspecified => "writer",
    }
}

pub(super) fn node_type(word: &str) -> pb::NodeType {
    match word {
        "writer" => pb::NodeType::Writer,
        "shared_master" => pb::NodeType::SharedMaster,
        "shared_replica" => pb::NodeType::SharedReplica,
        _ => pb::NodeType::Unspecified,
    }
}

fn small(value: Option<i64>) -> i32 {
    value.and_then(|v| i32::try_from(v).ok()).unwrap_or(0)
}

fn words(item: &Item, name: &str) -> String {
    item.s(name).unwrap_or_default().to_owned()
}

fn volume(item: &Item, lock: Option<&Item>) -> pb::Volume {
    let status = match item.s("status") {
        Some("available") => pb::VolumeStatus::Available,
        Some("claiming") => pb::VolumeStatus::Claiming,
        Some("attaching") => pb::VolumeStatus::Attaching,
        Some("attached") => pb::VolumeStatus::Attached,
        Some("detaching") => pb::VolumeStatus::Detaching,
        Some("expanding") => pb::VolumeStatus::Expanding,
        _ => pb::VolumeStatus::Unspecified,
    };
    let lock = lock.filter(|l| l.s("holder").is_some()).map(|l| pb::VolumeLock {
        kind: match l.s("kind") {
            Some("migration") => pb::LockKind::Migration,
            Some("settling") => pb::LockKind::Settling,
            Some("claim") => pb::LockKind::Claim,
            Some("maintenance") => pb::LockKind::Maintenance,
            _ => pb::LockKind::Unspecified,
        }
        .into(),
        holder: words(l, "holder"),
        fence: l.n("fence").unwrap_or(0),
    });
    pb::Volume {
        volume_id: words(item, "volume_id"),
        availability_zone: words(item, "availability_zone"),
        tier: words(item, "tier"),
        status: status.into(),
        instance_id: words(item, "instance_id"),
        databases: item.l("databases").to_vec(),
        node_type: node_type(item.s("node_type").unwrap_or_default()).into(),
        size_gib: small(item.n("size")),
        iops: small(item.n("iops")),
        throughput_mibps: small(item.n("throughput")),
        lock,
        restored_from: words(item, "restored_from"),
        created_unix_ms: item.n("created_at").unwrap_or(0),
        last_attached_unix_ms: item.n("last_attached").unwrap_or(0),
        last_detached_unix_ms: item.n("last_detached").unwrap_or(0),
        last_modified_unix_ms: item.n("last_modified").unwrap_or(0),
        last_synced_unix_ms: item.n("last_synced").unwrap_or(0),
    }
}

fn placement(item: &Item) -> pb::GraphPlacement {
    let status = match (item.s("ts_state"), item.s("status")) {
        (Some("migrating"), _) | (_, Some("migrating")) => pb::GraphPlacementStatus::Migrating,
        (_, Some("active")) => pb::GraphPlacementStatus::Active,
        (_, Some("creating")) => pb::GraphPlacementStatus::Creating,
        (_, Some("failed")) => pb::GraphPlacementStatus::Failed,
        (_, Some("deleted")) => pb::GraphPlacementStatus::Deleted,
        _ => pb::GraphPlacementStatus::Unspecified,
    };
    pb::GraphPlacement {
        graph_id: words(item, "graph_id"),
        instance_id: words(item, "instance_id"),
        private_ip: words(item, "private_ip"),
        availability_zone: words(item, "availability_zone"),
        status: status.into(),
        entity_id: words(item, "entity_id"),
        backend_type: words(item, "backend_type"),
        repository_type: words(item, "repository_type"),
        migration_id: words(item, "ts_migration"),
        created_unix_ms: item.n("created_at").unwrap_or(0),
        updated_unix_ms: item.n("last_updated").unwrap_or(0),
    }
}

fn graph(fields: &mut Fields, path: &str, new: pb::GraphRegistration) -> Option<NewGraph> {
    let id = fields.id(&format!("{path}.graph_id"), GraphId::parse(new.graph_id));
    let entity_id = fields.text(&format!("{path}.entity_id"), &new.entity_id, 0..=120);
    let backend_type = fields.text(&format!("{path}.backend_type"), &new.backend_type, 0..=60);
    let repository_type = fields.text(&format!("{path}.repository_type"), &new.repository_type, 0..=60);
    let subgraphs = fields.ids(&format!("{path}.subgraph_ids"), &new.subgraph_ids, 200, AnyGraphId::parse);
    let (id, subgraphs) = (id?, subgraphs?);
    for (i, subgraph) in subgraphs.iter().enumerate() {
        if subgraph.subgraph().is_none() || subgraph.parent() != id {
            fields.fault(format!("{path}.subgraph_ids[{i}]"), "must be a subgraph of this graph");
        }
    }
    Some(NewGraph {
        id,
        subgraphs,
        entity_id: entity_id?,
        backend_type: backend_type?,
        repository_type: repository_type?,
    })
}

#[tonic::async_trait]
impl VolumeService for Volumes {
    async fn get_volume(
        &self,
        request: Request<pb::GetVolumeRequest>,
    ) -> Result<Response<pb::GetVolumeResponse>, Status> {
        authorise(&request)?;
        let Some(pb::get_volume_request::Key::VolumeId(id)) = request.into_inner().key else {
            return not_built("reading a volume by its graph");
        };
        let mut fields = Fields::new();
        let id = fields.id("volume_id", VolumeId::parse(id));
        let id = finish(fields, id)?;
        let store = self.registry.journal.store();
        let away = |e| Status::from(crate::migrations::away(e));
        let row = store.get(&keys::volume_row(&id)).await.map_err(away)?.ok_or_else(|| {
            let error = Error::new(Kind::NotFound, Reason::VolumeNotFound, "there is no such volume in the registry");
            Status::from(tiershift_common::status::Fault::from(error.with("volume_id", id.as_str())))
        })?;
        let lock = store.get(&keys::volume_lock(&id)).await.map_err(away)?;
        let mut parents: Vec<GraphId> =
            row.l("databases").iter().filter_map(|d| AnyGraphId::parse(d.clone()).ok()).map(|d| d.parent()).collect();
        parents.sort();
        parents.dedup();
        let rows: Vec<_> = parents.iter().map(keys::graph_row).collect();
        let graphs = store.get_many(&rows).await.map_err(away)?;
        Ok(Response::new(pb::GetVolumeResponse {
            volume: Some(volume(&row, lock.as_ref())),
            graphs: graphs.iter().flatten().map(placement).collect(),
            snapshots: Vec::new(),
        }))
    }

    async fn list_volumes(
        &self,
        request: Request<pb::ListVolumesRequest>,
    ) -> Result<Response<pb::ListVolumesResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let size = fields.page_size("page_size", request.page_size);
        let size = finish(fields, size)?;
        let filters = (&request.tier, &request.instance_id, request.status);
        let scope = tiershift_common::page::Scope::pages("ListVolumes", &filters);
        let page =
            scope.position(&request.page_token).map_err(|e| Status::from(tiershift_common::status::Fault::from(e)))?;
        let found = self
            .registry
            .journal
            .store()
            .scan(Table::Volume, page, usize::try_from(size).unwrap_or(50))
            .await
            .map_err(|e| Status::from(crate::migrations::away(e)))?;
        let wanted = |v: &pb::Volume| {
            (request.tier.is_empty() || v.tier == request.tier)
                && (request.instance_id.is_empty() || v.instance_id == request.instance_id)
                && (request.status == 0 || v.status == request.status)
        };
        Ok(Response::new(pb::ListVolumesResponse {
            volumes: found.items.iter().map(|i| volume(i, None)).filter(wanted).collect(),
            next_page_token: found.next.map(|key| scope.token(&key)).unwrap_or_default(),
        }))
    }

    async fn register_volume(
        &self,
        request: Request<pb::RegisterVolumeRequest>,
    ) -> Result<Response<pb::RegisterVolumeResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        fields.id("request_id", RequestId::parse(request.request_id));
        let id = fields.id("volume_id", VolumeId::parse(request.volume_id));
        let instance = fields.optional_id("instance_id", &request.instance_id, InstanceId::parse);
        let zone = fields.id("availability_zone", Zone::parse(request.availability_zone));
        let tier = fields.id("tier", TierName::parse(request.tier));
        let node: Option<pb::NodeType> = fields.choice("node_type", request.node_type);
        let size = fields.range("size_gib", i64::from(request.size_gib), 1..=65_536);
        let iops = fields.range("iops", i64::from(request.iops), 0..=256_000);
        let throughput = fields.range("throughput_mibps", i64::from(request.throughput_mibps), 0..=4_000);
        if request.graphs.len() > GRAPHS_MAX {
            fields.fault("graphs", format!("must have at most {GRAPHS_MAX} entries"));
        }
        let graphs: Vec<Option<NewGraph>> = request
            .graphs
            .into_iter()
            .take(GRAPHS_MAX)
            .enumerate()
            .map(|(i, new)| graph(&mut fields, &format!("graphs[{i}]"), new))
            .collect();
        let values = (|| {
            Some(NewVolume {
                id: id?,
                instance: instance?,
                zone: zone?,
                tier: tier?,
                node_type: node_type_word(node?),
                size_gib: size?,
                iops: iops?,
                throughput_mibps: throughput?,
                graphs: graphs.into_iter().collect::<Option<Vec<_>>>()?,
            })
        })();
        let new = finish(fields, values)?;
        let (row, graphs) = self.registry.volume(&new).await?;
        Ok(Response::new(pb::RegisterVolumeResponse {
            volume: Some(volume(&row, None)),
            graphs: graphs.iter().map(placement).collect(),
        }))
    }

    async fn claim_volume(
        &self,
        _: Request<pb::ClaimVolumeRequest>,
    ) -> Result<Response<pb::ClaimVolumeResponse>, Status> {
        not_built("ClaimVolume")
    }

    async fn detach_volume(
        &self,
        _: Request<pb::DetachVolumeRequest>,
    ) -> Result<Response<pb::DetachVolumeResponse>, Status> {
        not_built("DetachVolume")
    }

    async fn snapshot_volume(
        &self,
        _: Request<pb::SnapshotVolumeRequest>,
    ) -> Result<Response<pb::SnapshotVolumeResponse>, Status> {
        not_built("SnapshotVolume")
    }

    async fn restore_volume(
        &self,
        _: Request<pb::RestoreVolumeRequest>,
    ) -> Result<Response<pb::RestoreVolumeResponse>, Status> {
        not_built("RestoreVolume")
    }

    async fn expand_volume(
        &self,
        _: Request<pb::ExpandVolumeRequest>,
    ) -> Result<Response<pb::ExpandVolumeResponse>, Status> {
        not_built("ExpandVolume")
    }

    async fn sync_registry(
        &self,
        _: Request<pb::SyncRegistryRequest>,
    ) -> Result<Response<pb::SyncRegistryResponse>, Status> {
        not_built("SyncRegistry")
    }

    async fn cleanup_snapshots(
        &self,
        _: Request<pb::CleanupSnapshotsRequest>,
    ) -> Result<Response<pb::CleanupSnapshotsResponse>, Status> {
        not_built("CleanupSnapshots")
    }

    async fn cleanup_orphans(
        &self,
        _: Request<pb::CleanupOrphansRequest>,
    ) -> Result<Response<pb::CleanupOrphansResponse>, Status> {
        not_built("CleanupOrphans")
    }
}
