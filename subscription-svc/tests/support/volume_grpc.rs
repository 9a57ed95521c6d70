//! The scripted volume-svc behind its gRPC contract, for tests of whole processes.

use super::port::Port;
use super::volume::Fake;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use subscription_core::change::Side;
use subscription_svc::migrations::{
    Canceled, Fact, Follow, Message, Migrations as _, Position, Spec, Start, Status as MigrationStatus, View,
};
use tiershift_common::caller;
use tiershift_common::convert::{event_to_proto, reason_to_proto, violation_to_proto};
use tiershift_common::server::{Builder, Config};
use tiershift_common::status::to_status;
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, GraphId, TierName, UserId};
use tiershift_proto::common::v1 as common;
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::migration_service_server::{MigrationService, MigrationServiceServer};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Serves a fake; gives its address.
pub async fn serve(fake: &Arc<Fake>, stop: &CancellationToken) -> String {
    let listen = Config::on("127.0.0.1:0".parse().expect("an address"));
    let service = MigrationServiceServer::new(Server(Port(Arc::clone(fake))));
    let server = Builder::new(listen, caller::Layer::dangerous_dev()).add(service).bind().await.expect("bound");
    let url = format!("http://{}", server.local_addr());
    tokio::spawn(server.run(stop.clone()));
    url
}

#[derive(Debug)]
struct Server(Port);

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn refused(error: tiershift_core::Error) -> Status {
    to_status(&error)
}

fn change(id: &str) -> ChangeId {
    ChangeId::parse(id).expect("a change id")
}

fn spec(spec: Option<pb::MigrationSpec>) -> Spec {
    let spec = spec.expect("a spec");
    Spec {
        graph: GraphId::parse(spec.graph_id).expect("a graph id"),
        source_tier: TierName::parse(spec.source_tier).expect("a tier"),
        target_tier: TierName::parse(spec.target_tier).expect("a tier"),
        target_instance_type: spec.target_instance_type,
        max_write_block_ms: spec.max_write_block_ms,
    }
}

fn usage(engine_bytes: i64) -> common::GraphUsage {
    common::GraphUsage { engine_bytes, measured_unix_ms: 1, ..Default::default() }
}

fn migration(view: &View) -> pb::Migration {
    pb::Migration {
        migration_id: view.id.to_string(),
        stage: match view.position {
            Position::BeforeGate => pb::MigrationStage::Capacity,
            Position::AtGate => pb::MigrationStage::Gate,
            Position::PastGate => pb::MigrationStage::Release,
            Position::PastDetach => pb::MigrationStage::Attach,
        }
        .into(),
        direction: match view.direction {
            Direction::Forward => common::Direction::Forward,
            Direction::Undo => common::Direction::Undo,
            Direction::Settle => common::Direction::Settle,
        }
        .into(),
        status: match view.status {
            MigrationStatus::Running => pb::MigrationStatus::Running,
            MigrationStatus::Stuck => pb::MigrationStatus::Stuck,
            MigrationStatus::Serves => pb::MigrationStatus::Succeeded,
            MigrationStatus::Tombstone => pb::MigrationStatus::Tombstone,
        }
        .into(),
        gate_id: i64::try_from(view.gate_id).expect("small"),
        gate_remaining_ms: view.gate_remaining_ms,
        committed_unix_ms: i64::from(view.committed),
        ..Default::default()
    }
}

fn fact(fact: &Fact) -> Option<pb::migration_event::Fact> {
    use pb::migration_event::Fact as F;
    let instance = |e: &subscription_svc::store::rows::Endpoint| {
        (e.instance_id.clone(), e.private_ip.clone(), e.availability_zone.clone())
    };
    Some(match fact {
        Fact::Progress => return None,
        Fact::GateRequested { gate_id, usage_bytes, store_epoch } => F::GateRequested(pb::GateRequested {
            gate_id: i64::try_from(*gate_id).expect("small"),
            usage: usage_bytes.map(usage),
            store_epoch: *store_epoch,
            ..Default::default()
        }),
        Fact::GateConfirmed => F::GateConfirmed(pb::GateConfirmed::default()),
        Fact::Offline => F::Offline(pb::Offline {}),
        Fact::Committed(endpoint) => {
            let (instance_id, private_ip, availability_zone) = instance(endpoint);
            F::Committed(pb::Committed { instance_id, private_ip, availability_zone, ..Default::default() })
        }
        Fact::Opened { endpoint, offline_ms } => {
            let (instance_id, private_ip, availability_zone) = instance(endpoint);
            F::Opened(pb::Opened { instance_id, private_ip, availability_zone, offline_ms: *offline_ms })
        }
        Fact::TurnedBack { reason, violations } => F::TurnedBack(pb::TurnedBack {
            reason: reason_to_proto(*reason).into(),
            violations: violations.iter().map(violation_to_proto).collect(),
        }),
        Fact::RolledBack { reason, violations, offline_ms, .. } => F::RolledBack(pb::RolledBack {
            reason: reason_to_proto(*reason).into(),
            violations: violations.iter().map(violation_to_proto).collect(),
            offline_ms: *offline_ms,
            ..Default::default()
        }),
        Fact::HandedOver { side, endpoint } => {
            let (instance_id, private_ip, availability_zone) = instance(endpoint);
            F::HandedOver(pb::HandedOver {
                side: match side {
                    Side::Source => pb::MigrationSide::Source,
                    Side::Target => pb::MigrationSide::Target,
                }
                .into(),
                instance_id,
                private_ip,
                availability_zone,
                ..Default::default()
            })
        }
        Fact::Stuck { reason } => F::Stuck(pb::Stuck { reason: reason_to_proto(*reason).into(), since_unix_ms: 1 }),
        Fact::Resumed => F::Resumed(pb::Resumed::default()),
        Fact::Settled => F::Settled(pb::Settled {}),
    })
}

