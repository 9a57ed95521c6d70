//! ListWebhookEvents and ReplayWebhookEvents: what operators see of the provider's events, and do about dead ones.

use super::operator_only;
use super::reading::Page;
use crate::service::{Outcome, Service, from_store};
use crate::store::inbox::{Inbox, WebhookEvent, WebhookState};
use tiershift_common::caller::Caller;
use tiershift_core::{Error, Kind, Reason};

impl Service {
    /// Events in a state, newest first, below a number.
    pub async fn list_webhooks(
        &self,
        caller: &Caller,
        state: WebhookState,
        before: Option<u64>,
        size: u32,
    ) -> Outcome<Page<WebhookEvent>> {
        operator_only(caller)?;
        let rows = self.received()?.list(state, before, size + 1).await.map_err(from_store)?;
        Ok(Page::of(rows, size))
    }

    /// Has dead events looked at once more; says which of these were dead.
    pub async fn replay_webhooks(&self, caller: &Caller, ids: &[String]) -> Outcome<Vec<String>> {
        operator_only(caller)?;
        let note = format!("replayed by {}", caller.user.as_str());
        let replayed = self.received()?.replay(ids, self.now(), &note).await.map_err(from_store)?;
        tracing::info!(operator = caller.user.as_str(), events = replayed.len(), "dead webhooks are looked at again");
        self.arrived.notify_one();
        Ok(replayed)
    }

    fn received(&self) -> Result<&dyn Inbox, Error> {
        let text = "no webhooks are received here: start the service with --webhook-listen";
        self.inbox.as_deref().ok_or_else(|| Error::new(Kind::Unimplemented, Reason::NotImplemented, text))
    }
}
