//! What an event of the payment provider is about. Pure.
//!
//! Only that is taken from it: its id, its kind, and which subscription it concerns. What is so is read from the provider
//! (H24): events come late, twice and in any order, and what they say is of the past. Not here: who sent it
//! (`signature`).

use crate::store::inbox::{WebhookEvent, WebhookState};
use crate::store::rows::STRIPE;
use serde_json::Value;
use tiershift_core::UnixMs;

/// Longest id, kind or name that is kept.
const WORD_BYTES_MAX: usize = 255;

/// The kinds that concern a subscription. Every other is acknowledged and ignored.
const KINDS: [&str; 8] = [
    "checkout.session.completed",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.updated",
];

/// Why a body is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// A field that every event has.
    #[error("the body is no event: `{0}` is missing, or not of its type")]
    Field(&'static str),
}

/// Reads an event from its body.
pub fn read(body: &str, now: UnixMs) -> Result<WebhookEvent, Malformed> {
    let json: Value = serde_json::from_str(body).map_err(|_| Malformed::NotJson)?;
    let word = |name: &'static str| {
        let text = json.get(name).and_then(Value::as_str);
        let text = text.filter(|text| (1..=WORD_BYTES_MAX).contains(&text.len()));
        text.map(str::to_owned).ok_or(Malformed::Field(name))
    };
    let (id, kind) = (word("id")?, word("type")?);
    let created_s = json.get("created").and_then(Value::as_i64).filter(|s| (0..1 << 40).contains(s));
    let created_s = created_s.ok_or(Malformed::Field("created"))?;
    let object = json.pointer("/data/object").filter(|o| o.is_object()).ok_or(Malformed::Field("data.object"))?;
    let concerns = KINDS.contains(&kind.as_str());
    let (subject, ours) = if concerns { (subject(&kind, object), ours(object)) } else { Default::default() };
    let (state, note) = match (concerns, subject.is_empty()) {
        (false, _) => (WebhookState::Ignored, "a kind that concerns no subscription"),
        (true, true) => (WebhookState::Ignored, "it names no subscription"),
        (true, false) => (WebhookState::Pending, ""),
    };
    Ok(WebhookEvent {
        id,
        n: 0,
        provider: STRIPE.to_owned(),
        kind,
        subject,
        ours,
        created: UnixMs(created_s * 1_000),
        received: now,
        state,
        attempts: 0,
        not_before: now,
        note: note.to_owned(),
        body: body.to_owned(),
    })
}

/// The provider's name of the subscription: the object itself, or what it refers to, by its id or in full.
fn subject(kind: &str, object: &Value) -> String {
    let of = if kind.starts_with("customer.subscription.") {
        object.get("id")
    } else {
        // Newer versions of the API moved an invoice's subscription below its parent.
        let newer = object.pointer("/parent/subscription_details/subscription");
        object.get("subscription").filter(|value| !value.is_null()).or(newer)
    };
    let id = of.and_then(|value| value.as_str().or_else(|| value.get("id")?.as_str()));
    id.filter(|id| id.len() <= WORD_BYTES_MAX).unwrap_or_default().to_owned()
}

/// Our own name of the subscription, which we asked the provider to keep with it.
fn ours(object: &Value) -> String {
    let places = ["/metadata/subscription_id", "/client_reference_id"];
    let found = places.iter().find_map(|place| object.pointer(place)?.as_str().filter(|id| id.starts_with("sub_")));
    found.filter(|id| id.len() <= WORD_BYTES_MAX).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: UnixMs = UnixMs(5);

    fn event(kind: &str, object: &Value) -> Value {
        json!({ "id": "evt_1", "type": kind, "created": 1_768_435_200, "data": { "object": object } })
    }

    fn names(kind: &str, object: &Value) -> (String, String, WebhookState) {
        let event = read(&event(kind, object).to_string(), NOW).expect("an event");
        (event.subject, event.ours, event.state)
    }

    #[test]
    fn each_kind_names_its_subscription_in_its_own_place() {
        let pending = |subject: &str, ours: &str| (subject.to_owned(), ours.to_owned(), WebhookState::Pending);
        let metadata = json!({ "subscription_id": "sub_ours" });
        let cases = [
            ("customer.subscription.updated", json!({ "id": "sub_p", "metadata": metadata }), "sub_ours"),
            ("customer.subscription.deleted", json!({ "id": "sub_p" }), ""),
            ("invoice.paid", json!({ "id": "in_1", "subscription": "sub_p" }), ""),
            ("invoice.payment_failed", json!({ "subscription": { "id": "sub_p" } }), ""),
            ("invoice.created", json!({ "parent": { "subscription_details": { "subscription": "sub_p" } } }), ""),
            (
                "checkout.session.completed",
                json!({ "id": "cs_1", "subscription": "sub_p", "client_reference_id": "sub_ours" }),
                "sub_ours",
            ),
        ];
        for (kind, object, ours) in cases {
            assert_eq!(names(kind, &object), pending("sub_p", ours), "{kind}");
        }
    }

    #[test]
    fn what_concerns_nothing_is_kept_and_ignored() {
        assert_eq!(names("customer.created", &json!({ "id": "cus_1" })).2, WebhookState::Ignored);
        assert_eq!(names("invoice.paid", &json!({ "id": "in_1", "subscription": null })).2, WebhookState::Ignored);
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let without = |field: &str| {
            let mut event = event("invoice.paid", &json!({}));
            event.as_object_mut().expect("an object").remove(field);
            read(&event.to_string(), NOW).expect_err("no event")
        };
        assert_eq!(read("{", NOW), Err(Malformed::NotJson));
        assert_eq!(without("id"), Malformed::Field("id"));
        assert_eq!(without("type"), Malformed::Field("type"));
        assert_eq!(without("created"), Malformed::Field("created"));
        assert_eq!(without("data"), Malformed::Field("data.object"));
        let long = event("invoice.paid", &json!({})).to_string().replace("evt_1", &"e".repeat(256));
        assert_eq!(read(&long, NOW), Err(Malformed::Field("id")));
    }
}
