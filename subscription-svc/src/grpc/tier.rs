//! TierService.

use super::graph::all;
use super::subscription::{known, price};
use super::{Api, convert, refused, watch};
use crate::store::ChangeFilter;
use crate::usecase::ChangeTier;
use futures_util::stream::BoxStream;
use tiershift_common::caller::Caller;
use tiershift_common::fields::FieldsExt as _;
use tiershift_common::page::Scope;
use tiershift_core::Error;
use tiershift_core::error::Fields;
use tiershift_core::ids::{ChangeId, GraphId, OrgId, RequestId, TierName};
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::tier_service_server::TierService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl TierService for Api {
    async fn list_tiers(
        &self,
        request: Request<pb::ListTiersRequest>,
    ) -> Result<Response<pb::ListTiersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
        let graph = all(fields, graph).map_err(refused)?;
        let listed = self.service.list_tiers(&caller, request.with_room, graph.as_ref()).await?;
        let tiers = listed.iter().map(convert::tier).collect();
        Ok(Response::new(pb::ListTiersResponse { tiers }))
    }

    async fn preview_tier_change(
        &self,
        request: Request<pb::PreviewTierChangeRequest>,
    ) -> Result<Response<pb::PreviewTierChangeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let graph = fields.id("graph_id", GraphId::parse(request.graph_id));
        let target = fields.id("target_tier", TierName::parse(request.target_tier));
        let timing = known("timing", request.timing, pb::ChangeTiming::try_from(request.timing), &mut fields);
        let ((graph, target), timing) = all(fields, graph.zip(target).zip(timing)).map_err(refused)?;
        let timing = convert::timing_from(timing);
        let preview = self.service.preview(&caller, &graph, &target, timing).await?;
        Ok(Response::new(convert::preview(&preview)))
    }

    async fn change_tier(
        &self,
        request: Request<pb::ChangeTierRequest>,
    ) -> Result<Response<pb::ChangeTierResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = change_tier(request.into_inner()).map_err(refused)?;
        let change = self.run(|service| async move { service.change_tier(&caller, command).await }).await?;
        let tier_change = Some(convert::change(&change, self.service.now()));
        Ok(Response::new(pb::ChangeTierResponse { tier_change }))
    }

    async fn get_tier_change(
        &self,
        request: Request<pb::GetTierChangeRequest>,
    ) -> Result<Response<pb::GetTierChangeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut fields = Fields::new();
        let id = fields.id("change_id", ChangeId::parse(request.into_inner().change_id));
        let id = all(fields, id).map_err(refused)?;
        let change = self.service.get_change(&caller, &id).await?;
        let tier_change = Some(convert::change(&change, self.service.now()));
        Ok(Response::new(pb::GetTierChangeResponse { tier_change }))
    }

    async fn list_tier_changes(
        &self,
        request: Request<pb::ListTierChangesRequest>,
    ) -> Result<Response<pb::ListTierChangesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let filters = (&request.org_id, &request.graph_id, request.state, request.active_only);
        let scope = Scope::pages("ListTierChanges", &filters);
        let mut fields = Fields::new();
        let org = fields.optional_id("org_id", &request.org_id, OrgId::parse);
        let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
        let state = known("state", request.state, pb::TierChangeState::try_from(request.state), &mut fields);
        let size = fields.page_size("page_size", request.page_size);
        let ((org, graph), (state, size)) = all(fields, org.zip(graph).zip(state.zip(size))).map_err(refused)?;
        let before: Option<ChangeId> = scope.position(&request.page_token).map_err(refused)?;
        let state = convert::state_from(state);
        let filter = ChangeFilter { org, graph, state, active_only: request.active_only };
        let page = self.service.list_changes(&caller, &filter, before.as_ref(), size).await?;
        let now = self.service.now();
        let last = page.rows.last().filter(|_| page.more);
        Ok(Response::new(pb::ListTierChangesResponse {
            next_page_token: last.map(|c| scope.token(&c.id)).unwrap_or_default(),
            tier_changes: page.rows.iter().map(|c| convert::change(c, now)).collect(),
        }))
    }

    async fn cancel_tier_change(
        &self,
        request: Request<pb::CancelTierChangeRequest>,
    ) -> Result<Response<pb::CancelTierChangeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("request_id", RequestId::parse(request.request_id));
        let change = fields.id("change_id", ChangeId::parse(request.change_id));
        let note = fields.text("note", &request.note, 0..=1_000);
        let ((id, change), note) = all(fields, id.zip(change).zip(note)).map_err(refused)?;
        let change =
            self.run(|service| async move { service.cancel_change(&caller, id, &change, &note).await }).await?;
        let tier_change = Some(convert::change(&change, self.service.now()));
        Ok(Response::new(pb::CancelTierChangeResponse { tier_change }))
    }

    type WatchTierChangeStream = BoxStream<'static, Result<pb::WatchTierChangeResponse, Status>>;

    async fn watch_tier_change(
        &self,
        request: Request<pb::WatchTierChangeRequest>,
    ) -> Result<Response<Self::WatchTierChangeStream>, Status> {
        let caller = Caller::of(&request)?;
        let stream = watch::open(self, &caller, request.into_inner()).await?;
        Ok(Response::new(stream))
    }
}

fn change_tier(request: pb::ChangeTierRequest) -> Result<ChangeTier, Error> {
    let mut fields = Fields::new();
    let timing = known("timing", request.timing, pb::ChangeTiming::try_from(request.timing), &mut fields);
    let id = fields.id("request_id", RequestId::parse(request.request_id));
    let graph = fields.id("graph_id", GraphId::parse(request.graph_id));
    let target = fields.id("target_tier", TierName::parse(request.target_tier));
    let expected_price = match &request.expected_price {
        None => Some(None),
        Some(money) => price("expected_price", money, &mut fields).map(Some),
    };
    let read = match (id, graph, target, timing, expected_price) {
        (Some(request), Some(graph), Some(target), Some(timing), Some(expected_price)) => {
            let timing = convert::timing_from(timing);
            Some(ChangeTier { request, graph, target, timing, expected_price })
        }
        _ => None,
    };
    all(fields, read)
}
