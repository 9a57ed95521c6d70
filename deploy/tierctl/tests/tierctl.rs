//! The program itself, as a person or a script runs it, against services that follow a script: what it prints, what
//! it sends, and its exit status.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers: a failed one is the report")]

mod scripted;

use scripted::{CHANGE, GRAPH, Plan, Services, event};
use serde_json::Value;
use std::process::{Command, Output};
use tiershift_core::event::{Direction, Source};
use tiershift_core::{Error, Kind, NotChecked, Reason, Violation};
use tiershift_proto::subscription::v1::TierChangeState;

/// Runs `tierctl` against the services, away from this machine's own settings.
fn tierctl(services: &Services, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tierctl"))
        .env_clear()
        .env("TIERSHIFT_SUBSCRIPTION_URL", &services.subscription_url)
        .env("TIERSHIFT_VOLUME_URL", &services.volume_url)
        .env("TIERSHIFT_CALLER", "alice;org_acme=owner")
        .args(arguments.split(' '))
        .output()
        .expect("tierctl runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The lines of stdout, each one JSON object.
fn objects(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", err(output)))
}

fn refusal() -> Error {
    let violation = |reason, limit, actual, fix: &str| Violation {
        reason,
        field: "target_tier".into(),
        limit,
        actual,
        fix: fix.into(),
    };
    Error::refused(
        vec![
            violation(Reason::StorageExceedsLimit, Some(20 << 30), Some(25 << 30), "delete 5 GiB of data"),
            violation(Reason::TooManySubgraphs, Some(3), Some(5), "delete 2 subgraphs"),
        ],
        vec![NotChecked { check: Reason::NoCapacity, because: Reason::Unavailable }],
    )
}

/// A change that went well, over three events.
fn three_events() -> Vec<tiershift_core::event::ChangeEvent> {
    vec![
        event(1, Source::Subscription, "requested", 0),
        event(2, Source::Volume, "detach", 600),
        event(3, Source::Subscription, "succeeded", 1_000),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_begun_followed_and_summed_up_for_programs() {
    let services = Services::start(Plan { events: three_events(), ..Plan::default() }).await;
    let output = tierctl(&services, &format!("--json tier change {GRAPH} ladybug-large --watch --request-id r1"));
    assert_eq!(status(&output), 0, "{}", err(&output));
    let lines = objects(&output);
    assert_eq!(lines.len(), 4, "{lines:?}");
    let keys: Vec<_> = lines[1].as_object().expect("an object").keys().cloned().collect();
    let mut contract = [
        "change_id",
        "seq",
        "at_ms",
        "source",
        "stage",
        "direction",
        "permille",
        "eta_ms",
        "reads",
        "writes",
        "message",
        "detail",
    ];
    contract.sort_unstable();
    assert_eq!(keys, contract, "serde_json's map sorts its keys");
    assert_eq!((&lines[1]["seq"], &lines[1]["stage"]), (&Value::from(2), &Value::from("detach")));
    let summary = &lines[3];
    assert_eq!(summary["result"], "succeeded");
    assert_eq!((&summary["events"], &summary["writes_blocked_ms"]), (&Value::from(3), &Value::from(22_000)));
    assert_eq!((&summary["from"], &summary["to"]), (&Value::from("ladybug-standard"), &Value::from("ladybug-large")));
    assert_eq!(services.asked(), ["ChangeTier r1 alice;org_acme=owner", "WatchTierChange ", "GetTierChange"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stream_is_resumed_by_its_cursor_and_nothing_comes_twice() {
    let plan = Plan { events: three_events(), cut_after: vec![2, 0], ..Plan::default() };
    let services = Services::start(plan).await;
    let output = tierctl(&services, &format!("tier watch {CHANGE}"));
    assert_eq!(status(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert_eq!(text.matches("  detach ").count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "no colour on a pipe: {text}");
    assert!(text.contains("succeeded: "), "{text}");
    let asked: Vec<_> = services.asked().into_iter().filter(|line| line.starts_with("Watch")).collect();
    assert_eq!(asked, ["WatchTierChange ", "WatchTierChange c2", "WatchTierChange c2"]);
    assert!(err(&output).contains("resuming after event 2, attempt 1 of 12"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_every_fault_to_people_and_to_programs() {
    let services = Services::start(Plan { refuse_change: Some(refusal()), ..Plan::default() }).await;
    let output = tierctl(&services, &format!("tier change {GRAPH} ladybug-standard"));
    assert_eq!((status(&output), out(&output).as_str()), (3, ""));
    for line in [
        "STORAGE_EXCEEDS_LIMIT (target_tier; limit 20.0 GiB, found 25.0 GiB): delete 5 GiB of data",
        "TOO_MANY_SUBGRAPHS (target_tier; limit 3, found 5): delete 2 subgraphs",
        "NO_CAPACITY was not checked because of UNAVAILABLE",
    ] {
        assert!(err(&output).lines().any(|said| said.trim() == line), "{line} in {}", err(&output));
    }
    let output = tierctl(&services, &format!("--json tier change {GRAPH} ladybug-standard --watch"));
    assert_eq!(status(&output), 3);
    let lines = objects(&output);
    assert_eq!((lines.len(), &lines[0]["result"]), (1, &Value::from("refused")));
    assert_eq!((&lines[0]["graph_id"], &lines[0]["to"]), (&Value::from(GRAPH), &Value::from("ladybug-standard")));
    let second = serde_json::json!({"reason": "TOO_MANY_SUBGRAPHS", "field": "target_tier", "limit": 3, "actual": 5,
        "fix": "delete 2 subgraphs"});
    assert_eq!(lines[0]["violations"][1], second);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_says_how_a_change_ended() {
    for (state, stage, code) in [
        (TierChangeState::Failed, "failed", 4),
        (TierChangeState::Canceled, "canceled", 4),
        (TierChangeState::NeedsAttention, "needs_attention", 5),
    ] {
        let undo = tiershift_core::event::ChangeEvent {
            direction: Direction::Undo,
            ..event(2, Source::Subscription, stage, 1_000)
        };
        let events = vec![event(1, Source::Subscription, "requested", 0), undo];
        let services = Services::start(Plan { events, state, ..Plan::default() }).await;
        let output = tierctl(&services, &format!("--json tier watch {CHANGE}"));
        assert_eq!(status(&output), code, "{stage}: {}", err(&output));
        assert_eq!(objects(&output).last().expect("a summary")["result"], stage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unreachable_and_says_how_to_repeat_safely() {
    let services = Services::start(Plan::default()).await;
    let mut away = services;
    away.subscription_url = scripted::nobody();
    let output = tierctl(&away, &format!("tier change {GRAPH} ladybug-large --request-id r7"));
    assert_eq!((status(&output), out(&output).as_str()), (6, ""));
    assert!(err(&output).contains("repeat_with_request_id: r7"), "{}", err(&output));
    assert_eq!(away.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_faults_are_status_2_wherever_they_show() {
    let services = Services::start(Plan::default()).await;
    assert_eq!(status(&tierctl(&services, "fly")), 2);
    assert_eq!(status(&tierctl(&services, "--as alice;king tiers")), 2);
    let malformed = Error::invalid_field("graph_id", "must be `kg` and 16 lower-case hex digits");
    let services = Services::start(Plan { refuse_change: Some(malformed), ..Plan::default() }).await;
    let output = tierctl(&services, "tier change nonsense ladybug-large");
    assert_eq!(status(&output), 2);
    assert!(err(&output).contains("graph_id: must be `kg`"), "{}", err(&output));
    let without = Command::new(env!("CARGO_BIN_EXE_tierctl"))
        .env_clear()
        .current_dir(std::env::temp_dir())
        .args(["--as", "alice", "tiers"])
        .output()
        .expect("tierctl runs");
    assert_eq!(status(&without), 2);
    assert!(err(&without).contains("--subscription-url"), "{}", err(&without));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stack_file_says_is_used() {
    let services = Services::start(Plan::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    let stack = tierctl::stack::Stack {
        subscription_url: services.subscription_url.clone(),
        volume_url: services.volume_url.clone(),
        cloud_url: String::new(),
        dev_caller: "dev-operator;operator".into(),
        speed: 20,
        environment: "dev".into(),
        pids: std::collections::BTreeMap::new(),
    };
    stack.write(&folder.path().join(tierctl::stack::PATH)).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_tierctl"))
        .env_clear()
        .current_dir(folder.path())
        .args(["tier", "cancel", CHANGE, "--request-id", "r9"])
        .output()
        .expect("tierctl runs");
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(services.asked(), ["CancelTierChange r9 dev-operator;operator"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_would_be_refused_is_an_answer_with_status_3() {
    let services = Services::start(Plan::default()).await;
    let output = tierctl(&services, &format!("tier preview {GRAPH} ladybug-large"));
    assert_eq!(status(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(
        text.starts_with(&format!("allowed: {GRAPH} from ladybug-standard to ladybug-large (upgrade)\n")),
        "{text}"
    );
    assert!(text.contains("offline         not known"), "nothing is made up: {text}");
    let services = Services::start(Plan { refuse_change: Some(refusal()), ..Plan::default() }).await;
    let output = tierctl(&services, &format!("--json tier preview {GRAPH} ladybug-large"));
    assert_eq!(status(&output), 3);
    let preview = &objects(&output)[0];
    assert_eq!((&preview["allowed"], preview["violations"].as_array().map(Vec::len)), (&Value::from(false), Some(2)));
    assert_eq!(preview["not_checked"][0]["check"], "NO_CAPACITY");
    assert_eq!(preview["expected_offline_ms"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_to_their_last_page() {
    let services = Services::start(Plan::default()).await;
    let output = tierctl(&services, "--json graphs");
    assert_eq!(status(&output), 0, "{}", err(&output));
    let rows = objects(&output);
    let ids: Vec<_> = rows.iter().map(|row| row["graph_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, [GRAPH, "kg0000000000000002", "kg0000000000000003"]);
    assert_eq!((&rows[0]["subscription_status"], &rows[0]["state"]), (&Value::from("active"), &Value::from("active")));
    assert_eq!(rows[2]["state"], "gone", "its subscription is seen, the graph is not");
    let lists: Vec<_> = services.asked().into_iter().filter(|line| line.starts_with("List")).collect();
    assert_eq!(lists, ["ListSubscriptions org_acme ", "ListSubscriptions org_acme page2"], "an owner sees his own");

    let output = tierctl(&services, &format!("graphs show {GRAPH}"));
    assert!(out(&output).contains("tier          ladybug-standard\n"), "{}", out(&output));
    let output = tierctl(&services, "graphs show kg0000000000000009");
    assert_eq!(status(&output), 3);
    assert!(err(&output).contains("GRAPH_NOT_FOUND"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_ended_as_it_was_said_and_never_by_half_a_word() {
    let services = Services::start(Plan::default()).await;
    let half = tierctl(&services, "subscription cancel sub_1");
    assert_eq!(status(&half), 2, "now, or with the period: {}", err(&half));
    let both = tierctl(&services, "subscription cancel sub_1 --now --at-period-end");
    assert_eq!(status(&both), 2);
    let ended = tierctl(&services, "subscription cancel sub_1 --at-period-end --note called");
    assert!(out(&ended).contains("ends          2027-01-31 12:00:00Z\n"), "{}", out(&ended));
    let refused = tierctl(&services, "subscription correct sub_1 --status active --reason wire");
    assert_eq!(status(&refused), 3);
    assert!(err(&refused).contains("WRONG_STATE"), "{}", err(&refused));
    assert_eq!(
        services.asked(),
        ["CancelSubscription CANCEL_TIMING_PERIOD_END called", "CorrectSubscription SUBSCRIPTION_STATUS_ACTIVE wire"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_read_to_its_last_page_or_to_the_limit() {
    let services = Services::start(Plan::default()).await;
    let all = tierctl(&services, "--json audit --org org_acme");
    let ids: Vec<_> = objects(&all).iter().map(|row| row["audit_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, ["aud_3", "aud_2", "aud_1"]);
    let some = tierctl(&services, "audit --limit 1");
    assert!(out(&some).contains("2027-01-31 12:00:00Z  alice  subscription_canceled"), "{}", out(&some));
    assert!(out(&some).contains("note=too dear"));
    let asked = ["ListAuditEvents org_acme 100 ", "ListAuditEvents org_acme 98 page2", "ListAuditEvents  1 "];
    assert_eq!(services.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_webhooks_are_listed_and_replayed() {
    let services = Services::start(Plan::default()).await;
    let all = tierctl(&services, "--json webhook list");
    let ids: Vec<_> = objects(&all).iter().map(|row| row["event_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, ["evt_3", "evt_2", "evt_1"]);
    let some = tierctl(&services, "webhook list --state pending --limit 1");
    assert!(out(&some).contains("no subscription of this name is known here"), "{}", out(&some));
    let replayed = tierctl(&services, "webhook replay evt_3 evt_gone");
    assert_eq!(status(&replayed), 0);
    assert!(out(&replayed).contains("evt_3") && !out(&replayed).contains("evt_gone"), "{}", out(&replayed));
    assert_eq!(status(&tierctl(&services, "webhook replay")), 2, "which ones is to be said");
    let asked = [
        "ListWebhookEvents WEBHOOK_EVENT_STATE_DEAD 100 ",
        "ListWebhookEvents WEBHOOK_EVENT_STATE_DEAD 98 page2",
        "ListWebhookEvents WEBHOOK_EVENT_STATE_PENDING 1 ",
        "ReplayWebhookEvents evt_3 evt_gone",
    ];
    assert_eq!(services.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_that_is_refused_is_status_3_and_says_why() {
    let services = Services::start(Plan::default()).await;
    let output = tierctl(&services, &format!("--json access check {GRAPH}"));
    assert_eq!(status(&output), 3, "writes wait for the change");
    let rows = objects(&output);
    assert_eq!((&rows[0]["mode"], &rows[0]["allowed"]), (&Value::from("read"), &Value::from(true)));
    assert_eq!(
        (&rows[1]["mode"], &rows[1]["reason"]),
        (&Value::from("write"), &Value::from("TIER_CHANGE_IN_PROGRESS"))
    );
    let output = tierctl(&services, &format!("access check {GRAPH} --mode read"));
    assert_eq!(status(&output), 0);
    assert!(out(&output).contains("yes"), "{}", out(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_listed_followed_and_freed() {
    let services = Services::start(Plan { events: three_events(), ..Plan::default() }).await;
    let output = tierctl(&services, "migrations list --live");
    assert_eq!(status(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(
        text.starts_with("MIGRATION ") && text.contains("stuck") && text.contains("UNDO_FAILED: look at it"),
        "{text}"
    );

    let output = tierctl(&services, &format!("--json migrations watch {CHANGE}"));
    assert_eq!(status(&output), 5, "it is stuck: {}", err(&output));
    let lines = objects(&output);
    assert_eq!((lines.len(), &lines[3]["status"]), (4, &Value::from("stuck")));

    let output =
        tierctl(&services, &format!("migrations resume {CHANGE} --action retry --note restarted --request-id r3"));
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(services.asked().last().expect("asked"), "ResumeMigration r3 alice restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_service_is_status_4() {
    let internal = Error::new(Kind::Internal, Reason::Internal, "a fault").with("incident", "0123456789abcdef");
    let services = Services::start(Plan { refuse_change: Some(internal), ..Plan::default() }).await;
    let output = tierctl(&services, &format!("tier change {GRAPH} ladybug-large"));
    assert_eq!(status(&output), 4);
    assert!(err(&output).contains("incident: 0123456789abcdef"), "{}", err(&output));
}
