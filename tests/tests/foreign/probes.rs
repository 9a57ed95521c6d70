//! Calls that must be refused, each with the code, the reason and the paths of the fields at fault, and nothing changed.
//!
//! They are made by the foreign clients, so what is looked at is what a library of another language makes of the
//! trailers. The reads before and after them are part of the same list.

use crate::child::Client;
use crate::stage::Stage;
use crate::story::{list, number, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tiershift_dev::stack::DEV_CALLER;

const TIERS: &str = "tiershift.subscription.v1.TierService";
const GRAPHS: &str = "tiershift.subscription.v1.GraphService";
const MIGRATIONS: &str = "tiershift.volume.v1.MigrationService";

/// An id that nothing has.
const NOBODY: &str = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// The id of a migration that is canceled before it was started.
const TOMBSTONE: &str = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAW";

/// A byte more than 4 MiB with all that is around it: the limit of a message.
const TOO_LARGE: usize = 4 * 1024 * 1024 + 1;

/// What a call must say.
#[derive(Clone, Debug)]
enum Expected {
    /// An answer, which others are compared with.
    Answer,
    /// This code and reason; BadRequest names exactly these fields.
    Refusal(&'static str, &'static str, Vec<&'static str>),
    /// This code, from the transport below the services, which has no reasons.
    Bare(&'static str),
}

/// One call.
#[derive(Clone, Debug)]
pub struct Probe {
    name: String,
    server: &'static str,
    method: String,
    caller: Option<String>,
    request: Value,
    raw: Option<Vec<u8>>,
    expected: Expected,
}

impl Probe {
    fn subscription(name: &str, method: &str, caller: &str, request: Value, expected: Expected) -> Self {
        let (name, method) = (name.to_owned(), method.to_owned());
        let caller = Some(caller.to_owned());
        Self { name, server: "subscription", method, caller, request, raw: None, expected }
    }

    fn volume(name: &str, rpc: &str, caller: &str, request: Value, expected: Expected) -> Self {
        let method = format!("{MIGRATIONS}/{rpc}");
        Self { server: "volume", ..Self::subscription(name, &method, caller, request, expected) }
    }

    /// As the clients read it.
    pub fn call(&self) -> Value {
        let mut call = json!({
            "name": self.name,
            "server": self.server,
            "method": self.method,
            "caller": self.caller,
            "request": self.request,
        });
        if let Some(raw) = &self.raw {
            call["raw"] = json!(raw);
        }
        call
    }
}

/// Every probe, in the order in which they are made.
pub fn of(summary: &Value, stage: &Stage, client: Client) -> Vec<Probe> {
    let mut probes = reads("before", stage);
    probes.extend(malformed_changes(stage));
    probes.extend(lists_and_watches(summary, stage));
    probes.extend(callers(summary, stage));
    probes.extend(refused_changes(stage));
    probes.extend(migrations(summary, stage));
    if client == Client::Python {
        probes.extend(by_grpc_only(stage));
    }
    probes.extend(reads("after", stage));
    probes
}

fn fields(paths: &[&'static str]) -> Expected {
    Expected::Refusal("INVALID_ARGUMENT", "INVALID_ARGUMENT", paths.to_vec())
}

const fn refusal(code: &'static str, reason: &'static str) -> Expected {
    Expected::Refusal(code, reason, Vec::new())
}

/// What must be the same before and after all that is refused: the graphs that the refused calls name, and all changes.
fn reads(when: &str, stage: &Stage) -> Vec<Probe> {
    let owner = stage.owner();
    let graphs = ["five-subgraphs", "too-much-data", "upgrade-idle"].map(|story| {
        let request = json!({ "graph_id": stage.graph(story).graph_id });
        Probe::subscription(
            &format!("{when}: {story}"),
            &format!("{GRAPHS}/GetGraph"),
            &owner,
            request,
            Expected::Answer,
        )
    });
    let request = json!({ "org_id": stage.graph("upgrade-idle").organisation_id });
    let name = format!("{when}: changes");
    let changes = Probe::subscription(&name, &format!("{TIERS}/ListTierChanges"), &owner, request, Expected::Answer);
    let live = Probe::volume(
        &format!("{when}: live"),
        "ListMigrations",
        DEV_CALLER,
        json!({ "live_only": true }),
        Expected::Answer,
    );
    graphs.into_iter().chain([changes, live]).collect()
}

fn malformed_changes(stage: &Stage) -> Vec<Probe> {
    let change = |name: &str, request: Value, expected: Expected| {
        Probe::subscription(name, &format!("{TIERS}/ChangeTier"), &stage.owner(), request, expected)
    };
    let graph = &stage.graph("five-subgraphs").graph_id;
    let standard = Stage::tiers().1;
    vec![
        change("empty", json!({}), fields(&["graph_id", "request_id", "target_tier"])),
        change(
            "over-long ids",
            json!({ "request_id": "r".repeat(65), "graph_id": format!("{graph}{}", "0".repeat(10_000)), "target_tier": "t".repeat(61) }),
            fields(&["graph_id", "request_id", "target_tier"]),
        ),
        change(
            "characters that no id has",
            json!({ "request_id": "a b", "graph_id": graph.to_uppercase(), "target_tier": "größer" }),
            fields(&["graph_id", "request_id", "target_tier"]),
        ),
        change(
            "unknown timing",
            json!({ "request_id": "probe-timing", "graph_id": graph, "target_tier": standard, "timing": 99 }),
            fields(&["timing"]),
        ),
        change(
            "unknown currency",
            json!({ "request_id": "probe-money", "graph_id": graph, "target_tier": standard,
                    "expected_price": { "amount_cents": "9900", "currency": "dollars" } }),
            fields(&["expected_price.currency"]),
        ),
        Probe::subscription(
            "preview of nothing",
            &format!("{TIERS}/PreviewTierChange"),
            &stage.owner(),
            json!({ "timing": -1 }),
            fields(&["graph_id", "target_tier", "timing"]),
        ),
    ]
}

fn lists_and_watches(summary: &Value, stage: &Stage) -> Vec<Probe> {
    let org = &stage.graph("upgrade-idle").organisation_id;
    let (changed, canceled) = (&summary["changed"]["change_id"], &summary["canceled"]["change_id"]);
    let tier = |name: &str, rpc: &str, request: Value, expected: Expected| {
        Probe::subscription(name, &format!("{TIERS}/{rpc}"), &stage.owner(), request, expected)
    };
    let page = |token: &str, active_only: bool| json!({ "org_id": org, "page_size": 1, "page_token": token, "active_only": active_only });
    let token = text(&summary["pages"][0]["next_page_token"]);
    let invalid_token = Expected::Refusal("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", vec!["page_token"]);
    let invalid_cursor = Expected::Refusal("INVALID_ARGUMENT", "CURSOR_INVALID", vec!["cursor"]);
    let watch = |ids: &[&Value], cursor: &Value| json!({ "changes": { "change_ids": ids }, "cursor": cursor });
    let cursor = &summary["canceled_watch"][0]["cursor"];
    vec![
        tier(
            "list with faults everywhere",
            "ListTierChanges",
            json!({ "org_id": "acme", "graph_id": "kg", "state": 99, "page_size": 501 }),
            fields(&["graph_id", "org_id", "page_size", "state"]),
        ),
        tier("made-up token", "ListTierChanges", page("bm90IGEgdG9rZW4", false), invalid_token.clone()),
        tier("token of other filters", "ListTierChanges", page(&token, true), invalid_token),
        tier("watch of nothing", "WatchTierChange", json!({}), fields(&["selection"])),
        tier("watch of no change", "WatchTierChange", watch(&[], &json!("")), fields(&["changes.change_ids"])),
        tier(
            "watch of malformed ids",
            "WatchTierChange",
            watch(&[changed, &json!("chg_1"), &json!("")], &json!("")),
            fields(&["changes.change_ids[1]", "changes.change_ids[2]"]),
        ),
        tier("made-up cursor", "WatchTierChange", watch(&[changed], &json!("1234")), invalid_cursor.clone()),
        tier("cursor of another change", "WatchTierChange", watch(&[changed], cursor), invalid_cursor.clone()),
        tier("cursor of one for both", "WatchTierChange", watch(&[changed, canceled], cursor), invalid_cursor),
        tier("own cursor", "WatchTierChange", watch(&[canceled], cursor), Expected::Answer),
        tier(
            "unknown change",
            "GetTierChange",
            json!({ "change_id": NOBODY }),
            refusal("NOT_FOUND", "TIER_CHANGE_NOT_FOUND"),
        ),
    ]
}

fn callers(summary: &Value, stage: &Stage) -> Vec<Probe> {
    let change = json!({ "change_id": summary["changed"]["change_id"] });
    let get = format!("{TIERS}/GetTierChange");
    let wish = json!({
        "request_id": "probe-role",
        "graph_id": stage.graph("five-subgraphs").graph_id,
        "target_tier": Stage::tiers().1,
    });
    let stranger = format!("user_bo;{}=owner", stage.graph("other-organisation").organisation_id);
    let member = stage.caller("user_may", "member");
    let nobody = refusal("UNAUTHENTICATED", "UNAUTHENTICATED");
    let mut without = Probe::subscription("without a caller", &get, "", change.clone(), nobody.clone());
    without.caller = None;
    let hidden = refusal("NOT_FOUND", "TIER_CHANGE_NOT_FOUND");
    let not_owner = refusal("PERMISSION_DENIED", "NOT_OWNER");
    let denied = refusal("PERMISSION_DENIED", "PERMISSION_DENIED");
    let migration = json!({ "migration_id": summary["changed"]["change_id"] });
    vec![
        without,
        Probe::subscription("malformed caller", &get, "user_ada;org_x=king", change.clone(), nobody),
        Probe::subscription("another organisation's owner", &get, &stranger, change.clone(), hidden),
        Probe::subscription("a member reads", &get, &member, change, Expected::Answer),
        Probe::subscription("a member changes", &format!("{TIERS}/ChangeTier"), &member, wish, not_owner),
        Probe::volume("a customer asks for a migration", "GetMigration", &stage.owner(), migration, denied),
    ]
}

fn refused_changes(stage: &Stage) -> Vec<Probe> {
    let change = |name: &str, request_id: &str, story: &str, target: &str, expected: Expected| {
        let mut request = json!({
            "request_id": request_id,
            "graph_id": stage.graph(story).graph_id,
            "target_tier": target,
        });
        if name == "refused for two faults" {
            request["expected_price"] = json!({ "amount_cents": "1", "currency": "USD" });
        }
        Probe::subscription(name, &format!("{TIERS}/ChangeTier"), &stage.owner(), request, expected)
    };
    let (large, standard) = Stage::tiers();
    let precondition = |reason| refusal("FAILED_PRECONDITION", reason);
    let reused = refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED");
    let preview = json!({ "graph_id": stage.graph("too-much-data").graph_id, "target_tier": standard });
    vec![
        Probe::subscription(
            "preview of what will be refused",
            &format!("{TIERS}/PreviewTierChange"),
            &stage.owner(),
            preview,
            Expected::Answer,
        ),
        change("refused for two faults", "probe-two", "five-subgraphs", &standard, precondition("PRICE_CHANGED")),
        change("refused for its data", "probe-data", "too-much-data", &standard, precondition("STORAGE_EXCEEDS_LIMIT")),
        change("unknown tier", "probe-tier", "five-subgraphs", "ladybug-huge", precondition("UNKNOWN_TIER")),
        change("request id of another request", "foreign-change", "five-subgraphs", &standard, reused),
        change("while it settles", "probe-settling", "upgrade-idle", &standard, refusal("ABORTED", "SETTLING")),
        change(
            "of another organisation",
            "probe-other",
            "other-organisation",
            &large,
            refusal("NOT_FOUND", "GRAPH_NOT_FOUND"),
        ),
    ]
}

fn migrations(summary: &Value, stage: &Stage) -> Vec<Probe> {
    let volume = |name: &str, rpc: &str, request: Value, expected: Expected| {
        Probe::volume(name, rpc, DEV_CALLER, request, expected)
    };
    let id = &summary["migration"]["migration_id"];
    let unknown = refusal("NOT_FOUND", "MIGRATION_NOT_FOUND");
    let invalid_cursor = Expected::Refusal("INVALID_ARGUMENT", "CURSOR_INVALID", vec!["cursor"]);
    let watch = |id: &Value, cursor: &Value| json!({ "positions": [{ "migration_id": id, "cursor": cursor }] });
    let cursor = &summary["migration_watch"][0]["cursor"];
    let tombstone = json!(TOMBSTONE);
    let long = format!("{NOBODY}{}", "0".repeat(10_000));
    vec![
        volume("migration without id", "GetMigration", json!({}), fields(&["migration_id"])),
        volume(
            "migration of an over-long id",
            "GetMigration",
            json!({ "migration_id": long }),
            fields(&["migration_id"]),
        ),
        volume("unknown migration", "GetMigration", json!({ "migration_id": NOBODY }), unknown.clone()),
        volume(
            "start without anything",
            "StartMigration",
            json!({ "spec": { "max_write_block_ms": "-1" } }),
            fields(&[
                "migration_id",
                "request_fingerprint",
                "requested_by",
                "spec.graph_id",
                "spec.max_write_block_ms",
                "spec.target_tier",
            ]),
        ),
        volume("list without an index", "ListMigrations", json!({ "status": 99 }), fields(&["live_only", "status"])),
        volume(
            "list beyond a page",
            "ListMigrations",
            json!({ "live_only": true, "page_size": -1 }),
            fields(&["page_size"]),
        ),
        volume(
            "made-up token of migrations",
            "ListMigrations",
            json!({ "live_only": true, "page_token": "bm90IGEgdG9rZW4" }),
            Expected::Refusal("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", vec!["page_token"]),
        ),
        volume("watch of no migration", "WatchMigration", json!({}), fields(&["positions"])),
        volume("watch of an unknown migration", "WatchMigration", watch(&json!(NOBODY), &json!("")), unknown),
        volume("made-up cursor of a migration", "WatchMigration", watch(id, &json!("1234")), invalid_cursor.clone()),
        volume(
            "tombstone",
            "CancelMigration",
            json!({ "migration_id": TOMBSTONE, "requested_by": "foreign" }),
            Expected::Answer,
        ),
        volume("cursor of another migration", "WatchMigration", watch(&tombstone, cursor), invalid_cursor),
        volume("watch of a tombstone", "WatchMigration", watch(&tombstone, &json!("")), Expected::Answer),
        volume(
            "start of a tombstone",
            "StartMigration",
            json!({
                "migration_id": TOMBSTONE,
                "spec": { "graph_id": stage.graph("downgrade").graph_id, "target_tier": Stage::tiers().1 },
                "requested_by": "foreign",
                "request_fingerprint": "0".repeat(64),
            }),
            refusal("FAILED_PRECONDITION", "TOMBSTONE"),
        ),
    ]
}

/// What the grpc-web client cannot do: send bytes that are no message to a path that is no method, and read the refusal
/// of a message that it is still sending (over HTTP/1.1 `fetch` gives up when the server does not read on).
fn by_grpc_only(stage: &Stage) -> Vec<Probe> {
    let raw = |name: &str, method: String, raw: &[u8], expected: Expected| Probe {
        raw: Some(raw.to_vec()),
        ..Probe::subscription(name, &method, &stage.owner(), Value::Null, expected)
    };
    let large = "k".repeat(TOO_LARGE);
    let change = json!({ "request_id": "probe-large", "graph_id": large, "target_tier": Stage::tiers().1 });
    let plan = json!({ "spec": { "graph_id": large, "target_tier": Stage::tiers().0 } });
    let change_tier = format!("{TIERS}/ChangeTier");
    vec![
        Probe::subscription("too large", &change_tier, &stage.owner(), change, Expected::Bare("OUT_OF_RANGE")),
        Probe::volume("too large a plan", "PlanMigration", DEV_CALLER, plan, Expected::Bare("OUT_OF_RANGE")),
        // Field 1 promises 100 bytes and ends: the code that gRPC has for a request that cannot be parsed.
        raw("a message cut short", change_tier, &[0x0a, 100, b'r'], Expected::Bare("INTERNAL")),
        raw(
            "a service that is not here",
            "tiershift.subscription.v9.TierService/ListTiers".to_owned(),
            &[],
            refusal("UNIMPLEMENTED", "NOT_IMPLEMENTED"),
        ),
    ]
}

/// Every answer is what was expected, and what was read after them is what was read before them.
pub fn hold(probes: &[Probe], answers: &Value, summary: &Value) {
    let wrong: Vec<_> = probes.iter().filter_map(|probe| fault(probe, &answers[&probe.name])).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for probe in probes {
        if let Some(what) = probe.name.strip_prefix("before: ") {
            let (was, is) = (identities(&answers[&probe.name]), identities(&answers[format!("after: {what}")]));
            assert!(!was.is_empty(), "{what} shows nothing that could change");
            assert_eq!(was, is, "{what} was changed");
        }
    }
    two_faults_are_both_told(&answers["refused for two faults"]["refused"]);
    a_limit_is_told_in_numbers(&answers["refused for its data"]["refused"]);
    let preview = &answers["preview of what will be refused"]["answer"];
    let refused = &answers["refused for its data"]["refused"]["details"]["tiershift.common.v1.ViolationReport"];
    assert_eq!(preview["violations"], refused["violations"], "a preview says what the change would: {preview:#}");
    assert_eq!(preview["allowed"], Value::Null, "{preview:#}");
    waiting_is_told_with_its_time(&answers["while it settles"]["refused"], summary);
    let messages = list(&answers["watch of a tombstone"]["answer"]["messages"]);
    let last = messages.last().expect("messages");
    assert_eq!(last["end"]["kind"], "WATCH_END_KIND_TERMINAL", "nothing will ever follow: {messages:#?}");
}

/// What is wrong with an answer.
fn fault(probe: &Probe, answer: &Value) -> Option<String> {
    let refused = &answer["refused"];
    let details = &refused["details"];
    let info = &details["google.rpc.ErrorInfo"];
    let (right, expected) = match &probe.expected {
        Expected::Answer => (refused.is_null() && answer["answer"].is_object(), "an answer".to_owned()),
        Expected::Bare(code) => (refused["code"] == *code, (*code).to_owned()),
        Expected::Refusal(code, reason, fields) => {
            let violations =
                details["google.rpc.BadRequest"]["field_violations"].as_array().cloned().unwrap_or_default();
            let mut named: Vec<_> = violations.iter().map(|v| text(&v["field"])).collect();
            named.sort();
            let right = refused["code"] == *code
                && refused["number"] == refused["details_number"]
                && info["reason"] == *reason
                && info["domain"] == "tiershift.dev"
                && named == *fields
                && violations.iter().all(|v| !text(&v["description"]).is_empty())
                && !text(&refused["message"]).is_empty();
            (right, format!("{code} {reason} {fields:?}"))
        }
    };
    (!right).then(|| {
        let said: String = answer.to_string().chars().take(1_500).collect();
        format!("{}: expected {expected}, said {said}", probe.name)
    })
}

/// What a read shows of each thing apart from what time alone moves: ids, tier, state and the change that runs.
fn identities(answer: &Value) -> BTreeMap<String, Value> {
    let answer = &answer["answer"];
    let rows = ["tier_changes", "migrations"].iter().filter_map(|key| answer[key].as_array()).flatten();
    let keys =
        ["change_id", "migration_id", "graph_id", "tier", "state", "status", "active_change_id", "updated_unix_ms"];
    rows.chain([&answer["graph"]])
        .enumerate()
        .flat_map(|(n, row)| keys.map(|key| (format!("{n}.{key}"), row[key].clone())))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Both faults, in the standard detail and, with their numbers, in the project's own.
fn two_faults_are_both_told(refused: &Value) {
    let details = &refused["details"];
    let report = list(&details["tiershift.common.v1.ViolationReport"]["violations"]);
    let told: Vec<_> = report
        .iter()
        .map(|v| (text(&v["reason"]), text(&v["field"]), number(&v["limit"]), number(&v["actual"])))
        .collect();
    let expected = [
        ("ERROR_REASON_PRICE_CHANGED", "expected_price", 1, 9_900),
        ("ERROR_REASON_TOO_MANY_SUBGRAPHS", "graph.subgraphs", 3, 5),
    ];
    assert_eq!(told, expected.map(|(r, f, l, a)| (r.to_owned(), f.to_owned(), l, a)), "{refused:#}");
    assert!(report.iter().all(|v| !text(&v["fix"]).is_empty()), "{refused:#}");
    let standard = list(&details["google.rpc.PreconditionFailure"]["violations"]);
    let standard: Vec<_> = standard.iter().map(|v| (text(&v["type"]), text(&v["subject"]))).collect();
    let same = expected.map(|(r, f, ..)| (r.trim_start_matches("ERROR_REASON_").to_owned(), f.to_owned()));
    assert_eq!(standard, same, "{refused:#}");
}

fn a_limit_is_told_in_numbers(refused: &Value) {
    let report = list(&refused["details"]["tiershift.common.v1.ViolationReport"]["violations"]);
    let storage = report.iter().find(|v| v["reason"] == "ERROR_REASON_STORAGE_EXCEEDS_LIMIT").expect("a violation");
    let (limit, actual) = (number(&storage["limit"]), number(&storage["actual"]));
    assert_eq!(limit, 20 << 30, "{storage:#}");
    assert!(actual >= 30 << 30, "{storage:#}");
}

fn waiting_is_told_with_its_time(refused: &Value, summary: &Value) {
    let details = &refused["details"];
    let named = &details["google.rpc.ErrorInfo"]["metadata"]["change_id"];
    assert_eq!(named, &summary["changed"]["change_id"], "{refused:#}");
    let delay = text(&details["google.rpc.RetryInfo"]["retry_delay"]);
    let seconds: f64 = delay.trim_end_matches('s').parse().expect("a duration");
    assert!(seconds > 0.0, "{refused:#}");
}
