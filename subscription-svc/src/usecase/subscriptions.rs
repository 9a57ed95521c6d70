//! CreateSubscription. Operators may seed one in any state and at any price; everybody else begins unpaid.

use super::graphs::{unknown_tier, violation};
use super::repeat::Repeat;
use super::{graph_not_found, owner_or_service};
use crate::saga::schedule;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::{Access, AuditKind, Graph, Interval, Subscription};
use crate::store::{Key, Loaded, Write};
use serde::Serialize;
use subscription_core::credits::Credits;
use subscription_core::period::plus_months;
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_common::caller::Caller;
use tiershift_common::status::Fault;
use tiershift_core::ids::{GraphId, OrgId, RequestId, SubscriptionId, TierName};
use tiershift_core::{Error, Kind, Reason, UnixMs};

/// When to try again while the provider is still to be told of an end.
const UNTOLD_RETRY_MS: i64 = 5_000;

/// A subscription to create.
#[derive(Clone, Debug, Serialize)]
pub struct CreateSubscription {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// Who pays.
    pub org: OrgId,
    /// For which graph.
    pub graph: GraphId,
    /// On which tier.
    pub tier: TierName,
    /// How often.
    pub interval: Interval,
    /// State and price to begin with; operators only.
    pub initial: Option<Initial>,
}

/// A seeded beginning.
#[derive(Clone, Debug, Serialize)]
pub struct Initial {
    /// The status.
    pub status: SubscriptionStatus,
    /// What this customer pays, in cents and currency; none: the catalogue's price.
    pub price: Option<(i64, String)>,
    /// When the paid period began; none: now.
    pub period_start: Option<UnixMs>,
    /// When it ends; none: one interval after its start.
    pub period_end: Option<UnixMs>,
    /// When a canceled one ends; none: with its period.
    pub ends_at: Option<UnixMs>,
    /// The provider's name for it; empty is none.
    pub provider_subscription_id: String,
}

impl Service {
    /// Subscribes an organisation for one of its graphs.
    pub async fn create_subscription(&self, caller: &Caller, request: CreateSubscription) -> Outcome<Subscription> {
        if request.initial.is_some() && !caller.is_operator() {
            let text = "only operators may set the initial state; leave it out";
            return Err(Error::new(Kind::PermissionDenied, Reason::OperatorOnly, text).into());
        }
        let repeat = Repeat::of(caller, request.request.clone(), "CreateSubscription", &request);
        let key = Key::graph(request.graph.clone()).with_request(repeat.key.clone());
        let made = self.committer.transact(&key, |loaded| self.subscribe(caller, &request, &repeat, loaded));
        let id = made.await.map_err(from_store)??;
        let id = SubscriptionId::parse(id).map_err(Fault::internal)?;
        self.get_subscription(caller, &id).await
    }

    fn subscribe(
        &self,
        caller: &Caller,
        request: &CreateSubscription,
        repeat: &Repeat,
        loaded: &Loaded,
    ) -> Result<(Vec<Write>, String), Error> {
        if let Some(earlier) = repeat.resource(loaded.request.as_ref())? {
            return Ok((Vec::new(), earlier));
        }
        let graph = loaded.graph.as_ref().filter(|g| caller.may_see(&g.org) && !g.state.gone());
        // A graph of another organisation is none of this one's.
        let graph = graph.filter(|g| g.org == request.org).ok_or_else(graph_not_found)?;
        owner_or_service(caller, &graph.org)?;
        let now = self.now();
        if let Some(known) = loaded.subscription.as_ref().filter(|s| s.status.live(s.ends_at, now)) {
            let text = "the graph has a live subscription; change or resume that one";
            let error = Error::new(Kind::AlreadyExists, Reason::SubscriptionExists, text);
            return Err(error.with("subscription_id", known.id.as_str()));
        }
        if loaded.subscription.as_ref().is_some_and(|ended| !ended.told.is_empty()) {
            // It could not be told any more once another one counts, and the customer would pay for both.
            let text = "the payment provider is still to be told that the last subscription ended; try again";
            let error = Error::new(Kind::Aborted, Reason::ConcurrentUpdate, text);
            return Err(error.retry_after_ms(self.hint_ms(UNTOLD_RETRY_MS)));
        }
        let new = self.row(request, graph, now)?;
        let mut writes = Vec::new();
        // The one before has ended by time alone: nobody wrote that yet.
        if let Some(ended) = loaded.subscription.as_ref().filter(|s| s.live) {
            if ended.scheduled_change.is_some() {
                let withdrawn = schedule::withdraw(loaded, &self.ids, now);
                writes.extend(
                    withdrawn.map_err(|refusal| Error::new(Kind::Internal, Reason::Internal, refusal.to_string()))?,
                );
            }
            let over = Subscription { live: false, scheduled_change: None, updated: now, ..ended.clone() };
            writes.push(Write::Subscription(Box::new(over)));
        }
        let mut audit = self.audit(caller, graph, AuditKind::SubscriptionCreated, "the subscription was created", now);
        audit.subscription = Some(new.id.clone());
        let state = graph_state(&new, graph.state, now);
        if state != graph.state {
            writes.push(Write::Graph(Graph { state, updated: now, ..graph.clone() }));
        }
        let access = loaded.access.clone().ok_or_else(graph_not_found)?;
        let record = subscription_core::access::AccessRecord {
            graph: state,
            subscription: Some(new.status),
            ends_at: new.ends_at,
            ..access.record
        };
        let id = new.id.to_string();
        writes.push(Write::Subscription(Box::new(new)));
        writes.push(Write::Audit(Box::new(audit)));
        writes.push(Write::Request(repeat.remember(&id)));
        writes.push(self.access(Access { record, ..access }));
        Ok((writes, id))
    }

