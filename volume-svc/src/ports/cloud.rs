//! The EC2 and Auto Scaling calls in use, one method each, in our own small types.
//!
//! No SDK type is named here, so that virtual-time simulation does not compile the SDK. Nothing here decides:
//! retries, agreement of two reads (rule 12) and what an error means for a migration are the caller's. The
//! implementations are `adapters/aws/` (the SDK) and cloud-sim (in process).

mod autoscaling;
pub mod codes;
mod ec2;
mod error;
pub mod last_look;
mod open_enum;
pub mod traffic;

pub use autoscaling::{
    Activity, ActivityStatus, AutoScalingApi, Group, HealthCheck, LaunchFault, LaunchOutcome, LaunchRequest, Lifecycle,
    Member, Process, Refresh, RefreshStatus,
};
pub use ec2::{
    Attachment, AttachmentState, BlockDevice, Check, CreateVolume, Ec2Api, FILTER_VALUES_MAX, Instance, InstanceState,
    InstanceStatus, ModificationState, Snapshot, SnapshotFilter, SnapshotRequest, SnapshotState, Subnet, Tags, Volume,
    VolumeFilter, VolumeModification, VolumeState,
};
pub use error::{ApiError, Class, Thing};
pub(crate) use open_enum::open_enum;
