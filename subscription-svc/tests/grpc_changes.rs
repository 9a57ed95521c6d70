//! Tier changes over a loopback server: previews, refusals with all their faults, repeats, checks and pages.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use futures_util::StreamExt as _;
use subscription_svc::migrations::Room;
use support::api::{BOUND, Running};
use support::seed;
use support::volume::Script;
use tiershift_common::status::from_status;
use tiershift_core::{Error, Kind, Reason, Violation};
use tiershift_proto::common::v1::{ErrorReason, Money, WatchEndKind};
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::watch_tier_change_response::Payload;
use tonic::Status;

const OWNER: &str = "alice;org_a=owner";

fn error<T: std::fmt::Debug>(answer: Result<T, Status>) -> Error {
    from_status(&answer.expect_err("refused"))
}

fn change(request_id: &str, n: u64, target: &str) -> pb::ChangeTierRequest {
    pb::ChangeTierRequest {
        request_id: request_id.to_owned(),
        graph_id: seed::graph(n).to_string(),
        target_tier: target.to_owned(),
        ..Default::default()
    }
}

fn preview(n: u64, target: &str) -> pb::PreviewTierChangeRequest {
    pb::PreviewTierChangeRequest {
        graph_id: seed::graph(n).to_string(),
        target_tier: target.to_owned(),
        ..Default::default()
    }
}

async fn changed(running: &Running, request: pb::ChangeTierRequest) -> pb::TierChange {
    let answer = running.tiers(OWNER).change_tier(request).await.expect("accepted");
    answer.into_inner().tier_change.expect("a change")
}

async fn subgraphs(running: &Running, n: u64, names: &[&str]) {
    for name in names {
        let request = pb::RegisterSubgraphRequest {
            request_id: format!("sg-{n}-{name}"),
            graph_id: seed::graph(n).to_string(),
            name: (*name).to_owned(),
        };
        running.graphs("service:graph-api").register_subgraph(request).await.expect("registered");
    }
}

#[tokio::test]
async fn a_preview_tells_what_the_change_would_do_and_say() {
    let running = Running::start().await;
    running.graph(1, "ladybug-standard").await;
    let answer = running.tiers(OWNER).preview_tier_change(preview(1, "ladybug-large")).await.expect("previewed");
    let answer = answer.into_inner();
    assert!(answer.allowed && answer.violations.is_empty() && answer.not_checked.is_empty());
    let plan = answer.plan.expect("a plan");
    assert_eq!(plan.direction(), pb::TierChangeDirection::Upgrade);
    let cents = |money: &Option<Money>| money.as_ref().map(|m| m.amount_cents);
    assert_eq!((cents(&plan.price_before), cents(&plan.price_after)), (Some(9_900), Some(24_900)));
    let due = cents(&plan.due_now).expect("a price");
    assert!((14_900..=15_000).contains(&due), "the period has just begun: {due}");
    assert_eq!((plan.credits_before, plan.credits_after), (8_000, 32_000));
    assert_eq!(plan.expected_offline_ms, Some(7_000));
    assert_eq!(answer.usage.expect("usage").engine_bytes, 1 << 30);
    assert_eq!(answer.availability_zone, "us-east-1b");
    let accepted = changed(&running, change("r", 1, "ladybug-large")).await;
    let accepted_due = cents(&accepted.plan.expect("a plan").due_now).expect("a price");
    assert!(due - accepted_due <= 1, "one function, moments apart: {due} and {accepted_due}");
}

#[tokio::test]
async fn all_violations_come_at_once_and_the_same_from_both_calls() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-large").await;
    subgraphs(&running, 1, &["a", "b", "c", "d", "e"]).await;
    let shared = Violation {
        reason: Reason::VolumeShared,
        field: "volume".to_owned(),
        limit: None,
        actual: None,
        fix: "ask an operator".to_owned(),
    };
    running
        .volume
        .script(&graph, Script { usage_bytes: Some(21 << 30), violations: vec![shared], ..Script::default() });
    let refused = error(running.tiers(OWNER).change_tier(change("r", 1, "ladybug-standard")).await);
    assert_eq!(refused.kind, Kind::FailedPrecondition);
    let told: Vec<(Reason, Option<i64>, Option<i64>)> =
        refused.violations.iter().map(|v| (v.reason, v.limit, v.actual)).collect();
    assert_eq!(
        told,
        [
            (Reason::StorageExceedsLimit, Some(20 << 30), Some(21 << 30)),
            (Reason::TooManySubgraphs, Some(3), Some(5)),
            (Reason::VolumeShared, None, None),
        ]
    );
    assert_eq!(refused.violations[1].fix, "delete 2 subgraphs");
    let previewed = running.tiers(OWNER).preview_tier_change(preview(1, "ladybug-standard")).await.expect("previewed");
    let previewed = previewed.into_inner();
    assert!(!previewed.allowed);
    let reasons: Vec<ErrorReason> =
        previewed.violations.iter().map(tiershift_proto::common::v1::Violation::reason).collect();
    assert_eq!(reasons, [ErrorReason::StorageExceedsLimit, ErrorReason::TooManySubgraphs, ErrorReason::VolumeShared]);
    let changes = pb::ListTierChangesRequest { graph_id: graph.to_string(), ..Default::default() };
    let changes = running.tiers(OWNER).list_tier_changes(changes).await.expect("listed").into_inner();
    assert!(changes.tier_changes.is_empty(), "nothing was changed");
}

