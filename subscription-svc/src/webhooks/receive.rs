//! Takes events over HTTP and stores them: signature and age first, then the shape, then the store, and only then 200.
//!
//! Many requests share one statement: a collector takes whatever has come in while the last one was being stored. Its
//! queue is bounded; who finds it full gets 503 with Retry-After, and the provider sends the event again.

use super::event;
use crate::store::inbox::{Inbox, WebhookEvent};
use crate::webhooks::signature::{self, Secret};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::Clock;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Largest body, in bytes. Stripe's events have some kilobytes; a whole invoice with a hundred lines has 200 kB.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

/// Events that may wait for the store: two seconds of a flood, some 40 MB.
pub const QUEUE_MAX: usize = 10_000;

/// Events stored by one statement.
const BATCH_MAX: usize = 500;

/// When to send an event again that was not taken, in seconds.
const RETRY_AFTER_S: &str = "5";

/// The header with the signature.
const SIGNATURE: &str = "stripe-signature";

/// How long requests that have begun may take once the endpoint stops.
const DRAIN: Duration = Duration::from_secs(5);

/// One event on its way into the store, and where to say how that went.
type Waiting = (WebhookEvent, oneshot::Sender<bool>);

/// The endpoint.
#[derive(Clone)]
struct Endpoint {
    secrets: Arc<Vec<Secret>>,
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Waiting>,
}

/// The endpoint's routes, and the collector behind them, which runs until `stop` and all that was taken is stored.
/// `arrived` is told of each batch that is stored; `queue_max` events may wait for it.
pub fn endpoint(
    secrets: Vec<Secret>,
    clock: Arc<dyn Clock>,
    inbox: Arc<dyn Inbox>,
    arrived: Arc<Notify>,
    queue_max: usize,
    stop: CancellationToken,
) -> (Router, impl Future<Output = ()> + Send) {
    let (queue, waiting) = mpsc::channel(queue_max);
    let routes = Router::new()
        .route("/webhooks/stripe", post(take))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Endpoint { secrets: Arc::new(secrets), clock, queue });
    (routes, collect(waiting, inbox, arrived, stop))
}

/// Serves the routes until `stop`, and lets requests that have begun come to their end.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let ends = stop.clone();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move { ends.cancelled().await });
    let bound = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::error!(%error, "the webhook endpoint broke");
        },
        () = bound => tracing::warn!("webhooks that had begun were cut; the provider sends them again"),
    }
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> Response {
    let now = endpoint.clock.now();
    let header = headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default());
    if let Err(fault) = signature::check(header, &body, &endpoint.secrets, now) {
        return refusal(status(fault), &fault.to_string());
    }
    let Ok(text) = std::str::from_utf8(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body is not UTF-8");
    };
    let event = match event::read(text, now) {
        Ok(event) => event,
        Err(malformed) => return refusal(StatusCode::BAD_REQUEST, &malformed.to_string()),
    };
    let (stored, told) = oneshot::channel();
    if endpoint.queue.try_send((event, stored)).is_err() {
        return later("too many events wait to be stored");
    }
    match told.await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) | Err(_) => later("the event could not be stored"),
    }
}

/// What a signature that is not believed is to HTTP.
fn status(fault: signature::Fault) -> StatusCode {
    match fault {
        signature::Fault::Malformed => StatusCode::BAD_REQUEST,
        signature::Fault::Missing | signature::Fault::Wrong | signature::Fault::TooOld => StatusCode::UNAUTHORIZED,
    }
}

fn refusal(status: StatusCode, why: &str) -> Response {
    tracing::warn!(status = status.as_u16(), why, "a webhook was refused");
    (status, format!("{why}\n")).into_response()
}

fn later(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_S)], format!("{why}; send it again\n"))
        .into_response()
}

async fn collect(
    mut waiting: mpsc::Receiver<Waiting>,
    inbox: Arc<dyn Inbox>,
    arrived: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            count = waiting.recv_many(&mut batch, BATCH_MAX) => if count == 0 {
                return;
            },
            // What was taken before is stored: its senders still wait.
            () = stop.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        }
        let (events, told): (Vec<WebhookEvent>, Vec<oneshot::Sender<bool>>) = batch.drain(..).unzip();
        let stored = match inbox.receive(&events).await {
            Ok(new) => {
                tracing::debug!(events = events.len(), new, "webhooks stored");
                arrived.notify_one();
                true
            }
            Err(fault) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "webhooks could not be stored");
                false
            }
        };
        for told in told {
            // Who sent it may be gone; it will send it again.
            let _ = told.send(stored);
        }
    }
}
