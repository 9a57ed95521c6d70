//! Registers the seeded fleet with both services, through their own RPCs: the services learn of it as they would in
//! production, and a second seeding changes nothing.

use crate::cloud::{Cloud, CloudError};
use cloud_sim::seed::{Fleet, FleetGraph, GraphKind, Wanted};
use tierctl::connect::Target;
use tiershift_common::caller::Caller;
use tiershift_common::client::{CallerChannel, channel_as};
use tiershift_proto::subscription::v1 as subscription;
use tiershift_proto::subscription::v1::graph_service_client::GraphServiceClient;
use tiershift_proto::subscription::v1::subscription_service_client::SubscriptionServiceClient;
use tiershift_proto::volume::v1 as volume;
use tiershift_proto::volume::v1::fleet_service_client::FleetServiceClient;
use tiershift_proto::volume::v1::volume_service_client::VolumeServiceClient;
use tonic::Code;

/// How long before "now" an ended or overdue period lies, in milliseconds: a day.
const DAY_MS: i64 = 86_400_000;

/// Why the seed was not planted.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The simulated cloud did not tell its fleet.
    #[error("the fleet cannot be read")]
    Cloud(#[from] CloudError),
    /// A service refused.
    #[error("{what} was not registered")]
    Refused {
        /// What.
        what: String,
        /// Why.
        #[source]
        status: Box<tonic::Status>,
    },
    /// An address or caller that cannot be used: a fault of ours.
    #[error("{0}")]
    Address(String),
}

fn refused(what: impl Into<String>) -> impl FnOnce(tonic::Status) -> SeedError {
    let what = what.into();
    move |status| SeedError::Refused { what, status: Box::new(status) }
}

/// The fleet of the simulated cloud.
pub async fn fleet(cloud: &Cloud) -> Result<Fleet, SeedError> {
    Ok(cloud.get("/sim/fleet").await?)
}

/// Registers everything. `now_ms` is the stack's clock.
pub async fn plant(stack: &tierctl::stack::Stack, fleet: &Fleet, now_ms: i64) -> Result<(), SeedError> {
    let caller = Caller::parse_dev(&stack.dev_caller).map_err(|e| SeedError::Address(e.to_string()))?;
    let open = |url: &str| channel_as(url, &caller).map_err(|e| SeedError::Address(e.to_string()));
    let volumes = open(&stack.volume_url)?;
    let subscriptions = open(&stack.subscription_url)?;
    instances(volumes.clone(), fleet).await?;
    self::volumes(volumes, fleet).await?;
    for graph in &fleet.graphs {
        register(subscriptions.clone(), fleet, graph, now_ms).await?;
    }
    Ok(())
}

/// A request id that is the same at each seeding, so that a second one repeats and does not begin anew.
fn request_id(what: &str) -> String {
    format!("seed-{what}").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect()
}

async fn instances(channel: CallerChannel, fleet: &Fleet) -> Result<(), SeedError> {
    let mut client = FleetServiceClient::new(channel);
    for instance in &fleet.instances {
        let request = volume::RegisterInstanceRequest {
            request_id: request_id(&instance.instance_id),
            instance_id: instance.instance_id.clone(),
            private_ip: instance.private_ip.clone(),
            // Agents are found by the stack's template: ports change from start to start, rows do not.
            endpoint_url: String::new(),
            availability_zone: instance.availability_zone.clone(),
            tier: instance.tier.clone(),
            cluster_group: instance.group_name.clone(),
            instance_type: instance.instance_type.clone(),
            node_type: volume::NodeType::Writer.into(),
            backend_type: "ladybug".to_owned(),
            status: volume::InstanceStatus::Healthy.into(),
            max_databases: 1,
            region: "us-east-1".to_owned(),
            stack_name: String::new(),
            launched_unix_ms: 0,
        };
        tolerate(client.register_instance(request).await.map(|_| ()).map_err(Box::new))
            .map_err(|s| refused(&instance.instance_id)(*s))?;
    }
    Ok(())
}

