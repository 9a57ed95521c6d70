//! One request as it came, and what is done about it.

use http::Method;
use std::collections::BTreeMap;

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// How.
    pub method: Method,
    /// Path, without its query.
    pub path: String,
    /// Query of a read, body of everything else, as sent.
    pub form: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// The API version that it asks for.
    pub version: Option<String>,
    /// Its credentials.
    pub authorization: Option<String>,
}

impl Call {
    /// From an HTTP request whose body was read.
    pub fn of(head: &http::request::Parts, body: &[u8]) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let form = if head.method == Method::GET {
            head.uri.query().unwrap_or_default().to_owned()
        } else {
            String::from_utf8_lossy(body).into_owned()
        };
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            form,
            key: header("idempotency-key"),
            version: header("stripe-version"),
            authorization: header("authorization"),
        }
    }

    pub(crate) fn fields(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(self.form.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
    }
}

/// A request that was seen. Its credentials are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How.
    pub method: Method,
    /// Path, without its query.
    pub path: String,
    /// Query or body.
    pub form: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// The API version that it asked for.
    pub version: Option<String>,
}

/// What the caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// An answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// It was stored under the key by an earlier request.
        replayed: bool,
        /// JSON.
        body: String,
    },
    /// The connection stays open, and nothing comes.
    Silence,
    /// The connection is cut.
    Cut,
}
