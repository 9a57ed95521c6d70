//! The port over gRPC. Proto types stop here.
//!
//! Nothing is retried: whoever calls knows what may be repeated. What a newer server says and this build does not
//! know becomes an error, never a guess: a missed fact could leave a gate closed, so the follower stops and alarms.

use super::{
    Canceled, Fact, Follow, Message, MigrationEvent, Migrations, Plan, Position, Room, Spec, Start, Status, View,
    endpoint,
};
use crate::store::rows::Expected;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use std::sync::Arc;
use subscription_core::change::Side;
use tiershift_common::client::CallerChannel;
use tiershift_common::clock::Clock;
use tiershift_common::convert;
use tiershift_common::status::from_status;
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, TierName, UserId};
use tiershift_core::{Error, Kind, Reason, UnixMs, Violation};
use tiershift_proto::common::v1 as common;
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::fleet_service_client::FleetServiceClient;
use tiershift_proto::volume::v1::migration_service_client::MigrationServiceClient;

/// Rows of a page of live migrations: the contract's most.
const PAGE: i32 = 500;

/// volume-svc, by its address.
#[derive(Clone, Debug)]
pub struct VolumeService {
    client: MigrationServiceClient<CallerChannel>,
    fleet: FleetServiceClient<CallerChannel>,
    clock: Arc<dyn Clock>,
}

impl VolumeService {
    /// Over this channel.
    pub fn new(channel: CallerChannel, clock: Arc<dyn Clock>) -> Self {
        let fleet = FleetServiceClient::new(channel.clone());
        Self { client: MigrationServiceClient::new(channel), fleet, clock }
    }
}

#[async_trait]
impl Migrations for VolumeService {
    async fn plan(&self, spec: &Spec) -> Result<Plan, Error> {
        let request = pb::PlanMigrationRequest { spec: Some(spec_to(spec)) };
        let answer = self.client.clone().plan_migration(request).await.map_err(|s| from_status(&s))?;
        let plan = answer.into_inner().plan.ok_or_else(|| unreadable("plan"))?;
        Ok(Plan {
            usage_bytes: plan.usage.map(|u| u.engine_bytes),
            zone: plan.availability_zone,
            read_age_ms: plan.read_age_ms,
            expected: Expected {
                write_block_ms: plan.expected_write_block_ms,
                offline_ms: plan.expected_offline_ms,
                total_ms: plan.expected_total_ms,
            },
            violations: violations(&plan.violations),
            not_checked: plan.not_checked.iter().map(convert::not_checked_from_proto).collect(),
        })
    }

    async fn start(&self, start: &Start) -> Result<(), Error> {
        let request = pb::StartMigrationRequest {
            migration_id: start.id.to_string(),
            spec: Some(spec_to(&start.spec)),
            requested_by: start.requested_by.to_string(),
            request_fingerprint: start.fingerprint.clone(),
        };
        self.client.clone().start_migration(request).await.map(|_| ()).map_err(|s| from_status(&s))
    }

    async fn get(&self, id: &ChangeId) -> Result<View, Error> {
        let request = pb::GetMigrationRequest { migration_id: id.to_string() };
        let answer = self.client.clone().get_migration(request).await.map_err(|s| from_status(&s))?;
        view(answer.into_inner().migration.ok_or_else(|| unreadable("migration"))?)
    }

