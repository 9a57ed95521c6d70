//! Snapshot, detach and attach by EC2 itself. EC2 knows no operation ids: what makes a repeated or late call harmless
//! are the device that is used once (F1) and the tag of the snapshot (rule 18).

use crate::ports::cloud::{ApiError, Ec2Api, SnapshotRequest};
use crate::ports::volume_ops::{Operation, VolumeOps};
use async_trait::async_trait;
use std::sync::Arc;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId};
use volume_core::plan::FunctionFacts;

/// EC2's own calls.
#[derive(Clone, Debug)]
pub struct Direct {
    ec2: Arc<dyn Ec2Api>,
}

impl Direct {
    /// Over EC2.
    pub fn over(ec2: Arc<dyn Ec2Api>) -> Self {
        Self { ec2 }
    }
}

#[async_trait]
impl VolumeOps for Direct {
    async fn snapshot(&self, _: &Operation, request: &SnapshotRequest) -> Result<SnapshotId, ApiError> {
        self.ec2.create_snapshot(request).await.map(|snapshot| snapshot.snapshot_id)
    }

    async fn attach(&self, _: &Operation, volume: &VolumeId, to: &InstanceId, device: &str) -> Result<(), ApiError> {
        self.ec2.attach_volume(volume, to, device).await.map(drop)
    }

    async fn detach(&self, _: &Operation, volume: &VolumeId, from: &InstanceId, device: &str) -> Result<(), ApiError> {
        self.ec2.detach_volume(volume, from, device).await.map(drop)
    }

    async fn function(&self) -> Result<Option<FunctionFacts>, ApiError> {
        Ok(None)
    }
}
