//! EC2 and EBS requests and answers: the fields in use, with AWS's names in our spelling.
//!
//! States are AWS's own strings, so that a face copies them and a caller meets strings that it does not know (rule 45).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags of a resource, key to value.
pub type Tags = BTreeMap<String, String>;

/// One `Filter.N`: the resource matches when any value does. `*` and `?` are wildcards. At most 200 values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// E.g. `volume-id`, `attachment.instance-id`, `tag:Name`. An unknown one is `InvalidParameterValue`.
    pub name: String,
    /// Alternatives.
    pub values: Vec<String>,
}

impl Filter {
    /// A filter by name and values.
    pub fn new<V: Into<String>>(name: &str, values: impl IntoIterator<Item = V>) -> Self {
        Self { name: name.to_owned(), values: values.into_iter().map(Into::into).collect() }
    }
}

/// `MaxResults` and `NextToken` of a Describe call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// 5 to 1000. `None` = everything in one page.
    pub max_results: Option<u32>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// Parameters of `CreateVolume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVolume {
    /// Same token and same parameters = the same volume; other parameters = `IdempotentParameterMismatch`. At most 64 characters.
    pub client_token: Option<String>,
    /// Zone name, e.g. `us-east-1a`.
    pub availability_zone: String,
    /// GiB; needed without a snapshot, at least the snapshot's size with one.
    pub size_gib: Option<u32>,
    /// Take the bytes of this completed snapshot.
    pub snapshot_id: Option<String>,
    /// `gp3` and so on; AWS's own default is `gp2`.
    pub volume_type: Option<String>,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// MiB per second.
    pub throughput: Option<u32>,
    /// Encrypt with the account's key.
    pub encrypted: bool,
    /// `TagSpecification` for the volume.
    pub tags: Tags,
}

/// Parameters of `DeleteVolume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVolume {
    /// The volume; it must be `available`.
    pub volume_id: String,
}

/// Parameters of `ModifyVolume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyVolume {
    /// The volume.
    pub volume_id: String,
    /// New size in GiB; never smaller than now.
    pub size_gib: Option<u32>,
    /// New IOPS.
    pub iops: Option<u32>,
    /// New MiB per second.
    pub throughput: Option<u32>,
}

/// Parameters of `DescribeVolumes`. Ids and paging exclude each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeVolumes {
    /// One unknown id fails the whole call. Empty = all that the filters match.
    pub volume_ids: Vec<String>,
    /// All must match; ids that do not exist are simply absent.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of volumes, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// The page.
    pub volumes: Vec<Volume>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A volume as a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `vol-` and 17 hex digits.
    pub volume_id: String,
    /// `creating`, `available`, `in-use`, `deleting`, `error`. `in-use` covers every attachment state.
    pub state: String,
    /// Zone name.
    pub availability_zone: String,
    /// Zone id, the same in every account.
    pub availability_zone_id: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// E.g. `gp3`.
    pub volume_type: String,
    /// IOPS.
    pub iops: u32,
    /// MiB per second.
    pub throughput: u32,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// Snapshot that it was made from, or empty.
    pub snapshot_id: String,
    /// When it was made.
    pub create_time_ms: u64,
    /// At most one, on a volume without multi-attach. None = detached.
    pub attachments: Vec<Attachment>,
    /// Tags.
    pub tags: Tags,
}

/// A volume's tie to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The volume.
    pub volume_id: String,
    /// The instance.
    pub instance_id: String,
    /// Device name as requested, e.g. `/dev/sdf`.
    pub device: String,
    /// `attaching`, `attached`, `detaching`, `busy`.
    pub state: String,
    /// When the attachment was requested.
    pub attach_time_ms: u64,
    /// Whether the volume dies with the instance.
    pub delete_on_termination: bool,
}

