//! An organisation with a graph and a subscription, made by the use cases.

use subscription_core::lifecycle::End;
use subscription_core::status::SubscriptionStatus;
use subscription_svc::service::Service;
use subscription_svc::store::rows::{Interval, Subscription};
use subscription_svc::usecase::{CancelSubscription, ChangeTier, CreateSubscription, Initial, RegisterGraph};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{GraphId, OrgId, RequestId, TierName};

/// The operator.
pub fn operator() -> Caller {
    Caller::parse_dev("root;operator").expect("a caller")
}

/// An owner of an organisation.
pub fn owner(org: &str) -> Caller {
    Caller::parse_dev(&format!("alice;{org}=owner")).expect("a caller")
}

/// The n-th graph.
pub fn graph(n: u64) -> GraphId {
    GraphId::parse(format!("kg{n:016x}")).expect("well formed")
}

/// A tier's name.
pub fn tier(name: &str) -> TierName {
    TierName::parse(name).expect("well formed")
}

/// A request id.
pub fn request(id: &str) -> RequestId {
    RequestId::parse(id).expect("well formed")
}

/// Registers the n-th graph with an active subscription.
pub async fn subscribed(service: &Service, n: u64, org: &str, on: &str) -> GraphId {
    subscribed_as(service, n, org, on, "").await
}

/// The same, with a subscription that has a name at the provider.
pub async fn subscribed_as(service: &Service, n: u64, org: &str, on: &str, provider_subscription: &str) -> GraphId {
    let id = registered(service, n, org, on).await;
    let mut subscription = subscription(&format!("s-{n}"), n, org, on);
    if let Some(initial) = &mut subscription.initial {
        provider_subscription.clone_into(&mut initial.provider_subscription_id);
    }
    service.create_subscription(&operator(), subscription).await.expect("subscribed");
    id
}

/// Registers the n-th graph.
pub async fn registered(service: &Service, n: u64, org: &str, on: &str) -> GraphId {
    let id = graph(n);
    let registration = RegisterGraph {
        request: request(&format!("g-{n}")),
        org: OrgId::parse(org).expect("well formed"),
        graph: Some(id.clone()),
        tier: tier(on),
        shared_repository: false,
        display_name: String::new(),
        endpoint: None,
    };
    service.register_graph(&operator(), registration).await.expect("registered");
    id
}

/// An active, monthly subscription for the n-th graph.
pub fn subscription(request_id: &str, n: u64, org: &str, on: &str) -> CreateSubscription {
    let initial = Initial {
        status: SubscriptionStatus::Active,
        price: None,
        period_start: None,
        period_end: None,
        ends_at: None,
        provider_subscription_id: String::new(),
    };
    CreateSubscription {
        request: request(request_id),
        org: OrgId::parse(org).expect("well formed"),
        graph: graph(n),
        tier: tier(on),
        interval: Interval::Monthly,
        initial: Some(initial),
    }
}

/// A change of the n-th graph.
pub fn change(request_id: &str, n: u64, target: &str) -> ChangeTier {
    ChangeTier {
        request: request(request_id),
        graph: graph(n),
        target: tier(target),
        timing: subscription_core::rules::Timing::Now,
        expected_price: None,
    }
}

/// A cancellation.
pub fn cancel(request_id: &str, of: &Subscription, end: End) -> CancelSubscription {
    CancelSubscription { request: request(request_id), subscription: of.id.clone(), end, note: "too dear".to_owned() }
}
