//! What the payment provider sent, as rows in memory.

use super::{Memory, State};
use crate::store::Fault;
use crate::store::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use async_trait::async_trait;
use tiershift_core::UnixMs;

impl State {
    /// Notes what became of events.
    pub(super) fn mark(&mut self, mark: &WebhookMark) {
        let answered = |event: &WebhookEvent| {
            let of = mark.answered.as_ref().is_some_and(|(subject, n)| event.subject == *subject && event.n <= *n);
            of && event.state == WebhookState::Pending
        };
        let also: Vec<String> = self.webhooks.values().filter(|e| answered(e)).map(|e| e.id.clone()).collect();
        for id in mark.ids.iter().chain(&also) {
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
            if !state.webhooks.contains_key(&event.id) {
                state.last_webhook += 1;
                let n = state.last_webhook;
                state.webhooks.insert(event.id.clone(), WebhookEvent { n, ..event.clone() });
            }
        }
        Ok(u64::try_from(state.webhooks.len() - before).unwrap_or(u64::MAX))
    }

    async fn head(&self) -> Result<u64, Fault> {
        Ok(self.lock().last_webhook)
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

    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
        let mut state = self.lock();
        let dead = |id: &&String| state.webhooks.get(*id).is_some_and(|event| event.state == WebhookState::Dead);
        let ids: Vec<String> = ids.iter().filter(dead).cloned().collect();
        let (pending, note) = (WebhookState::Pending, note.to_owned());
        let mark = WebhookMark { ids: ids.clone(), answered: None, state: pending, attempts: 0, not_before: now, note };
        state.mark(&mark);
        Ok(ids)
    }

    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault> {
        let mut state = self.lock();
        let done = |e: &&WebhookEvent| matches!(e.state, WebhookState::Applied | WebhookState::Ignored);
        let old = state.webhooks.values().filter(done).filter(|event| event.received < before);
        let ids: Vec<String> = old.take(limit as usize).map(|event| event.id.clone()).collect();
        for id in &ids {
            state.webhooks.remove(id);
        }
        Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
    }
}
