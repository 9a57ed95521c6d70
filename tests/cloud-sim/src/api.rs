//! Every call that the model understands and every answer that it gives: plain values, no wire format.
//!
//! The wire face turns requests into a [`Call`] and an [`Answer`] into XML or JSON; the in-process face hands them over as
//! they are. One [`Call`] variant per API action; the variants carry the structs of the submodules. [`Request`] ties a
//! request struct to its answer type, so that a caller in the same process needs no match.
//! What the calls mean is in `sim.rs` and the modules that it names.
//!
//! All times are simulated Unix milliseconds (`*_ms`), as given to [`crate::Sim::call`].

use serde::{Deserialize, Serialize};

pub mod agent;
pub mod autoscaling;
pub mod control;
pub mod ec2;
pub mod engine;
pub mod lambda;
pub mod sns;

/// A refusal, as the API states it. Decide by `code`, never by `message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The API's own code, e.g. `InvalidVolume.NotFound` (AWS) or `FENCED` (agent).
    pub code: String,
    /// For people. Wording follows AWS where it is known.
    pub message: String,
    /// HTTP status that goes with the code on the wire.
    pub http_status: u16,
}

impl ApiError {
    /// A refusal with its HTTP status.
    pub fn new(code: &str, message: impl Into<String>, http_status: u16) -> Self {
        Self { code: code.to_owned(), message: message.into(), http_status }
    }

    /// A refusal that is the caller's fault: HTTP 400, as EC2 and Auto Scaling answer nearly everything.
    pub fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(code, message, 400)
    }
}

/// Why the caller gets no answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The request was lost: nothing happened. The caller sees a broken connection or a time-out.
    Before,
    /// The effect happened, the answer was lost. The caller sees the same as with `Before`.
    After,
    /// Nobody listens at that address (agent of a dead, terminated or still booting instance): connection refused.
    Refused,
}

/// What the model says to one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The answer. With `lost` set it must not reach the caller; it is filled for logs and tests.
    pub answer: Result<Answer, ApiError>,
    /// From the call to its effect. Progress that the call starts (attaching, booting) counts from there. At most `latency_ms`.
    pub effect_ms: u64,
    /// From the call to the answer. The face waits this long (in simulated time) before it answers.
    pub latency_ms: u64,
    /// Set when no answer may reach the caller. The face closes the connection after `latency_ms`.
    pub lost: Option<Lost>,
}

/// A reply whose answer has the type that belongs to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed<T> {
    /// As in [`Reply::answer`].
    pub answer: Result<T, ApiError>,
    /// As in [`Reply::effect_ms`].
    pub effect_ms: u64,
    /// As in [`Reply::latency_ms`].
    pub latency_ms: u64,
    /// As in [`Reply::lost`].
    pub lost: Option<Lost>,
}

/// A request struct and the type of its answer.
pub trait Request: Clone {
    /// What the call answers when it is accepted.
    type Answer;
    /// The call that carries this request.
    fn into_call(self) -> Call;
    /// The typed answer, or `None` when `answer` belongs to another call.
    fn from_answer(answer: Answer) -> Option<Self::Answer>;
}

/// An accepted call that has nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Done {}

/// Which API an action belongs to; groups the ledger and the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// EC2 and EBS.
    Ec2,
    /// EC2 Auto Scaling.
    Autoscaling,
    /// Lambda.
    Lambda,
    /// SNS.
    Sns,
    /// The HTTP agent on an instance.
    Agent,
    /// Clients of the graph engine.
    Engine,
    /// The simulator's own switches and reports: no latency, never lost, not in the ledger.
    Control,
}

