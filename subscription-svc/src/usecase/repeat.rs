//! Request ids: a repeat of an accepted mutation is that mutation, and the same id with other content is refused.
//!
//! An id belongs to the caller who used it. Refused requests are not remembered: they changed nothing.

use crate::digest::sha256_hex;
use crate::store::rows::{Request, RequestKey};
use serde::Serialize;
use tiershift_common::caller::Caller;
use tiershift_core::ids::RequestId;
use tiershift_core::{Error, Kind, Reason};

/// One mutation as its caller identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Who, and which id.
    pub key: RequestKey,
    method: &'static str,
    /// sha256 of the content, 64 hex digits.
    pub fingerprint: String,
}

impl Repeat {
    /// A mutation with its content: every field of the request but the id.
    pub fn of(caller: &Caller, id: RequestId, method: &'static str, content: &impl Serialize) -> Self {
        // Plain values always have a JSON form; if one had not, the id alone would tell requests apart.
        let json = serde_json::to_string(content).unwrap_or_default();
        let fingerprint = sha256_hex(&format!("{method}\n{json}"));
        Self { key: RequestKey { user: caller.user.clone(), id }, method, fingerprint }
    }

    /// The resource of an earlier request with this id; none if it is new.
    pub fn resource(&self, known: Option<&Request>) -> Result<Option<String>, Error> {
        match known {
            None => Ok(None),
            Some(known) if known.method == self.method && known.fingerprint == self.fingerprint => {
                Ok(Some(known.resource.clone()))
            }
            Some(known) => {
                let text = "this request_id was used for another request; use a new one";
                let error = Error::new(Kind::AlreadyExists, Reason::RequestIdReused, text);
                Err(error.with("resource", &known.resource))
            }
        }
    }

    /// To be remembered with what it made.
    pub fn remember(&self, resource: impl Into<String>) -> Request {
        Request {
            key: self.key.clone(),
            method: self.method.to_owned(),
            fingerprint: self.fingerprint.clone(),
            resource: resource.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(user: &str, id: &str, method: &'static str, content: &str) -> Repeat {
        let caller = Caller::parse_dev(user).expect("a caller");
        Repeat::of(&caller, RequestId::parse(id).expect("well formed"), method, &content)
    }

    #[test]
    fn the_same_is_the_same_and_other_content_is_refused() {
        let first = repeat("u", "r1", "M", "a");
        assert_eq!(first.fingerprint.len(), 64);
        let known = first.remember("chg_1");
        assert_eq!(first.resource(None), Ok(None));
        assert_eq!(repeat("u", "r1", "M", "a").resource(Some(&known)), Ok(Some("chg_1".to_owned())));
        for other in [repeat("u", "r1", "M", "b"), repeat("u", "r1", "N", "a")] {
            let error = other.resource(Some(&known)).expect_err("reused");
            assert_eq!((error.kind, error.reason), (Kind::AlreadyExists, Reason::RequestIdReused));
        }
    }
}
