//! The binary itself, over SQLite and over PostgreSQL, against a scripted volume-svc behind gRPC: killed at every named
//! instant of a change and behind each of its writes, started again, and nothing is lost or done twice.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::path::Path;
use subscription_core::access::Gate;
use subscription_svc::store::Key;
use subscription_svc::store::rows::{AuditKind, PaymentOutcome};
use support::stack::{Database, Kind, Stack, Stores, bounded, cancel, change, follow};
use support::volume::Script;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::ChangeId;
use tiershift_proto::subscription::v1 as pb;
use tokio::process::Command;

/// Kills the process at an instant of a change, starts it again, and gives back the ended change. None if the change ends
/// before it comes to the instant.
async fn killed_at(instant: &str, stack: &Stack, cancels: bool) -> Option<pb::TierChange> {
    let mut process = stack.start(Some(instant)).await;
    process.seed().await;
    let tiers = process.tiers();
    let asked = tokio::spawn(async move {
        let id = change(tiers.clone()).await?;
        if cancels {
            cancel(tiers.clone(), &id).await?;
        }
        follow(tiers, &id).await
    });
    let held = tokio::select! {
        biased;
        () = process.held_at(instant) => true,
        // It may stand still before it has answered; then it never does. A change comes to every named instant, if only
        // when its end is told already; so many writes it may not have.
        ended = asked, if instant.starts_with("commit.") => {
            ended.expect("no panic").expect("it is not killed before it ends");
            false
        }
    };
    process.kill().await;
    if !held {
        return None;
    }
    let again = stack.start(None).await;
    // The same requests once more, as a client does that has had no answer.
    let id = change(again.tiers()).await.expect("accepted");
    if cancels {
        cancel(again.tiers(), &id).await.expect("stored");
    }
    let change = again.ended(&id).await;
    again.kill().await;
    Some(change)
}

/// Money, plan, tier, credits, gate and audit agree with each other and with how the change ended.
async fn all_agree(stack: &Stack, change: &pb::TierChange, why: &str) {
    let store = stack.store().await;
    let id = ChangeId::parse(&change.change_id).expect("an id");
    let loaded = store.read(&Key::change(id.clone())).await.expect("read");
    let (graph, subscription) = (loaded.graph.expect("a graph"), loaded.subscription.expect("a subscription"));
    let succeeded = change.state() == pb::TierChangeState::Succeeded;
    let catalogue = Catalogue::default();
    let name = if succeeded { "ladybug-large" } else { "ladybug-standard" };
    let tier = catalogue.tiers().iter().find(|tier| tier.name.as_str() == name).expect("a tier");
    assert_eq!((graph.tier.as_str(), subscription.tier.as_str()), (name, name), "{why}: 5");
    assert_eq!(subscription.price_cents, tier.price_cents, "{why}");
    assert_eq!(subscription.monthly_credits, tier.monthly_credits, "{why}");
    assert_eq!(subscription.active_change, None, "{why}");
    let access = loaded.access.expect("an access record").record;
    assert_eq!(access.gate, Gate::Open, "{why}: 6");
    let unknown = loaded.payments.iter().any(|p| p.outcome == PaymentOutcome::Unknown);
    assert!(!unknown && loaded.owed.is_empty(), "{why}: {:?} {:?}", loaded.payments, loaded.owed);
    let audit: Vec<AuditKind> = store.audit(&id).await.expect("read").into_iter().map(|event| event.kind).collect();
    // A budget may pass while a busy machine restarts the process, a hundred times as fast as the wall: nothing was done.
    let done: Vec<AuditKind> = audit.iter().copied().filter(|kind| *kind != AuditKind::ChangeNeedsAttention).collect();
    let once: BTreeSet<AuditKind> = done.iter().copied().collect();
    assert_eq!(once.len(), done.len(), "{why}: each thing is in the audit once: {audit:?}");
    let charged = audit.contains(&AuditKind::ChangeCharged);
    assert_eq!(charged, matches!(change.charge(), pb::ChargeState::Taken | pb::ChargeState::Returned), "{why}");
    assert_eq!(audit.contains(&AuditKind::ChangeMoneyReturned), change.charge() == pb::ChargeState::Returned, "{why}");
    assert_eq!(audit.contains(&AuditKind::ChangeSucceeded), succeeded, "{why}: {audit:?}");
    store.close().await;
}

