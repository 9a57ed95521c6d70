//! A customer: owns a graph and a subscription, asks for a change until it is accepted or refused, and may change its mind.
//! Who writes to the graph meanwhile is in `clients`.

use crate::monitor::Monitor;
use crate::plan::Wanted;
use crate::stack::Present;
use cloud_sim::seed::FleetGraph;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use subscription_core::rules::Timing as When;
use subscription_core::status::SubscriptionStatus;
use subscription_svc::service::Service;
use subscription_svc::store::rows::Interval;
use subscription_svc::usecase::{ChangeTier, CreateSubscription, Initial, RegisterGraph};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{ChangeId, GraphId, OrgId, RequestId, TierName};
use tiershift_core::{Kind, Reason};
use tokio::time::{Instant, sleep, sleep_until};

/// First and longest wait before a customer asks again for a change that cannot be accepted now.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_SELDOM: Duration = Duration::from_secs(20);

/// How long behind calm a customer still asks: an earlier change of the same graph may need its operator first.
const PATIENCE: Duration = Duration::from_hours(2);

/// Registers a graph and its subscription, as the development stack does it.
pub async fn register(service: &Service, seeded: &FleetGraph, n: usize) {
    let id = GraphId::parse(seeded.graph_id.clone()).expect("a graph id");
    let org = OrgId::parse(seeded.organisation_id.clone()).expect("an organisation");
    let tier = TierName::parse(seeded.tier.clone()).expect("a tier's name");
    let operator = Caller::parse_dev("root;operator").expect("a caller");
    let request = |what: &str| RequestId::parse(format!("{what}-{n}")).expect("a request id");
    let graph = RegisterGraph {
        request: request("graph"),
        org: org.clone(),
        graph: Some(id.clone()),
        tier: tier.clone(),
        shared_repository: false,
        display_name: String::new(),
        endpoint: None,
    };
    service.register_graph(&operator, graph).await.expect("registered");
    let initial = Initial {
        status: SubscriptionStatus::Active,
        price: None,
        period_start: None,
        period_end: None,
        ends_at: None,
        provider_subscription_id: String::new(),
    };
    let subscription = CreateSubscription {
        request: request("subscription"),
        org,
        graph: id,
        tier,
        interval: Interval::Monthly,
        initial: Some(initial),
    };
    service.create_subscription(&operator, subscription).await.expect("subscribed");
}

/// The owner of a graph with one wish.
pub struct Customer {
    /// Where subscription-svc is, when it is there.
    pub present: Present,
    /// Told what happens.
    pub monitor: Arc<Monitor>,
    /// What is wanted.
    pub wanted: Wanted,
    /// The how many-th wish it is.
    pub n: usize,
    /// The graph.
    pub graph: GraphId,
    /// Whose it is.
    pub org: OrgId,
    /// When the first change of the history may be asked for.
    pub begun: Instant,
    /// When nothing goes wrong any more.
    pub calm: Instant,
    /// Counts the customers who were refused at once.
    pub refused: Arc<AtomicU64>,
}

impl Customer {
    /// Asks until the change is accepted or refused, and cancels it if that is wanted.
    pub async fn ask(self) {
        let owner = Caller::parse_dev(&format!("user_ada;{}=owner", self.org)).expect("a caller");
        sleep_until(self.begun + Duration::from_millis(self.wanted.at_ms)).await;
        let mut pause = ASK_AGAIN;
        let id = loop {
            let request = ChangeTier {
                request: RequestId::parse(format!("change-{}", self.n)).expect("a request id"),
                graph: self.graph.clone(),
                target: TierName::parse(self.wanted.tier).expect("a tier's name"),
                timing: When::Now,
                expected_price: None,
            };
            if let Some(service) = self.present.get() {
                match service.change_tier(&owner, request).await {
                    Ok(change) => break change.id,
                    Err(fault) => {
                        let error = fault.error();
                        let busy = error.violations.iter().map(|fault| fault.reason).chain([error.reason]);
                        let busy = busy.into_iter().any(|r| matches!(r, Reason::ChangeActive | Reason::Settling));
                        let later = busy || matches!(error.kind, Kind::Unavailable | Kind::Internal | Kind::Aborted);
                        if !later {
                            self.refused.fetch_add(1, Ordering::Relaxed);
                            self.monitor.tell(format_args!("customer is refused: {} {error:?}", error.reason));
                            return;
                        }
                    }
                }
            }
            if Instant::now() >= self.calm + PATIENCE {
                return self.monitor.tell("customer gives up");
            }
            sleep(pause).await;
            pause = (pause * 2).min(ASK_SELDOM);
        };
        let Some(after) = self.wanted.cancel_after_ms else { return };
        sleep(Duration::from_millis(after)).await;
        self.cancel(&owner, &id).await;
    }

    /// Asks for the end of a change; accepted or too late, both are answers.
    async fn cancel(&self, owner: &Caller, id: &ChangeId) {
        loop {
            if let Some(service) = self.present.get() {
                let request = RequestId::parse(format!("cancel-{}", self.n)).expect("a request id");
                match service.cancel_change(owner, request, id, "changed my mind").await {
                    Ok(_) => return self.monitor.tell("customer cancels"),
                    Err(fault) if matches!(fault.error().kind, Kind::Unavailable | Kind::Internal) => {}
                    Err(fault) => {
                        let reason = fault.error().reason;
                        return self.monitor.tell(format_args!("customer cannot cancel: {reason}"));
                    }
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}
