//! What `bench store` is made of: a database of each kind with a bare table beside ours (`database`), and a volume-svc that
//! has a plan for everything (`volume`). The changes are accepted by the service's own use case.

mod database;
pub mod volume;

pub use database::{Database, Kind};

use crate::figures::{percentile_ms, ratio};
use crate::saga::tables::Fault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subscription_core::rules::Timing;
use subscription_core::status::SubscriptionStatus;
use subscription_svc::payments::book::Book;
use subscription_svc::payments::sim::Sim;
use subscription_svc::service::Service;
use subscription_svc::store::rows::Interval;
use subscription_svc::store::{Store, SubscriptionFilter};
use subscription_svc::usecase::{ChangeTier, CreateSubscription, Initial, RegisterGraph};
use tiershift_common::caller::Caller;
use tiershift_common::clock::{Clock, Scaled};
use tiershift_common::ids::Ids;
use tiershift_core::ids::{GraphId, OrgId, RequestId, SubscriptionId, TierName};

/// Whose graphs change.
const ORG: &str = "org_bench";

/// Organisations that the many subscriptions belong to.
const ORGS: u64 = 1_000;

/// Pages, and single ones, that are read.
const READS: u64 = 1_000;

/// Subscriptions of a page.
const PAGE: u32 = 50;

/// Accepted first, and not counted: connections, plans and caches are cold.
const WARM: u64 = 50;

/// Measures one kind.
pub async fn measure(kind: Kind, changes: u64, subscriptions: u64) -> Result<Value, Fault> {
    let database = Database::begin(kind).await?;
    let mut found = accept(&database, changes).await?;
    if subscriptions > 0 {
        database.fill(subscriptions, ORGS).await?;
        found["reads"] = read(database.store.as_ref(), subscriptions).await?;
    }
    database.store.close().await;
    Ok(found)
}

/// A fault of a use case.
pub fn told(fault: &tiershift_common::status::Fault) -> Fault {
    Fault::from(format!("{:?}", fault.error()))
}

async fn accept(database: &Database, changes: u64) -> Result<Value, Fault> {
    let clock: Arc<dyn Clock> = Arc::new(Scaled::wall());
    let payments = Arc::new(Sim::new(Arc::new(Book::in_memory()), BTreeMap::new()));
    let ids = Ids::new(Arc::clone(&clock));
    let service = Service::new(Arc::clone(&database.store), Arc::new(volume::Plans), payments, clock, ids);
    service.committer.reload().await?;
    let (mut accepts, mut commits) = (Vec::new(), Vec::new());
    for n in 1..=WARM + changes {
        subscribe(&service, n, "").await?;
        let owner = Caller::parse_dev(&format!("alice;{ORG}=owner"))?;
        let request = ChangeTier {
            request: RequestId::parse(format!("c-{n}"))?,
            graph: graph(n)?,
            target: TierName::parse("ladybug-large")?,
            timing: Timing::Now,
            expected_price: None,
        };
        let begun = Instant::now();
        service.change_tier(&owner, request).await.map_err(|fault| told(&fault))?;
        let accepted = begun.elapsed();
        let begun = Instant::now();
        database.commit(n).await?;
        if n > WARM {
            accepts.push(accepted);
            commits.push(begun.elapsed());
        }
    }
    let took: Duration = accepts.iter().sum();
    let (accept_p50_ms, commit_p50_ms) = (percentile_ms(&mut accepts, 50), percentile_ms(&mut commits, 50));
    let count = f64::from(u32::try_from(changes)?);
    Ok(json!({
        "accept_p50_ms": accept_p50_ms,
        "accept_p99_ms": percentile_ms(&mut accepts, 99),
        "accepts_per_s": ratio(count, took.as_secs_f64()),
        "commit_p50_ms": commit_p50_ms,
        "ratio": ratio(accept_p50_ms, commit_p50_ms),
    }))
}

/// The n-th graph.
pub fn graph(n: u64) -> Result<GraphId, Fault> {
    Ok(GraphId::parse(format!("kg{:016x}", 0xbe_0000_0000_u64 + n))?)
}

/// Registers the n-th graph with an active subscription, which the provider knows by a name if it is not empty.
pub async fn subscribe(service: &Service, n: u64, named: &str) -> Result<(), Fault> {
    let operator = Caller::parse_dev("root;operator")?;
    let (org, tier) = (OrgId::parse(ORG)?, TierName::parse("ladybug-standard")?);
    let registration = RegisterGraph {
        request: RequestId::parse(format!("g-{n}"))?,
        org: org.clone(),
        graph: Some(graph(n)?),
        tier: tier.clone(),
        shared_repository: false,
        display_name: String::new(),
        endpoint: None,
    };
    service.register_graph(&operator, registration).await.map_err(|fault| told(&fault))?;
    let initial = Initial {
        status: SubscriptionStatus::Active,
        price: None,
        period_start: None,
        period_end: None,
        ends_at: None,
        provider_subscription_id: named.to_owned(),
    };
    let subscription = CreateSubscription {
        request: RequestId::parse(format!("s-{n}"))?,
        org,
        graph: graph(n)?,
        tier,
        interval: Interval::Monthly,
        initial: Some(initial),
    };
    service.create_subscription(&operator, subscription).await.map_err(|fault| told(&fault))?;
    Ok(())
}

/// Pages of an organisation, from anywhere in its list, and single subscriptions, spread over all of them.
async fn read(store: &dyn Store, subscriptions: u64) -> Result<Value, Fault> {
    let (mut pages, mut gets) = (Vec::new(), Vec::new());
    for n in 0..WARM + READS {
        // A large odd step visits numbers all over without a pattern that a cache would know.
        let number = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % subscriptions + 1;
        let id = SubscriptionId::parse(format!("sub_{number:026}"))?;
        let filter =
            SubscriptionFilter { org: Some(OrgId::parse(format!("org_{}", number % ORGS))?), ..Default::default() };
        let begun = Instant::now();
        let page = store.subscriptions(&filter, Some(&id), PAGE).await?;
        let paged = begun.elapsed();
        let begun = Instant::now();
        let one = store.subscription(&id).await?;
        if one.is_none() || (number > ORGS && page.is_empty()) {
            return Err(Fault::from(format!("{id} was not found, or nothing before it")));
        }
        if n >= WARM {
            pages.push(paged);
            gets.push(begun.elapsed());
        }
    }
    Ok(json!({
        "subscriptions": subscriptions,
        "page_of": PAGE,
        "page_p50_ms": percentile_ms(&mut pages, 50),
        "page_p99_ms": percentile_ms(&mut pages, 99),
        "get_p50_ms": percentile_ms(&mut gets, 50),
        "get_p99_ms": percentile_ms(&mut gets, 99),
    }))
}
