//! What the payment provider sent, as rows in memory.

use super::{Memory, State};
use crate::store::Fault;
use crate::store::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use async_trait::async_trait;
use tiershift_core::UnixMs;

impl State {
    /// Notes what became of events.
    pub(super) fn mark(&mut self, mark: &WebhookMark) {
        for id in &mark.ids {
            if let Some(event) = self.webhooks.get_mut(id) {
                (event.state, event.attempts, event.not_before) = (mark.state, mark.attempts, mark.not_before);
                event.note.clone_from(&mark.note);
            }
        }
    }
}

#[async_trait]
impl Inbox for Memory {
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault> {
        let mut state = self.lock();
        let before = state.webhooks.len();
        for event in events {
            let n = u64::try_from(state.webhooks.len()).unwrap_or(u64::MAX).saturating_add(1);
            state.webhooks.entry(event.id.clone()).or_insert_with(|| WebhookEvent { n, ..event.clone() });
        }
        Ok(u64::try_from(state.webhooks.len() - before).unwrap_or(u64::MAX))
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
        let state = self.lock();
        let pending = state.webhooks.values().filter(|event| event.state == WebhookState::Pending);
        let (mut due, later): (Vec<&WebhookEvent>, Vec<&WebhookEvent>) = pending.partition(|e| e.not_before <= now);
        due.sort_by_key(|event| (event.not_before, event.n));
        let next = later.iter().map(|event| event.not_before).min();
        Ok((due.into_iter().take(limit as usize).cloned().collect(), next))
    }

    async fn mark(&self, mark: &WebhookMark) -> Result<(), Fault> {
        self.lock().mark(mark);
        Ok(())
    }

    async fn list(&self, wanted: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault> {
        let state = self.lock();
        let wanted = |e: &&WebhookEvent| e.state == wanted && before.is_none_or(|n| e.n < n);
        let mut found: Vec<&WebhookEvent> = state.webhooks.values().filter(wanted).collect();
        found.sort_by_key(|event| std::cmp::Reverse(event.n));
        Ok(found.into_iter().take(limit as usize).cloned().collect())
    }
}
