//! `tierctl audit`: what was done, by whom, newest first.

use super::paged;
use crate::cli::subscription::Audit;
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{when, word};
use serde::Serialize;
use std::collections::BTreeMap;
use tiershift_proto::subscription::v1::{AuditEvent, ListAuditEventsRequest};

/// Lists entries, so many at most.
pub async fn run(target: &Target, wanted: Audit, output: &mut Output) -> Result<Exit, Fault> {
    let subscriptions = target.subscriptions()?;
    let rows = paged(wanted.limit, |page_size, page_token| {
        let mut subscriptions = subscriptions.clone();
        let request = ListAuditEventsRequest {
            org_id: wanted.org.clone().unwrap_or_default(),
            graph_id: wanted.graph.clone().unwrap_or_default(),
            subscription_id: wanted.subscription.clone().unwrap_or_default(),
            change_id: wanted.change.clone().unwrap_or_default(),
            page_size,
            page_token,
        };
        async move {
            let page = subscriptions.list_audit_events(request).await?.into_inner();
            Ok((page.events.into_iter().map(AuditRow::of).collect(), page.next_page_token))
        }
    })
    .await?;
    output.rows(&rows)?;
    Ok(Exit::Succeeded)
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// `aud_` and a ULID.
    pub audit_id: String,
    /// When.
    pub at_unix_ms: i64,
    /// What.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Whose it concerns.
    pub org_id: String,
    /// Which graph; empty if none.
    pub graph_id: String,
    /// Which subscription; empty if none.
    pub subscription_id: String,
    /// Which tier change; empty if none.
    pub change_id: String,
    /// One sentence for people.
    pub message: String,
    /// The facts.
    pub detail: BTreeMap<String, String>,
}

impl AuditRow {
    fn of(event: AuditEvent) -> Self {
        Self {
            kind: word(event.kind().as_str_name(), "AUDIT_KIND_"),
            audit_id: event.audit_id,
            at_unix_ms: event.at_unix_ms,
            actor: event.actor,
            org_id: event.org_id,
            graph_id: event.graph_id,
            subscription_id: event.subscription_id,
            change_id: event.change_id,
            message: event.message,
            detail: event.detail.into_iter().collect(),
        }
    }
}

impl Row for AuditRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("AT", Align::Left),
        ("WHO", Align::Left),
        ("WHAT", Align::Left),
        ("GRAPH", Align::Left),
        ("MESSAGE", Align::Left),
        ("DETAIL", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        let detail: Vec<String> = self.detail.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            when(self.at_unix_ms),
            self.actor.clone(),
            self.kind.clone(),
            self.graph_id.clone(),
            self.message.clone(),
            detail.join(" "),
        ]
    }
}
