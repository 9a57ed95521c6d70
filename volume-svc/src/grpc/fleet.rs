//! `FleetService`: registration of instances, and where there is room. The rest of the fleet's calls are not built yet.

use super::volumes::{node_type, node_type_word};
use super::{authorise, migrations::finish, not_built, operator};
use crate::capacity::{Capacity, Place, Room};
use crate::registry::{NewInstance, Registry};
use tiershift_common::fields::FieldsExt;
use tiershift_core::error::Fields;
use tiershift_core::ids::{GroupName, InstanceId, RequestId, TierName, Zone};
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::fleet_service_server::FleetService;
use tonic::{Request, Response, Status};
use volume_core::item::Item;

/// The handlers.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The use cases.
    pub registry: Registry,
    /// Where there is room.
    pub capacity: Capacity,
}

fn capacity(place: &Place) -> pb::Capacity {
    let small = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let size = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    let room = match place.room {
        Room::Idle => pb::Room::Idle,
        Room::Launch => pb::Room::Launch,
        Room::None => pb::Room::None,
        Room::Unknown => pb::Room::Unknown,
    };
    let (members, max) = place.size.unwrap_or_default();
    pb::Capacity {
        tier: place.tier.to_string(),
        availability_zone: place.zone.to_string(),
        room: room.into(),
        idle: small(place.counts.idle),
        reserved: small(place.counts.reserved),
        serving: small(place.counts.serving),
        group_size: size(members),
        group_max: size(max),
        cluster_group: place.group.to_string(),
        read_age_ms: 0,
    }
}

fn instance(item: &Item) -> pb::Instance {
    let words = |name: &str| item.s(name).unwrap_or_default().to_owned();
    let small = |name: &str| item.n(name).and_then(|v| i32::try_from(v).ok()).unwrap_or(0);
    let status = match (item.s("ts_state"), item.s("status")) {
        (Some("reserved"), _) => pb::InstanceStatus::Reserved,
        (Some("condemned"), _) => pb::InstanceStatus::Condemned,
        (_, Some("initializing")) => pb::InstanceStatus::Initializing,
        (_, Some("healthy")) => pb::InstanceStatus::Healthy,
        (_, Some("unhealthy")) => pb::InstanceStatus::Unhealthy,
        (_, Some("retiring")) => pb::InstanceStatus::Retiring,
        (_, Some("terminating" | "terminated")) => pb::InstanceStatus::Terminating,
        _ => pb::InstanceStatus::Unspecified,
    };
    pb::Instance {
        instance_id: words("instance_id"),
        private_ip: words("private_ip"),
        endpoint_url: words("endpoint_url"),
        availability_zone: words("availability_zone"),
        tier: words("tier"),
        cluster_group: words("cluster_group"),
        instance_type: words("instance_type"),
        node_type: node_type(item.s("node_type").unwrap_or_default()).into(),
        backend_type: words("backend_type"),
        status: status.into(),
        database_count: small("database_count"),
        max_databases: small("max_databases"),
        migration_id: words("ts_migration"),
        engine: None,
        region: words("region"),
        stack_name: words("stack_name"),
        launched_unix_ms: item.n("launch_time").unwrap_or(0),
        registered_unix_ms: item.n("created_at").unwrap_or(0),
        last_heartbeat_unix_ms: item.n("last_health_check").unwrap_or(0),
    }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn register_instance(
        &self,
        request: Request<pb::RegisterInstanceRequest>,
    ) -> Result<Response<pb::RegisterInstanceResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        fields.id("request_id", RequestId::parse(request.request_id));
        let id = fields.id("instance_id", InstanceId::parse(request.instance_id));
        let private_ip = fields.text("private_ip", &request.private_ip, 0..=45);
        let endpoint_url = fields.text("endpoint_url", &request.endpoint_url, 0..=255);
        let zone = fields.id("availability_zone", Zone::parse(request.availability_zone));
        let tier = fields.id("tier", TierName::parse(request.tier));
        let group = fields.optional_id("cluster_group", &request.cluster_group, GroupName::parse);
        let instance_type = fields.text("instance_type", &request.instance_type, 0..=60);
        let node: Option<pb::NodeType> = fields.choice("node_type", request.node_type);
        let backend_type = fields.text("backend_type", &request.backend_type, 0..=60);
        let status: Option<pb::InstanceStatus> = fields.choice("status", request.status);
        let status = status.and_then(|s| match s {
            pb::InstanceStatus::Initializing => Some("initializing"),
            pb::InstanceStatus::Healthy => Some("healthy"),
            pb::InstanceStatus::Unhealthy => Some("unhealthy"),
            _ => {
                fields.fault("status", "must be INITIALIZING, HEALTHY or UNHEALTHY: the rest is decided here");
                None
            }
        });
        let max_databases = fields.range("max_databases", i64::from(request.max_databases), 0..=1_000);
        let region = fields.text("region", &request.region, 0..=60);
        let stack_name = fields.text("stack_name", &request.stack_name, 0..=128);
        let values = (|| {
            Some(NewInstance {
                id: id?,
                private_ip: private_ip?,
                endpoint_url: endpoint_url?,
                zone: zone?,
                tier: tier?,
                group: group?,
                instance_type: instance_type?,
                node_type: node_type_word(node?),
                backend_type: backend_type?,
                status: status?,
                max_databases: max_databases?,
                region: region?,
                stack_name: stack_name?,
                launched_ms: request.launched_unix_ms,
            })
        })();
        let new = finish(fields, values)?;
        let row = self.registry.instance(&new).await?;
        Ok(Response::new(pb::RegisterInstanceResponse { instance: Some(instance(&row)) }))
    }

    async fn heartbeat(&self, _: Request<pb::HeartbeatRequest>) -> Result<Response<pb::HeartbeatResponse>, Status> {
        not_built("Heartbeat")
    }

    async fn get_capacity(
        &self,
        request: Request<pb::GetCapacityRequest>,
    ) -> Result<Response<pb::GetCapacityResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let tier = fields.optional_id("tier", &request.tier, TierName::parse);
        let zone = fields.optional_id("availability_zone", &request.availability_zone, Zone::parse);
        let (tier, zone) = finish(fields, tier.zip(zone))?;
        let places = self.capacity.list(tier.as_ref(), zone.as_ref()).await?;
        let capacities = places.iter().map(capacity).collect();
        Ok(Response::new(pb::GetCapacityResponse { capacities }))
    }

    async fn list_instances(
        &self,
        _: Request<pb::ListInstancesRequest>,
    ) -> Result<Response<pb::ListInstancesResponse>, Status> {
        not_built("ListInstances")
    }

    async fn get_usage(&self, _: Request<pb::GetUsageRequest>) -> Result<Response<pb::GetUsageResponse>, Status> {
        not_built("GetUsage")
    }
}
