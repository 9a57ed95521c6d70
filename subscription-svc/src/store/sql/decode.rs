//! From rows to values, for every SQL adapter: one function a table, over the few types that columns have. What cannot
//! be read as what it should be is [`Fault::Corrupt`], never a default.
//!
//! How a type is kept is an adapter's, by [`Columns`]; from values to rows is `encode.rs`.

use crate::store::inbox::{WebhookEvent, WebhookState};
use crate::store::rows::{
    Access, AuditEvent, AuditKind, Graph, Interval, Leases, Owed, PaymentKind, PaymentOutcome, PaymentRequest, Request,
    RequestKey, Revision, Subgraph, Subscription,
};
use crate::store::{Fault, Published};
use serde::de::DeserializeOwned;
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, Malformed, OrgId, SubscriptionId, TierName};

/// A row whose columns can be read by name. Instants are named without their unit.
pub trait Columns {
    /// A text.
    fn text(&self, column: &str) -> Result<String, Fault>;
    /// A text, or NULL.
    fn optional_text(&self, column: &str) -> Result<Option<String>, Fault>;
    /// A number.
    fn number(&self, column: &str) -> Result<i64, Fault>;
    /// Yes or no.
    fn flag(&self, column: &str) -> Result<bool, Fault>;
    /// An instant.
    fn instant(&self, column: &str) -> Result<UnixMs, Fault>;
    /// An instant, or NULL.
    fn optional_instant(&self, column: &str) -> Result<Option<UnixMs>, Fault>;
    /// A JSON value.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Fault>;
    /// A JSON value, or NULL.
    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Fault>;

    /// A number that is never below zero.
    fn count(&self, column: &str) -> Result<u64, Fault> {
        u64::try_from(self.number(column)?).map_err(|_| Fault::Corrupt(format!("{column} is negative")))
    }
}

/// All rows of an answer.
pub fn all<R, T>(rows: &[R], read: impl Fn(&R) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    rows.iter().map(read).collect()
}

/// An id.
pub fn id<T>(row: &impl Columns, column: &str, parse: fn(String) -> Result<T, Malformed>) -> Result<T, Fault> {
    parse(row.text(column)?).map_err(|malformed| Fault::Corrupt(format!("{column}: {malformed}")))
}

fn optional_id<T>(
    row: &impl Columns,
    column: &str,
    parse: fn(String) -> Result<T, Malformed>,
) -> Result<Option<T>, Fault> {
    let parsed = row.optional_text(column)?.map(parse).transpose();
    parsed.map_err(|malformed| Fault::Corrupt(format!("{column}: {malformed}")))
}

