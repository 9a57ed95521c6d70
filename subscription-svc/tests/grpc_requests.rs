//! Bad input and authorisation over a loopback server: every fault at once, with its path, and nothing changed.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use support::api::Running;
use support::seed;
use tiershift_common::status::from_status;
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::common::v1::Money;
use tiershift_proto::subscription::v1 as pb;
use tonic::{Code, Status};

const OWNER: &str = "alice;org_a=owner";
const CHANGE: &str = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn faults(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    from_status(status).fields.into_iter().map(|f| f.field).collect()
}

fn error<T: std::fmt::Debug>(answer: Result<T, Status>) -> Error {
    from_status(&answer.expect_err("refused"))
}

fn bad_money() -> Money {
    Money { amount_cents: -1, currency: "usd".to_owned() }
}

fn bad() -> String {
    "\u{0}nonsense ö".to_owned()
}

#[tokio::test]
async fn every_malformed_field_is_named_at_once() {
    let running = Running::start().await;
    let root = "root;operator";
    let (mut graphs, mut subscriptions) = (running.graphs(root), running.subscriptions(root));
    let (mut tiers, mut access) = (running.tiers(root), running.access(root));
    let answer = graphs.register_graph(pb::RegisterGraphRequest {
        request_id: bad(),
        org_id: bad(),
        graph_id: bad(),
        tier: bad(),
        display_name: "x".repeat(101),
        endpoint: Some(pb::GraphEndpoint { private_ip: "1".repeat(16), observed_unix_ms: -1, ..Default::default() }),
        ..Default::default()
    });
    assert_eq!(
        faults(&answer.await.expect_err("malformed")),
        [
            "request_id",
            "org_id",
            "graph_id",
            "tier",
            "display_name",
            "endpoint.private_ip",
            "endpoint.observed_unix_ms",
        ]
    );
    let answer = graphs.register_subgraph(pb::RegisterSubgraphRequest {
        request_id: String::new(),
        graph_id: "kg".to_owned(),
        name: "a_b".to_owned(),
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["request_id", "graph_id", "name"]);
    let answer = graphs.get_graph(pb::GetGraphRequest { graph_id: bad() });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["graph_id"]);
    let answer =
        graphs.list_subgraphs(pb::ListSubgraphsRequest { graph_id: bad(), page_size: 501, ..Default::default() });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["graph_id", "page_size"]);
    let answer = graphs.deregister_graph(pb::DeregisterGraphRequest {
        request_id: "x".repeat(65),
        graph_id: bad(),
        note: "x".repeat(1_001),
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["request_id", "graph_id", "note"]);
    let answer = subscriptions.create_subscription(pb::CreateSubscriptionRequest {
        request_id: bad(),
        org_id: bad(),
        graph_id: bad(),
        tier: bad(),
        interval: 9,
        initial: Some(pb::InitialSubscription {
            status: 99,
            price: Some(bad_money()),
            period_start_unix_ms: -1,
            period_end_unix_ms: -1,
            ends_at_unix_ms: -1,
            provider_subscription_id: "x".repeat(256),
        }),
    });
    assert_eq!(
        faults(&answer.await.expect_err("malformed")),
        [
            "interval",
            "request_id",
            "org_id",
            "graph_id",
            "tier",
            "initial.status",
            "initial.price.amount_cents",
            "initial.price.currency",
            "initial.period_start_unix_ms",
            "initial.period_end_unix_ms",
            "initial.ends_at_unix_ms",
            "initial.provider_subscription_id",
        ]
    );
    let answer = subscriptions.get_subscription(pb::GetSubscriptionRequest { key: None });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["key"]);
    let answer = subscriptions.list_subscriptions(pb::ListSubscriptionsRequest {
        org_id: bad(),
        graph_id: bad(),
        page_size: -1,
        status: 99,
        ..Default::default()
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["org_id", "graph_id", "page_size", "status"]);
    let answer =
        tiers.preview_tier_change(pb::PreviewTierChangeRequest { graph_id: bad(), target_tier: bad(), timing: 9 });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["graph_id", "target_tier", "timing"]);
    let answer = tiers.change_tier(pb::ChangeTierRequest {
        request_id: bad(),
        graph_id: bad(),
        target_tier: bad(),
        timing: 9,
        expected_price: Some(bad_money()),
    });
    assert_eq!(
        faults(&answer.await.expect_err("malformed")),
        ["timing", "request_id", "graph_id", "target_tier", "expected_price.amount_cents", "expected_price.currency",]
    );
    let answer = tiers.list_tier_changes(pb::ListTierChangesRequest {
        org_id: bad(),
        graph_id: bad(),
        state: 99,
        page_size: 501,
        ..Default::default()
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["org_id", "graph_id", "state", "page_size"]);
    let answer = tiers.cancel_tier_change(pb::CancelTierChangeRequest {
        request_id: bad(),
        change_id: bad(),
        note: "x".repeat(1_001),
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["request_id", "change_id", "note"]);
    let answer = access.check_access(pb::CheckAccessRequest {
        graph_id: bad(),
        mode: 0,
        min_revision: Some(pb::AccessRevision { version: 0, nonce: 0 }),
    });
    assert_eq!(faults(&answer.await.expect_err("malformed")), ["graph_id", "mode", "min_revision.version"]);
    assert_eq!(running.service.store.access().await.expect("read").0.version, 0, "nothing was changed");
}

#[tokio::test]
async fn malformed_watches_are_refused_before_they_begin() {
    use pb::watch_tier_change_request::Selection;
    let running = Running::start().await;
    let watch = async |selection, cursor: &str| {
        let request = pb::WatchTierChangeRequest { selection, cursor: cursor.to_owned() };
        running.tiers("root;operator").watch_tier_change(request).await.map(|_| ()).expect_err("malformed")
    };
    let changes = |ids: &[&str]| {
        let change_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Some(Selection::Changes(pb::ChangeSelection { change_ids }))
    };
    assert_eq!(faults(&watch(None, "").await), ["selection"]);
    assert_eq!(faults(&watch(Some(Selection::OrgId(bad())), "").await), ["org_id"]);
    assert_eq!(faults(&watch(changes(&[]), "").await), ["changes.change_ids"]);
    assert_eq!(faults(&watch(changes(&[CHANGE, CHANGE]), "").await), ["changes.change_ids"]);
    assert_eq!(
        faults(&watch(changes(&["x", CHANGE, "y"]), "").await),
        ["changes.change_ids[0]", "changes.change_ids[2]"]
    );
    let foreign = from_status(&watch(Some(Selection::OrgId("org_a".to_owned())), "1nonsense").await);
    assert_eq!((foreign.kind, foreign.reason), (Kind::InvalidArgument, Reason::CursorInvalid));
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_foreign_graph_from_a_missing_one() {
    let running = Running::start().await;
    let foreign = running.graph(1, "ladybug-standard").await.to_string();
    let owner = seed::owner("org_a");
    let change = running.service.change_tier(&owner, seed::change("c", 1, "ladybug-large")).await.expect("accepted");
    let missing = seed::graph(99).to_string();
    let stranger = "mallory;org_b=owner";
    let ask = async |graph_id: &str| {
        let graph_id = || graph_id.to_owned();
        let mut tiers = running.tiers(stranger);
        let mut graphs = running.graphs(stranger);
        let mut subscriptions = running.subscriptions(stranger);
        let preview = pb::PreviewTierChangeRequest {
            graph_id: graph_id(),
            target_tier: "ladybug-large".to_owned(),
            ..Default::default()
        };
        let change = pb::ChangeTierRequest {
            request_id: "r".to_owned(),
            graph_id: graph_id(),
            target_tier: "ladybug-large".to_owned(),
            ..Default::default()
        };
        let subgraph =
            pb::RegisterSubgraphRequest { request_id: "r".to_owned(), graph_id: graph_id(), name: "a".to_owned() };
        let gone =
            pb::DeregisterGraphRequest { request_id: "r".to_owned(), graph_id: graph_id(), ..Default::default() };
        let subscribe = pb::CreateSubscriptionRequest {
            request_id: "r".to_owned(),
            org_id: "org_b".to_owned(),
            graph_id: graph_id(),
            tier: "ladybug-large".to_owned(),
            ..Default::default()
        };
        let list = pb::ListTierChangesRequest { graph_id: graph_id(), ..Default::default() };
        vec![
            error(graphs.get_graph(pb::GetGraphRequest { graph_id: graph_id() }).await),
            error(graphs.list_subgraphs(pb::ListSubgraphsRequest { graph_id: graph_id(), ..Default::default() }).await),
            error(tiers.preview_tier_change(preview).await),
            error(tiers.change_tier(change).await),
            error(graphs.register_subgraph(subgraph).await),
            error(graphs.deregister_graph(gone).await),
            error(subscriptions.create_subscription(subscribe).await),
            error(tiers.list_tier_changes(list).await),
        ]
    };
    let (foreign, missing) = (ask(&foreign).await, ask(&missing).await);
    assert_eq!(foreign, missing, "D-71");
    for error in foreign {
        assert_eq!((error.kind, error.reason), (Kind::NotFound, Reason::GraphNotFound));
    }
    let mut tiers = running.tiers(stranger);
    let get = async |tiers: &mut support_client::Tiers, id: &str| {
        error(tiers.get_tier_change(pb::GetTierChangeRequest { change_id: id.to_owned() }).await)
    };
    assert_eq!(get(&mut tiers, change.id.as_str()).await, get(&mut tiers, CHANGE).await);
    let cancel = async |tiers: &mut support_client::Tiers, id: &str| {
        let request =
            pb::CancelTierChangeRequest { request_id: "r".to_owned(), change_id: id.to_owned(), ..Default::default() };
        error(tiers.cancel_tier_change(request).await)
    };
    assert_eq!(cancel(&mut tiers, change.id.as_str()).await, cancel(&mut tiers, CHANGE).await);
    let check = async |id: String| {
        let request = pb::CheckAccessRequest { graph_id: id, mode: pb::AccessMode::Read.into(), min_revision: None };
        running.access(stranger).check_access(request).await.expect("answered").into_inner()
    };
    assert_eq!(check(seed::graph(1).to_string()).await, check(seed::graph(99).to_string()).await);
}

mod support_client {
    pub type Tiers = tiershift_proto::subscription::v1::tier_service_client::TierServiceClient<
        tiershift_common::client::CallerChannel,
    >;
}

#[tokio::test]
async fn only_owners_and_operators_decide_about_tiers() {
    let running = Running::start().await;
    running.volume.silence("start", u32::MAX);
    let graph = running.graph(1, "ladybug-standard").await.to_string();
    let change = |id: &str| pb::ChangeTierRequest {
        request_id: id.to_owned(),
        graph_id: graph.clone(),
        target_tier: "ladybug-large".to_owned(),
        ..Default::default()
    };
    for who in ["m;org_a=member", "a;org_a=admin", "service:graph-api"] {
        let refused = error(running.tiers(who).change_tier(change("r")).await);
        assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::NotOwner), "{who}");
        let preview = pb::PreviewTierChangeRequest {
            graph_id: graph.clone(),
            target_tier: "ladybug-large".to_owned(),
            ..Default::default()
        };
        running.tiers(who).preview_tier_change(preview).await.expect("members may look");
    }
    // The owner of another organisation too decides where it is owner (D-70).
    let both = "bob;org_b=member;org_a=owner";
    let accepted = running.tiers(both).change_tier(change("r")).await.expect("an owner").into_inner();
    let id = accepted.tier_change.expect("a change").change_id;
    let cancel = |request_id: &str| pb::CancelTierChangeRequest {
        request_id: request_id.to_owned(),
        change_id: id.clone(),
        ..Default::default()
    };
    for who in ["m;org_a=member", "service:graph-api"] {
        let refused = error(running.tiers(who).cancel_tier_change(cancel("x")).await);
        assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::NotOwner), "{who}");
        running
            .tiers(who)
            .get_tier_change(pb::GetTierChangeRequest { change_id: id.clone() })
            .await
            .expect("members may look");
    }
    running.tiers("root;operator").cancel_tier_change(cancel("x")).await.expect("an operator");
}