    async fn live(&self) -> Result<Vec<View>, Error> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                pb::ListMigrationsRequest { live_only: true, page_size: PAGE, page_token, ..Default::default() };
            let answer = self.client.clone().list_migrations(request).await.map_err(|s| from_status(&s))?;
            let page = answer.into_inner();
            for migration in page.migrations {
                all.push(view(migration)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn watch(&self, follows: Vec<Follow>) -> Result<BoxStream<'static, Result<Message, Error>>, Error> {
        let position =
            |f: Follow| pb::MigrationPosition { migration_id: f.id.to_string(), cursor: f.cursor.unwrap_or_default() };
        let request = pb::WatchMigrationRequest { positions: follows.into_iter().map(position).collect() };
        let answer = self.client.clone().watch_migration(request).await.map_err(|s| from_status(&s))?;
        let clock = Arc::clone(&self.clock);
        let read = move |item: Result<pb::WatchMigrationResponse, tonic::Status>| {
            item.map_err(|s| from_status(&s)).and_then(|response| message(response, clock.now()))
        };
        Ok(answer.into_inner().map(read).boxed())
    }

    async fn confirm(&self, id: &ChangeId, gate_id: u64, store_epoch: i64) -> Result<(), Error> {
        let request = pb::ConfirmGateRequest {
            migration_id: id.to_string(),
            gate_id: i64::try_from(gate_id).unwrap_or(i64::MAX),
            store_epoch,
        };
        self.client.clone().confirm_gate(request).await.map(|_| ()).map_err(|s| from_status(&s))
    }

    async fn rooms(&self) -> Result<BTreeMap<TierName, Room>, Error> {
        let request = pb::GetCapacityRequest::default();
        let answer = self.fleet.clone().get_capacity(request).await.map_err(|s| from_status(&s))?;
        let mut rooms = BTreeMap::new();
        for capacity in answer.into_inner().capacities {
            let room = match capacity.room() {
                pb::Room::Idle | pb::Room::Launch => Room::Available,
                pb::Room::None => Room::Full,
                // What a newer server says is not guessed.
                pb::Room::Unknown | pb::Room::Unspecified => Room::Unknown,
            };
            let tier = TierName::parse(capacity.tier).map_err(|_| unreadable("capacities.tier"))?;
            let best = rooms.entry(tier).or_insert(room);
            *best = room.max(*best);
        }
        Ok(rooms)
    }

    async fn cancel(&self, id: &ChangeId, requested_by: &str, note: &str) -> Result<Canceled, Error> {
        let request = pb::CancelMigrationRequest {
            migration_id: id.to_string(),
            requested_by: requested_by.to_owned(),
            note: note.to_owned(),
        };
        let answer = self.client.clone().cancel_migration(request).await.map_err(|s| from_status(&s))?;
        match answer.into_inner().outcome() {
            pb::CancelOutcome::TurningBack | pb::CancelOutcome::RolledBack => Ok(Canceled::TurningBack),
            pb::CancelOutcome::Tombstone => Ok(Canceled::Tombstone),
            pb::CancelOutcome::Unspecified => Err(unreadable("outcome")),
        }
    }
}

/// Who calls volume-svc: this service.
#[expect(clippy::expect_used, reason = "a fixed name that is well formed; a test parses it")]
pub fn caller() -> tiershift_common::caller::Caller {
    tiershift_common::caller::Caller::service(UserId::parse("subscription-svc").expect("well formed"))
}

/// An answer that this build cannot read. The outcome of the call stays open.
fn unreadable(field: &str) -> Error {
    Error::new(Kind::Internal, Reason::Internal, format!("volume-svc's answer cannot be read: {field}"))
}

fn spec_to(spec: &Spec) -> pb::MigrationSpec {
    pb::MigrationSpec {
        graph_id: spec.graph.to_string(),
        source_tier: spec.source_tier.to_string(),
        target_tier: spec.target_tier.to_string(),
        target_instance_type: spec.target_instance_type.clone(),
        // Limits are compared here, with the tier's own numbers.
        storage_limit_bytes: 0,
        max_write_block_ms: spec.max_write_block_ms,
    }
}

fn violations(all: &[common::Violation]) -> Vec<Violation> {
    all.iter().map(convert::violation_from_proto).collect()
}

fn reason(value: i32) -> Reason {
    convert::reason_from_proto(value).unwrap_or(Reason::WrongState)
}

fn view(migration: pb::Migration) -> Result<View, Error> {
    use pb::MigrationStage as S;
    let status = match migration.status() {
        pb::MigrationStatus::Running => Status::Running,
        pb::MigrationStatus::Stuck => Status::Stuck,
        pb::MigrationStatus::Succeeded | pb::MigrationStatus::RolledBack | pb::MigrationStatus::HandedOver => {
            Status::Serves
        }
        pb::MigrationStatus::Tombstone => Status::Tombstone,
        pb::MigrationStatus::Unspecified => return Err(unreadable("status")),
    };
    let position = match migration.stage() {
        S::Preflight | S::SafetySnapshot | S::Capacity => Position::BeforeGate,
        S::Gate => Position::AtGate,
        S::DrainWrites | S::DrainReads | S::Release | S::FinalSnapshot => Position::PastGate,
        S::Detach | S::Attach | S::Adopt | S::Commit | S::Open | S::Settle => Position::PastDetach,
        S::Unspecified if status == Status::Tombstone => Position::BeforeGate,
        S::Unspecified => return Err(unreadable("stage")),
    };
    let direction = match migration.direction() {
        common::Direction::Undo => Direction::Undo,
        common::Direction::Settle => Direction::Settle,
        common::Direction::Forward => Direction::Forward,
        common::Direction::Unspecified if status == Status::Tombstone => Direction::Forward,
        common::Direction::Unspecified => return Err(unreadable("direction")),
    };
    Ok(View {
        id: ChangeId::parse(migration.migration_id).map_err(|_| unreadable("migration_id"))?,
        position,
        status,
        direction,
        gate_id: u64::try_from(migration.gate_id).map_err(|_| unreadable("gate_id"))?,
        gate_remaining_ms: migration.gate_remaining_ms,
        committed: migration.committed_unix_ms > 0,
    })
}

fn message(response: pb::WatchMigrationResponse, now: UnixMs) -> Result<Message, Error> {
    use pb::watch_migration_response::Payload;
    match response.payload.ok_or_else(|| unreadable("payload"))? {
        Payload::Heartbeat(_) => Ok(Message::Heartbeat),
        Payload::End(_) if response.migration_id.is_empty() => Ok(Message::ComeBack),
        Payload::End(_) => {
            let id = ChangeId::parse(response.migration_id).map_err(|_| unreadable("migration_id"))?;
            Ok(Message::Ended(id))
        }
        Payload::Event(event) => {
            let public = event.event.as_ref().ok_or_else(|| unreadable("event"))?;
            let public = convert::event_from_proto("event", public).map_err(|_| unreadable("event"))?;
            let fact = event.fact.map_or(Ok(Fact::Progress), |fact| fact_from(fact, now))?;
            Ok(Message::Event { cursor: response.cursor, event: Box::new(MigrationEvent { event: public, fact }) })
        }
    }
}

fn fact_from(fact: pb::migration_event::Fact, now: UnixMs) -> Result<Fact, Error> {
    use pb::migration_event::Fact as F;
    Ok(match fact {
        F::GateRequested(gate) => Fact::GateRequested {
            gate_id: u64::try_from(gate.gate_id).map_err(|_| unreadable("gate_id"))?,
            usage_bytes: gate.usage.map(|u| u.engine_bytes),
            store_epoch: gate.store_epoch,
        },
        F::GateConfirmed(_) => Fact::GateConfirmed,
        F::Offline(_) => Fact::Offline,
        F::Committed(c) => Fact::Committed(endpoint(&c.instance_id, &c.private_ip, &c.availability_zone, now)),
        F::Opened(o) => Fact::Opened {
            endpoint: endpoint(&o.instance_id, &o.private_ip, &o.availability_zone, now),
            offline_ms: o.offline_ms,
        },
        F::TurnedBack(t) => Fact::TurnedBack { reason: reason(t.reason), violations: violations(&t.violations) },
        F::RolledBack(r) => Fact::RolledBack {
            reason: reason(r.reason),
            violations: violations(&r.violations),
            endpoint: (!r.instance_id.is_empty()).then(|| endpoint(&r.instance_id, &r.private_ip, "", now)),
            offline_ms: r.offline_ms,
        },
        F::HandedOver(h) => Fact::HandedOver {
            side: match h.side() {
                pb::MigrationSide::Source => Side::Source,
                pb::MigrationSide::Target => Side::Target,
                pb::MigrationSide::Unspecified => return Err(unreadable("side")),
            },
            endpoint: endpoint(&h.instance_id, &h.private_ip, &h.availability_zone, now),
        },
        F::Stuck(s) => Fact::Stuck { reason: reason(s.reason) },
        F::Resumed(_) => Fact::Resumed,
        F::Settled(_) => Fact::Settled,
    })
}
