//! Services that answer by a script and note what they were asked. They keep no state and check nothing: what is
//! tested is the client.

mod webhook;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tiershift_common::caller::{self, Caller};
use tiershift_common::convert;
use tiershift_common::server::{Builder, Config};
use tiershift_common::status::to_status;
use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::common::v1::{ErrorReason, Money, WatchEnd, WatchEndKind, WatchHeartbeat};
use tiershift_proto::subscription::v1 as sub;
use tiershift_proto::volume::v1 as vol;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status};

pub const GRAPH: &str = "kg0000000000000001";
pub const CHANGE: &str = "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// What the services do.
#[derive(Clone)]
pub struct Plan {
    /// Answer to ChangeTier, and the faults of a preview.
    pub refuse_change: Option<Error>,
    /// The events of the change, and of its migration.
    pub events: Vec<ChangeEvent>,
    /// The state of the change after its last event.
    pub state: sub::TierChangeState,
    /// After how many events each further watch is cut; watches beyond these go on to the end.
    pub cut_after: Vec<usize>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { refuse_change: None, events: Vec::new(), state: sub::TierChangeState::Succeeded, cut_after: Vec::new() }
    }
}

/// Both services on one port, until it is dropped.
pub struct Services {
    pub subscription_url: String,
    pub volume_url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Services {
    pub async fn start(plan: Plan) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Script { plan, asked: Arc::clone(&asked), watches: Arc::default() };
        let config = Config::on("127.0.0.1:0".parse().expect("an address"));
        let server = Builder::new(config, caller::Layer::dangerous_dev())
            .add(sub::tier_service_server::TierServiceServer::new(script.clone()))
            .add(sub::graph_service_server::GraphServiceServer::new(script.clone()))
            .add(sub::subscription_service_server::SubscriptionServiceServer::new(script.clone()))
            .add(sub::access_service_server::AccessServiceServer::new(script.clone()))
            .add(sub::webhook_service_server::WebhookServiceServer::new(script.clone()))
            .add(vol::migration_service_server::MigrationServiceServer::new(script))
            .bind()
            .await
            .expect("a server");
        let url = format!("http://{}", server.local_addr());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { subscription_url: url.clone(), volume_url: url, asked, _stop: stop.drop_guard() }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lines").clone()
    }
}

/// An address where nobody listens.
pub fn nobody() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    format!("http://{}", port.expect("a port"))
}

/// An event of the change.
pub fn event(seq: u64, source: Source, stage: &str, permille: u32) -> ChangeEvent {
    ChangeEvent {
        change_id: CHANGE.into(),
        seq,
        at_ms: 1_000 * i64::try_from(seq).expect("small"),
        source,
        stage: stage.into(),
        direction: Direction::Forward,
        permille,
        eta_ms: 5_000,
        reads: Reads::Open,
        writes: Writes::Open,
        message: format!("now in {stage}"),
        detail: std::collections::BTreeMap::new(),
    }
}

