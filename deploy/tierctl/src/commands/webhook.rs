//! `tierctl webhook`: what the payment provider told, and what nobody could make anything of.

use super::paged;
use crate::cli::webhook::{State, Webhook as Command};
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{or_dash, when, word};
use serde::Serialize;
use tiershift_proto::subscription::v1::{ListWebhookEventsRequest, ReplayWebhookEventsRequest, WebhookEvent};

/// Runs the command.
pub async fn run(target: &Target, command: Command, output: &mut Output) -> Result<Exit, Fault> {
    match command {
        Command::List { state, limit } => {
            let rows = list(target, state, limit).await?;
            output.rows(&rows)?;
        }
        Command::Replay { events } => {
            let request = ReplayWebhookEventsRequest { event_ids: events };
            let replayed = target.webhooks()?.replay_webhook_events(request).await?.into_inner().replayed_event_ids;
            let rows: Vec<ReplayedRow> = replayed.into_iter().map(|event_id| ReplayedRow { event_id }).collect();
            output.rows(&rows)?;
        }
    }
    Ok(Exit::Succeeded)
}

async fn list(target: &Target, state: State, limit: u32) -> Result<Vec<WebhookRow>, Fault> {
    let webhooks = target.webhooks()?;
    paged(limit, |page_size, page_token| {
        let mut webhooks = webhooks.clone();
        let request = ListWebhookEventsRequest { state: state.contract().into(), page_size, page_token };
        async move {
            let page = webhooks.list_webhook_events(request).await?.into_inner();
            Ok((page.events.into_iter().map(WebhookRow::of).collect(), page.next_page_token))
        }
    })
    .await
}

/// An event that is looked at again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayedRow {
    /// The provider's id.
    pub event_id: String,
}

impl Row for ReplayedRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[("LOOKED AT AGAIN", Align::Left)];

    fn cells(&self) -> Vec<String> {
        vec![self.event_id.clone()]
    }
}

/// An event of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookRow {
    /// The provider's id.
    pub event_id: String,
    /// The payment adapter.
    pub provider: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// What it is about, by the provider's name; empty if it names none.
    pub provider_subscription_id: String,
    /// The same by ours; empty if the event does not carry it.
    pub subscription_id: String,
    /// What became of it.
    pub state: String,
    /// How often it was looked at in vain.
    pub attempts: i32,
    /// When it was received.
    pub received_unix_ms: i64,
    /// Why it is where it is.
    pub note: String,
}

impl WebhookRow {
    fn of(event: WebhookEvent) -> Self {
        Self {
            state: word(event.state().as_str_name(), "WEBHOOK_EVENT_STATE_"),
            event_id: event.event_id,
            provider: event.provider,
            kind: event.kind,
            provider_subscription_id: event.provider_subscription_id,
            subscription_id: event.subscription_id,
            attempts: event.attempts,
            received_unix_ms: event.received_unix_ms,
            note: event.note,
        }
    }
}

impl Row for WebhookRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("EVENT", Align::Left),
        ("KIND", Align::Left),
        ("ABOUT", Align::Left),
        ("RECEIVED", Align::Left),
        ("STATE", Align::Left),
        ("TRIES", Align::Right),
        ("WHY", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.event_id.clone(),
            self.kind.clone(),
            or_dash(&self.provider_subscription_id),
            when(self.received_unix_ms),
            self.state.clone(),
            self.attempts.to_string(),
            self.note.clone(),
        ]
    }
}