macro_rules! calls {
    ($( $service:ident { $( $(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty, )* } )*) => {
        /// One call, of any API.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "action", content = "request")]
        pub enum Call { $( $( $(#[$doc])* $name($request), )* )* }

        /// The answer to the call of the same name.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "action", content = "answer")]
        pub enum Answer { $( $( $(#[$doc])* $name($answer), )* )* }

        impl Call {
            /// The action's name, spelled as its API spells it. Faults and the ledger name calls by it.
            pub fn action(&self) -> &'static str {
                match self { $( $( Self::$name(_) => stringify!($name), )* )* }
            }

            /// The API that the call belongs to.
            pub fn service(&self) -> Service {
                match self { $( $( Self::$name(_) => Service::$service, )* )* }
            }

            /// Every action with its API, in the order of this file.
            pub fn actions() -> &'static [(Service, &'static str)] {
                &[ $( $( (Service::$service, stringify!($name)), )* )* ]
            }
        }

        $( $(
            impl Request for $request {
                type Answer = $answer;
                fn into_call(self) -> Call { Call::$name(self) }
                fn from_answer(answer: Answer) -> Option<$answer> {
                    match answer { Answer::$name(answer) => Some(answer), _ => None }
                }
            }
        )* )*
    };
}

calls! {
    Ec2 {
        /// Makes an empty volume, or one with a snapshot's bytes. Idempotent by client token.
        CreateVolume(ec2::CreateVolume) -> ec2::Volume,
        /// Deletes a volume that is attached nowhere.
        DeleteVolume(ec2::DeleteVolume) -> Done,
        /// Grows a volume.
        ModifyVolume(ec2::ModifyVolume) -> ec2::VolumeModification,
        /// Volumes by id or by filter. May lag and, when enabled, go back in time.
        DescribeVolumes(ec2::DescribeVolumes) -> ec2::Volumes,
        /// Running and past modifications.
        DescribeVolumesModifications(ec2::DescribeVolumesModifications) -> ec2::VolumesModifications,
        /// Attaches a volume; progresses to `attached` by itself. Not idempotent.
        AttachVolume(ec2::AttachVolume) -> ec2::Attachment,
        /// Detaches a volume; progresses by itself unless it is mounted. Not idempotent.
        DetachVolume(ec2::DetachVolume) -> ec2::Attachment,
        /// Starts a snapshot of the device's bytes as they are at this call. Not idempotent.
        CreateSnapshot(ec2::CreateSnapshot) -> ec2::Snapshot,
        /// Deletes a snapshot.
        DeleteSnapshot(ec2::DeleteSnapshot) -> Done,
        /// Snapshots by id or by filter.
        DescribeSnapshots(ec2::DescribeSnapshots) -> ec2::Snapshots,
        /// Sets tags on volumes, snapshots and instances.
        CreateTags(ec2::CreateTags) -> Done,
        /// Instances by id or by filter, with their block devices.
        DescribeInstances(ec2::DescribeInstances) -> ec2::Instances,
        /// Status checks.
        DescribeInstanceStatus(ec2::DescribeInstanceStatus) -> ec2::InstanceStatuses,
        /// Sets DeleteOnTermination of block devices.
        ModifyInstanceAttribute(ec2::ModifyInstanceAttribute) -> Done,
        /// Terminates instances. A group replaces a member that it loses this way.
        TerminateInstances(ec2::TerminateInstances) -> ec2::TerminatedInstances,
        /// Which instance types a zone offers.
        DescribeInstanceTypeOfferings(ec2::DescribeInstanceTypeOfferings) -> ec2::InstanceTypeOfferings,
        /// Subnets.
        DescribeSubnets(ec2::DescribeSubnets) -> ec2::Subnets,
    }
    Autoscaling {
        /// Groups with their members.
        DescribeAutoScalingGroups(autoscaling::DescribeAutoScalingGroups) -> autoscaling::AutoScalingGroups,
        /// Members by instance id.
        DescribeAutoScalingInstances(autoscaling::DescribeAutoScalingInstances) -> autoscaling::AutoScalingInstances,
        /// Activities, newest first.
        DescribeScalingActivities(autoscaling::DescribeScalingActivities) -> autoscaling::ScalingActivities,
        /// Instance refreshes, newest first.
        DescribeInstanceRefreshes(autoscaling::DescribeInstanceRefreshes) -> autoscaling::InstanceRefreshes,
        /// Launches instances into one zone at once. Idempotent by client token.
        LaunchInstances(autoscaling::LaunchInstances) -> autoscaling::LaunchedInstances,
        /// Sets scale-in protection of members that are in service.
        SetInstanceProtection(autoscaling::SetInstanceProtection) -> Done,
        /// Terminates exactly one member.
        TerminateInstanceInAutoScalingGroup(autoscaling::TerminateInstanceInAutoScalingGroup) -> autoscaling::TerminationActivity,
    }
    Lambda {
        /// Runs a function and waits for its end. Not idempotent.
        Invoke(lambda::Invoke) -> lambda::Invoked,
    }
    Sns {
        /// Publishes a message to a topic. Not idempotent.
        Publish(sns::Publish) -> sns::Published,
    }
    Agent {
        /// `GET /health`; needs no key.
        AgentHealth(agent::AgentHealth) -> agent::Health,
        /// `GET /admin/info`.
        AgentInfo(agent::AgentInfo) -> agent::Info,
        /// `GET /admin/volume`.
        AgentVolume(agent::AgentVolume) -> agent::VolumeStatus,
        /// `GET /admin/connections`.
        AgentConnections(agent::AgentConnections) -> agent::Connections,
        /// `GET /admin/usage`.
        AgentUsage(agent::AgentUsage) -> agent::Usage,
        /// `GET /admin/probe/{graph_id}`; passes a shut door.
        AgentProbe(agent::AgentProbe) -> agent::Probe,
        /// `POST /admin/drain`; answers 200.
        AgentDrain(agent::AgentDrain) -> agent::VolumeStatus,
        /// `POST /admin/resume`; answers 200.
        AgentResume(agent::AgentResume) -> agent::VolumeStatus,
        /// `POST /admin/volume/release`; answers 202, progress is read with `AgentVolume`.
        AgentRelease(agent::AgentRelease) -> agent::VolumeStatus,
        /// `POST /admin/volume/adopt`; answers 202, progress is read with `AgentVolume`.
        AgentAdopt(agent::AgentAdopt) -> agent::VolumeStatus,
    }
    Engine {
        /// A client's write. An answer is an acknowledgement: it must never be lost.
        EngineWrite(engine::EngineWrite) -> Done,
        /// A client's read of one earlier write.
        EngineRead(engine::EngineRead) -> engine::ReadResult,
    }
    Control {
        /// Switches a fault on (again: replaces its count).
        SetFault(control::SetFault) -> Done,
        /// Switches a fault off.
        ClearFault(control::ClearFault) -> Done,
        /// Switches faults off by name, or all.
        ClearFaults(control::ClearFaults) -> control::Faults,
        /// Faults that are on.
        ListFaults(control::ListFaults) -> control::Faults,
        /// API calls made so far.
        ReadLedger(control::ReadLedger) -> control::LedgerPage,
        /// What the engines did: opens, doors, acknowledged writes, losses.
        ReadEngineLog(control::ReadEngineLog) -> control::EngineLogPage,
        /// Compares what was acknowledged with what can be read now.
        AuditWrites(control::AuditWrites) -> control::WriteAudit,
        /// Sets a graph's background load.
        SetLoad(control::SetLoad) -> Done,
        /// Cuts an instance's power for a moment; it boots again by itself.
        RebootInstance(control::RebootInstance) -> Done,
        /// What was published to topics.
        ReadPublished(sns::ReadPublished) -> sns::Messages,
        /// Changes a group behind everybody's back.
        EditGroup(control::EditGroup) -> Done,
    }
}
