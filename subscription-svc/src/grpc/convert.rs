//! From our values to the contract's messages, and its enums to our words. Times that run are computed for `now`.

use crate::migrations::Room;
use crate::saga::because;
use crate::store::Loaded;
use crate::store::rows::{
    AuditEvent, AuditKind, Endpoint, Expected, Graph, Interval, Subgraph, Subscription, TierChange,
};
use crate::usecase::{Listed, Preview};
use subscription_core::change::{Change, Charge, Return, State};
use subscription_core::credits::Credits;
use subscription_core::proration::Quote;
use subscription_core::rules::{Direction, Timing};
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_common::convert::{event_to_proto, not_checked_to_proto, reason_to_proto, violation_to_proto};
use tiershift_core::ids::{ChangeId, GraphId, SubscriptionId};
use tiershift_core::{Reason, UnixMs};
use tiershift_proto::common::v1 as common;
use tiershift_proto::subscription::v1 as pb;

/// An amount.
pub fn money(amount_cents: i64, currency: &str) -> common::Money {
    common::Money { amount_cents, currency: currency.to_owned() }
}

fn when(at: Option<UnixMs>) -> i64 {
    at.map_or(0, |at| at.0)
}

/// A graph, with its subgraphs counted and its running change named.
pub fn graph(graph: &Graph, loaded: &Loaded) -> pb::Graph {
    let active = loaded.change.as_ref().filter(|c| c.runs());
    pb::Graph {
        graph_id: graph.id.to_string(),
        org_id: graph.org.to_string(),
        tier: graph.tier.to_string(),
        state: match graph.state {
            GraphState::Active => pb::GraphState::Active,
            GraphState::Suspended => pb::GraphState::Suspended,
            GraphState::Deprovisioned | GraphState::Deleted => pb::GraphState::Deprovisioned,
        }
        .into(),
        shared_repository: graph.shared_repository,
        subgraph_count: i32::try_from(loaded.subgraphs).unwrap_or(i32::MAX),
        endpoint: graph.endpoint.as_ref().map(endpoint),
        display_name: graph.display_name.clone(),
        active_change_id: active.map(|c| c.id.to_string()).unwrap_or_default(),
        created_unix_ms: graph.created.0,
        updated_unix_ms: graph.updated.0,
        deprovisioned_unix_ms: when(graph.deprovisioned),
    }
}

fn endpoint(endpoint: &Endpoint) -> pb::GraphEndpoint {
    pb::GraphEndpoint {
        instance_id: endpoint.instance_id.clone(),
        private_ip: endpoint.private_ip.clone(),
        availability_zone: endpoint.availability_zone.clone(),
        observed_unix_ms: endpoint.observed.0,
    }
}

/// A subgraph.
pub fn subgraph(subgraph: &Subgraph) -> pb::Subgraph {
    pb::Subgraph {
        graph_id: subgraph.id.to_string(),
        parent_graph_id: subgraph.parent.to_string(),
        name: subgraph.name.clone(),
        created_unix_ms: subgraph.created.0,
    }
}

/// A status.
pub fn status(status: SubscriptionStatus) -> pb::SubscriptionStatus {
    match status {
        SubscriptionStatus::Pending => pb::SubscriptionStatus::Pending,
        SubscriptionStatus::PendingPayment => pb::SubscriptionStatus::PendingPayment,
        SubscriptionStatus::Provisioning => pb::SubscriptionStatus::Provisioning,
        SubscriptionStatus::Active => pb::SubscriptionStatus::Active,
        SubscriptionStatus::Paused => pb::SubscriptionStatus::Paused,
        SubscriptionStatus::PastDue => pb::SubscriptionStatus::PastDue,
        SubscriptionStatus::Unpaid => pb::SubscriptionStatus::Unpaid,
        SubscriptionStatus::Canceled => pb::SubscriptionStatus::Canceled,
        SubscriptionStatus::Failed => pb::SubscriptionStatus::Failed,
    }
}

/// A status as asked for; none for UNSPECIFIED.
pub fn status_from(status: pb::SubscriptionStatus) -> Option<SubscriptionStatus> {
    SubscriptionStatus::ALL.iter().copied().find(|known| self::status(*known) == status)
}

