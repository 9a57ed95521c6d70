//! The server and client builders against each other, over real sockets: health, callers, grpc-web, reflection,
//! limits, and both ways to end. Waits are bounded by `BOUND`, which a working server never comes near.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers: a failed one is the report")]

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tiershift_common::caller::{self, Caller};
use tiershift_common::server::{Builder, Config, End, Fault, Health};
use tiershift_common::{client, status};
use tiershift_core::{Kind, Reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Service, ServiceExt as _};

const BOUND: Duration = Duration::from_secs(20);

async fn bounded<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what} takes longer than {BOUND:?}"))
}

/// Answers every call with who called, as the message of a status; under `/Endless` with a stream that ends only
/// when `come_back` is cancelled.
#[derive(Clone)]
struct Probe {
    come_back: CancellationToken,
}

impl NamedService for Probe {
    const NAME: &'static str = "tiershift.test.Probe";
}

impl Service<http::Request<Body>> for Probe {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().ends_with("/Endless") {
            // One empty message, so that the caller knows that the stream has begun; then silence.
            let first = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 5])))]);
            let stop = self.come_back.clone();
            let end = futures_util::stream::once(async move {
                stop.cancelled().await;
                let trailers = http::HeaderMap::from_iter([(Status::GRPC_STATUS, http::HeaderValue::from_static("0"))]);
                Ok(Frame::trailers(trailers))
            });
            let mut response = http::Response::new(Body::new(StreamBody::new(first.chain(end))));
            let kind = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            return ready(Ok(response));
        }
        let request = tonic::Request::from_http(request);
        // ABORTED: a code that the layers never make.
        let said = Caller::of(&request).map_or_else(|status| status, |caller| Status::aborted(caller.to_string()));
        ready(Ok(said.into_http()))
    }
}

struct Running {
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
    come_back: CancellationToken,
    end: JoinHandle<Result<End, Fault>>,
}

impl Running {
    async fn start(config: impl FnOnce(&mut Config)) -> Self {
        let mut settings = Config::on("127.0.0.1:0".parse().expect("an address"));
        config(&mut settings);
        let come_back = CancellationToken::new();
        let server = Builder::new(settings, caller::Layer::dangerous_dev())
            .add(Probe { come_back: come_back.clone() })
            .bind()
            .await
            .expect("a server");
        let (address, health, stop) = (server.local_addr(), server.health(), CancellationToken::new());
        let end = tokio::spawn(server.run(stop.clone()));
        Self { address, health, stop, come_back, end }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn ended(self) -> End {
        bounded("the end", self.end).await.expect("no panic").expect("no fault")
    }

    /// The response of the probe, called as somebody.
    async fn probe(&self, method: &str, caller: Option<&str>) -> http::Response<Body> {
        let mut request = http::Request::post(format!("/{}/{method}", Probe::NAME)).header("te", "trailers");
        request = request.header("content-type", "application/grpc");
        if let Some(caller) = caller {
            request = request.header(caller::DEV_CALLER_HEADER, caller);
        }
        let channel = client::channel(&self.url()).expect("an address");
        let call = channel.oneshot(request.body(Body::empty()).expect("a request"));
        bounded("a call", call).await.expect("an answer")
    }
}

async fn check(url: &str, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(client::channel(url).expect("an address"));
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn health_is_off_until_ready_and_off_again_before_the_drain() {
    let running = Running::start(|_| {}).await;
    for service in ["", Probe::NAME] {
        assert_eq!(check(&running.url(), service).await, Ok(ServingStatus::NotServing), "before: {service:?}");
    }
    assert_eq!(check(&running.url(), "no.such.Service").await, Err(Code::NotFound));
    running.health.serving().await;
    for service in ["", Probe::NAME] {
        assert_eq!(check(&running.url(), service).await, Ok(ServingStatus::Serving), "ready: {service:?}");
    }
    let mut client = HealthClient::new(client::channel(&running.url()).expect("an address"));
    let request = HealthCheckRequest { service: Probe::NAME.to_owned() };
    let mut watch = client.watch(request).await.expect("a stream").into_inner();
    let next = |answer: Option<Result<HealthCheckResponse, Status>>| answer.map(|a| a.map(|a| a.status()).ok());
    assert_eq!(next(bounded("the first", watch.next()).await), Some(Some(ServingStatus::Serving)));
    running.stop.cancel();
    assert_eq!(next(bounded("the change", watch.next()).await), Some(Some(ServingStatus::NotServing)));
    assert_eq!(next(bounded("the stream's end", watch.next()).await), None, "a health watch does not hold the drain");
    let url = running.url();
    assert_eq!(running.ended().await, End::Drained);
    assert_eq!(check(&url, "").await, Err(Code::Unavailable), "the port is closed");
}

#[tokio::test]
async fn a_stream_that_comes_back_lets_the_server_drain() {
    let running = Running::start(|_| {}).await;
    let mut body = running.probe("Endless", Some("alice")).await.into_body();
    bounded("the first message", body.frame()).await.expect("a frame").expect("no error");
    running.stop.cancel();
    running.come_back.cancel();
    let last = bounded("the end", body.frame()).await.expect("a frame").expect("no error");
    assert!(last.is_trailers(), "an orderly end");
    assert_eq!(running.ended().await, End::Drained);
}

#[tokio::test]
async fn a_stream_that_stays_is_cut_at_the_deadline() {
    let running = Running::start(|config| config.drain = Duration::from_millis(50)).await;
    let mut body = running.probe("Endless", Some("alice")).await.into_body();
    bounded("the first message", body.frame()).await.expect("a frame").expect("no error");
    running.stop.cancel();
    assert_eq!(running.ended().await, End::Cut);
    bounded("the cut", body.frame()).await.expect("an error").expect_err("the client sees a broken stream");
}

#[tokio::test]
async fn a_handler_sees_who_calls_and_nobody_is_refused_with_details() {
    let running = Running::start(|_| {}).await;
    let said = |response: &http::Response<Body>| Status::from_header_map(response.headers()).expect("a status");
    let known = said(&running.probe("Who", Some("alice;org_a=owner")).await);
    assert_eq!((known.code(), known.message()), (Code::Aborted, "alice;org_a=owner"));
    let unknown = status::from_status(&said(&running.probe("Who", None).await));
    assert_eq!((unknown.kind, unknown.reason), (Kind::Unauthenticated, Reason::Unauthenticated));
    running.stop.cancel();
    assert_eq!(running.ended().await, End::Drained);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_with_a_reason() {
    let running = Running::start(|_| {}).await;
    let request = http::Request::post("/tiershift.test.Other/Do")
        .header("content-type", "application/grpc")
        .header(caller::DEV_CALLER_HEADER, "alice");
    let channel = client::channel(&running.url()).expect("an address");
    let call = channel.oneshot(request.body(Body::empty()).expect("a request"));
    let response = bounded("a call", call).await.expect("an answer");
    let error = status::from_status(&Status::from_header_map(response.headers()).expect("a status"));
    assert_eq!((error.kind, error.reason), (Kind::Unimplemented, Reason::NotImplemented));
    assert!(error.message.contains("no such service"), "{}", error.message);
}

/// Sends one HTTP/1.1 request and reads all of the answer.
async fn http1(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let head = format!("{head}Host: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(body).await.expect("written");
    let mut answer = Vec::new();
    bounded("an answer", stream.read_to_end(&mut answer)).await.expect("read");
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test]
async fn a_browser_of_an_allowed_origin_calls_by_grpc_web() {
    let origin = "http://console.test:8080";
    let running = Running::start(|config| config.cors_origins = vec![origin.to_owned()]).await;
    let path = format!("/{}/Who", Probe::NAME);
    let preflight = |origin: &str| {
        format!(
            "OPTIONS {path} HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type,x-grpc-web,x-tiershift-dev-caller\r\n"
        )
    };
    let answer = http1(running.address, &preflight(origin), &[]).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains(&format!("access-control-allow-origin: {origin}")), "{answer}");
    assert!(answer.contains("x-tiershift-dev-caller"), "{answer}");
    let answer = http1(running.address, &preflight("http://elsewhere.test"), &[]).await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");

    let call = |caller: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nOrigin: {origin}\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\n{caller}"
        )
    };
    let answer = http1(running.address, &call("x-tiershift-dev-caller: alice\r\n"), &[0; 5]).await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("grpc-message: alice"), "{answer}");
    let exposed = answer.lines().find(|line| line.starts_with("access-control-expose-headers:")).expect("exposed");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.split([',', ':', ' ']).any(|word| word.trim() == name), "{exposed}");
    }
    let answer = http1(running.address, &call(""), &[0; 5]).await;
    assert!(answer.contains("grpc-status: 16"), "the caller layer lies inside: {answer}");
    running.stop.cancel();
    assert_eq!(running.ended().await, End::Drained);
}

