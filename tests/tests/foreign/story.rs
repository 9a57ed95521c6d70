//! What must be true of a change as a foreign client has seen it: by ProtoJSON, in which 64-bit integers are strings,
//! enums are names, and defaults are left out.

use crate::stage::Stage;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::ChangeId;

/// Everything at once.
pub fn holds(summary: &Value, stage: &Stage) {
    the_catalogue_is_listed(summary);
    the_preview_promises_what_is_accepted(summary);
    the_watch_tells_everything_once(summary);
    the_graph_has_its_new_tier(summary);
    the_canceled_change_costs_nothing(summary);
    the_migration_is_the_change(summary, stage);
    the_pages_are_the_changes(summary);
}

fn the_catalogue_is_listed(summary: &Value) {
    let listed: Vec<_> = list(&summary["tiers"])
        .iter()
        .map(|t| {
            (text(&t["name"]), number(&t["rank"]), number(&t["price"]["amount_cents"]), number(&t["monthly_credits"]))
        })
        .collect();
    let catalogue = Catalogue::default();
    let tiers = catalogue.tiers().iter();
    let expected: Vec<_> =
        tiers.map(|t| (t.name.to_string(), i64::from(t.rank), t.price_cents, t.monthly_credits)).collect();
    assert_eq!(listed, expected);
    // It was asked for; whether it could be read is said, and never left out.
    for tier in list(&summary["tiers"]) {
        let room = text(&tier["room"]);
        assert!(matches!(room.as_str(), "TIER_ROOM_AVAILABLE" | "TIER_ROOM_FULL" | "TIER_ROOM_UNKNOWN"), "{tier:#}");
    }
}

fn the_preview_promises_what_is_accepted(summary: &Value) {
    let (preview, accepted) = (&summary["preview"], &summary["accepted"]);
    assert_eq!(preview["allowed"], true, "{preview:#}");
    assert_eq!(preview["violations"], Value::Null, "{preview:#}");
    assert_eq!(preview["plan"]["direction"], "TIER_CHANGE_DIRECTION_UPGRADE");
    assert!(number(&preview["usage"]["engine_bytes"]) > 0, "{preview:#}");
    assert_eq!(accepted["plan"]["price_after"], preview["plan"]["price_after"]);
    assert_eq!(
        (text(&accepted["plan"]["to_tier"]), text(&accepted["plan"]["from_tier"])),
        Stage::tiers(),
        "{accepted:#}"
    );
    let id = text(&accepted["change_id"]);
    ChangeId::parse(id.clone()).expect("a change id");
    assert_eq!(text(&summary["repeated"]["change_id"]), id, "the same request is the same change");
}

fn the_watch_tells_everything_once(summary: &Value) {
    let before: Vec<_> = list(&summary["watch"]).iter().collect();
    assert_eq!(before.len(), 3, "the client broke off after three: {before:#?}");
    assert!(before.iter().all(|m| m["end"].is_null()), "it did not end before: {before:#?}");
    let messages: Vec<_> = before.into_iter().chain(list(&summary["resumed"])).collect();
    let events = told(&messages);
    assert_eq!(count(&events), number(&summary["changed"]["last_seq"]), "{events:#?}");
    for source in ["EVENT_SOURCE_SUBSCRIPTION", "EVENT_SOURCE_VOLUME"] {
        assert!(events.iter().any(|e| e["source"] == source), "{source}");
    }
    assert!(events.iter().any(|e| e["writes"] == "WRITE_STATE_CLOSED"), "writes were closed for the move");
    assert!(events.iter().any(|e| e["reads"] == "READ_STATE_CLOSED"), "reads were closed for the move");
    let last = events.last().expect("events");
    assert_eq!(
        (text(&last["stage"]), text(&last["reads"]), text(&last["writes"])),
        ("succeeded".into(), "READ_STATE_OPEN".into(), "WRITE_STATE_OPEN".into())
    );
    let after = list(&summary["after_the_end"]);
    assert_eq!(after.len(), 1, "nothing follows the end: {after:#?}");
    assert_eq!(after[0]["end"]["kind"], "WATCH_END_KIND_TERMINAL");
}

/// The events of a watch that was read to its end: without a gap, progress never falling within a direction, each
/// message with a cursor, the end terminal and last.
fn told<'a>(messages: &[&'a Value]) -> Vec<&'a Value> {
    for message in messages {
        assert!(!text(&message["cursor"]).is_empty(), "{message:#}");
    }
    let ends: Vec<_> = messages.iter().filter(|m| !m["end"].is_null()).collect();
    assert_eq!(ends.len(), 1, "{messages:#?}");
    assert_eq!(messages.last().expect("messages")["end"]["kind"], "WATCH_END_KIND_TERMINAL", "{messages:#?}");
    let events: Vec<_> = messages.iter().map(|m| &m["event"]).filter(|e| !e.is_null()).collect();
    assert_gapless(&events);
    events
}