    fn row(&self, request: &CreateSubscription, graph: &Graph, now: UnixMs) -> Result<Subscription, Error> {
        let tier = self.catalogue.get(&request.tier).ok_or_else(|| unknown_tier("tier"))?;
        let mut faults = Vec::new();
        if !tier.sold_to(&request.org) && request.initial.is_none() {
            faults.push(violation(Reason::TierNotOffered, "tier", None, "choose a tier that is offered"));
        }
        if graph.tier != request.tier {
            let fix = format!("subscribe for the tier that the graph is on: {}", graph.tier);
            faults.push(violation(Reason::TierMismatch, "tier", None, &fix));
        }
        if !faults.is_empty() {
            return Err(Error::refused(faults, Vec::new()));
        }
        let months = request.interval.months();
        let initial = request.initial.as_ref();
        let status = initial.map_or(SubscriptionStatus::PendingPayment, |i| i.status);
        let price = initial.and_then(|i| i.price.clone());
        let catalogue_price = (tier.price_cents.saturating_mul(i64::from(months)), tier.currency.clone());
        let (price_cents, currency) = price.unwrap_or(catalogue_price);
        let period_start = initial.and_then(|i| i.period_start).unwrap_or(now);
        let period_end = initial.and_then(|i| i.period_end).unwrap_or_else(|| plus_months(period_start, months));
        if period_end <= period_start {
            return Err(Error::invalid_field("initial.period_end_unix_ms", "must be after the start of the period"));
        }
        let canceled = status == SubscriptionStatus::Canceled;
        let ends_at = canceled.then(|| initial.and_then(|i| i.ends_at).unwrap_or(period_end));
        Ok(Subscription {
            id: self.ids.subscription(),
            org: request.org.clone(),
            graph: request.graph.clone(),
            tier: request.tier.clone(),
            status,
            live: status.live(ends_at, now),
            price_cents,
            currency,
            monthly_credits: tier.monthly_credits,
            credits: match status {
                SubscriptionStatus::Active => Credits::at(period_start, period_end, tier.monthly_credits, now),
                // Nothing is granted before the first payment, or any more.
                _ => Credits::none(period_start),
            },
            interval: request.interval,
            anchor: period_start,
            period_start,
            period_end,
            ends_at,
            canceled: canceled.then_some(now),
            provider: self.payments.name().to_owned(),
            provider_subscription_id: initial.map_or_else(String::new, |i| i.provider_subscription_id.clone()),
            told: Vec::new(),
            active_change: None,
            scheduled_change: None,
            created: now,
            updated: now,
        })
    }
}

/// The graph's life under a new subscription: ended by its beginning it suspends, paid it serves again.
fn graph_state(new: &Subscription, present: GraphState, now: UnixMs) -> GraphState {
    match new.status {
        SubscriptionStatus::Canceled if !new.status.live(new.ends_at, now) => GraphState::Suspended,
        SubscriptionStatus::Active if present == GraphState::Suspended => GraphState::Active,
        _ => present,
    }
}