/// What a month has.
pub fn credits(of: &Credits) -> pb::Credits {
    pb::Credits { granted: of.granted, used: of.used, month_start_unix_ms: of.start.0, month_end_unix_ms: of.end.0 }
}

/// A subscription.
pub fn subscription(subscription: &Subscription) -> pb::Subscription {
    pb::Subscription {
        subscription_id: subscription.id.to_string(),
        org_id: subscription.org.to_string(),
        graph_id: subscription.graph.to_string(),
        tier: subscription.tier.to_string(),
        status: status(subscription.status).into(),
        migrating: subscription.active_change.is_some(),
        active_change_id: subscription.active_change.as_ref().map(ChangeId::to_string).unwrap_or_default(),
        scheduled_change_id: subscription.scheduled_change.as_ref().map(ChangeId::to_string).unwrap_or_default(),
        price: Some(money(subscription.price_cents, &subscription.currency)),
        monthly_credits: subscription.monthly_credits,
        credits: Some(credits(&subscription.credits)),
        interval: match subscription.interval {
            Interval::Monthly => pb::BillingInterval::Monthly,
            Interval::Annual => pb::BillingInterval::Annual,
        }
        .into(),
        period_start_unix_ms: subscription.period_start.0,
        period_end_unix_ms: subscription.period_end.0,
        ends_at_unix_ms: when(subscription.ends_at),
        canceled_unix_ms: when(subscription.canceled),
        created_unix_ms: subscription.created.0,
        updated_unix_ms: subscription.updated.0,
        provider: subscription.provider.clone(),
        provider_subscription_id: subscription.provider_subscription_id.clone(),
    }
}

