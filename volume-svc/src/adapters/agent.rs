//! The agents by HTTP/1 and JSON: the contract of the agent port as paths, statuses and bodies.
//!
//! A refusal has a status of 4xx and, where it has a reason, the body `{"code": "…"}`. Everything without a clear
//! answer, 5xx included, is `Unknown`. No redirects, no TLS (agents are inside the VPC, behind a security group), no
//! retries but hyper's own of a request that never left. Time-outs are real time, never scaled.

use crate::ports::agent::{
    Address, Agent, AgentError, Connections, Health, Info, Order, Probe, Scope, Usage, VolumeStatus,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, InvalidHeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tiershift_core::ids::AnyGraphId;

/// To connect (rule 43).
const CONNECT: Duration = Duration::from_secs(3);

/// A whole request (rule 43; the predecessor's HTTP client has the same 10 s).
const REQUEST: Duration = Duration::from_secs(10);

/// How long a connection may idle: less than servers keep one, for a command on a connection that is being closed
/// has an unknown outcome.
const IDLE: Duration = Duration::from_secs(4);

/// The most that an agent may answer. A usage report of 10,000 graphs has 400 kB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The header of the key.
const API_KEY: &str = "x-api-key";

/// The agents' HTTP client.
#[derive(Clone, Debug)]
pub struct HttpAgent {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Marked as sensitive, so that it prints as nothing.
    key: HeaderValue,
    request_timeout: Duration,
}

/// How to read a 404: the port's contract differs by call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// The agent lacks the call.
    Call,
    /// The agent has the call, but not what it names.
    Thing,
}

/// What is asked: method, path, body.
struct Ask {
    method: Method,
    path: String,
    body: Bytes,
    with_key: bool,
    missing: Missing,
}

impl Ask {
    fn get(path: impl Into<String>) -> Self {
        let (path, body) = (path.into(), Bytes::new());
        Self { method: Method::GET, path, body, with_key: true, missing: Missing::Call }
    }

    fn post(path: &str, body: &impl Serialize) -> Result<Self, AgentError> {
        let body = serde_json::to_vec(body).map_err(|e| AgentError::NoAddress(e.into()))?;
        Ok(Self { method: Method::POST, body: body.into(), ..Self::get(path) })
    }
}

impl HttpAgent {
    /// With the key that agents ask for; an error if it cannot be a header.
    pub fn new(api_key: &str) -> Result<Self, InvalidHeaderValue> {
        let mut key = HeaderValue::from_str(api_key)?;
        key.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, key, request_timeout: REQUEST })
    }

    async fn command(&self, at: &Address, path: &str, body: &(impl Serialize + Sync)) -> Result<(), AgentError> {
        self.ask(at, Ask::post(path, body)?).await.map(drop)
    }

    async fn read<T: DeserializeOwned>(&self, at: &Address, ask: Ask) -> Result<T, AgentError> {
        let answer = self.ask(at, ask).await?;
        serde_json::from_slice(&answer).map_err(|e| AgentError::Unknown(e.into()))
    }

    async fn ask(&self, at: &Address, ask: Ask) -> Result<Bytes, AgentError> {
        let uri = uri(at, &ask.path)?;
        let mut request = Request::builder().method(ask.method).uri(uri);
        if ask.with_key {
            request = request.header(API_KEY, &self.key);
        }
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(ask.body)).map_err(|e| AgentError::NoAddress(e.into()))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| AgentError::Unknown(e.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(AgentError::Unknown)?;
            Ok((head.status, body.to_bytes()))
        };
        let timed = tokio::time::timeout(self.request_timeout, exchange).await;
        let (status, body) = timed.map_err(|elapsed| AgentError::Unknown(elapsed.into()))??;
        judge(status, &body, ask.missing).map(|()| body)
    }
}

fn uri(at: &Address, path: &str) -> Result<Uri, AgentError> {
    let base = at.base_url().ok_or_else(|| AgentError::NoAddress("the instance has no address".into()))?;
    let uri: Uri =
        format!("{base}{path}").parse().map_err(|e: http::uri::InvalidUri| AgentError::NoAddress(e.into()))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(AgentError::NoAddress("an agent's address is an http URL".into()));
    }
    Ok(uri)
}

/// A refusal's body.
#[derive(Deserialize)]
struct Refusal {
    code: String,
}

fn judge(status: StatusCode, body: &[u8], missing: Missing) -> Result<(), AgentError> {
    if status.is_success() {
        return Ok(());
    }
    let code = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.code);
    let refused = |code: Option<String>| {
        let code = code.unwrap_or_else(|| format!("HTTP_{}", status.as_u16()));
        Err(AgentError::Refused { code })
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(AgentError::Unauthorized),
        // The contract's 409 is FENCED; one without a body is taken for it, because it stops at once.
        StatusCode::CONFLICT if code.as_deref().is_none_or(|code| code == "FENCED") => Err(AgentError::Fenced),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => match missing {
            Missing::Call => Err(AgentError::Unsupported),
            Missing::Thing => refused(code),
        },
        _ if status.is_server_error() => Err(AgentError::Unknown(format!("the agent answered {status}").into())),
        _ => refused(code),
    }
}

/// The body of a drain.
#[derive(Serialize)]
struct Drain<'a> {
    #[serde(flatten)]
    order: &'a Order,
    scope: Scope,
}

/// The body of an adopt.
#[derive(Serialize)]
struct Adopt<'a> {
    #[serde(flatten)]
    order: &'a Order,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs_uuid: Option<&'a str>,
}

#[async_trait]
impl Agent for HttpAgent {
    async fn health(&self, at: &Address) -> Result<Health, AgentError> {
        self.read(at, Ask { with_key: false, ..Ask::get("/health") }).await
    }

    async fn drain(&self, at: &Address, order: &Order, scope: Scope) -> Result<(), AgentError> {
        self.command(at, "/admin/drain", &Drain { order, scope }).await
    }

    async fn connections(&self, at: &Address) -> Result<Connections, AgentError> {
        self.read(at, Ask::get("/admin/connections")).await
    }

    async fn resume(&self, at: &Address, order: &Order) -> Result<(), AgentError> {
        self.command(at, "/admin/resume", order).await
    }

    async fn release(&self, at: &Address, order: &Order) -> Result<(), AgentError> {
        self.command(at, "/admin/volume/release", order).await
    }

    async fn adopt(&self, at: &Address, order: &Order, fs_uuid: Option<&str>) -> Result<(), AgentError> {
        self.command(at, "/admin/volume/adopt", &Adopt { order, fs_uuid }).await
    }

    async fn volume(&self, at: &Address) -> Result<VolumeStatus, AgentError> {
        self.read(at, Ask::get("/admin/volume")).await
    }

    async fn probe(&self, at: &Address, graph: &AnyGraphId) -> Result<Probe, AgentError> {
        let ask = Ask { missing: Missing::Thing, ..Ask::get(format!("/admin/probe/{graph}")) };
        self.read(at, ask).await
    }

    async fn usage(&self, at: &Address) -> Result<Usage, AgentError> {
        self.read(at, Ask::get("/admin/usage")).await
    }

    async fn info(&self, at: &Address) -> Result<Info, AgentError> {
        self.read(at, Ask::get("/admin/info")).await
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
