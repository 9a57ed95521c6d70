//! A client of the simulated cloud's control and engine calls: faults, the fleet, the audit of acknowledged writes, and
//! the path that a customer's writes take.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// A call that takes longer has no answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// No answer.
    #[error("the simulated cloud does not answer")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Refused.
    #[error("the simulated cloud refused with {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// Not what was expected.
    #[error("the simulated cloud said something else")]
    Malformed(#[from] serde_json::Error),
}

/// The client.
#[derive(Clone, Debug)]
pub struct Cloud {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Cloud {
    /// At an address.
    pub fn at(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// GET.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CloudError> {
        self.call("GET", path, None).await
    }

    /// POST.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, CloudError> {
        self.call("POST", path, Some(body)).await
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&Value>) -> Result<T, CloudError> {
        let away = |error: Box<dyn std::error::Error + Send + Sync>| CloudError::Away(error);
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|e| away(e.into()))?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = self.http.request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        });
        let (status, body) = answer.await.map_err(|e| away(e.into()))?.map_err(away)?;
        if !(200..300).contains(&status) {
            return Err(CloudError::Refused { status, body: String::from_utf8_lossy(&body).into_owned() });
        }
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        Ok(serde_json::from_slice(body)?)
    }
}