#[derive(Clone)]
struct Script {
    plan: Plan,
    asked: Arc<Mutex<Vec<String>>>,
    watches: Arc<Mutex<usize>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Script {
    fn note(&self, line: impl Into<String>) {
        self.asked.lock().expect("lines").push(line.into());
    }

    /// The events after a cursor (`c2` is after the second), and whether this watch is cut after them.
    fn after(&self, cursor: &str) -> (Vec<ChangeEvent>, bool) {
        let from: usize = cursor.strip_prefix('c').map_or(0, |n| n.parse().expect("a cursor of ours"));
        let watch = {
            let mut watches = self.watches.lock().expect("a count");
            *watches += 1;
            *watches - 1
        };
        let rest: Vec<_> = self.plan.events.iter().skip(from).cloned().collect();
        match self.plan.cut_after.get(watch) {
            Some(&few) => (rest.into_iter().take(few).collect(), true),
            None => (rest, false),
        }
    }

    fn change(&self) -> sub::TierChange {
        sub::TierChange {
            change_id: CHANGE.into(),
            org_id: "org_acme".into(),
            graph_id: GRAPH.into(),
            state: self.plan.state.into(),
            plan: Some(plan()),
            writes_blocked_ms: 22_000,
            offline_ms: 18_000,
            ..Default::default()
        }
    }
}

fn plan() -> sub::ChangePlan {
    sub::ChangePlan {
        direction: sub::TierChangeDirection::Upgrade.into(),
        from_tier: "ladybug-standard".into(),
        to_tier: "ladybug-large".into(),
        price_before: Some(Money { amount_cents: 9_900, currency: "USD".into() }),
        price_after: Some(Money { amount_cents: 24_900, currency: "USD".into() }),
        expected_write_block_ms: Some(45_000),
        ..Default::default()
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl sub::tier_service_server::TierService for Script {
    async fn list_tiers(&self, _: Request<sub::ListTiersRequest>) -> Result<Response<sub::ListTiersResponse>, Status> {
        unused()
    }

    async fn preview_tier_change(
        &self,
        _: Request<sub::PreviewTierChangeRequest>,
    ) -> Result<Response<sub::PreviewTierChangeResponse>, Status> {
        let faults = self.plan.refuse_change.as_ref();
        Ok(Response::new(sub::PreviewTierChangeResponse {
            allowed: faults.is_none(),
            plan: Some(plan()),
            violations: faults
                .map(|error| error.violations.iter().map(convert::violation_to_proto).collect())
                .unwrap_or_default(),
            not_checked: faults
                .map(|error| error.not_checked.iter().map(convert::not_checked_to_proto).collect())
                .unwrap_or_default(),
            ..Default::default()
        }))
    }

    async fn change_tier(
        &self,
        request: Request<sub::ChangeTierRequest>,
    ) -> Result<Response<sub::ChangeTierResponse>, Status> {
        let caller = Caller::of(&request)?;
        self.note(format!("ChangeTier {} {caller}", request.get_ref().request_id));
        match &self.plan.refuse_change {
            Some(error) => Err(to_status(error)),
            None => Ok(Response::new(sub::ChangeTierResponse { tier_change: Some(self.change()) })),
        }
    }

    async fn get_tier_change(
        &self,
        _: Request<sub::GetTierChangeRequest>,
    ) -> Result<Response<sub::GetTierChangeResponse>, Status> {
        self.note("GetTierChange");
        Ok(Response::new(sub::GetTierChangeResponse { tier_change: Some(self.change()) }))
    }

    async fn list_tier_changes(
        &self,
        _: Request<sub::ListTierChangesRequest>,
    ) -> Result<Response<sub::ListTierChangesResponse>, Status> {
        unused()
    }

    async fn cancel_tier_change(
        &self,
        request: Request<sub::CancelTierChangeRequest>,
    ) -> Result<Response<sub::CancelTierChangeResponse>, Status> {
        let caller = Caller::of(&request)?;
        self.note(format!("CancelTierChange {} {caller}", request.get_ref().request_id));
        Ok(Response::new(sub::CancelTierChangeResponse { tier_change: Some(self.change()) }))
    }

    type WatchTierChangeStream = Answers<sub::WatchTierChangeResponse>;

    async fn watch_tier_change(
        &self,
        request: Request<sub::WatchTierChangeRequest>,
    ) -> Result<Response<Self::WatchTierChangeStream>, Status> {
        use sub::watch_tier_change_response::Payload;
        let cursor = &request.get_ref().cursor;
        self.note(format!("WatchTierChange {cursor}"));
        let (events, cut) = self.after(cursor);
        let last = events.last().map_or_else(|| cursor.clone(), |event| format!("c{}", event.seq));
        let message = |cursor: String, payload| Ok(sub::WatchTierChangeResponse { cursor, payload: Some(payload) });
        let mut messages: Vec<_> = events
            .iter()
            .map(|event| message(format!("c{}", event.seq), Payload::Event(convert::event_to_proto(event))))
            .collect();
        if cut {
            messages.push(Err(Status::unavailable("the script cuts here")));
        } else {
            messages.push(message(last.clone(), Payload::Heartbeat(WatchHeartbeat { server_unix_ms: 1 })));
            let end = WatchEnd { kind: WatchEndKind::Terminal.into(), retry_after_ms: 0 };
            messages.push(message(last, Payload::End(end)));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

#[tonic::async_trait]
impl sub::graph_service_server::GraphService for Script {
    async fn register_graph(
        &self,
        _: Request<sub::RegisterGraphRequest>,
    ) -> Result<Response<sub::RegisterGraphResponse>, Status> {
        unused()
    }

    async fn register_subgraph(
        &self,
        _: Request<sub::RegisterSubgraphRequest>,
    ) -> Result<Response<sub::RegisterSubgraphResponse>, Status> {
        unused()
    }

    async fn get_graph(
        &self,
        request: Request<sub::GetGraphRequest>,
    ) -> Result<Response<sub::GetGraphResponse>, Status> {
        let graph_id = request.into_inner().graph_id;
        if !matches!(graph_id.as_str(), GRAPH | "kg0000000000000002") {
            return Err(to_status(&Error::new(Kind::NotFound, Reason::GraphNotFound, "no such graph")));
        }
        let graph = sub::Graph {
            graph_id,
            org_id: "org_acme".into(),
            tier: "ladybug-standard".into(),
            state: sub::GraphState::Active.into(),
            ..Default::default()
        };
        Ok(Response::new(sub::GetGraphResponse { graph: Some(graph) }))
    }

    async fn list_subgraphs(
        &self,
        _: Request<sub::ListSubgraphsRequest>,
    ) -> Result<Response<sub::ListSubgraphsResponse>, Status> {
        unused()
    }

    async fn deregister_graph(
        &self,
        _: Request<sub::DeregisterGraphRequest>,
    ) -> Result<Response<sub::DeregisterGraphResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl sub::subscription_service_server::SubscriptionService for Script {
    async fn create_subscription(
        &self,
        _: Request<sub::CreateSubscriptionRequest>,
    ) -> Result<Response<sub::CreateSubscriptionResponse>, Status> {
        unused()
    }

    async fn get_subscription(
        &self,
        _: Request<sub::GetSubscriptionRequest>,
    ) -> Result<Response<sub::GetSubscriptionResponse>, Status> {
        let error = Error::new(Kind::NotFound, Reason::SubscriptionNotFound, "no such subscription");
        Err(to_status(&error))
    }

    async fn list_subscriptions(
        &self,
        request: Request<sub::ListSubscriptionsRequest>,
    ) -> Result<Response<sub::ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("ListSubscriptions {} {}", request.org_id, request.page_token));
        let subscription = |graph_id: &str| sub::Subscription {
            graph_id: graph_id.into(),
            status: sub::SubscriptionStatus::Active.into(),
            ..Default::default()
        };
        let (graphs, next_page_token) = match request.page_token.as_str() {
            "" => (vec![GRAPH, "kg0000000000000003"], "page2".to_owned()),
            _ => (vec!["kg0000000000000002", GRAPH], String::new()),
        };
        let subscriptions = graphs.into_iter().map(subscription).collect();
        Ok(Response::new(sub::ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn cancel_subscription(
        &self,
        request: Request<sub::CancelSubscriptionRequest>,
    ) -> Result<Response<sub::CancelSubscriptionResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("CancelSubscription {} {}", request.timing().as_str_name(), request.note));
        let subscription = sub::Subscription {
            subscription_id: request.subscription_id,
            status: sub::SubscriptionStatus::Canceled.into(),
            ends_at_unix_ms: 1_801_396_800_000,
            ..Default::default()
        };
        Ok(Response::new(sub::CancelSubscriptionResponse { subscription: Some(subscription) }))
    }

    async fn resume_subscription(
        &self,
        _: Request<sub::ResumeSubscriptionRequest>,
    ) -> Result<Response<sub::ResumeSubscriptionResponse>, Status> {
        unused()
    }

    async fn correct_subscription(
        &self,
        request: Request<sub::CorrectSubscriptionRequest>,
    ) -> Result<Response<sub::CorrectSubscriptionResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("CorrectSubscription {} {}", request.status().as_str_name(), request.reason));
        let text = "not possible while the subscription is paused; read it";
        Err(to_status(&Error::new(Kind::FailedPrecondition, Reason::WrongState, text)))
    }

    async fn use_credits(
        &self,
        _: Request<sub::UseCreditsRequest>,
    ) -> Result<Response<sub::UseCreditsResponse>, Status> {
        unused()
    }

    /// Three entries, two a page.
    async fn list_audit_events(
        &self,
        request: Request<sub::ListAuditEventsRequest>,
    ) -> Result<Response<sub::ListAuditEventsResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("ListAuditEvents {} {} {}", request.org_id, request.page_size, request.page_token));
        let event = |audit_id: &str| sub::AuditEvent {
            audit_id: audit_id.into(),
            kind: sub::AuditKind::SubscriptionCanceled.into(),
            actor: "alice".into(),
            at_unix_ms: 1_801_396_800_000,
            detail: [("note".to_owned(), "too dear".to_owned())].into(),
            ..Default::default()
        };
        let (ids, next_page_token) = match request.page_token.as_str() {
            "" => (vec!["aud_3", "aud_2"], "page2".to_owned()),
            _ => (vec!["aud_1"], String::new()),
        };
        let events = ids.into_iter().take(usize::try_from(request.page_size).unwrap_or(0)).map(event).collect();
        Ok(Response::new(sub::ListAuditEventsResponse { events, next_page_token }))
    }
}

#[tonic::async_trait]
impl sub::access_service_server::AccessService for Script {
    /// Reads are allowed, writes wait for a change.
    async fn check_access(
        &self,
        request: Request<sub::CheckAccessRequest>,
    ) -> Result<Response<sub::CheckAccessResponse>, Status> {
        let decision = match request.get_ref().mode() {
            sub::AccessMode::Read => sub::AccessDecision { allowed: true, valid_for_ms: 2_000, ..Default::default() },
            _ => sub::AccessDecision {
                reason: ErrorReason::TierChangeInProgress.into(),
                retry_after_ms: 3_000,
                ..Default::default()
            },
        };
        Ok(Response::new(sub::CheckAccessResponse { decision: Some(decision) }))
    }

    async fn batch_check_access(
        &self,
        _: Request<sub::BatchCheckAccessRequest>,
    ) -> Result<Response<sub::BatchCheckAccessResponse>, Status> {
        unused()
    }

    async fn check_provisioning(
        &self,
        _: Request<sub::CheckProvisioningRequest>,
    ) -> Result<Response<sub::CheckProvisioningResponse>, Status> {
        unused()
    }

    type WatchAccessStream = Answers<sub::WatchAccessResponse>;

    async fn watch_access(
        &self,
        _: Request<sub::WatchAccessRequest>,
    ) -> Result<Response<Self::WatchAccessStream>, Status> {
        unused()
    }

    async fn renew_access_lease(
        &self,
        _: Request<sub::RenewAccessLeaseRequest>,
    ) -> Result<Response<sub::RenewAccessLeaseResponse>, Status> {
        unused()
    }
}

/// A migration that is stuck.
fn stuck() -> vol::Migration {
    vol::Migration {
        migration_id: CHANGE.into(),
        graph_id: GRAPH.into(),
        stage: vol::MigrationStage::Detach.into(),
        status: vol::MigrationStatus::Stuck.into(),
        reason: ErrorReason::UndoFailed.into(),
        reason_message: "look at it".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl vol::migration_service_server::MigrationService for Script {
    async fn plan_migration(
        &self,
        _: Request<vol::PlanMigrationRequest>,
    ) -> Result<Response<vol::PlanMigrationResponse>, Status> {
        unused()
    }

    async fn start_migration(
        &self,
        _: Request<vol::StartMigrationRequest>,
    ) -> Result<Response<vol::StartMigrationResponse>, Status> {
        unused()
    }

    async fn get_migration(
        &self,
        _: Request<vol::GetMigrationRequest>,
    ) -> Result<Response<vol::GetMigrationResponse>, Status> {
        Ok(Response::new(vol::GetMigrationResponse { migration: Some(stuck()) }))
    }

    async fn list_migrations(
        &self,
        request: Request<vol::ListMigrationsRequest>,
    ) -> Result<Response<vol::ListMigrationsResponse>, Status> {
        let migrations = if request.get_ref().live_only { vec![stuck()] } else { Vec::new() };
        Ok(Response::new(vol::ListMigrationsResponse { migrations, next_page_token: String::new() }))
    }

    type WatchMigrationStream = Answers<vol::WatchMigrationResponse>;

    async fn watch_migration(
        &self,
        request: Request<vol::WatchMigrationRequest>,
    ) -> Result<Response<Self::WatchMigrationStream>, Status> {
        use vol::watch_migration_response::Payload;
        let positions = request.into_inner().positions;
        let cursor = positions.first().map(|position| position.cursor.clone()).unwrap_or_default();
        let (events, _) = self.after(&cursor);
        let last = events.len();
        let message = |(i, event): (usize, ChangeEvent)| {
            let stuck = vol::Stuck { reason: ErrorReason::UndoFailed.into(), since_unix_ms: 1 };
            let fact = (i + 1 == last).then_some(vol::migration_event::Fact::Stuck(stuck));
            let payload = vol::MigrationEvent { event: Some(convert::event_to_proto(&event)), fact };
            Ok(vol::WatchMigrationResponse {
                migration_id: CHANGE.into(),
                cursor: format!("c{}", event.seq),
                payload: Some(Payload::Event(payload)),
            })
        };
        let messages: Vec<_> = events.into_iter().enumerate().map(message).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn confirm_gate(
        &self,
        _: Request<vol::ConfirmGateRequest>,
    ) -> Result<Response<vol::ConfirmGateResponse>, Status> {
        unused()
    }

    async fn cancel_migration(
        &self,
        _: Request<vol::CancelMigrationRequest>,
    ) -> Result<Response<vol::CancelMigrationResponse>, Status> {
        unused()
    }

    async fn resume_migration(
        &self,
        request: Request<vol::ResumeMigrationRequest>,
    ) -> Result<Response<vol::ResumeMigrationResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("ResumeMigration {} {} {}", request.request_id, request.operator, request.note));
        Ok(Response::new(vol::ResumeMigrationResponse { migration: Some(stuck()) }))
    }
}
