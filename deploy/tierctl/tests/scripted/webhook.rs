//! A provider's events by a script: three dead ones, two a page.

use super::Script;
use tiershift_proto::subscription::v1 as sub;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl sub::webhook_service_server::WebhookService for Script {
    async fn list_webhook_events(
        &self,
        request: Request<sub::ListWebhookEventsRequest>,
    ) -> Result<Response<sub::ListWebhookEventsResponse>, Status> {
        let request = request.into_inner();
        let state = request.state().as_str_name();
        self.note(format!("ListWebhookEvents {state} {} {}", request.page_size, request.page_token));
        let event = |event_id: &str| sub::WebhookEvent {
            event_id: event_id.into(),
            kind: "invoice.paid".into(),
            state: sub::WebhookEventState::Dead.into(),
            attempts: 14,
            received_unix_ms: 1_801_396_800_000,
            note: "no subscription of this name is known here".into(),
            ..Default::default()
        };
        let (ids, next_page_token) = match request.page_token.as_str() {
            "" => (vec!["evt_3", "evt_2"], "page2".to_owned()),
            _ => (vec!["evt_1"], String::new()),
        };
        let events = ids.into_iter().take(usize::try_from(request.page_size).unwrap_or(0)).map(event).collect();
        Ok(Response::new(sub::ListWebhookEventsResponse { events, next_page_token }))
    }

    async fn replay_webhook_events(
        &self,
        request: Request<sub::ReplayWebhookEventsRequest>,
    ) -> Result<Response<sub::ReplayWebhookEventsResponse>, Status> {
        let ids = request.into_inner().event_ids;
        self.note(format!("ReplayWebhookEvents {}", ids.join(" ")));
        let replayed_event_ids = ids.into_iter().filter(|id| id != "evt_gone").collect();
        Ok(Response::new(sub::ReplayWebhookEventsResponse { replayed_event_ids }))
    }
}