/// Parameters of `DescribeVolumesModifications`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeVolumesModifications {
    /// Volumes; one that was never modified is `InvalidVolumeModification.NotFound`.
    pub volume_ids: Vec<String>,
    /// `volume-id`, `modification-state`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of modifications: the newest of each volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesModifications {
    /// The page.
    pub modifications: Vec<VolumeModification>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A volume's modification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeModification {
    /// The volume.
    pub volume_id: String,
    /// `modifying`, `optimizing`, `completed`.
    pub modification_state: String,
    /// Size before, GiB.
    pub original_size_gib: u32,
    /// Size wanted, GiB.
    pub target_size_gib: u32,
    /// 0 to 100.
    pub progress: u32,
    /// When it was requested.
    pub start_time_ms: u64,
    /// When it was done.
    pub end_time_ms: Option<u64>,
}

/// Parameters of `AttachVolume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachVolume {
    /// The volume; it must be attached nowhere.
    pub volume_id: String,
    /// The instance; it must be running, in the volume's zone.
    pub instance_id: String,
    /// `/dev/sd[b-z]` or `/dev/xvd[b-z]`, free on the instance.
    pub device: String,
}

/// Parameters of `DetachVolume`. What is given must agree with the attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachVolume {
    /// The volume.
    pub volume_id: String,
    /// The instance that is believed to hold it.
    pub instance_id: Option<String>,
    /// The device it is believed to be attached as.
    pub device: Option<String>,
    /// Tear it off, mounted or not, without any flush.
    pub force: bool,
}

/// Parameters of `CreateSnapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSnapshot {
    /// The volume, attached or not.
    pub volume_id: String,
    /// Free text.
    pub description: String,
    /// `TagSpecification` for the snapshot, set in the same step.
    pub tags: Tags,
}

/// Parameters of `DeleteSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSnapshot {
    /// The snapshot. A pending one goes when it completes, and counts as pending until then.
    pub snapshot_id: String,
}

/// Parameters of `DescribeSnapshots`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeSnapshots {
    /// One unknown id fails the whole call.
    pub snapshot_ids: Vec<String>,
    /// Only `self` and the account's id exist here; both select everything.
    pub owner_ids: Vec<String>,
    /// `snapshot-id`, `volume-id`, `status`, `volume-size`, `description`, `tag:<key>`, `tag-key`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of snapshots, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// The page.
    pub snapshots: Vec<Snapshot>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A snapshot as a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `snap-` and 17 hex digits.
    pub snapshot_id: String,
    /// The volume that it was taken of; may be gone.
    pub volume_id: String,
    /// `pending`, `completed`, `error`.
    pub state: String,
    /// Why it is in `error`, or empty.
    pub state_message: String,
    /// 0 to 100.
    pub progress: u32,
    /// The instant whose bytes it holds.
    pub start_time_ms: u64,
    /// When it completed.
    pub completion_time_ms: Option<u64>,
    /// Size of the volume, GiB.
    pub volume_size_gib: u32,
    /// Free text.
    pub description: String,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// Tags.
    pub tags: Tags,
}

/// Parameters of `CreateTags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTags {
    /// Volumes, snapshots, instances; an unknown one fails the call and nothing is tagged.
    pub resource_ids: Vec<String>,
    /// Set or replaced.
    pub tags: Tags,
}