async fn volumes(channel: CallerChannel, fleet: &Fleet) -> Result<(), SeedError> {
    let mut client = VolumeServiceClient::new(channel);
    for seeded in &fleet.volumes {
        let graphs =
            fleet.graphs.iter().filter(|g| g.volume_id == seeded.volume_id).map(|g| volume::GraphRegistration {
                graph_id: g.graph_id.clone(),
                entity_id: String::new(),
                backend_type: "ladybug".to_owned(),
                repository_type: if g.kind == GraphKind::SharedRepository { "dev".to_owned() } else { String::new() },
                subgraph_ids: g.subgraphs.clone(),
            });
        let request = volume::RegisterVolumeRequest {
            request_id: request_id(&seeded.volume_id),
            volume_id: seeded.volume_id.clone(),
            instance_id: seeded.instance_id.clone(),
            availability_zone: seeded.availability_zone.clone(),
            tier: seeded.tier.clone(),
            node_type: volume::NodeType::Writer.into(),
            size_gib: i32::try_from(seeded.size_gib).unwrap_or(i32::MAX),
            iops: 3_000,
            throughput_mibps: 125,
            graphs: graphs.collect(),
        };
        tolerate(client.register_volume(request).await.map(|_| ()).map_err(Box::new))
            .map_err(|s| refused(&seeded.volume_id)(*s))?;
    }
    Ok(())
}

/// A row that is there and differs has moved on since the first seeding: it is left alone.
fn tolerate(result: Result<(), Box<tonic::Status>>) -> Result<(), Box<tonic::Status>> {
    match result {
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        other => other,
    }
}

async fn register(channel: CallerChannel, fleet: &Fleet, graph: &FleetGraph, now_ms: i64) -> Result<(), SeedError> {
    let mut graphs = GraphServiceClient::new(channel.clone());
    let instance = fleet.instances.iter().find(|i| i.instance_id == graph.instance_id);
    let request = subscription::RegisterGraphRequest {
        request_id: request_id(&format!("g-{}", graph.graph_id)),
        org_id: graph.organisation_id.clone(),
        graph_id: graph.graph_id.clone(),
        tier: graph.tier.clone(),
        shared_repository: graph.kind == GraphKind::SharedRepository,
        display_name: graph.name.clone(),
        endpoint: instance.map(|i| subscription::GraphEndpoint {
            instance_id: i.instance_id.clone(),
            private_ip: i.private_ip.clone(),
            availability_zone: i.availability_zone.clone(),
            observed_unix_ms: now_ms,
        }),
    };
    tolerate(graphs.register_graph(request).await.map(|_| ()).map_err(Box::new))
        .map_err(|s| refused(&graph.graph_id)(*s))?;
    for subgraph in &graph.subgraphs {
        let name = subgraph.strip_prefix(&format!("{}_", graph.graph_id)).unwrap_or(subgraph).to_owned();
        let request = subscription::RegisterSubgraphRequest {
            request_id: request_id(&format!("s-{subgraph}")),
            graph_id: graph.graph_id.clone(),
            name,
        };
        tolerate(graphs.register_subgraph(request).await.map(|_| ()).map_err(Box::new))
            .map_err(|s| refused(subgraph)(*s))?;
    }
    if graph.subscription == Wanted::None {
        return Ok(());
    }
    let mut subscriptions = SubscriptionServiceClient::new(channel);
    let request = subscription::CreateSubscriptionRequest {
        request_id: request_id(&format!("b-{}", graph.graph_id)),
        org_id: graph.organisation_id.clone(),
        graph_id: graph.graph_id.clone(),
        tier: graph.tier.clone(),
        interval: subscription::BillingInterval::Monthly.into(),
        initial: Some(initial(graph.subscription, now_ms)),
    };
    tolerate(subscriptions.create_subscription(request).await.map(|_| ()).map_err(Box::new))
        .map_err(|s| refused(format!("the subscription of {}", graph.graph_id))(*s))
}

fn initial(wanted: Wanted, now_ms: i64) -> subscription::InitialSubscription {
    use subscription::SubscriptionStatus as Status;
    let (status, ends) = match wanted {
        Wanted::Active | Wanted::None => (Status::Active, 0),
        Wanted::PastDue => (Status::PastDue, 0),
        Wanted::CanceledInGrace => (Status::Canceled, now_ms + 10 * DAY_MS),
        Wanted::Suspended => (Status::Canceled, now_ms - DAY_MS),
    };
    subscription::InitialSubscription { status: status.into(), ends_at_unix_ms: ends, ..Default::default() }
}

/// The services of a stack, for commands that are built on tierctl's.
pub fn target(stack: &tierctl::stack::Stack) -> Result<Target, SeedError> {
    Target::of_stack(stack).map_err(|e| SeedError::Address(e.to_string()))
}