fn graph_is(stack: &Stack, change: &pb::TierChange, state: pb::TierChangeState, why: &str) {
    assert_eq!(change.state(), state, "{why}: {change:?}");
    let due = change.plan.as_ref().and_then(|p| p.due_now.as_ref()).expect("a price").amount_cents;
    let (net, keys) = stack.book(&change.change_id);
    let succeeded = state == pb::TierChangeState::Succeeded;
    assert_eq!(net, if succeeded { due } else { 0 }, "{why}: 7: {keys:?}");
    assert_eq!(change.net_charged.as_ref().expect("an amount").amount_cents, net, "{why}");
    let expected: &[&str] = match change.charge() {
        pb::ChargeState::Taken => &["forward"],
        pb::ChargeState::Returned => &["back/money", "back/price", "forward"],
        _ => &[],
    };
    let expected: Vec<String> = expected.iter().map(|key| format!("{}/{key}", change.change_id)).collect();
    assert_eq!(keys, expected, "{why}: each request once, under its own key");
}

const FORWARD: [&str; 13] = [
    "starting.intent",
    "starting.called",
    "starting.outcome",
    "charging.intent",
    "charging.called",
    "charging.outcome",
    "gating.intent",
    "gating.called",
    "moving.intent",
    "moving.called",
    "moving.outcome",
    "finalizing.outcome",
    "succeeded.outcome",
];

const BACK: [&str; 7] = [
    "compensating.outcome",
    "reverting.intent",
    "reverting.called",
    "reverting.outcome",
    "refunding.intent",
    "refunding.called",
    "refunding.outcome",
];

const CANCEL: [&str; 3] = ["canceling.intent", "canceling.called", "canceling.outcome"];

/// How many stacks run at once: each is mostly waiting.
const AT_ONCE: usize = 4;

/// Transactions that write something, from the third of a process on: the first two are the seed's. A change has fewer.
const COMMITS: std::ops::RangeInclusive<u64> = 3..=32;

/// So many writes of a change there are at least.
const WRITES_MIN: usize = 14;

struct Case {
    script: Script,
    cancel: bool,
    state: pb::TierChangeState,
}

/// How many of the instants a change came to.
async fn all(kind: Kind, instants: Vec<String>, case: Case) -> usize {
    let stores = Stores::new(kind);
    let runs = instants.iter().map(|instant| {
        let (stores, case) = (&stores, &case);
        async move {
            let stack = Stack::new(case.script.clone(), stores.database()).await;
            let Some(change) = killed_at(instant, &stack, case.cancel).await else { return 0 };
            graph_is(&stack, &change, case.state, instant);
            all_agree(&stack, &change, instant).await;
            // A cancel may overtake the start, which is then never sent (H27).
            assert!(case.cancel || stack.volume.calls("start") >= 1, "{instant}");
            1
        }
    });
    futures_util::stream::iter(runs).buffer_unordered(AT_ONCE).collect::<Vec<usize>>().await.into_iter().sum()
}

fn named(instants: &[&str]) -> Vec<String> {
    instants.iter().map(ToString::to_string).collect()
}

fn forward() -> Case {
    Case { script: Script::default(), cancel: false, state: pb::TierChangeState::Succeeded }
}

fn back() -> Case {
    let script = Script { turn_back_at: Some("attach"), ..Script::default() };
    Case { script, cancel: false, state: pb::TierChangeState::Failed }
}