#[tokio::test]
async fn unknown_tiers_and_unknown_usage_never_pass() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-standard").await;
    let refused = error(running.tiers(OWNER).change_tier(change("r", 1, "ladybug-huge")).await);
    assert_eq!(refused.kind, Kind::FailedPrecondition);
    assert_eq!(refused.violations.iter().map(|v| v.reason).collect::<Vec<_>>(), [Reason::UnknownTier]);
    assert!(!refused.not_checked.is_empty());
    running.volume.script(&graph, Script { usage_bytes: None, ..Script::default() });
    let refused = error(running.tiers(OWNER).change_tier(change("r", 1, "ladybug-large")).await);
    assert_eq!((refused.kind, refused.reason), (Kind::Unavailable, Reason::UsageUnknown));
    assert!(refused.retry_after_ms.is_some());
    running.volume.away(true);
    let refused = error(running.tiers(OWNER).change_tier(change("r", 1, "ladybug-large")).await);
    assert_eq!(refused.kind, Kind::Unavailable);
    let previewed = running.tiers(OWNER).preview_tier_change(preview(1, "ladybug-large")).await.expect("previewed");
    let previewed = previewed.into_inner();
    assert!(!previewed.allowed && previewed.usage.is_none() && !previewed.not_checked.is_empty());
    running.volume.away(false);
    running.volume.script(&graph, Script::default());
    changed(&running, change("r", 1, "ladybug-large")).await;
}

#[tokio::test]
async fn a_request_id_is_one_change_and_other_content_is_refused() {
    let running = Running::start().await;
    running.graph(1, "ladybug-standard").await;
    let first = changed(&running, change("r", 1, "ladybug-large")).await;
    let again = changed(&running, change("r", 1, "ladybug-large")).await;
    assert_eq!(again.change_id, first.change_id);
    let refused = error(running.tiers(OWNER).change_tier(change("r", 1, "ladybug-xlarge")).await);
    assert_eq!((refused.kind, refused.reason), (Kind::AlreadyExists, Reason::RequestIdReused));
    let refused = error(running.tiers(OWNER).change_tier(change("other", 1, "ladybug-large")).await);
    assert_eq!((refused.kind, refused.reason), (Kind::Aborted, Reason::ChangeActive));
    assert_eq!(refused.metadata.get("change_id"), Some(&first.change_id));
    assert!(refused.retry_after_ms.is_some(), "with RetryInfo");
}

#[tokio::test]
async fn many_callers_at_once_make_one_change() {
    let running = Running::start().await;
    running.graph(1, "ladybug-standard").await;
    let mut tasks = Vec::new();
    for n in 0..20 {
        let mut tiers = running.tiers(OWNER);
        tasks.push(tokio::spawn(async move {
            tiers.change_tier(change(&format!("r-{}", n % 4), 1, "ladybug-large")).await
        }));
    }
    let mut ids = std::collections::BTreeSet::new();
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(answer) => {
                ids.insert(answer.into_inner().tier_change.expect("a change").change_id);
            }
            Err(status) => assert_eq!(from_status(&status).reason, Reason::ChangeActive),
        }
    }
    assert_eq!(ids.len(), 1, "D-09");
}

#[tokio::test]
async fn a_price_that_the_caller_was_not_shown_is_refused() {
    let running = Running::start().await;
    running.graph(1, "ladybug-standard").await;
    let with = |cents| pb::ChangeTierRequest {
        expected_price: Some(Money { amount_cents: cents, currency: "USD".to_owned() }),
        ..change("r", 1, "ladybug-large")
    };
    let refused = error(running.tiers(OWNER).change_tier(with(24_800)).await);
    assert_eq!(refused.kind, Kind::FailedPrecondition);
    let fault = &refused.violations[0];
    assert_eq!((fault.reason, fault.limit, fault.actual), (Reason::PriceChanged, Some(24_800), Some(24_900)));
    changed(&running, with(24_900)).await;
}

