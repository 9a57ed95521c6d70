//! GraphService.

use super::{Api, convert, refused};
use crate::store::rows::Endpoint;
use crate::usecase::RegisterGraph;
use tiershift_common::caller::Caller;
use tiershift_common::fields::FieldsExt as _;
use tiershift_common::page::Scope;
use tiershift_core::error::Fields;
use tiershift_core::ids::{AnyGraphId, GraphId, OrgId, RequestId, TierName};
use tiershift_core::{Error, UnixMs};
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::graph_service_server::GraphService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl GraphService for Api {
    async fn register_graph(
        &self,
        request: Request<pb::RegisterGraphRequest>,
    ) -> Result<Response<pb::RegisterGraphResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = register_graph(request.into_inner()).map_err(refused)?;
        let (graph, loaded) = self.run(|service| async move { service.register_graph(&caller, command).await }).await?;
        Ok(Response::new(pb::RegisterGraphResponse { graph: Some(convert::graph(&graph, &loaded)) }))
    }

    async fn register_subgraph(
        &self,
        request: Request<pb::RegisterSubgraphRequest>,
    ) -> Result<Response<pb::RegisterSubgraphResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("request_id", RequestId::parse(request.request_id));
        let graph = fields.id("graph_id", GraphId::parse(request.graph_id));
        if !(1..=40).contains(&request.name.len()) || !request.name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            fields.fault("name", "must be 1 to 40 letters and digits");
        }
        let (id, graph) = all(fields, id.zip(graph)).map_err(refused)?;
        let name = request.name;
        let subgraph =
            self.run(|service| async move { service.register_subgraph(&caller, id, &graph, &name).await }).await?;
        Ok(Response::new(pb::RegisterSubgraphResponse { subgraph: Some(convert::subgraph(&subgraph)) }))
    }

    async fn get_graph(&self, request: Request<pb::GetGraphRequest>) -> Result<Response<pb::GetGraphResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut fields = Fields::new();
        let id = fields.id("graph_id", AnyGraphId::parse(request.into_inner().graph_id));
        let id = all(fields, id).map_err(refused)?;
        let (graph, loaded) = self.service.get_graph(&caller, &id).await?;
        Ok(Response::new(pb::GetGraphResponse { graph: Some(convert::graph(&graph, &loaded)) }))
    }

    async fn list_subgraphs(
        &self,
        request: Request<pb::ListSubgraphsRequest>,
    ) -> Result<Response<pb::ListSubgraphsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let scope = Scope::pages("ListSubgraphs", &request.graph_id);
        let mut fields = Fields::new();
        let graph = fields.id("graph_id", GraphId::parse(request.graph_id));
        let size = fields.page_size("page_size", request.page_size);
        let (graph, size) = all(fields, graph.zip(size)).map_err(refused)?;
        let after: Option<AnyGraphId> = scope.position(&request.page_token).map_err(refused)?;
        let page = self.service.list_subgraphs(&caller, &graph, after.as_ref(), size).await?;
        let last = page.rows.last().filter(|_| page.more);
        Ok(Response::new(pb::ListSubgraphsResponse {
            next_page_token: last.map(|s| scope.token(&s.id)).unwrap_or_default(),
            subgraphs: page.rows.iter().map(convert::subgraph).collect(),
        }))
    }

    async fn deregister_graph(
        &self,
        request: Request<pb::DeregisterGraphRequest>,
    ) -> Result<Response<pb::DeregisterGraphResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("request_id", RequestId::parse(request.request_id));
        let graph = fields.id("graph_id", AnyGraphId::parse(request.graph_id));
        let note = fields.text("note", &request.note, 0..=1_000);
        let ((id, graph), note) = all(fields, id.zip(graph).zip(note)).map_err(refused)?;
        let (graph, loaded) =
            self.run(|service| async move { service.deregister_graph(&caller, id, &graph, &note).await }).await?;
        Ok(Response::new(pb::DeregisterGraphResponse { graph: Some(convert::graph(&graph, &loaded)) }))
    }
}

/// Everything that was read, or every fault.
pub(super) fn all<T>(fields: Fields, read: Option<T>) -> Result<T, Error> {
    fields.finish()?;
    // Without a fault everything was read.
    read.ok_or_else(|| Error::invalid_field("request", "must be readable"))
}

fn register_graph(request: pb::RegisterGraphRequest) -> Result<RegisterGraph, Error> {
    let mut fields = Fields::new();
    let id = fields.id("request_id", RequestId::parse(request.request_id));
    let org = fields.id("org_id", OrgId::parse(request.org_id));
    let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
    let tier = fields.id("tier", TierName::parse(request.tier));
    let display_name = fields.text("display_name", &request.display_name, 0..=100);
    let endpoint = match request.endpoint {
        None => Some(None),
        Some(given) => {
            let instance_id = fields.text("endpoint.instance_id", &given.instance_id, 0..=32);
            let private_ip = fields.text("endpoint.private_ip", &given.private_ip, 0..=15);
            let zone = fields.text("endpoint.availability_zone", &given.availability_zone, 0..=30);
            let observed = fields.range("endpoint.observed_unix_ms", given.observed_unix_ms, 0..=i64::MAX);
            match (instance_id, private_ip, zone, observed) {
                (Some(instance_id), Some(private_ip), Some(availability_zone), Some(observed)) => {
                    let observed = UnixMs(observed);
                    Some(Some(Endpoint { instance_id, private_ip, availability_zone, observed }))
                }
                _ => None,
            }
        }
    };
    let shared_repository = request.shared_repository;
    let read = match (id, org, graph, tier, display_name, endpoint) {
        (Some(request), Some(org), Some(graph), Some(tier), Some(display_name), Some(endpoint)) => {
            Some(RegisterGraph { request, org, graph, tier, shared_repository, display_name, endpoint })
        }
        _ => None,
    };
    all(fields, read)
}