fn message(message: Message) -> pb::WatchMigrationResponse {
    use pb::watch_migration_response::Payload;
    let end = |kind: common::WatchEndKind| common::WatchEnd { kind: kind.into(), retry_after_ms: 0 };
    match message {
        Message::Event { cursor, event } => pb::WatchMigrationResponse {
            migration_id: event.event.change_id.clone(),
            cursor,
            payload: Some(Payload::Event(pb::MigrationEvent {
                event: Some(event_to_proto(&event.event)),
                fact: fact(&event.fact),
            })),
        },
        Message::Heartbeat => pb::WatchMigrationResponse {
            payload: Some(Payload::Heartbeat(common::WatchHeartbeat { server_unix_ms: 1 })),
            ..Default::default()
        },
        Message::Ended(id) => pb::WatchMigrationResponse {
            migration_id: id.to_string(),
            cursor: "end".to_owned(),
            payload: Some(Payload::End(end(common::WatchEndKind::Terminal))),
        },
        Message::ComeBack => pb::WatchMigrationResponse {
            payload: Some(Payload::End(end(common::WatchEndKind::ComeBack))),
            ..Default::default()
        },
    }
}

#[tonic::async_trait]
impl MigrationService for Server {
    async fn plan_migration(
        &self,
        request: Request<pb::PlanMigrationRequest>,
    ) -> Result<Response<pb::PlanMigrationResponse>, Status> {
        let plan = self.0.plan(&spec(request.into_inner().spec)).await.map_err(refused)?;
        let plan = pb::MigrationPlan {
            usage: plan.usage_bytes.map(usage),
            availability_zone: plan.zone,
            read_age_ms: plan.read_age_ms,
            expected_write_block_ms: plan.expected.write_block_ms,
            expected_offline_ms: plan.expected.offline_ms,
            expected_total_ms: plan.expected.total_ms,
            violations: plan.violations.iter().map(violation_to_proto).collect(),
            ..Default::default()
        };
        Ok(Response::new(pb::PlanMigrationResponse { plan: Some(plan) }))
    }

    async fn start_migration(
        &self,
        request: Request<pb::StartMigrationRequest>,
    ) -> Result<Response<pb::StartMigrationResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.request_fingerprint.len(), 64, "64 hex digits");
        let start = Start {
            id: change(&request.migration_id),
            spec: spec(request.spec),
            requested_by: UserId::parse(request.requested_by).expect("a user"),
            fingerprint: request.request_fingerprint,
        };
        self.0.start(&start).await.map_err(refused)?;
        Ok(Response::new(pb::StartMigrationResponse::default()))
    }

    async fn get_migration(
        &self,
        request: Request<pb::GetMigrationRequest>,
    ) -> Result<Response<pb::GetMigrationResponse>, Status> {
        let view = self.0.get(&change(&request.into_inner().migration_id)).await.map_err(refused)?;
        Ok(Response::new(pb::GetMigrationResponse { migration: Some(migration(&view)) }))
    }

    async fn list_migrations(
        &self,
        request: Request<pb::ListMigrationsRequest>,
    ) -> Result<Response<pb::ListMigrationsResponse>, Status> {
        assert!(request.into_inner().live_only);
        let live = self.0.live().await.map_err(refused)?;
        let migrations = live.iter().map(migration).collect();
        Ok(Response::new(pb::ListMigrationsResponse { migrations, ..Default::default() }))
    }

    type WatchMigrationStream = BoxStream<'static, Result<pb::WatchMigrationResponse, Status>>;

    async fn watch_migration(
        &self,
        request: Request<pb::WatchMigrationRequest>,
    ) -> Result<Response<Self::WatchMigrationStream>, Status> {
        let follow = |p: pb::MigrationPosition| Follow {
            id: change(&p.migration_id),
            cursor: Some(p.cursor).filter(|c| !c.is_empty()),
        };
        let follows = request.into_inner().positions.into_iter().map(follow).collect();
        let stream = self.0.watch(follows).await.map_err(refused)?;
        Ok(Response::new(stream.map(|item| item.map(message).map_err(refused)).boxed()))
    }

    async fn confirm_gate(
        &self,
        request: Request<pb::ConfirmGateRequest>,
    ) -> Result<Response<pb::ConfirmGateResponse>, Status> {
        let request = request.into_inner();
        let gate_id = u64::try_from(request.gate_id).expect("positive");
        self.0.confirm(&change(&request.migration_id), gate_id, request.store_epoch).await.map_err(refused)?;
        Ok(Response::new(pb::ConfirmGateResponse::default()))
    }

    async fn cancel_migration(
        &self,
        request: Request<pb::CancelMigrationRequest>,
    ) -> Result<Response<pb::CancelMigrationResponse>, Status> {
        let request = request.into_inner();
        let canceled = self.0.cancel(&change(&request.migration_id), &request.requested_by, &request.note).await;
        let outcome = match canceled.map_err(refused)? {
            Canceled::TurningBack => pb::CancelOutcome::TurningBack,
            Canceled::Tombstone => pb::CancelOutcome::Tombstone,
        };
        Ok(Response::new(pb::CancelMigrationResponse { outcome: outcome.into(), migration: None }))
    }

    async fn resume_migration(
        &self,
        _: Request<pb::ResumeMigrationRequest>,
    ) -> Result<Response<pb::ResumeMigrationResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}