fn word<T>(row: &impl Columns, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, Fault> {
    let word = row.text(column)?;
    parse(&word).ok_or_else(|| Fault::Corrupt(format!("{column}: no such word as `{word}`")))
}

/// A row of `request`, whose key is known.
pub fn request(row: &impl Columns, key: &RequestKey) -> Result<Request, Fault> {
    Ok(Request {
        key: key.clone(),
        method: row.text("method")?,
        fingerprint: row.text("fingerprint")?,
        resource: row.text("resource")?,
    })
}

/// A row of `change_event`.
pub fn published(row: &impl Columns) -> Result<Published, Fault> {
    Ok(Published { feed: row.count("feed")?, org: id(row, "org_id", OrgId::parse)?, event: row.json("body")? })
}

/// The row of `access_counter`.
pub fn leases(row: &impl Columns) -> Result<(Revision, Leases), Fault> {
    let revision = Revision { version: row.count("version")?, nonce: row.number("nonce")? };
    Ok((revision, Leases { calm_ms: row.number("calm_ms")?, changing_ms: row.number("changing_ms")? }))
}

/// A row of `graph`.
pub fn graph(row: &impl Columns) -> Result<Graph, Fault> {
    Ok(Graph {
        id: id(row, "graph_id", GraphId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        tier: id(row, "tier", TierName::parse)?,
        state: word(row, "state", GraphState::parse)?,
        shared_repository: row.flag("shared_repository")?,
        display_name: row.text("display_name")?,
        endpoint: row.optional_json("endpoint")?,
        created: row.instant("created")?,
        updated: row.instant("updated")?,
        deprovisioned: row.optional_instant("deprovisioned")?,
    })
}

/// A row of `subgraph`.
pub fn subgraph(row: &impl Columns) -> Result<Subgraph, Fault> {
    Ok(Subgraph {
        id: id(row, "subgraph_id", AnyGraphId::parse)?,
        parent: id(row, "graph_id", GraphId::parse)?,
        name: row.text("name")?,
        created: row.instant("created")?,
        deleted: row.optional_instant("deleted")?,
    })
}

/// A row of `subscription`.
pub fn subscription(row: &impl Columns) -> Result<Subscription, Fault> {
    Ok(Subscription {
        id: id(row, "subscription_id", SubscriptionId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        graph: id(row, "graph_id", GraphId::parse)?,
        tier: id(row, "tier", TierName::parse)?,
        status: word(row, "status", SubscriptionStatus::parse)?,
        live: row.flag("live")?,
        price_cents: row.number("price_cents")?,
        currency: row.text("currency")?,
        monthly_credits: row.number("monthly_credits")?,
        credits: row.json("credits")?,
        interval: word(row, "billing_interval", Interval::parse)?,
        anchor: row.instant("anchor")?,
        period_start: row.instant("period_start")?,
        period_end: row.instant("period_end")?,
        ends_at: row.optional_instant("ends_at")?,
        canceled: row.optional_instant("canceled")?,
        provider: row.text("provider")?,
        provider_subscription_id: row.text("provider_subscription_id")?,
        told: row.json("told")?,
        active_change: optional_id(row, "active_change_id", ChangeId::parse)?,
        scheduled_change: optional_id(row, "scheduled_change_id", ChangeId::parse)?,
        created: row.instant("created")?,
        updated: row.instant("updated")?,
    })
}

/// A row of `webhook_event`.
pub fn webhook(row: &impl Columns) -> Result<WebhookEvent, Fault> {
    Ok(WebhookEvent {
        id: row.text("event_id")?,
        n: row.count("n")?,
        provider: row.text("provider")?,
        kind: row.text("kind")?,
        subject: row.text("subject")?,
        ours: row.text("ours")?,
        created: row.instant("created")?,
        received: row.instant("received")?,
        state: word(row, "state", WebhookState::parse)?,
        attempts: small(row, "attempts")?,
        not_before: row.instant("not_before")?,
        note: row.text("note")?,
        body: row.text("body")?,
    })
}

fn small(row: &impl Columns, column: &str) -> Result<u32, Fault> {
    u32::try_from(row.number(column)?).map_err(|_| Fault::Corrupt(format!("{column}: none of a count")))
}

/// A row of `owed_effect`.
pub fn owed(row: &impl Columns) -> Result<Owed, Fault> {
    Ok(Owed {
        id: row.number("id")?,
        change: id(row, "change_id", ChangeId::parse)?,
        effect: row.json("effect")?,
        attempts: small(row, "attempts")?,
        not_before: row.instant("not_before")?,
    })
}

/// A row of `payment_request`.
pub fn payment(row: &impl Columns) -> Result<PaymentRequest, Fault> {
    Ok(PaymentRequest {
        change: id(row, "change_id", ChangeId::parse)?,
        kind: word(row, "kind", PaymentKind::parse)?,
        bytes: row.text("bytes")?,
        stored: row.instant("stored")?,
        outcome: word(row, "outcome", PaymentOutcome::parse)?,
        reference: row.text("reference")?,
    })
}

/// A row of `access_record`.
pub fn access(row: &impl Columns) -> Result<Access, Fault> {
    Ok(Access {
        graph: id(row, "graph_id", GraphId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        record: row.json("body")?,
    })
}

/// A row of `audit`.
pub fn audit(row: &impl Columns) -> Result<AuditEvent, Fault> {
    Ok(AuditEvent {
        id: id(row, "audit_id", AuditId::parse)?,
        org: id(row, "org_id", OrgId::parse)?,
        graph: optional_id(row, "graph_id", GraphId::parse)?,
        subscription: optional_id(row, "subscription_id", SubscriptionId::parse)?,
        change: optional_id(row, "change_id", ChangeId::parse)?,
        kind: word(row, "kind", AuditKind::parse)?,
        actor: row.text("actor")?,
        at: row.instant("at")?,
        message: row.text("message")?,
        detail: row.json("detail")?,
    })
}
