//! What volume-svc answers to bad requests, over the wire: the fitting code, the reason, the field's path, all faults at
//! once, and nothing changed. subscription-svc's own are in its crate.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test is the report")]

#[allow(dead_code, reason = "shared with other tests, which use the rest")]
#[path = "stack/stage.rs"]
mod stage;

use stage::Stage;
use tiershift_common::caller::Caller;
use tiershift_common::client::{CallerChannel, channel, channel_as};
use tiershift_common::status::from_status;
use tiershift_core::Reason;
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::migration_service_client::MigrationServiceClient;
use tiershift_proto::volume::v1::volume_service_client::VolumeServiceClient;
use tonic::{Code, Status};

const UNKNOWN: &str = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn client(stage: &Stage, caller: &str) -> MigrationServiceClient<CallerChannel> {
    let caller = Caller::parse_dev(caller).expect("well formed");
    MigrationServiceClient::new(channel_as(&stage.volume_url(), &caller).expect("an address"))
}

fn spec(graph: &str, tier: &str) -> pb::MigrationSpec {
    pb::MigrationSpec { graph_id: graph.to_owned(), target_tier: tier.to_owned(), ..Default::default() }
}

/// Code, reason and field paths of a refusal.
fn refusal(status: &Status) -> (Code, Reason, Vec<String>) {
    let error = from_status(status);
    (status.code(), error.reason, error.fields.into_iter().map(|f| f.field).collect())
}

fn invalid(fields: &[&str]) -> (Code, Reason, Vec<String>) {
    (Code::InvalidArgument, Reason::InvalidArgument, fields.iter().map(|f| (*f).to_owned()).collect())
}