/// Parameters of `DescribeInstances`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeInstances {
    /// One unknown id fails the whole call.
    pub instance_ids: Vec<String>,
    /// `instance-id`, `instance-state-name`, `instance-type`, `availability-zone`, `subnet-id`, `private-ip-address`,
    /// `block-device-mapping.volume-id`, `tag:<key>`, `tag-key`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of instances, ordered by id (a reservation each).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instances {
    /// The page.
    pub instances: Vec<Instance>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// An instance as a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-` and 17 hex digits.
    pub instance_id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`.
    pub state: String,
    /// AWS's number of that state: 0, 16, 32, 48.
    pub state_code: u16,
    /// Why it left `running`, or empty.
    pub state_reason_code: String,
    /// E.g. `m7g.large`.
    pub instance_type: String,
    /// Zone name.
    pub availability_zone: String,
    /// Zone id.
    pub availability_zone_id: String,
    /// Subnet.
    pub subnet_id: String,
    /// Empty once terminated.
    pub private_ip: String,
    /// When it was launched.
    pub launch_time_ms: u64,
    /// Device of the root disk.
    pub root_device_name: String,
    /// Root disk and data volumes. Lags differently from `DescribeVolumes`.
    pub block_devices: Vec<BlockDevice>,
    /// Tags; `aws:autoscaling:groupName` names its group.
    pub tags: Tags,
}

/// An entry of an instance's block device map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// Device name.
    pub device_name: String,
    /// The volume.
    pub volume_id: String,
    /// `attaching`, `attached`, `detaching` (never `busy`: only the volume shows that).
    pub status: String,
    /// When the attachment was requested.
    pub attach_time_ms: u64,
    /// Whether the volume dies with the instance.
    pub delete_on_termination: bool,
}

/// Parameters of `DescribeInstanceStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeInstanceStatus {
    /// One unknown id fails the whole call.
    pub instance_ids: Vec<String>,
    /// Also those that are not running.
    pub include_all_instances: bool,
    /// `instance-state-name`, `availability-zone`, `instance-status.status`, `system-status.status`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of status checks, ordered by instance id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatuses {
    /// The page.
    pub statuses: Vec<InstanceStatus>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// Status checks of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The instance.
    pub instance_id: String,
    /// Zone name.
    pub availability_zone: String,
    /// As in [`Instance::state`].
    pub state: String,
    /// As in [`Instance::state_code`].
    pub state_code: u16,
    /// `ok`, `impaired`, `initializing`, `not-applicable`.
    pub instance_status: String,
    /// The host's: same values.
    pub system_status: String,
}

/// Parameters of `ModifyInstanceAttribute`, for block devices only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyInstanceAttribute {
    /// The instance.
    pub instance_id: String,
    /// Devices to change.
    pub block_devices: Vec<BlockDeviceChange>,
}

/// A new DeleteOnTermination for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDeviceChange {
    /// Device name as attached.
    pub device_name: String,
    /// The new value.
    pub delete_on_termination: bool,
}

/// Parameters of `TerminateInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateInstances {
    /// One unknown id fails the whole call. A terminated one is no error.
    pub instance_ids: Vec<String>,
}

/// Answer of `TerminateInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminatedInstances {
    /// One per id.
    pub changes: Vec<InstanceStateChange>,
}

/// An instance's state before and after a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStateChange {
    /// The instance.
    pub instance_id: String,
    /// State before.
    pub previous_state: String,
    /// AWS's number of it.
    pub previous_state_code: u16,
    /// State after.
    pub current_state: String,
    /// AWS's number of it.
    pub current_state_code: u16,
}

/// Parameters of `DescribeInstanceTypeOfferings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeInstanceTypeOfferings {
    /// `availability-zone` or `region`.
    pub location_type: String,
    /// `instance-type`, `location`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of offerings, ordered by location and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceTypeOfferings {
    /// The page.
    pub offerings: Vec<InstanceTypeOffering>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A type that can be asked for in a location; says nothing of capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceTypeOffering {
    /// E.g. `m7g.large`.
    pub instance_type: String,
    /// `availability-zone` or `region`.
    pub location_type: String,
    /// Zone name or Region.
    pub location: String,
}

/// Parameters of `DescribeSubnets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeSubnets {
    /// One unknown id fails the whole call.
    pub subnet_ids: Vec<String>,
    /// `subnet-id`, `availability-zone`, `vpc-id`.
    pub filters: Vec<Filter>,
    /// Pages.
    pub paging: Paging,
}

/// A page of subnets, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    /// The page.
    pub subnets: Vec<Subnet>,
    /// Set when there is more.
    pub next_token: Option<String>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-` and 17 hex digits.
    pub subnet_id: String,
    /// Zone name.
    pub availability_zone: String,
    /// Zone id.
    pub availability_zone_id: String,
    /// VPC.
    pub vpc_id: String,
    /// E.g. `10.0.1.0/24`.
    pub cidr_block: String,
}