#[tokio::test]
async fn a_graph_in_a_change_grows_nothing_and_stays() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-standard").await;
    subgraphs(&running, 1, &["a", "b"]).await;
    let id = changed(&running, change("r", 1, "ladybug-large")).await.change_id;
    let mut graphs = running.graphs(OWNER);
    let more =
        pb::RegisterSubgraphRequest { request_id: "s".to_owned(), graph_id: graph.to_string(), name: "c".to_owned() };
    let gone =
        pb::DeregisterGraphRequest { request_id: "g".to_owned(), graph_id: graph.to_string(), ..Default::default() };
    let one = pb::DeregisterGraphRequest { graph_id: format!("{graph}_a"), ..gone.clone() };
    for refused in [
        error(graphs.register_subgraph(more).await),
        error(graphs.deregister_graph(gone).await),
        error(graphs.deregister_graph(one).await),
    ] {
        assert_eq!((refused.kind, refused.reason), (Kind::Aborted, Reason::ChangeActive), "H28");
        assert_eq!(refused.metadata.get("change_id"), Some(&id));
    }
    let read = graphs.get_graph(pb::GetGraphRequest { graph_id: format!("{graph}_b") }).await.expect("read");
    let read = read.into_inner().graph.expect("a graph");
    assert_eq!((read.subgraph_count, read.active_change_id), (2, id.clone()));
    let key = pb::get_subscription_request::Key::GraphId(graph.to_string());
    let request = pb::GetSubscriptionRequest { key: Some(key) };
    let read = running.subscriptions(OWNER).get_subscription(request).await.expect("read").into_inner();
    let read = read.subscription.expect("a subscription");
    assert!(read.migrating && read.active_change_id == id, "H25");
    assert_eq!(read.status(), pb::SubscriptionStatus::Active, "a running change is not a status");
}

#[tokio::test]
async fn subgraphs_stop_at_the_tiers_limit_and_read_in_pages() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-standard").await;
    subgraphs(&running, 1, &["c", "a", "b"]).await;
    let mut graphs = running.graphs(OWNER);
    let fourth =
        pb::RegisterSubgraphRequest { request_id: "s".to_owned(), graph_id: graph.to_string(), name: "d".to_owned() };
    let refused = error(graphs.register_subgraph(fourth).await);
    assert_eq!(refused.kind, Kind::FailedPrecondition);
    let fault = &refused.violations[0];
    assert_eq!((fault.reason, fault.limit, fault.actual), (Reason::TooManySubgraphs, Some(3), Some(4)));
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListSubgraphsRequest { graph_id: graph.to_string(), page_size: 2, page_token };
        let page = graphs.list_subgraphs(request).await.expect("a page").into_inner();
        names.extend(page.subgraphs.into_iter().map(|s| s.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    let one =
        pb::DeregisterGraphRequest { request_id: "g".to_owned(), graph_id: format!("{graph}_a"), ..Default::default() };
    let left = graphs.deregister_graph(one).await.expect("gone").into_inner().graph.expect("a graph");
    assert_eq!(left.subgraph_count, 2);
    let all =
        pb::DeregisterGraphRequest { request_id: "h".to_owned(), graph_id: graph.to_string(), ..Default::default() };
    let gone = graphs.deregister_graph(all).await.expect("gone").into_inner().graph.expect("a graph");
    assert_eq!(gone.state(), pb::GraphState::Deprovisioned);
    let refused = error(graphs.get_graph(pb::GetGraphRequest { graph_id: graph.to_string() }).await);
    assert_eq!(refused.reason, Reason::GraphNotFound);
    let request = pb::GetGraphRequest { graph_id: graph.to_string() };
    running.graphs("root;operator").get_graph(request).await.expect("operators see what is gone");
}

#[tokio::test]
async fn access_follows_a_change_and_never_answers_older_than_asked() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-standard").await;
    let mut access = running.access("service:graph-api");
    let ask = |mode: pb::AccessMode, min_revision| pb::CheckAccessRequest {
        graph_id: format!("{graph}_anything"),
        mode: mode.into(),
        min_revision,
    };
    let decide = async |access: &mut support_access::Access, request| {
        access.check_access(request).await.expect("answered").into_inner().decision.expect("a decision")
    };
    let before = decide(&mut access, ask(pb::AccessMode::Write, None)).await;
    assert!(
        before.allowed && before.valid_for_ms == 600,
        "60 s of a clock that runs a hundred times as fast: {before:?}"
    );
    let seen = before.revision.expect("a revision");
    let id = changed(&running, change("r", 1, "ladybug-large")).await.change_id;
    let during = decide(&mut access, ask(pb::AccessMode::Write, Some(seen))).await;
    assert!(during.allowed && during.valid_for_ms == 20, "{during:?}");
    assert!(during.revision.expect("a revision").version > seen.version);
    let ahead = pb::AccessRevision { version: 1_000, nonce: 1 };
    let refused = error(access.check_access(ask(pb::AccessMode::Read, Some(ahead))).await);
    assert_eq!((refused.kind, refused.reason), (Kind::Unavailable, Reason::RevisionNotReached));
    let blocked = async {
        loop {
            let decision = decide(&mut access, ask(pb::AccessMode::Write, None)).await;
            if !decision.allowed {
                return decision;
            }
            tokio::task::yield_now().await;
        }
    };
    let blocked = tokio::time::timeout(BOUND, blocked).await.expect("the gate closes");
    assert!(matches!(blocked.reason(), ErrorReason::TierChangeInProgress | ErrorReason::VolumeMoving));
    assert!(blocked.retry_after_ms > 0 && blocked.valid_for_ms == 0);
    let ended = async {
        loop {
            let request = pb::GetTierChangeRequest { change_id: id.clone() };
            let answer = running.tiers(OWNER).get_tier_change(request).await.expect("read");
            let change = answer.into_inner().tier_change.expect("a change");
            if change.ended_unix_ms > 0 {
                return change;
            }
            tokio::task::yield_now().await;
        }
    };
    let change = tokio::time::timeout(BOUND, ended).await.expect("the change ends");
    assert_eq!(change.state(), pb::TierChangeState::Succeeded);
    assert!(change.writes_blocked_ms > 0 && change.offline_ms == 7_000, "{change:?}");
    assert_eq!(change.charge(), pb::ChargeState::Taken);
    let net = change.net_charged.expect("an amount");
    assert_eq!(Some(net), change.plan.expect("a plan").due_now);
    assert!(decide(&mut access, ask(pb::AccessMode::Write, None)).await.allowed);
}