/// An entry of the audit.
pub fn audit(event: &AuditEvent) -> pb::AuditEvent {
    pb::AuditEvent {
        audit_id: event.id.to_string(),
        org_id: event.org.to_string(),
        graph_id: event.graph.as_ref().map(GraphId::to_string).unwrap_or_default(),
        subscription_id: event.subscription.as_ref().map(SubscriptionId::to_string).unwrap_or_default(),
        change_id: event.change.as_ref().map(ChangeId::to_string).unwrap_or_default(),
        kind: audit_kind(event.kind).into(),
        actor: event.actor.clone(),
        at_unix_ms: event.at.0,
        message: event.message.clone(),
        detail: event.detail.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// The contract's name for what was done is ours in capitals; a test holds that each has one.
fn audit_kind(kind: AuditKind) -> pb::AuditKind {
    let name = format!("AUDIT_KIND_{}", kind.as_str().to_ascii_uppercase());
    pb::AuditKind::from_str_name(&name).unwrap_or(pb::AuditKind::Unspecified)
}

/// A tier, as one caller sees it.
pub fn tier(listed: &Listed) -> pb::Tier {
    let tier = &listed.tier;
    let room = match listed.room {
        None => pb::TierRoom::Unspecified,
        Some(Room::Available) => pb::TierRoom::Available,
        Some(Room::Full) => pb::TierRoom::Full,
        Some(Room::Unknown) => pb::TierRoom::Unknown,
    };
    pb::Tier {
        name: tier.name.to_string(),
        display_name: tier.display_name.clone(),
        rank: i32::try_from(tier.rank).unwrap_or(i32::MAX),
        price: Some(money(tier.price_cents, &tier.currency)),
        monthly_credits: tier.monthly_credits,
        storage_limit_bytes: tier.storage_limit_bytes,
        max_subgraphs: i32::try_from(tier.max_subgraphs).unwrap_or(i32::MAX),
        rate_multiplier_milli: i32::try_from(tier.rate_multiplier_milli).unwrap_or(i32::MAX),
        instance_type: tier.instance_type.clone(),
        offered: listed.sold,
        room: room.into(),
    }
}

fn direction(direction: Option<Direction>) -> pb::TierChangeDirection {
    match direction {
        None => pb::TierChangeDirection::Unspecified,
        Some(Direction::Upgrade) => pb::TierChangeDirection::Upgrade,
        Some(Direction::Downgrade) => pb::TierChangeDirection::Downgrade,
    }
}

/// Timing as asked for: UNSPECIFIED is now.
pub fn timing_from(timing: pb::ChangeTiming) -> Timing {
    match timing {
        pb::ChangeTiming::PeriodEnd => Timing::PeriodEnd,
        pb::ChangeTiming::Unspecified | pb::ChangeTiming::Now => Timing::Now,
    }
}

/// A state as asked for; none for UNSPECIFIED.
pub fn state_from(state: pb::TierChangeState) -> Option<State> {
    State::ALL.iter().copied().find(|known| self::state(*known) == state)
}

fn state(state: State) -> pb::TierChangeState {
    match state {
        State::Scheduled => pb::TierChangeState::Scheduled,
        State::Requested => pb::TierChangeState::Requested,
        State::Preparing => pb::TierChangeState::Preparing,
        State::Charging => pb::TierChangeState::Charging,
        State::Gating => pb::TierChangeState::Gating,
        State::Moving => pb::TierChangeState::Moving,
        State::Finalizing => pb::TierChangeState::Finalizing,
        State::Succeeded => pb::TierChangeState::Succeeded,
        State::Compensating => pb::TierChangeState::Compensating,
        State::Failed => pb::TierChangeState::Failed,
        State::Canceled => pb::TierChangeState::Canceled,
        State::NeedsAttention => pb::TierChangeState::NeedsAttention,
    }
}

fn charge(machine: &Change) -> pb::ChargeState {
    match (machine.charge, machine.back_price, machine.back_money) {
        (Charge::None | Charge::Owed, _, _) => pb::ChargeState::NotSent,
        (Charge::Unknown, _, _) => pb::ChargeState::Unknown,
        (Charge::Refused, _, _) => pb::ChargeState::Refused,
        (Charge::Taken, Return::Done, Return::Done) => pb::ChargeState::Returned,
        (Charge::Taken, Return::None, Return::None) => pb::ChargeState::Taken,
        (Charge::Taken, _, _) => pb::ChargeState::Returning,
    }
}

/// Why it failed, was canceled, turns back or needs attention.
fn reason(machine: &Change) -> Option<Reason> {
    let by_request = || (machine.turns_back() && machine.cancel_requested).then_some(Reason::CanceledByRequest);
    match machine.state {
        State::Succeeded => None,
        State::NeedsAttention => machine.attention.map(|a| a.reason),
        _ => machine.failure.or(machine.turn_back).or_else(by_request),
    }
}

fn usage(graph: &GraphId, usage: Option<(i64, UnixMs)>) -> Option<common::GraphUsage> {
    usage.map(|(engine_bytes, at)| common::GraphUsage {
        graph_id: graph.to_string(),
        engine_bytes,
        databases: Vec::new(),
        measured_unix_ms: at.0,
    })
}

/// The plan of an accepted change.
fn plan_of(change: &TierChange) -> pb::ChangePlan {
    let terms = &change.quote.terms;
    plan(
        (Some(change.direction), change.from_tier.as_str(), change.to_tier.as_str()),
        Some(money(terms.price_before_cents, &terms.currency)),
        Some(&change.quote),
        change.expected,
    )
}

fn plan(
    (way, from, to): (Option<Direction>, &str, &str),
    price_before: Option<common::Money>,
    quote: Option<&Quote>,
    expected: Expected,
) -> pb::ChangePlan {
    pb::ChangePlan {
        direction: direction(way).into(),
        from_tier: from.to_owned(),
        to_tier: to.to_owned(),
        price_before,
        price_after: quote.map(|q| money(q.terms.price_after_cents, &q.terms.currency)),
        due_now: quote.map(|q| money(q.due_cents, &q.terms.currency)),
        credits_before: quote.map_or(0, |q| q.terms.credits_before),
        credits_after: quote.map_or(0, |q| q.terms.credits_after),
        expected_write_block_ms: expected.write_block_ms,
        expected_offline_ms: expected.offline_ms,
        expected_total_ms: expected.total_ms,
        credits_due: quote.map_or(0, |q| q.credits_due),
    }
}

/// A change.
pub fn change(change: &TierChange, now: UnixMs) -> pb::TierChange {
    let machine = &change.machine;
    let why = reason(machine);
    let measured = &change.measured;
    pb::TierChange {
        change_id: change.id.to_string(),
        org_id: change.org.to_string(),
        graph_id: change.graph.to_string(),
        subscription_id: change.subscription.to_string(),
        state: state(machine.state).into(),
        plan: Some(plan_of(change)),
        timing: match change.timing {
            Timing::Now => pb::ChangeTiming::Now,
            Timing::PeriodEnd => pb::ChangeTiming::PeriodEnd,
        }
        .into(),
        scheduled_unix_ms: when(change.scheduled),
        requested_by: change.requested_by.to_string(),
        request_id: change.request.to_string(),
        cancel_requested: machine.cancel_requested,
        cancel_refused: machine.cancel_refused,
        charge: charge(machine).into(),
        net_charged: Some(money(measured.charged_cents - measured.returned_cents, &change.quote.terms.currency)),
        reason: why.map_or(common::ErrorReason::Unspecified, reason_to_proto).into(),
        reason_message: why.map(because).unwrap_or_default(),
        violations: measured.violations.iter().map(violation_to_proto).collect(),
        last_seq: i64::try_from(change.progress.seq).unwrap_or(i64::MAX),
        last_event: change.last_event.as_ref().map(event_to_proto),
        writes_blocked_ms: change.writes_blocked_ms(now),
        offline_ms: change.offline_ms(now),
        accepted_unix_ms: change.accepted.0,
        updated_unix_ms: change.updated.0,
        ended_unix_ms: when(change.ended),
        store_epoch: change.store_epoch,
        usage: usage(&change.graph, measured.usage),
    }
}

/// A preview.
pub fn preview(preview: &Preview) -> pb::PreviewTierChangeResponse {
    let (price, credits) = (&preview.price_before, preview.credits_before);
    let mut plan = plan(
        (preview.report.direction, preview.graph.tier.as_str(), preview.to_tier.as_str()),
        price.as_ref().map(|(cents, currency)| money(*cents, currency)),
        preview.quote.as_ref(),
        preview.expected,
    );
    if preview.quote.is_none() {
        plan.price_after = preview.target.as_ref().map(|t| money(t.price_cents, &t.currency));
        plan.credits_before = credits;
        plan.credits_after = preview.target.as_ref().map_or(0, |t| t.monthly_credits);
    }
    pb::PreviewTierChangeResponse {
        allowed: preview.report.clean(),
        plan: Some(plan),
        usage: usage(&preview.graph.id, preview.usage),
        availability_zone: preview.zone.clone(),
        read_age_ms: preview.read_age_ms,
        violations: preview.report.violations.iter().map(violation_to_proto).collect(),
        not_checked: preview.report.not_checked.iter().map(not_checked_to_proto).collect(),
        retry_after_ms: i64::try_from(preview.retry_after_ms).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_state_has_its_own_value_and_comes_back() {
        for known in SubscriptionStatus::ALL {
            assert_eq!(status_from(status(*known)), Some(*known));
        }
        assert_eq!(status_from(pb::SubscriptionStatus::Unspecified), None);
        for known in State::ALL {
            assert_eq!(state_from(state(*known)), Some(*known));
        }
        assert_eq!(state_from(pb::TierChangeState::Unspecified), None);
    }

    #[test]
    fn the_stage_of_an_event_is_the_state_of_the_contract() {
        for known in State::ALL {
            let name = state(*known).as_str_name().strip_prefix("TIER_CHANGE_STATE_").expect("the prefix");
            assert_eq!(name.to_lowercase(), known.as_str());
        }
    }

    #[test]
    fn everything_that_is_audited_has_a_name_in_the_contract() {
        for kind in AuditKind::ALL {
            assert_ne!(audit_kind(*kind), pb::AuditKind::Unspecified, "{}", kind.as_str());
        }
    }
}
