//! What an answer of Stripe's means, by status, `error.type` and `error.code`; never by a message.
//!
//! Stripe stores what it answered under a key once the request began to be carried out, its own faults included, and
//! replays it (H21 b). What it refuses at the door (bad credentials, too many calls, the key in use at this moment) is
//! not stored and may be repeated.

use super::super::Answer;
use super::http::Reply;
use serde::Deserialize;
use serde_json::Value;
use tiershift_core::Reason;

/// Codes of a payment that waits for its payer: it was not complete at once.
const NEEDS_ACTION: [&str; 4] = [
    "authentication_required",
    "subscription_payment_intent_requires_action",
    "invoice_payment_intent_requires_action",
    "payment_intent_action_required",
];

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// Refused; nothing was done.
    Refused(Reason),
    /// There is no such thing.
    Missing,
    /// A fault of Stripe's that is stored under the key.
    ServerFault,
    /// Nobody can say.
    Unknown,
}

impl From<No> for Answer {
    fn from(no: No) -> Self {
        match no {
            No::Refused(reason) => Self::Refused { reason },
            No::Missing => Self::Refused { reason: Reason::PaymentDeclined },
            No::ServerFault => Self::ServerFault,
            No::Unknown => Self::Unknown,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: Fault,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
}

/// The result that an answer carries, or why there is none.
pub fn judge(reply: Reply) -> Result<Value, No> {
    let Reply::Answered { status, replayed, request_id, body } = reply else { return Err(No::Unknown) };
    if (200..300).contains(&status) {
        // Done, and nobody can read what: a repeat brings the same answer again.
        return if body.is_object() { Ok(body) } else { Err(No::Unknown) };
    }
    let fault = serde_json::from_value::<Body>(body).unwrap_or_default().error;
    let no = verdict(status, replayed, &fault);
    let (kind, code, param) = (fault.kind.as_deref(), fault.code.as_deref(), fault.param.as_deref());
    match (no, status) {
        (No::Refused(_), 402) | (No::Missing, _) => {
            tracing::info!(status, kind, code, request_id, "Stripe refused");
        }
        (No::Unknown, 409 | 429 | 500..) => tracing::warn!(status, kind, code, request_id, "Stripe gave no result"),
        // Ours to mend: the key, the price, the request.
        _ => tracing::error!(status, kind, code, param, request_id, "Stripe refused what should have been right"),
    }
    Err(no)
}

fn verdict(status: u16, replayed: bool, fault: &Fault) -> No {
    let is = |text: &Option<String>, wanted: &[&str]| text.as_deref().is_some_and(|t| wanted.contains(&t));
    match status {
        // The key is used with other bytes: what was done under it is not this.
        400 if is(&fault.kind, &["idempotency_error"]) => No::ServerFault,
        402 if is(&fault.code, &NEEDS_ACTION) || is(&fault.decline_code, &NEEDS_ACTION) => {
            No::Refused(Reason::PaymentNotImmediate)
        }
        404 => No::Missing,
        // Refused at the door, before anything was tried.
        401 | 403 | 408 | 409 | 425 | 429 => No::Unknown,
        400..500 => No::Refused(Reason::PaymentDeclined),
        500 => No::ServerFault,
        // A proxy's word; but once it is replayed it is what the key holds.
        501..600 if replayed => No::ServerFault,
        _ => No::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(status: u16, replayed: bool, error: &Value) -> No {
        let body = json!({ "error": error });
        judge(Reply::Answered { status, replayed, request_id: String::new(), body }).expect_err("a refusal")
    }

    #[test]
    fn every_answer_has_one_meaning() {
        let declined = No::Refused(Reason::PaymentDeclined);
        let waits = No::Refused(Reason::PaymentNotImmediate);
        let card = |code: &str| json!({ "type": "card_error", "code": code, "message": "authentication_required" });
        let rows = [
            (402, card("card_declined"), declined),
            (402, card("expired_card"), declined),
            (
                402,
                json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds" }),
                declined,
            ),
            (402, card("authentication_required"), waits),
            (402, card("subscription_payment_intent_requires_action"), waits),
            (
                402,
                json!({ "type": "card_error", "code": "card_declined", "decline_code": "authentication_required" }),
                waits,
            ),
            (400, json!({ "type": "invalid_request_error", "code": "parameter_unknown", "param": "x" }), declined),
            (400, json!({ "type": "idempotency_error" }), No::ServerFault),
            (409, json!({ "type": "idempotency_error", "code": "idempotency_key_in_use" }), No::Unknown),
            (409, json!({ "type": "invalid_request_error", "code": "lock_timeout" }), No::Unknown),
            (401, json!({ "type": "invalid_request_error" }), No::Unknown),
            (403, json!({ "type": "invalid_request_error" }), No::Unknown),
            (404, json!({ "type": "invalid_request_error", "code": "resource_missing" }), No::Missing),
            (429, json!({ "type": "invalid_request_error", "code": "rate_limit" }), No::Unknown),
            (500, json!({ "type": "api_error" }), No::ServerFault),
            (502, Value::Null, No::Unknown),
            (503, json!({ "type": "api_error" }), No::Unknown),
            (302, Value::Null, No::Unknown),
        ];
        for (status, error, meaning) in rows {
            assert_eq!(of(status, false, &error), meaning, "{status} {error}");
        }
        assert_eq!(of(503, true, &json!({ "type": "api_error" })), No::ServerFault, "it is stored, and stays");
        assert_eq!(of(402, true, &card("card_declined")), declined);
    }

    #[test]
    fn a_result_is_an_object_and_silence_is_unknown() {
        let ok = |body| judge(Reply::Answered { status: 200, replayed: false, request_id: String::new(), body });
        assert_eq!(ok(json!({ "id": "a" })), Ok(json!({ "id": "a" })));
        assert_eq!(ok(Value::Null), Err(No::Unknown));
        assert_eq!(judge(Reply::Lost), Err(No::Unknown));
    }

    #[test]
    fn what_is_missing_refuses_a_request() {
        assert_eq!(Answer::from(No::Missing), Answer::Refused { reason: Reason::PaymentDeclined });
    }
}
