//! One call to Stripe: headers, time-outs, and an answer or none.
//!
//! Nothing is repeated here: whether a call may be made again is `policy`'s to say. Time-outs are real time in every
//! stack, because they belong to the network. Not here: what an answer means (`answer`).

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The version whose words this adapter speaks; an account's default may be any other. From 2025-03-31 on a period
/// belongs to an item, an invoice names its payments, and previews are a call of their own.
pub const VERSION: &str = "2025-09-30.clover";

/// Longest wait for a connection: two lost SYNs take 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for a whole answer. A bank may think for 20 s; the charge's budget is 60 s, and a call that hangs must
/// leave room for its repeat.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// Most bytes of an answer: a hundred invoices with their lines are a tenth of it.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A secret key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(HeaderValue);

impl Key {
    /// A key as Stripe gives them: `sk_` or `rk_` and more, in visible ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.starts_with("sk_") || text.starts_with("rk_");
        if !known || !text.bytes().all(|b| b.is_ascii_graphic()) || text.len() > 255 {
            return None;
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

/// No answer, or none that could be read.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub struct Lost(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Carries one request. It is the network, or something in the same process that behaves like it.
#[async_trait]
pub trait Wire: Send + Sync {
    /// The whole answer. Whoever calls bounds the time.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Lost>;
}

/// The network. TLS for everything but loopback, where nothing is on the way.
#[derive(Debug)]
pub enum Network {
    /// Without TLS.
    Plain(Pool<HttpConnector, Full<Bytes>>),
    /// With TLS and the roots of the host.
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Network {
    /// For a base address that `options` has checked. Fails where the host has no certificates.
    pub fn to(url: &str) -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        if url.starts_with("http://") {
            return Ok(Self::Plain(Pool::builder(TokioExecutor::new()).build(tcp)));
        }
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_only()
            .enable_http1();
        Ok(Self::Tls(Pool::builder(TokioExecutor::new()).build(builder.wrap_connector(tcp))))
    }
}

#[async_trait]
impl Wire for Network {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Lost> {
        let request = request.map(Full::new);
        let sent = match self {
            Self::Plain(pool) => pool.request(request).await,
            Self::Tls(pool) => pool.request(request).await,
        };
        let (head, body) = sent.map_err(|error| Lost(error.into()))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Lost)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// An answer of Stripe's, or of something before it.
    Answered {
        /// HTTP status.
        status: u16,
        /// It is the stored answer of an earlier request under this key.
        replayed: bool,
        /// Stripe's name for the request, for its support; empty if there is none.
        request_id: String,
        /// The body; null if it is not JSON.
        body: Value,
    },
    /// None in time.
    Lost,
}

/// Makes calls in an account's name.
pub struct Client {
    wire: Box<dyn Wire>,
    /// Scheme and authority, without a slash at the end.
    base: String,
    key: Key,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// Over a wire, to a base address that was checked.
    pub fn new(wire: Box<dyn Wire>, base: &str, key: Key) -> Self {
        Self { wire, base: base.trim_end_matches('/').to_owned(), key }
    }

    /// Reads; `path` has its query.
    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, String::new(), None).await
    }

    /// Writes, under an idempotency key if it has an effect.
    pub async fn post(&self, path: &str, form: &str, key: Option<&str>) -> Reply {
        self.call(Method::POST, path, form.to_owned(), key).await
    }

    /// Deletes. Keys have no effect here: a second one finds nothing.
    pub async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, String::new(), None).await
    }

    async fn call(&self, method: Method, path: &str, form: String, key: Option<&str>) -> Reply {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.key.0.clone())
            .header(USER_AGENT, concat!("tiershift/", env!("CARGO_PKG_VERSION")))
            .header("stripe-version", VERSION);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = match request.body(Bytes::from(form)) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(path, error = &error as &dyn std::error::Error, "a call to Stripe cannot be written");
                return Reply::Lost;
            }
        };
        let path = path.split('?').next().unwrap_or(path);
        match tokio::time::timeout(CALL_TIMEOUT, self.wire.send(request)).await {
            Ok(Ok(response)) => Reply::Answered {
                status: response.status().as_u16(),
                replayed: header(&response, "idempotent-replayed") == "true",
                request_id: header(&response, "request-id").to_owned(),
                body: serde_json::from_slice(response.body()).unwrap_or(Value::Null),
            },
            Ok(Err(error)) => {
                tracing::warn!(path, error = &error as &dyn std::error::Error, "no answer from Stripe");
                Reply::Lost
            }
            Err(_) => {
                tracing::warn!(path, seconds = CALL_TIMEOUT.as_secs(), "no answer from Stripe in time");
                Reply::Lost
            }
        }
    }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_checked_and_never_shown() {
        let key = Key::parse("sk_test_hunter2").expect("a key");
        let client =
            Client::new(Box::new(Network::to("http://127.0.0.1:1").expect("no TLS")), "http://127.0.0.1:1/", key);
        assert!(!format!("{client:?} {:?}", client.key).contains("hunter2"));
        assert!(!format!("{:?}", client.key.0).contains("hunter2"));
        assert_eq!(client.base, "http://127.0.0.1:1");
        for bad in ["", "pk_test_1", "sk_a b", "sk_a\n", "hunter2"] {
            assert_eq!(Key::parse(bad), None, "{bad:?}");
        }
    }
}
