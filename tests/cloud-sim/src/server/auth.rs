//! Who signed a request, for which service and when. The signature itself is not computed: the key id is the secret.
//!
//! AWS refuses a signature that is more than five minutes old, and that is what makes a driver harmless that was paused
//! between its last look and the write (F7); so it is checked here as well. That is real time, never scaled.

use axum::http::{HeaderMap, header};

use super::timestamp;
use crate::api::ApiError;

/// How far the signature's date may lie from now, in seconds of real time, as with AWS's Signature Version 4.
const SKEW_S: u64 = 300;

/// What an `Authorization` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    key_id: String,
    /// `ec2`, `autoscaling`, `dynamodb`: part of the credential scope.
    pub(super) service: String,
    /// Seconds since 1970; `None` if the date is missing or malformed.
    signed_s: Option<u64>,
}

impl Signature {
    /// The signature of a request; `None` if there is none of version 4.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("AWS4-HMAC-SHA256")?;
        let credential = fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
        // KEYID/20261123/us-east-1/ec2/aws4_request
        let mut parts = credential.rsplit('/');
        let (Some("aws4_request"), Some(service), Some(_region), Some(_day), Some(key_id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok());
        Some(Self {
            key_id: key_id.to_owned(),
            service: service.to_owned(),
            signed_s: date.and_then(timestamp::parse_basic),
        })
    }

    /// Refuses another key and an old or coming date. `now_s` is real time in seconds since 1970.
    pub(super) fn check(&self, access_key_id: &str, now_s: u64) -> Result<(), ApiError> {
        if self.key_id != access_key_id {
            // EC2's own code; the older services say it in their own way.
            return Err(if self.service == "ec2" {
                let message = "AWS was not able to validate the provided access credentials";
                ApiError::new("AuthFailure", message, 401)
            } else {
                let message = "The security token included in the request is invalid.";
                ApiError::new("InvalidClientTokenId", message, 403)
            });
        }
        match self.signed_s {
            None => Err(ApiError::bad("IncompleteSignature", "X-Amz-Date is missing or malformed")),
            Some(signed_s) if now_s.saturating_sub(signed_s) > SKEW_S => {
                Err(ApiError::bad("RequestExpired", "Request has expired."))
            }
            Some(signed_s) if signed_s.saturating_sub(now_s) > SKEW_S => {
                Err(ApiError::new("SignatureDoesNotMatch", "Signature not yet current", 403))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The refusal of a request without a signature.
pub(super) fn missing() -> ApiError {
    let message = "The request must contain a signature of version 4 with an access key id.";
    ApiError::new("MissingAuthenticationToken", message, 403)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_795_465_260;

    fn headers(service: &str, date: &str) -> HeaderMap {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=dev/20261123/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers.insert("x-amz-date", date.parse().unwrap());
        headers
    }

    fn code(signature: &Signature, key: &str) -> Option<String> {
        signature.check(key, NOW_S).err().map(|error| error.code)
    }

    #[test]
    fn the_right_key_passes_and_another_is_refused_in_the_words_of_the_service() {
        let ec2 = Signature::of(&headers("ec2", "20261123T202100Z")).unwrap();
        assert_eq!((ec2.service.as_str(), ec2.signed_s), ("ec2", Some(NOW_S)));
        assert_eq!(code(&ec2, "dev"), None);
        assert_eq!(code(&ec2, "other").as_deref(), Some("AuthFailure"));
        let autoscaling = Signature::of(&headers("autoscaling", "20261123T202100Z")).unwrap();
        assert_eq!(code(&autoscaling, "other").as_deref(), Some("InvalidClientTokenId"));
    }

    #[test]
    fn a_signature_lasts_five_minutes() {
        for (date, expected) in [
            ("20261123T201600Z", None),
            ("20261123T201559Z", Some("RequestExpired")),
            ("20261123T202600Z", None),
            ("20261123T202601Z", Some("SignatureDoesNotMatch")),
            ("yesterday", Some("IncompleteSignature")),
        ] {
            let signature = Signature::of(&headers("ec2", date)).unwrap();
            assert_eq!(code(&signature, "dev").as_deref(), expected, "{date}");
        }
    }

    #[test]
    fn what_is_no_signature_is_none() {
        assert_eq!(Signature::of(&HeaderMap::new()), None);
        for text in ["Basic abc", "AWS4-HMAC-SHA256 Signature=0", "AWS4-HMAC-SHA256 Credential=dev/ec2/aws4_request"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            assert_eq!(Signature::of(&headers), None, "{text}");
        }
    }
}