fn canceled() -> Case {
    // The first stages are long enough for the cancel to come before the gate.
    let script = Script { stage_ms: 20_000, ..Script::default() };
    Case { script, cancel: true, state: pb::TierChangeState::Canceled }
}

fn commits() -> Vec<String> {
    COMMITS.map(|n| format!("commit.{n}")).collect()
}

#[tokio::test]
async fn killed_at_any_instant_of_the_way_forward_it_succeeds() {
    assert_eq!(all(Kind::Sqlite, named(&FORWARD), forward()).await, FORWARD.len());
}

#[tokio::test]
async fn killed_at_any_instant_of_the_way_back_everything_is_given_back() {
    assert_eq!(all(Kind::Sqlite, named(&BACK), back()).await, BACK.len());
}

#[tokio::test]
async fn killed_at_any_instant_of_a_cancel_it_is_canceled() {
    assert_eq!(all(Kind::Sqlite, named(&CANCEL), canceled()).await, CANCEL.len());
}

#[tokio::test]
async fn killed_behind_any_write_it_succeeds() {
    let killed = all(Kind::Sqlite, commits(), forward()).await;
    println!("killed behind {killed} writes");
    assert!((WRITES_MIN..COMMITS.count()).contains(&killed), "{killed}: a change is cut behind each of its writes");
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_it_succeeds() {
    assert_eq!(all(Kind::Postgres, named(&FORWARD), forward()).await, FORWARD.len());
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_of_the_way_back_everything_is_given_back() {
    assert_eq!(all(Kind::Postgres, named(&BACK), back()).await, BACK.len());
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_of_a_cancel_it_is_canceled() {
    assert_eq!(all(Kind::Postgres, named(&CANCEL), canceled()).await, CANCEL.len());
}

#[tokio::test]
async fn on_postgresql_killed_behind_any_write_it_succeeds() {
    let killed = all(Kind::Postgres, commits(), forward()).await;
    println!("killed behind {killed} writes");
    assert!((WRITES_MIN..COMMITS.count()).contains(&killed), "{killed}: a change is cut behind each of its writes");
}

#[test]
fn every_instant_is_tried() {
    let mut tried: Vec<&str> = FORWARD.iter().chain(&BACK).chain(&CANCEL).copied().collect();
    let mut known = subscription_svc::hold::INSTANTS.to_vec();
    tried.sort_unstable();
    known.sort_unstable();
    assert_eq!(tried, known);
}

#[tokio::test]
async fn it_ends_in_order_when_told_to() {
    let stack = Stack::new(Script { stage_ms: 100_000, ..Script::default() }, Database::Sqlite).await;
    let mut process = stack.start(None).await;
    process.seed().await;
    let id = change(process.tiers()).await.expect("accepted");
    let selection = pb::ChangeSelection { change_ids: vec![id] };
    let request = pb::WatchTierChangeRequest {
        selection: Some(pb::watch_tier_change_request::Selection::Changes(selection)),
        cursor: String::new(),
    };
    let mut stream = process.tiers().watch_tier_change(request).await.expect("a stream").into_inner();
    let pid = process.child.id().expect("running").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let mut end = None;
    while let Some(message) = bounded("the end of the watch", stream.next()).await {
        use pb::watch_tier_change_response::Payload;
        if let Payload::End(told) = message.expect("in order").payload.expect("a payload") {
            end = Some(told.kind());
        }
    }
    assert_eq!(end, Some(tiershift_proto::common::v1::WatchEndKind::ComeBack));
    assert!(bounded("the end", process.child.wait()).await.expect("ended").success());
}

#[tokio::test]
async fn bad_options_are_told_all_at_once_and_nothing_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_subscription-svc"))
        .args(["--listen", "nowhere", "--database", "mysql://x", "--hold", "gating.called"])
        .output()
        .await
        .expect("ran");
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).expect("text");
    let told: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(told, ["--listen", "--database", "--hold"], "{text}");
    assert!(output.stdout.is_empty());
    assert!(!Path::new("data/subscription.db").exists());
}
