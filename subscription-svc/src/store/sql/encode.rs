//! From values to rows, for every SQL adapter: each table once, each column one line, with what a later write makes of it. A
//! new column is a line here, a line in `decode.rs` and a schema file of each store; the statements follow from it.
//!
//! Not here: tables that are not written a row at a time (events, owed effects, access records and the counters), whose
//! statements are `batch.rs`'s and the adapters'.

use crate::store::Fault;
use crate::store::rows::{AuditEvent, Graph, PaymentRequest, Request, Subgraph, Subscription, TierChange};
use serde::Serialize;
use tiershift_core::UnixMs;
use tiershift_core::ids::{ChangeId, GraphId, SubscriptionId};

/// What a statement is given for one of its parameters. A JSON value is its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A text, or JSON.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// An instant.
    Instant(UnixMs),
}

/// What a column holds, on which each store has its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// An instant.
    Instant,
    /// A JSON value.
    Json,
}

/// What a later write of the same row makes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By it the row is the same one.
    Key,
    /// It stays as it was first written.
    Kept,
    /// It is replaced.
    Set,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; an instant's without its unit.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What a later write makes of it.
    pub role: Role,
}

/// A table. One without a column that is set takes each row once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in the order of a row's values.
    pub columns: &'static [Column],
}

/// What is written a row at a time.
pub trait Row {
    /// Where.
    const TABLE: Table;

    /// The row, in the order of the columns.
    fn values(&self) -> Result<Vec<Value>, Fault>;
}

/// A text, or NULL.
pub fn text<'a>(text: impl Into<Option<&'a str>>) -> Value {
    text.into().map_or(Value::Null, |text| Value::Text(text.to_owned()))
}

/// An instant, or NULL.
pub fn instant(at: impl Into<Option<UnixMs>>) -> Value {
    at.into().map_or(Value::Null, Value::Instant)
}

/// A JSON value; NULL for none.
pub fn json(value: &impl Serialize) -> Result<Value, Fault> {
    let text = serde_json::to_string(value).map_err(|error| Fault::Corrupt(error.to_string()))?;
    Ok(if text == "null" { Value::Null } else { Value::Text(text) })
}

/// Declares a table by its rows.
macro_rules! table {
    (@role key) => { Role::Key };
    (@role kept) => { Role::Kept };
    (@role set) => { Role::Set };
    (@kind text) => { Kind::Text };
    (@kind number) => { Kind::Number };
    (@kind flag) => { Kind::Flag };
    (@kind instant) => { Kind::Instant };
    (@kind json) => { Kind::Json };
    (@value text $value:expr) => { text($value) };
    (@value number $value:expr) => { Value::Number($value) };
    (@value flag $value:expr) => { Value::Flag($value) };
    (@value instant $value:expr) => { instant($value) };
    (@value json $value:expr) => { json($value)? };
    ($name:ident, $row:ident: $type:ty { $($role:ident $kind:ident $column:ident = $value:expr,)* }) => {
        impl Row for $type {
            const TABLE: Table = Table {
                name: stringify!($name),
                columns: &[$(Column {
                    name: stringify!($column),
                    kind: table!(@kind $kind),
                    role: table!(@role $role),
                },)*],
            };

            fn values(&self) -> Result<Vec<Value>, Fault> {
                let $row = self;
                Ok(vec![$(table!(@value $kind $value),)*])
            }
        }
    };
}

table!(graph, row: Graph {
    key text graph_id = row.id.as_str(),
    kept text org_id = row.org.as_str(),
    set text tier = row.tier.as_str(),
    set text state = row.state.as_str(),
    set flag shared_repository = row.shared_repository,
    set text display_name = row.display_name.as_str(),
    set json endpoint = &row.endpoint,
    kept instant created = row.created,
    set instant updated = row.updated,
    set instant deprovisioned = row.deprovisioned,
});

table!(subgraph, row: Subgraph {
    key text subgraph_id = row.id.as_str(),
    kept text graph_id = row.parent.as_str(),
    kept text name = row.name.as_str(),
    set instant created = row.created,
    set instant deleted = row.deleted,
});

table!(subscription, row: Subscription {
    key text subscription_id = row.id.as_str(),
    kept text org_id = row.org.as_str(),
    kept text graph_id = row.graph.as_str(),
    set text tier = row.tier.as_str(),
    set text status = row.status.as_str(),
    set flag live = row.live,
    set number price_cents = row.price_cents,
    set text currency = row.currency.as_str(),
    set number monthly_credits = row.monthly_credits,
    set json credits = &row.credits,
    set text billing_interval = row.interval.as_str(),
    set instant anchor = row.anchor,
    set instant period_start = row.period_start,
    set instant period_end = row.period_end,
    set instant ends_at = row.ends_at,
    set instant canceled = row.canceled,
    set text provider = row.provider.as_str(),
    set text provider_subscription_id = row.provider_subscription_id.as_str(),
    set json told = &row.told,
    set instant due = row.due(),
    set text active_change_id = row.active_change.as_ref().map(ChangeId::as_str),
    set text scheduled_change_id = row.scheduled_change.as_ref().map(ChangeId::as_str),
    kept instant created = row.created,
    set instant updated = row.updated,
});

// `first_feed` is written with the first event.
table!(tier_change, row: TierChange {
    key text change_id = row.id.as_str(),
    kept text org_id = row.org.as_str(),
    kept text graph_id = row.graph.as_str(),
    kept text subscription_id = row.subscription.as_str(),
    set text state = row.machine.state.as_str(),
    set flag active = row.active(),
    set flag follows = row.follows,
    set instant deadline = row.deadline,
    set number store_epoch = row.store_epoch,
    set instant updated = row.updated,
    set json body = row,
});

// Other bytes are refused by the schema.
table!(payment_request, row: PaymentRequest {
    key text change_id = row.change.as_str(),
    key text kind = row.kind.as_str(),
    set text bytes = row.bytes.as_str(),
    kept instant stored = row.stored,
    set text outcome = row.outcome.as_str(),
    set text reference = row.reference.as_str(),
});

table!(audit, row: AuditEvent {
    key text audit_id = row.id.as_str(),
    kept text org_id = row.org.as_str(),
    kept text graph_id = row.graph.as_ref().map(GraphId::as_str),
    kept text subscription_id = row.subscription.as_ref().map(SubscriptionId::as_str),
    kept text change_id = row.change.as_ref().map(ChangeId::as_str),
    kept text kind = row.kind.as_str(),
    kept text actor = row.actor.as_str(),
    kept instant at = row.at,
    kept text message = row.message.as_str(),
    kept json detail = &row.detail,
});

table!(request, row: Request {
    key text user_id = row.key.user.as_str(),
    key text request_id = row.key.id.as_str(),
    kept text method = row.method.as_str(),
    kept text fingerprint = row.fingerprint.as_str(),
    kept text resource = row.resource.as_str(),
});
