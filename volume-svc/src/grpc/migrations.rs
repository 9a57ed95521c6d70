//! `MigrationService`.

use super::{authorise, convert, operator};
use crate::grpc::watch;
use crate::migrations::{Canceled, Migrations};
use crate::ports::store::PageKey;
use std::pin::Pin;
use tiershift_common::fields::FieldsExt;
use tiershift_common::page::Scope;
use tiershift_core::error::Fields;
use tiershift_core::ids::{ChangeId, GraphId, RequestId};
use tiershift_core::{Error, UnixMs};
use tiershift_proto::volume::v1 as pb;
use tiershift_proto::volume::v1::migration_service_server::MigrationService;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use volume_core::fact::{Resume, Side};

/// The handlers.
#[derive(Clone, Debug)]
pub struct MigrationHandlers {
    /// The use cases.
    pub migrations: Migrations,
    /// Ends the watches when the server goes.
    pub stop: CancellationToken,
}

impl MigrationHandlers {
    fn now(&self) -> UnixMs {
        self.migrations.clock.now()
    }
}

fn fault(error: Error) -> Status {
    tiershift_common::status::Fault::from(error).into()
}

fn id_of(text: String) -> Result<ChangeId, Status> {
    let mut fields = Fields::new();
    let id = fields.id("migration_id", ChangeId::parse(text));
    finish(fields, id)
}

/// Every fault at once, or the values that were all found good.
pub(super) fn finish<T>(fields: Fields, values: Option<T>) -> Result<T, Status> {
    fields.finish().map_err(fault)?;
    values.ok_or_else(|| {
        tiershift_common::status::Fault::internal("a field was refused without being noted as a fault").into()
    })
}

#[tonic::async_trait]
impl MigrationService for MigrationHandlers {
    async fn plan_migration(
        &self,
        request: Request<pb::PlanMigrationRequest>,
    ) -> Result<Response<pb::PlanMigrationResponse>, Status> {
        authorise(&request)?;
        let mut fields = Fields::new();
        let wish = convert::wish(&mut fields, request.into_inner().spec);
        let wish = finish(fields, wish)?;
        let plan = self.migrations.plan(&wish, None).await?;
        Ok(Response::new(pb::PlanMigrationResponse { plan: Some(convert::plan(wish.graph.as_str(), &plan)) }))
    }