#[tokio::test]
async fn reflection_lists_the_contract_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let running = Running::start(|_| {}).await;
    let channel = || client::channel(&running.url()).expect("an address");

    let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel());
    let stream = client.server_reflection_info(futures_util::stream::iter([request])).await.expect("a stream");
    let answer = bounded("an answer", stream.into_inner().next()).await.expect("one").expect("no error");
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response
    else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in
        ["tiershift.subscription.v1.TierService", "tiershift.volume.v1.MigrationService", "grpc.health.v1.Health"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }

    let symbol = "tiershift.subscription.v1.TierService".to_owned();
    let ask = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel());
    let stream = client.server_reflection_info(futures_util::stream::iter([request])).await.expect("a stream");
    let answer = bounded("an answer", stream.into_inner().next()).await.expect("one").expect("no error");
    let response = answer.message_response;
    let found =
        matches!(response, Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)));
    assert!(found, "{response:?}");
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_one_below_is_read() {
    let running = Running::start(|_| {}).await;
    let name = |bytes: usize| "x".repeat(bytes);
    assert_eq!(check(&running.url(), &name(4 * 1024 * 1024 - 100)).await, Err(Code::NotFound), "read");
    assert_eq!(check(&running.url(), &name(4 * 1024 * 1024 + 1)).await, Err(Code::OutOfRange), "refused");
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_whole_and_before_anything_runs() {
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let mut config = Config::on(address);
    let bad = ["*", "console.test", "http://a.test/", "ftp://a.test"];
    config.cors_origins = bad.iter().chain(&["https://good.test"]).map(ToString::to_string).collect();
    match Builder::new(config, caller::Layer::production()).bind().await {
        Err(Fault::Origins(named)) => assert_eq!(named, bad),
        other => panic!("{other:?}"),
    }
    let holder = tokio::net::TcpListener::bind(address).await.expect("a port");
    let address = holder.local_addr().expect("an address");
    match Builder::new(Config::on(address), caller::Layer::production()).bind().await {
        Err(Fault::Bind(named, _)) => assert_eq!(named, address),
        other => panic!("{other:?}"),
    }
}