mod support_access {
    pub type Access = tiershift_proto::subscription::v1::access_service_client::AccessServiceClient<
        tiershift_common::client::CallerChannel,
    >;
}

#[tokio::test]
async fn a_watch_over_the_wire_tells_all_and_ends() {
    let running = Running::start().await;
    running.graph(1, "ladybug-standard").await;
    let id = changed(&running, change("r", 1, "ladybug-large")).await.change_id;
    let selection = pb::ChangeSelection { change_ids: vec![id.clone()] };
    let request = pb::WatchTierChangeRequest {
        selection: Some(pb::watch_tier_change_request::Selection::Changes(selection)),
        cursor: String::new(),
    };
    let mut stream = running.tiers("m;org_a=member").watch_tier_change(request).await.expect("a stream").into_inner();
    let all = async {
        let mut seqs = Vec::new();
        while let Some(message) = stream.next().await {
            match message.expect("a message").payload.expect("a payload") {
                Payload::Event(event) => seqs.push(event.seq),
                Payload::Heartbeat(_) => {}
                Payload::End(end) => return (seqs, end),
            }
        }
        panic!("the stream was cut after {seqs:?}")
    };
    let (seqs, end) = tokio::time::timeout(BOUND, all).await.expect("the end");
    assert_eq!(end.kind(), WatchEndKind::Terminal);
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).expect("small")).collect::<Vec<_>>());
    let change = running.tiers(OWNER).get_tier_change(pb::GetTierChangeRequest { change_id: id }).await.expect("read");
    assert_eq!(change.into_inner().tier_change.expect("a change").last_seq, *seqs.last().expect("events"));
}

#[tokio::test]
async fn tiers_are_listed_with_their_rooms() {
    let running = Running::start().await;
    let graph = running.graph(1, "ladybug-standard").await;
    let rooms = async |with_room, graph_id: String| {
        let request = pb::ListTiersRequest { with_room, graph_id };
        let answer = running.tiers(OWNER).list_tiers(request).await.expect("listed").into_inner();
        assert!(answer.tiers.is_sorted_by_key(|t| t.rank) && answer.tiers.len() == 3);
        answer.tiers.iter().map(pb::Tier::room).collect::<Vec<_>>()
    };
    assert_eq!(rooms(false, String::new()).await, [pb::TierRoom::Unspecified; 3]);
    running.volume.silence("rooms", 1);
    assert_eq!(rooms(true, String::new()).await, [pb::TierRoom::Unknown; 3]);
    running.volume.has_room("ladybug-standard", Room::Available);
    running.volume.has_room("ladybug-large", Room::Unknown);
    let anywhere = [pb::TierRoom::Available, pb::TierRoom::Unknown, pb::TierRoom::Full];
    assert_eq!(rooms(true, String::new()).await, anywhere, "a tier that volume-svc does not know has none");
    assert_eq!(rooms(true, graph.to_string()).await, [pb::TierRoom::Available; 3]);
    let full = Violation {
        reason: Reason::NoRoomInZone,
        field: String::new(),
        limit: None,
        actual: None,
        fix: "later".to_owned(),
    };
    running.volume.script(&graph, Script { violations: vec![full], ..Script::default() });
    assert_eq!(rooms(true, graph.to_string()).await, [pb::TierRoom::Available, pb::TierRoom::Full, pb::TierRoom::Full]);
}
