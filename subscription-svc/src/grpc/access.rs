//! AccessService: CheckAccess. Batches, provisioning and the replica protocol are not built yet.

use super::graph::all;
use super::{Api, not_built, refused};
use crate::store::rows::Revision;
use futures_util::stream::BoxStream;
use subscription_core::access::Mode;
use tiershift_common::caller::Caller;
use tiershift_common::convert::reason_to_proto;
use tiershift_common::fields::FieldsExt as _;
use tiershift_core::error::Fields;
use tiershift_core::ids::AnyGraphId;
use tiershift_proto::common::v1 as common;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::access_service_server::AccessService;
use tonic::{Request, Response, Status};

/// Longest hints, as the contract has them, in milliseconds.
const RETRY_MAX_MS: i64 = 600_000;
const KEEP_MAX_MS: i64 = 3_600_000;

#[tonic::async_trait]
impl AccessService for Api {
    async fn check_access(
        &self,
        request: Request<pb::CheckAccessRequest>,
    ) -> Result<Response<pb::CheckAccessResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("graph_id", AnyGraphId::parse(request.graph_id));
        let mode = fields.choice::<pb::AccessMode>("mode", request.mode);
        let min = match request.min_revision {
            None => Some(None),
            Some(given) => match u64::try_from(given.version) {
                Ok(version) if version > 0 => Some(Some(Revision { version, nonce: given.nonce })),
                _ => {
                    fields.fault("min_revision.version", "must be 1 or more");
                    None
                }
            },
        };
        let ((id, mode), min) = all(fields, id.zip(mode).zip(min)).map_err(refused)?;
        let mode = if mode == pb::AccessMode::Write { Mode::Write } else { Mode::Read };
        let answer = self.service.replica.check(&caller, &id, mode, min, self.service.now()).map_err(refused)?;
        let decision = &answer.decision;
        let real_ms =
            |ms: i64, most: i64| i64::try_from(self.service.clock.real(ms).as_millis()).map_or(most, |ms| ms.min(most));
        let revision = pb::AccessRevision {
            version: i64::try_from(answer.revision.version).unwrap_or(i64::MAX),
            nonce: answer.revision.nonce,
        };
        let decision = pb::AccessDecision {
            allowed: decision.allowed,
            reason: decision.reason.map_or(common::ErrorReason::Unspecified, reason_to_proto).into(),
            retry_after_ms: decision.retry_after_ms.map_or(0, |ms| real_ms(ms, RETRY_MAX_MS).max(1)),
            valid_for_ms: real_ms(answer.keep_ms, KEEP_MAX_MS),
            revision: (answer.revision.version > 0).then_some(revision),
            stale: answer.stale,
        };
        Ok(Response::new(pb::CheckAccessResponse { decision: Some(decision) }))
    }

    async fn batch_check_access(
        &self,
        _: Request<pb::BatchCheckAccessRequest>,
    ) -> Result<Response<pb::BatchCheckAccessResponse>, Status> {
        Err(not_built("BatchCheckAccess"))
    }

    async fn check_provisioning(
        &self,
        _: Request<pb::CheckProvisioningRequest>,
    ) -> Result<Response<pb::CheckProvisioningResponse>, Status> {
        Err(not_built("CheckProvisioning"))
    }

    type WatchAccessStream = BoxStream<'static, Result<pb::WatchAccessResponse, Status>>;

    async fn watch_access(
        &self,
        _: Request<pb::WatchAccessRequest>,
    ) -> Result<Response<Self::WatchAccessStream>, Status> {
        Err(not_built("WatchAccess"))
    }

    async fn renew_access_lease(
        &self,
        _: Request<pb::RenewAccessLeaseRequest>,
    ) -> Result<Response<pb::RenewAccessLeaseResponse>, Status> {
        Err(not_built("RenewAccessLease"))
    }
}