#[tokio::test]
async fn registration_belongs_to_services_and_seeding_to_operators() {
    let running = Running::start().await;
    let graph = |id: &str| pb::RegisterGraphRequest {
        request_id: id.to_owned(),
        org_id: "org_a".to_owned(),
        tier: "ladybug-standard".to_owned(),
        ..Default::default()
    };
    let refused = error(running.graphs(OWNER).register_graph(graph("r")).await);
    assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::PermissionDenied));
    let made = running.graphs("service:graph-api").register_graph(graph("r")).await.expect("a service").into_inner();
    let made = made.graph.expect("a graph");
    let again = running.graphs("service:graph-api").register_graph(graph("r")).await.expect("a repeat").into_inner();
    assert_eq!(again.graph, Some(made.clone()), "the same request is the same graph");
    let reused = pb::RegisterGraphRequest { tier: "ladybug-large".to_owned(), ..graph("r") };
    let refused = error(running.graphs("service:graph-api").register_graph(reused).await);
    assert_eq!((refused.kind, refused.reason), (Kind::AlreadyExists, Reason::RequestIdReused));
    let taken = pb::RegisterGraphRequest {
        graph_id: made.graph_id.clone(),
        tier: "ladybug-large".to_owned(),
        ..graph("other")
    };
    let refused = error(running.graphs("service:graph-api").register_graph(taken).await);
    assert_eq!((refused.kind, refused.reason), (Kind::AlreadyExists, Reason::GraphExists));
    let seeded = pb::CreateSubscriptionRequest {
        request_id: "s".to_owned(),
        org_id: "org_a".to_owned(),
        graph_id: made.graph_id.clone(),
        tier: "ladybug-standard".to_owned(),
        initial: Some(pb::InitialSubscription::default()),
        ..Default::default()
    };
    for who in [OWNER, "service:graph-api"] {
        let refused = error(running.subscriptions(who).create_subscription(seeded.clone()).await);
        assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::OperatorOnly), "{who}");
    }
    let plain = pb::CreateSubscriptionRequest { initial: None, ..seeded.clone() };
    let refused = error(running.subscriptions("m;org_a=member").create_subscription(plain.clone()).await);
    assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::NotOwner));
    let mine = running.subscriptions(OWNER).create_subscription(plain).await.expect("an owner").into_inner();
    assert_eq!(mine.subscription.expect("one").status(), pb::SubscriptionStatus::PendingPayment, "begins unpaid");
    let refused = error(running.subscriptions("root;operator").create_subscription(seeded).await);
    assert_eq!((refused.kind, refused.reason), (Kind::AlreadyExists, Reason::SubscriptionExists));
    let everything = pb::ListTierChangesRequest::default();
    let refused = error(running.tiers(OWNER).list_tier_changes(everything.clone()).await);
    assert_eq!((refused.kind, refused.reason), (Kind::PermissionDenied, Reason::OperatorOnly));
    running.tiers("root;operator").list_tier_changes(everything).await.expect("an operator");
}

#[tokio::test]
async fn nobody_comes_in_without_a_caller_and_what_is_not_built_says_so() {
    let running = Running::start().await;
    let channel = tiershift_common::client::channel(&running.url).expect("an address");
    let mut anonymous = pb::tier_service_client::TierServiceClient::new(channel);
    let refused = error(anonymous.list_tiers(pb::ListTiersRequest::default()).await);
    assert_eq!((refused.kind, refused.reason), (Kind::Unauthenticated, Reason::Unauthenticated));
    let mut access = running.access(OWNER);
    let unbuilt = [
        error(access.batch_check_access(pb::BatchCheckAccessRequest::default()).await),
        error(access.check_provisioning(pb::CheckProvisioningRequest::default()).await),
        error(access.watch_access(pb::WatchAccessRequest::default()).await),
        error(access.renew_access_lease(pb::RenewAccessLeaseRequest::default()).await),
    ];
    for refused in unbuilt {
        assert_eq!((refused.kind, refused.reason), (Kind::Unimplemented, Reason::NotImplemented), "{refused:?}");
    }
}
