//! The three calls that move a volume (snapshot, detach, attach), by whoever makes them: this service itself, or the
//! volume manager function of a fleet whose EC2 calls must stay in one place. Everything else, and every read, is EC2's
//! own port. Implementations: `adapters/direct.rs` and `adapters/aws/lambda.rs`.
//!
//! The errors are EC2's, whoever made the call: no answer is `Class::Unknown`, and then the effect may have happened or
//! may happen yet. Nobody here repeats anything.

use super::cloud::{ApiError, SnapshotRequest};
use async_trait::async_trait;
use std::fmt::Debug;
use tiershift_core::UnixMs;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId};
use volume_core::plan::FunctionFacts;

/// Which call this is, for whoever can tell a repetition from a new one, or a late one from one in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The intent's token: the same however often the intent is sent.
    pub id: String,
    /// The effect must not begin later than this, by the clock.
    pub not_after: UnixMs,
}

/// Snapshot, detach and attach.
#[async_trait]
pub trait VolumeOps: Debug + Send + Sync {
    /// CreateSnapshot, tagged in the same call (rule 18). Pending when this returns.
    async fn snapshot(&self, operation: &Operation, request: &SnapshotRequest) -> Result<SnapshotId, ApiError>;

    /// AttachVolume. Attaching when this returns.
    async fn attach(
        &self,
        operation: &Operation,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ApiError>;

    /// DetachVolume by volume, instance and device, never by force (rule 21). Detaching when this returns.
    async fn detach(
        &self,
        operation: &Operation,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ApiError>;

    /// The function that makes the calls and what it lacks of the contract (H17); none if there is no function.
    async fn function(&self) -> Result<Option<FunctionFacts>, ApiError>;
}