fn assert_gapless(events: &[&Value]) {
    let seqs: Vec<_> = events.iter().map(|e| number(&e["seq"])).collect();
    assert_eq!(seqs, (1..=count(events)).collect::<Vec<_>>(), "{events:#?}");
    let mut reached = BTreeMap::new();
    for event in events {
        let permille = number(&event["permille"]);
        let before = reached.insert(text(&event["direction"]), permille).unwrap_or(0);
        assert!(permille >= before, "progress fell from {before} at {event:#}");
    }
}

fn the_graph_has_its_new_tier(summary: &Value) {
    let changed = &summary["changed"];
    assert_eq!(changed["state"], "TIER_CHANGE_STATE_SUCCEEDED", "{changed:#}");
    assert_eq!(changed["charge"], "CHARGE_STATE_TAKEN");
    assert!(number(&changed["net_charged"]["amount_cents"]) > 0, "an upgrade costs: {changed:#}");
    let (blocked, offline) = (number(&changed["writes_blocked_ms"]), number(&changed["offline_ms"]));
    assert!(0 < offline && offline <= blocked, "offline {offline} ms, writes blocked {blocked} ms");
    assert_eq!(changed["reason"], Value::Null, "{changed:#}");
    let (accepted, ended) = (number(&changed["accepted_unix_ms"]), number(&changed["ended_unix_ms"]));
    assert!(ended - accepted >= blocked, "{changed:#}");
}

fn the_canceled_change_costs_nothing(summary: &Value) {
    let canceled = &summary["canceled"];
    assert_eq!(canceled["state"], "TIER_CHANGE_STATE_CANCELED", "{canceled:#}");
    assert_eq!(canceled["cancel_requested"], true);
    assert_eq!(canceled["reason"], "ERROR_REASON_CANCELED_BY_REQUEST");
    assert_eq!(number(&canceled["net_charged"]["amount_cents"]), 0, "{canceled:#}");
    let messages: Vec<_> = list(&summary["canceled_watch"]).iter().collect();
    let events = told(&messages);
    assert_eq!(count(&events), number(&canceled["last_seq"]));
    assert!(events.iter().all(|e| e["change_id"] == canceled["change_id"]), "its own events only: {events:#?}");
    assert_eq!(events.last().expect("events")["stage"], "canceled");
}

fn the_migration_is_the_change(summary: &Value, stage: &Stage) {
    let (migration, changed) = (&summary["migration"], &summary["changed"]);
    assert_eq!(migration["migration_id"], changed["change_id"], "one id for both");
    assert_eq!(migration["status"], "MIGRATION_STATUS_SUCCEEDED", "{migration:#}");
    let graph = stage.graph("upgrade-idle");
    assert_eq!(migration["graph_id"], json!(graph.graph_id));
    assert_eq!(migration["volume_id"], json!(graph.volume_id));
    assert_eq!(migration["source_instance_id"], json!(graph.instance_id));
    assert_ne!(migration["target_instance_id"], migration["source_instance_id"]);

    let messages = list(&summary["migration_watch"]);
    let events: Vec<_> = messages.iter().map(|m| &m["event"]["event"]).collect();
    assert_gapless(&events);
    let facts: Vec<_> = messages.iter().flat_map(|m| m["event"].as_object().expect("an event").keys()).collect();
    let at = |fact: &str| facts.iter().position(|f| *f == fact).unwrap_or_else(|| panic!("no {fact} in {facts:?}"));
    let order = ["gate_requested", "gate_confirmed", "offline", "committed", "opened"].map(at);
    assert!(order.is_sorted(), "{facts:?}");
    assert!(messages.last().expect("events")["event"]["opened"].is_object(), "{facts:?}");
    // A resume by cursor says the very same from there on.
    let middle = messages.len() / 2;
    assert_eq!(list(&summary["migration_resumed"]), &messages[middle..]);
}

fn the_pages_are_the_changes(summary: &Value) {
    let pages = list(&summary["pages"]);
    let ids: Vec<_> = pages.iter().flat_map(|p| p["tier_changes"].as_array().into_iter().flatten()).collect();
    let ids: Vec<_> = ids.into_iter().map(|c| text(&c["change_id"])).collect();
    assert_eq!(ids, ["canceled", "changed"].map(|c| text(&summary[c]["change_id"])), "newest first");
    assert!(pages.iter().all(|p| p["tier_changes"].as_array().map_or(0, Vec::len) <= 1), "{pages:#?}");
}

fn count(events: &[&Value]) -> i64 {
    i64::try_from(events.len()).expect("a few")
}

/// A list; an absent one is a fault of the client.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value:#}"))
}

/// A text; absent = empty, as ProtoJSON has it.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number, of 32 bits or of 64; absent = 0, as ProtoJSON has it.
pub fn number(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        Value::String(digits) => digits.parse().unwrap_or_else(|_| panic!("no number: {digits}")),
        other => other.as_i64().unwrap_or_else(|| panic!("no number: {other:#}")),
    }
}