#[tokio::test]
async fn bad_requests_are_refused_with_paths_and_change_nothing() {
    let stage = Stage::begin().await;
    let mut client = client(&stage, "dev-operator;operator");
    let graph = stage.graph("upgrade-1");
    let before = stage.ledger_now().await;

    let get = |id: &str| pb::GetMigrationRequest { migration_id: id.to_owned() };
    for bad in ["", "chg_", "kg0123456789abcdef", &"x".repeat(10_000)] {
        let status = client.get_migration(get(bad)).await.expect_err("malformed");
        assert_eq!(refusal(&status), invalid(&["migration_id"]), "{bad:.20}");
    }
    let status = client.get_migration(get(UNKNOWN)).await.expect_err("unknown");
    assert_eq!(refusal(&status), (Code::NotFound, Reason::MigrationNotFound, vec![]));

    // Every fault of one request at once.
    let request = pb::StartMigrationRequest {
        spec: Some(pb::MigrationSpec { storage_limit_bytes: -1, max_write_block_ms: -5, ..spec("kgX", "") }),
        ..Default::default()
    };
    let status = client.start_migration(request).await.expect_err("malformed");
    let all = [
        "migration_id",
        "spec.graph_id",
        "spec.target_tier",
        "spec.storage_limit_bytes",
        "spec.max_write_block_ms",
        "requested_by",
        "request_fingerprint",
    ];
    assert_eq!(refusal(&status), invalid(&all));
    let status = client.plan_migration(pb::PlanMigrationRequest { spec: None }).await.expect_err("no spec");
    assert_eq!(refusal(&status), invalid(&["spec"]));
    let unknown_tier = pb::PlanMigrationRequest { spec: Some(spec(&graph, "ladybug-huge")) };
    let status = client.plan_migration(unknown_tier).await.expect_err("no such tier");
    assert_eq!(refusal(&status).1, Reason::UnknownTier);

    let list = |status: i32, token: &str| pb::ListMigrationsRequest {
        live_only: true,
        status,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let status = client.list_migrations(pb::ListMigrationsRequest::default()).await.expect_err("no index");
    assert_eq!(refusal(&status), invalid(&["live_only"]));
    let status = client.list_migrations(list(99, "")).await.expect_err("no such status");
    assert_eq!(refusal(&status), invalid(&["status"]));
    let status = client.list_migrations(list(0, "1abcdef")).await.expect_err("made up");
    assert_eq!(refusal(&status).1, Reason::PageTokenInvalid);
    let too_many = pb::ListMigrationsRequest { live_only: true, page_size: 501, ..Default::default() };
    let status = client.list_migrations(too_many).await.expect_err("too many");
    assert_eq!(refusal(&status), invalid(&["page_size"]));

    let confirm = pb::ConfirmGateRequest { migration_id: UNKNOWN.to_owned(), gate_id: 0, store_epoch: -1 };
    let status = client.confirm_gate(confirm).await.expect_err("malformed");
    assert_eq!(refusal(&status), invalid(&["gate_id", "store_epoch"]));
    let resume = pb::ResumeMigrationRequest { migration_id: UNKNOWN.to_owned(), action: 77, ..Default::default() };
    let status = client.resume_migration(resume).await.expect_err("malformed");
    assert_eq!(refusal(&status), invalid(&["request_id", "action", "operator", "note"]));

    // More than a message may hold: refused by the transport before anything is read.
    let huge = pb::CancelMigrationRequest { note: "x".repeat(5 << 20), ..Default::default() };
    let status = client.cancel_migration(huge).await.expect_err("too large");
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");

    assert_eq!(stage.ledger_now().await, before, "a refused request called AWS for an effect");
    let live = client.list_migrations(list(0, "")).await.expect("good").into_inner();
    assert_eq!(live.migrations, vec![], "a refused request left a migration");
}

#[tokio::test]
async fn watches_take_only_their_own_cursors() {
    let stage = Stage::begin().await;
    let mut client = client(&stage, "service:subscription-svc");
    let watch = |positions: &[(&str, &str)]| pb::WatchMigrationRequest {
        positions: positions
            .iter()
            .map(|(id, cursor)| pb::MigrationPosition { migration_id: (*id).to_owned(), cursor: (*cursor).to_owned() })
            .collect(),
    };
    let status = client.watch_migration(watch(&[])).await.expect_err("nothing to watch");
    assert_eq!(refusal(&status), invalid(&["positions"]));
    let status = client.watch_migration(watch(&[(UNKNOWN, ""), (UNKNOWN, "")])).await.expect_err("twice");
    assert_eq!(refusal(&status), invalid(&["positions[1].migration_id"]));
    let status = client.watch_migration(watch(&[(UNKNOWN, "")])).await.expect_err("unknown");
    assert_eq!(refusal(&status).1, Reason::MigrationNotFound);

    // Two tombstones: each has one event and its own cursors.
    let other = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAW";
    let mut cursors = Vec::new();
    for id in [UNKNOWN, other] {
        let cancel = pb::CancelMigrationRequest {
            migration_id: id.to_owned(),
            requested_by: "test".to_owned(),
            note: String::new(),
        };
        let canceled = client.cancel_migration(cancel).await.expect("a tombstone").into_inner();
        assert_eq!(canceled.outcome(), pb::CancelOutcome::Tombstone);
        let mut stream = client.watch_migration(watch(&[(id, "")])).await.expect("known").into_inner();
        let first = stream.message().await.expect("a message").expect("an event");
        cursors.push(first.cursor);
    }
    let status = client.watch_migration(watch(&[(UNKNOWN, &cursors[1])])).await.expect_err("of another change");
    assert_eq!(refusal(&status).1, Reason::CursorInvalid);
    let status = client.watch_migration(watch(&[(UNKNOWN, "nonsense")])).await.expect_err("made up");
    assert_eq!(refusal(&status).1, Reason::CursorInvalid);
    // Its own cursor resumes behind the event: only the end follows.
    let mut stream = client.watch_migration(watch(&[(UNKNOWN, &cursors[0])])).await.expect("known").into_inner();
    let next = stream.message().await.expect("a message").expect("an end");
    assert!(matches!(next.payload, Some(pb::watch_migration_response::Payload::End(_))), "{next:?}");

    // A tombstone refuses the start that comes late (H27).
    let start = pb::StartMigrationRequest {
        migration_id: UNKNOWN.to_owned(),
        spec: Some(spec(&stage.graph("upgrade-1"), "ladybug-large")),
        requested_by: "test".to_owned(),
        request_fingerprint: "0".repeat(64),
    };
    let status = client.start_migration(start).await.expect_err("a tombstone stands there");
    assert_eq!(refusal(&status).1, Reason::Tombstone);
}

#[tokio::test]
async fn only_services_and_operators_are_heard() {
    let stage = Stage::begin().await;
    let list = || pb::ListMigrationsRequest { live_only: true, ..Default::default() };
    let status = client(&stage, "alice;org_x=owner").list_migrations(list()).await.expect_err("a customer");
    assert_eq!(refusal(&status).0, Code::PermissionDenied);
    let mut nobody = MigrationServiceClient::new(channel(&stage.volume_url()).expect("an address"));
    let status = nobody.list_migrations(list()).await.expect_err("no caller");
    assert_eq!(refusal(&status), (Code::Unauthenticated, Reason::Unauthenticated, vec![]));
    let operator = Caller::parse_dev("dev-operator;operator").expect("well formed");
    let mut volumes = VolumeServiceClient::new(channel_as(&stage.volume_url(), &operator).expect("an address"));
    let status = volumes.sync_registry(pb::SyncRegistryRequest::default()).await.expect_err("not built");
    assert_eq!(refusal(&status), (Code::Unimplemented, Reason::NotImplemented, vec![]));
}