    async fn start_migration(
        &self,
        request: Request<pb::StartMigrationRequest>,
    ) -> Result<Response<pb::StartMigrationResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("migration_id", ChangeId::parse(request.migration_id));
        let wish = convert::wish(&mut fields, request.spec);
        let by = fields.text("requested_by", &request.requested_by, 1..=120);
        let print = request.request_fingerprint;
        let hex = print.len() == 64 && print.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            fields.fault("request_fingerprint", "must be 64 lower-case hex digits");
        }
        let values = (|| Some((id?, wish?, by?)))();
        let (id, wish, by) = finish(fields, values)?;
        let (head, plan) = self.migrations.start(&id, &wish, &by, &print).await?;
        Ok(Response::new(pb::StartMigrationResponse {
            migration: Some(convert::migration(&head, self.now())),
            plan: plan.map(|p| convert::plan(wish.graph.as_str(), &p)),
        }))
    }

    async fn get_migration(
        &self,
        request: Request<pb::GetMigrationRequest>,
    ) -> Result<Response<pb::GetMigrationResponse>, Status> {
        authorise(&request)?;
        let id = id_of(request.into_inner().migration_id)?;
        let head = self.migrations.get(&id).await?;
        Ok(Response::new(pb::GetMigrationResponse { migration: Some(convert::migration(&head, self.now())) }))
    }

    async fn list_migrations(
        &self,
        request: Request<pb::ListMigrationsRequest>,
    ) -> Result<Response<pb::ListMigrationsResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
        let size = fields.page_size("page_size", request.page_size);
        let status = if request.status == 0 { Some(None) } else { fields.choice("status", request.status).map(Some) };
        if !request.live_only && request.graph_id.is_empty() {
            fields.fault("live_only", "must be true unless graph_id is given: nothing else has an index");
        }
        let filters = (request.live_only, request.status, &request.graph_id);
        let scope = Scope::pages("ListMigrations", &filters);
        let values = (|| Some((graph?, size?, status?)))();
        let (graph, size, status): (Option<GraphId>, u32, Option<pb::MigrationStatus>) = finish(fields, values)?;
        let size = usize::try_from(size).unwrap_or(50);
        let wanted = |head: &crate::journal::Head| {
            status.is_none_or(|s| convert::status(head.view.status) == s)
                && graph.as_ref().is_none_or(|g| head.spec.as_ref().is_some_and(|s| s.graph == *g))
                && (!request.live_only || head.done_at.is_none())
        };
        let (heads, next) = match &graph {
            Some(graph) if !request.live_only => {
                let page: Option<PageKey> = scope.position(&request.page_token).map_err(fault)?;
                let (heads, next) = self.migrations.of_graph(graph, page, size).await?;
                (heads.into_iter().filter(wanted).collect::<Vec<_>>(), next.map(|key| scope.token(&key)))
            }
            _ => {
                // Live ones are few (permits, one per graph): they are read whole, and a page begins behind an id.
                let after: Option<(i64, String)> = scope.position(&request.page_token).map_err(fault)?;
                let heads = self.migrations.live().await?;
                let mut rest = heads.into_iter().filter(wanted).filter(|h| {
                    after.as_ref().is_none_or(|(at, id)| (h.created_at.0, h.id.as_str()) < (*at, id.as_str()))
                });
                let page: Vec<_> = rest.by_ref().take(size).collect();
                let more = rest.next().is_some();
                let last = page.last().filter(|_| more).map(|h| scope.token(&(h.created_at.0, h.id.as_str())));
                (page, last)
            }
        };
        Ok(Response::new(pb::ListMigrationsResponse {
            migrations: heads.iter().map(|h| convert::migration(h, self.now())).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type WatchMigrationStream = Pin<Box<dyn Stream<Item = Result<pb::WatchMigrationResponse, Status>> + Send>>;

    async fn watch_migration(
        &self,
        request: Request<pb::WatchMigrationRequest>,
    ) -> Result<Response<Self::WatchMigrationStream>, Status> {
        authorise(&request)?;
        let positions = watch::positions(&self.migrations, request.into_inner()).await?;
        let stream = watch::follow(self.migrations.clone(), positions, self.stop.clone());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn confirm_gate(
        &self,
        request: Request<pb::ConfirmGateRequest>,
    ) -> Result<Response<pb::ConfirmGateResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("migration_id", ChangeId::parse(request.migration_id));
        let gate = fields.range("gate_id", request.gate_id, 1..=i64::MAX);
        let epoch = fields.range("store_epoch", request.store_epoch, 1..=i64::MAX);
        let values = (|| Some((id?, u64::try_from(gate?).ok()?, epoch?)))();
        let (id, gate, epoch) = finish(fields, values)?;
        let head = self.migrations.confirm_gate(&id, gate, epoch).await?;
        Ok(Response::new(pb::ConfirmGateResponse { migration: Some(convert::migration(&head, self.now())) }))
    }

    async fn cancel_migration(
        &self,
        request: Request<pb::CancelMigrationRequest>,
    ) -> Result<Response<pb::CancelMigrationResponse>, Status> {
        authorise(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("migration_id", ChangeId::parse(request.migration_id));
        let by = fields.text("requested_by", &request.requested_by, 1..=120);
        fields.text("note", &request.note, 0..=1_000);
        let values = (|| Some((id?, by?)))();
        let (id, by) = finish(fields, values)?;
        let (canceled, head) = self.migrations.cancel(&id, &by).await?;
        let outcome = match canceled {
            Canceled::TurningBack => pb::CancelOutcome::TurningBack,
            Canceled::Tombstone => pb::CancelOutcome::Tombstone,
            Canceled::RolledBack => pb::CancelOutcome::RolledBack,
        };
        Ok(Response::new(pb::CancelMigrationResponse {
            outcome: outcome.into(),
            migration: Some(convert::migration(&head, self.now())),
        }))
    }

    async fn resume_migration(
        &self,
        request: Request<pb::ResumeMigrationRequest>,
    ) -> Result<Response<pb::ResumeMigrationResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("migration_id", ChangeId::parse(request.migration_id));
        fields.id("request_id", RequestId::parse(request.request_id));
        let action: Option<pb::ResumeAction> = fields.choice("action", request.action);
        let by = fields.text("operator", &request.operator, 1..=120);
        let note = fields.text("note", &request.note, 1..=1_000);
        let hand_over = action == Some(pb::ResumeAction::HandOver);
        let side = if hand_over { fields.choice("side", request.side).map(Some) } else { Some(None) };
        let values = (|| Some((id?, action?, by?, note?, side?)))();
        let (id, action, by, note, side): (_, _, _, _, Option<pb::MigrationSide>) = finish(fields, values)?;
        let head = match (action, side) {
            (pb::ResumeAction::HandOver, Some(pb::MigrationSide::Target)) => {
                self.migrations.hand_over(&id, Side::Target, &by, &note).await?
            }
            (pb::ResumeAction::HandOver, _) => self.migrations.hand_over(&id, Side::Source, &by, &note).await?,
            (pb::ResumeAction::GoForward, _) => self.migrations.resume(&id, Resume::GoForward, &by, &note).await?,
            _ => self.migrations.resume(&id, Resume::Retry, &by, &note).await?,
        };
        Ok(Response::new(pb::ResumeMigrationResponse { migration: Some(convert::migration(&head, self.now())) }))
    }
}
