//! A gRPC server: gRPC and grpc-web on one port, health, reflection, callers, and an end that is bounded.
//!
//! Build, bind, serve: a port that is taken is an error before anything is promised, and with port 0 the address is
//! known before the first call. Health says NOT_SERVING until [`Health::serving`] is called, and again before the
//! drain begins.
//!
//! Layers from the outside in, each with its reason for the place: CORS (a browser's preflight has neither caller nor
//! gRPC), grpc-web (what lies inside sees gRPC only, and its refusals are translated too), callers (everything
//! inside has one).
//!
//! Messages of more than 4 MiB are refused with OUT_OF_RANGE before they are decoded: that is tonic's default for
//! each service, kept on purpose and held by a test.

use crate::caller;
use crate::connection;
use crate::status::to_status;
use http::{HeaderName, HeaderValue, Method, header};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tiershift_core::{Error, Kind, Reason};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::Service;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// HTTP/2 pings: interval, and wait for the answer. A client that vanished is noticed within the sum, so that its
/// streams do not stay. Real time, below every load balancer's idle time-out (60 s is usual).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// How long a browser may keep a preflight's answer. Chromium's own bound is two hours.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// After a cut, how long the connections' tasks may take to notice. They need one turn of the scheduler.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How a server listens and ends.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Origins (`https://console.example.com`) whose pages may call by grpc-web. Empty = none from a browser.
    pub cors_origins: Vec<String>,
    /// Calls that run at once on one connection; more wait in it. A stream counts until its first message only.
    pub calls_per_connection: usize,
    /// Streams open at once on one connection, watches included; more wait at the client. A proxy in front carries
    /// thousands of watchers on few connections.
    pub streams_per_connection: u32,
    /// How long running calls and watches may go on after the stop, before their connections are cut.
    pub drain: Duration,
}

impl Config {
    /// The defaults on an address: 1,024 calls and 4,096 streams a connection, 10 s drain, no browsers.
    pub fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            cors_origins: Vec::new(),
            calls_per_connection: 1_024,
            streams_per_connection: 4_096,
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Origins that are none, all of them. A wildcard is refused: name the origins.
    #[error("not an origin such as https://console.example.com: {}", .0.join(", "))]
    Origins(Vec<String>),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The descriptor set cannot be served.
    #[error("cannot serve the contract's descriptors")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed while it was serving.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// How a server ended after it was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every call came to its end.
    Drained,
    /// The drain's time was over: what still ran was cut.
    Cut,
}

/// Collects the services of a server.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    callers: caller::Layer,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Builder {
    /// A server without services of its own. Health and reflection are added by [`Builder::bind`].
    pub fn new(config: Config, callers: caller::Layer) -> Self {
        Self { config, callers, routes: RoutesBuilder::default(), names: Vec::new() }
    }

    /// Adds a generated service. Its health follows [`Health`] under its full name.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "adds a service, not a number")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Checks the configuration and takes the port. Nobody is answered before [`Server::run`].
    pub async fn bind(self) -> Result<Server, Fault> {
        let Self { config, callers, mut routes, names } = self;
        let cors = cors(&config.cors_origins)?;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tiershift_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let (reporter, health_service) = health_reporter();
        routes.add_service(health_service);
        routes.add_service(reflection().build_v1()?);
        routes.add_service(reflection().build_v1alpha()?);
        let health = Health { reporter, names };
        // The reporter begins with SERVING for the server as a whole.
        health.not_serving().await;
        let bind = |error| Fault::Bind(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        let mut routes = routes.routes();
        let router = std::mem::take(routes.axum_router_mut());
        *routes.axum_router_mut() = router.fallback(|| async { nothing_here().into_http::<Body>() });
        Ok(Server { config, callers, cors, routes, health, listener, local_addr })
    }
}

/// The health of a server, for its start and its end.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// The server is ready: every service is SERVING.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// The server is not ready yet, or is going: every service is NOT_SERVING.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in std::iter::once("").chain(self.names.iter().copied()) {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Ends the streams that watch health, which would last through every drain.
    async fn end_watches(&mut self) {
        for name in std::iter::once("").chain(self.names.iter().copied()) {
            self.reporter.clear_service_status(name).await;
        }
    }
}

/// A server that holds its port and does not answer yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    callers: caller::Layer,
    cors: CorsLayer,
    routes: Routes,
    health: Health,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Its health, to be switched on when everything behind it is ready.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves until `stop`, then drains: health goes off, the port is closed, running calls may end within
    /// [`Config::drain`], and what is left is cut. Handlers of long streams should watch `stop` too and end with
    /// "come back", so that nothing has to be cut.
    pub async fn run(self, stop: CancellationToken) -> Result<End, Fault> {
        let cut = CancellationToken::new();
        let mut health = self.health.clone();
        let stopped = {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                health.not_serving().await;
                health.end_watches().await;
            }
        };
        let serving = tonic::transport::Server::builder()
            .accept_http1(true)
            .concurrency_limit_per_connection(self.config.calls_per_connection)
            .max_concurrent_streams(self.config.streams_per_connection)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .layer(self.cors)
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(self.callers)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(connection::accept(self.listener, cut.clone()), stopped);
        let mut serving = pin!(serving);
        let drain = self.config.drain;
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            biased;
            ended = &mut serving => return Ok(ended.map(|()| End::Drained)?),
            () = too_late => {}
        }
        tracing::warn!(address = %self.local_addr, "the drain's time is over; what still runs is cut");
        cut.cancel();
        if let Ok(ended) = tokio::time::timeout(CUT_GRACE, serving).await {
            ended?;
        }
        Ok(End::Cut)
    }
}

/// The answer to a path that no service has: tonic's own has no ErrorInfo.
fn nothing_here() -> tonic::Status {
    let message = "this server has no such service; ask its reflection for those it has";
    to_status(&Error::new(Kind::Unimplemented, Reason::NotImplemented, message))
}

/// The CORS layer for these origins; each must be scheme and host, as a browser writes it.
fn cors(origins: &[String]) -> Result<CorsLayer, Fault> {
    let is_origin = |text: &str| {
        let uri: Option<http::Uri> = text.parse().ok();
        uri.is_some_and(|uri| {
            let (scheme, authority) = (uri.scheme_str().unwrap_or(""), uri.authority().map_or("", |a| a.as_str()));
            matches!(scheme, "http" | "https") && !authority.is_empty() && text == format!("{scheme}://{authority}")
        })
    };
    let (good, bad): (Vec<&String>, Vec<&String>) = origins.iter().partition(|text| is_origin(text));
    if !bad.is_empty() {
        return Err(Fault::Origins(bad.into_iter().cloned().collect()));
    }
    let origins: Vec<HeaderValue> = good.iter().filter_map(|text| HeaderValue::from_str(text).ok()).collect();
    let names = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers(
            [header::CONTENT_TYPE, header::AUTHORIZATION]
                .into_iter()
                .chain(names(&["x-grpc-web", "x-user-agent", "grpc-timeout", caller::DEV_CALLER_HEADER]))
                .collect::<Vec<_>>(),
        )
        .expose_headers(names(&["grpc-status", "grpc-message", "grpc-status-details-bin"]))
        .max_age(PREFLIGHT_AGE))
}
