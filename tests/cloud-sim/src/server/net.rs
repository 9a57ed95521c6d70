//! Connections: HTTP/1.1 on one listener, with the one thing that web frameworks do not offer: no answer.
//!
//! A lost answer and a dead instance close the connection after the request was read and before anything was written,
//! which a client cannot tell from a broken network.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// After the kernel refused a connection (no descriptors left): as long as it takes others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a handler returns instead of a response when the caller must not get one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no answer")]
pub(super) struct NoAnswer;

impl IntoResponse for NoAnswer {
    /// Marked, and never written: see [`serve`].
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// Serves until `stop`, then lets running requests end. Dropping the future cuts every connection.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Small answers must not wait for the client's acknowledgements. If it cannot be set, they are only slower.
    let _set = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, NoAnswer> {
    let response = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never: Infallible| match never {});
    // An error makes hyper close the connection without a word.
    response.extensions().get::<NoAnswer>().copied().map_or(Ok(response), Err)
}
