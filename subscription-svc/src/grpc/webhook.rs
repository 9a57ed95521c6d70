//! WebhookService at the border.

use super::graph::all;
use super::subscription::known;
use super::{Api, refused};
use crate::store::inbox::{WebhookEvent, WebhookState};
use tiershift_common::caller::Caller;
use tiershift_common::fields::FieldsExt as _;
use tiershift_common::page::Scope;
use tiershift_core::error::Fields;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::webhook_service_server::WebhookService;
use tonic::{Request, Response, Status};

/// Most events replayed by one call, as the contract has it.
const REPLAYED_MAX: usize = 500;

#[tonic::async_trait]
impl WebhookService for Api {
    async fn list_webhook_events(
        &self,
        request: Request<pb::ListWebhookEventsRequest>,
    ) -> Result<Response<pb::ListWebhookEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let scope = Scope::pages("ListWebhookEvents", &request.state);
        let mut fields = Fields::new();
        let asked = pb::WebhookEventState::try_from(request.state);
        let state = known("state", request.state, asked, &mut fields).map(state_from);
        let size = fields.page_size("page_size", request.page_size);
        let (state, size) = all(fields, state.zip(size)).map_err(refused)?;
        let before: Option<u64> = scope.position(&request.page_token).map_err(refused)?;
        let page = self.service.list_webhooks(&caller, state, before, size).await?;
        let last = page.rows.last().filter(|_| page.more);
        Ok(Response::new(pb::ListWebhookEventsResponse {
            next_page_token: last.map(|event| scope.token(&event.n)).unwrap_or_default(),
            events: page.rows.iter().map(event).collect(),
        }))
    }

    async fn replay_webhook_events(
        &self,
        request: Request<pb::ReplayWebhookEventsRequest>,
    ) -> Result<Response<pb::ReplayWebhookEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ids = request.into_inner().event_ids;
        let mut fields = Fields::new();
        if ids.is_empty() || ids.len() > REPLAYED_MAX {
            fields.fault("event_ids", "must be 1 to 500");
        }
        for (n, id) in ids.iter().enumerate() {
            fields.text(&format!("event_ids[{n}]"), id, 1..=255);
        }
        let ids = all(fields, Some(ids)).map_err(refused)?;
        let replayed = self.run(|service| async move { service.replay_webhooks(&caller, &ids).await }).await?;
        Ok(Response::new(pb::ReplayWebhookEventsResponse { replayed_event_ids: replayed }))
    }
}

fn state_from(state: pb::WebhookEventState) -> WebhookState {
    match state {
        pb::WebhookEventState::Pending => WebhookState::Pending,
        pb::WebhookEventState::Applied => WebhookState::Applied,
        pb::WebhookEventState::Ignored => WebhookState::Ignored,
        pb::WebhookEventState::Dead | pb::WebhookEventState::Unspecified => WebhookState::Dead,
    }
}

fn event(event: &WebhookEvent) -> pb::WebhookEvent {
    pb::WebhookEvent {
        event_id: event.id.clone(),
        provider: event.provider.clone(),
        kind: event.kind.clone(),
        provider_subscription_id: event.subject.clone(),
        subscription_id: event.ours.clone(),
        state: match event.state {
            WebhookState::Pending => pb::WebhookEventState::Pending,
            WebhookState::Applied => pb::WebhookEventState::Applied,
            WebhookState::Ignored => pb::WebhookEventState::Ignored,
            WebhookState::Dead => pb::WebhookEventState::Dead,
        }
        .into(),
        attempts: i32::try_from(event.attempts).unwrap_or(i32::MAX),
        note: event.note.clone(),
        created_unix_ms: event.created.0,
        received_unix_ms: event.received.0,
    }
}
