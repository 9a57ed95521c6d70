//! The statements of filtered lists, for every SQL adapter: only the filters that are given are in them, so that each
//! finds its index. A parameter that may be NULL would hide that from the planner.

use crate::store::{AuditFilter, ChangeFilter, SubscriptionFilter};
use sqlx::{Database, Encode, QueryBuilder, Type};
use subscription_core::change::State;
use subscription_core::status::SubscriptionStatus;
use tiershift_core::ids::{AuditId, ChangeId, GraphId, OrgId, SubscriptionId};

/// Subscriptions, newest first, below an id.
pub fn subscriptions<DB: Database>(
    filter: &SubscriptionFilter,
    before: Option<&SubscriptionId>,
    limit: u32,
) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let wanted = [
        ("org_id = ", filter.org.as_ref().map(OrgId::as_str)),
        ("graph_id = ", filter.graph.as_ref().map(GraphId::as_str)),
        ("status = ", filter.status.map(SubscriptionStatus::as_str)),
        ("subscription_id < ", before.map(SubscriptionId::as_str)),
    ];
    newest_first("SELECT * FROM subscription WHERE TRUE", &wanted, "subscription_id", limit)
}

/// Changes, newest first, below an id.
pub fn changes<DB: Database>(filter: &ChangeFilter, before: Option<&ChangeId>, limit: u32) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let select = if filter.active_only {
        "SELECT body FROM tier_change WHERE active"
    } else {
        "SELECT body FROM tier_change WHERE TRUE"
    };
    let wanted = [
        ("org_id = ", filter.org.as_ref().map(OrgId::as_str)),
        ("graph_id = ", filter.graph.as_ref().map(GraphId::as_str)),
        ("state = ", filter.state.map(State::as_str)),
        ("change_id < ", before.map(ChangeId::as_str)),
    ];
    newest_first(select, &wanted, "change_id", limit)
}

/// Entries of the audit, newest first, below an id.
pub fn audit<DB: Database>(filter: &AuditFilter, before: Option<&AuditId>, limit: u32) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let wanted = [
        ("org_id = ", filter.org.as_ref().map(OrgId::as_str)),
        ("graph_id = ", filter.graph.as_ref().map(GraphId::as_str)),
        ("subscription_id = ", filter.subscription.as_ref().map(SubscriptionId::as_str)),
        ("change_id = ", filter.change.as_ref().map(ChangeId::as_str)),
        ("audit_id < ", before.map(AuditId::as_str)),
    ];
    newest_first("SELECT * FROM audit WHERE TRUE", &wanted, "audit_id", limit)
}

fn newest_first<DB: Database>(select: &str, wanted: &[(&str, Option<&str>)], key: &str, limit: u32) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(select);
    for (condition, value) in wanted {
        if let Some(value) = value {
            query.push(" AND ").push(condition).push_bind((*value).to_owned());
        }
    }
    query.push(" ORDER BY ").push(key).push(" DESC LIMIT ").push_bind(i64::from(limit));
    query
}
