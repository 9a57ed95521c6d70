//! Channels to the services: bounded in time, and without retries.
//!
//! A channel reconnects by itself, at the next call; a call that failed is never repeated here, because only its
//! caller knows whether it may be (request ids, sequences). What is unknown stays unknown and is decided above.
//! Time-outs are real time in every stack: they belong to the network.

use crate::caller::{Caller, DEV_CALLER_HEADER};
use std::time::Duration;
use tonic::metadata::{AsciiMetadataValue, MetadataKey};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Longest wait for a connection. A service in the same region answers in milliseconds; two lost SYNs take 3 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for the head of an answer. Streams go on for longer: only their beginning is bounded.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP/2 pings: a peer that vanished is noticed within the sum of both, also when a stream is silent.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Most bytes of an answer's headers and trailers. Four times the usual default, so that a refusal with its details
/// ([`crate::status::DETAILS_BYTES_MAX`]) never breaks on it.
const HEADERS_BYTES_MAX: u32 = 64 * 1024;

/// A channel whose calls carry a caller.
pub type CallerChannel = InterceptedService<Channel, DevCaller>;

/// Why a text is no address of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` must be an address such as http://127.0.0.1:7101")]
pub struct BadUrl {
    /// What was given.
    pub url: String,
}

/// A channel to `url` (`http://host:port`). It connects at the first call.
pub fn channel(url: &str) -> Result<Channel, BadUrl> {
    let bad = || BadUrl { url: url.to_owned() };
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    // TLS ends at the load balancer; a client that was asked for https must not fall back to plain text.
    // A port above 65535 is neither a port nor an error to `Uri`.
    let reachable = uri.authority().is_some_and(|a| a.as_str() == a.host() || a.port_u16().is_some());
    if uri.scheme_str() != Some("http") || !reachable || !matches!(uri.path(), "" | "/") {
        return Err(bad());
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS_BYTES_MAX);
    Ok(endpoint.connect_lazy())
}

/// The same, with the development caller on every call.
pub fn channel_as(url: &str, caller: &Caller) -> Result<CallerChannel, BadUrl> {
    Ok(InterceptedService::new(channel(url)?, DevCaller::new(caller)))
}

/// Puts the development caller's header on every call.
#[derive(Clone, Debug)]
pub struct DevCaller {
    value: AsciiMetadataValue,
}

impl DevCaller {
    /// The header of `caller`.
    #[expect(clippy::expect_used, reason = "ids and names of a caller are checked to be visible ASCII")]
    pub fn new(caller: &Caller) -> Self {
        Self { value: caller.to_string().parse().expect("visible ASCII") }
    }
}

impl Interceptor for DevCaller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(MetadataKey::from_static(DEV_CALLER_HEADER), self.value.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_plain_addresses_of_a_service_are_taken() {
        for url in ["http://127.0.0.1:7101", "http://localhost:1/", "http://[::1]:7101"] {
            assert!(channel(url).is_ok(), "{url}");
        }
        for url in ["", "127.0.0.1:7101", "https://a:1", "http://", "http://a:1/path", "http://a:99999", "x y"] {
            assert_eq!(channel(url).expect_err(url), BadUrl { url: url.to_owned() });
        }
    }

    #[test]
    fn the_caller_goes_with_every_call() {
        let caller = Caller::parse_dev("alice;org_a=owner").expect("a caller");
        let sent = DevCaller::new(&caller).call(Request::new(())).expect("never refuses");
        let header = sent.metadata().get(DEV_CALLER_HEADER).expect("the header");
        assert_eq!(Caller::parse_dev(header.to_str().expect("ASCII")), Ok(caller));
    }

    #[tokio::test]
    async fn nobody_there_is_unavailable_and_not_a_panic() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", free.local_addr().expect("an address"));
        drop(free);
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel(&url).expect("an address"));
        let status = health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect_err("nobody");
        assert_eq!(crate::status::from_status(&status).kind, tiershift_core::Kind::Unavailable);
    }
}
