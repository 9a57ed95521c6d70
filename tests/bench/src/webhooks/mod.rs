//! What `bench webhooks` is made of: a provider that answers questions after a while (`provider`), and senders that keep its pace
//! over connections of their own (`sender`). Endpoint, store and worker are the service's.

mod provider;
mod sender;

use crate::figures::{percentile_ms, ratio};
use crate::saga::tables::Fault;
use crate::store::{Database, Kind, graph, subscribe, volume};
use provider::Provider;
use sender::{SECRET, Sent};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subscription_svc::payments::Payments;
use subscription_svc::service::Service;
use subscription_svc::store::Key;
use subscription_svc::store::inbox::{Inbox, WebhookState};
use subscription_svc::webhooks::signature::Secret;
use subscription_svc::webhooks::{apply, receive};
use tiershift_common::clock::{Clock, Scaled};
use tiershift_common::ids::Ids;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Between two looks at what is still pending.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long everything may take.
const BOUND: Duration = Duration::from_mins(5);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Events a second.
    pub rate: u32,
    /// For how long.
    pub seconds: u32,
    /// About so many subscriptions.
    pub subscriptions: u32,
    /// What a question to the provider takes.
    pub provider_ms: u64,
}

/// Measures one kind.
pub async fn measure(kind: Kind, plan: Plan) -> Result<Value, Fault> {
    let database = Database::begin(kind).await?;
    let clock: Arc<dyn Clock> = Arc::new(Scaled::wall());
    let provider = Arc::new(Provider::new(clock.now(), Duration::from_millis(plan.provider_ms)));
    let ids = Ids::new(Arc::clone(&clock));
    let payments = Arc::clone(&provider) as Arc<dyn Payments>;
    let service = Service::new(Arc::clone(&database.store), Arc::new(volume::Plans), payments, Arc::clone(&clock), ids);
    service.committer.reload().await?;
    for n in 1..=plan.subscriptions {
        subscribe(&service, n.into(), &provider::name(n)).await?;
    }
    let service = Arc::new(service);
    let stop = CancellationToken::new();
    let (inbox, arrived) = (Arc::clone(&database.inbox), Arc::clone(&service.arrived));
    let (routes, collector) = receive::endpoint(
        vec![Secret::parse(SECRET).ok_or("the secret is none")?],
        clock,
        Arc::clone(&inbox),
        Arc::clone(&arrived),
        receive::QUEUE_MAX,
        stop.clone(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(receive::serve(listener, routes, stop.clone()));
    let collected = tokio::spawn(collector);
    let applied = tokio::spawn(apply::run(Arc::clone(&service), Arc::clone(&inbox), arrived, stop.clone()));

    let begun = Instant::now();
    let sent = sender::flood(address, plan).await?;
    let accepted_s = begun.elapsed().as_secs_f64();
    processed(inbox.as_ref(), begun).await?;
    let processed_s = begun.elapsed().as_secs_f64();
    let lost = lost(inbox.as_ref(), &sent).await?;
    let behind = behind(&service, plan.subscriptions).await?;
    stop.cancel();
    for task in [served, collected, applied] {
        task.await?;
    }
    database.store.close().await;
    if lost > 0 || behind > 0 {
        let text =
            format!("{lost} acknowledged events are missing, {behind} subscriptions are not as the provider has them");
        return Err(text.into());
    }
    let mut found = told(sent, accepted_s, processed_s, provider.questions());
    found["lost"] = json!(lost);
    Ok(found)
}

fn told(sent: Sent, accepted_s: f64, processed_s: f64, questions: u64) -> Value {
    let mut answers = sent.answers;
    json!({
        "events": sent.ids.len(),
        "refused_503": sent.refused,
        "answer_p50_ms": percentile_ms(&mut answers, 50),
        "answer_p99_ms": percentile_ms(&mut answers, 99),
        "accepted_s": ratio(accepted_s, 1.0),
        "processed_s": ratio(processed_s, 1.0),
        "questions": questions,
    })
}

/// Waits until nothing is pending.
async fn processed(inbox: &dyn Inbox, begun: Instant) -> Result<(), Fault> {
    while !inbox.list(WebhookState::Pending, None, 1).await?.is_empty() {
        if begun.elapsed() > BOUND {
            return Err(format!("events are still pending after {BOUND:?}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Acknowledged events that are not applied.
async fn lost(inbox: &dyn Inbox, sent: &Sent) -> Result<usize, Fault> {
    let mut missing = sent.ids.clone();
    let mut before = None;
    loop {
        let page = inbox.list(WebhookState::Applied, before, 5_000).await?;
        let Some(last) = page.last() else { return Ok(missing.len()) };
        before = Some(last.n);
        for event in &page {
            missing.remove(&event.id);
        }
    }
}

/// Subscriptions that are not as the provider has them.
async fn behind(service: &Service, subscriptions: u32) -> Result<usize, Fault> {
    let mut behind = 0;
    for n in 1..=subscriptions {
        let loaded = service.store.read(&Key::graph(graph(n.into())?)).await?;
        let end = loaded.subscription.map(|subscription| subscription.period_end);
        behind += usize::from(end != Some(provider::period_end(n)));
    }
    Ok(behind)
}
