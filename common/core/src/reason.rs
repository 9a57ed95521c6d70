//! The public reasons: why something was refused, as a stable word that programs act on.
//!
//! Each is a value of `tiershift.common.v1.ErrorReason` (proto/), which says when it occurs and what to do; a
//! test in `tiershift-common` compares the two lists.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a request was refused, or a decision is what it is. The text form is part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in ErrorInfo and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The reason with this word.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A field of the request breaks its stated limits; the field faults say which.
    InvalidArgument = "INVALID_ARGUMENT",
    /// No credentials, or none that could be read.
    Unauthenticated = "UNAUTHENTICATED",
    /// The caller is known and may not do this.
    PermissionDenied = "PERMISSION_DENIED",
    /// Only an owner of the subscription's organisation may do this.
    NotOwner = "NOT_OWNER",
    /// Only an operator may do this or set this field.
    OperatorOnly = "OPERATOR_ONLY",
    /// The RPC belongs to the contract and is not built yet.
    NotImplemented = "NOT_IMPLEMENTED",
    /// A fault of ours; the log has the cause.
    Internal = "INTERNAL",
    /// A store or service that is needed does not answer now.
    Unavailable = "UNAVAILABLE",
    /// The caller has asked too often.
    RateLimited = "RATE_LIMITED",
    /// Another request changed the same resource at the same time.
    ConcurrentUpdate = "CONCURRENT_UPDATE",
    /// This replica has not reached the revision that the caller has seen.
    RevisionNotReached = "REVISION_NOT_REACHED",
    /// No such graph, or none that this caller may see.
    GraphNotFound = "GRAPH_NOT_FOUND",
    /// No such subscription, or none that this caller may see.
    SubscriptionNotFound = "SUBSCRIPTION_NOT_FOUND",
    /// No such tier change, or none that this caller may see.
    TierChangeNotFound = "TIER_CHANGE_NOT_FOUND",
    /// No such migration.
    MigrationNotFound = "MIGRATION_NOT_FOUND",
    /// No such volume in the registry.
    VolumeNotFound = "VOLUME_NOT_FOUND",
    /// No such instance in the registry.
    InstanceNotFound = "INSTANCE_NOT_FOUND",
    /// No such snapshot.
    SnapshotNotFound = "SNAPSHOT_NOT_FOUND",
    /// Something with this id exists and differs.
    AlreadyExists = "ALREADY_EXISTS",
    /// A graph or subgraph of this id is registered with other content.
    GraphExists = "GRAPH_EXISTS",
    /// The graph has a live subscription.
    SubscriptionExists = "SUBSCRIPTION_EXISTS",
    /// A volume of this id is registered with other content.
    VolumeExists = "VOLUME_EXISTS",
    /// An instance of this id is registered with other content.
    InstanceExists = "INSTANCE_EXISTS",
    /// The request id was used for another request.
    RequestIdReused = "REQUEST_ID_REUSED",
    /// A page token that this list did not give out.
    PageTokenInvalid = "PAGE_TOKEN_INVALID",
    /// A cursor that this stream did not give out, or of another change.
    CursorInvalid = "CURSOR_INVALID",
    /// A cursor of another store epoch, or past the end.
    CursorOutOfRange = "CURSOR_OUT_OF_RANGE",
    /// The tier is not in the catalogue.
    UnknownTier = "UNKNOWN_TIER",
    /// The tier is known and not offered here.
    TierNotOffered = "TIER_NOT_OFFERED",
    /// The graph already has this tier.
    SameTier = "SAME_TIER",
    /// More subgraphs than the target tier allows.
    TooManySubgraphs = "TOO_MANY_SUBGRAPHS",
    /// More data than the target tier holds.
    StorageExceedsLimit = "STORAGE_EXCEEDS_LIMIT",
    /// The volume carries another graph, which would move too.
    VolumeShared = "VOLUME_SHARED",
    /// No idle instance and no room for one more in the target group in the volume's zone.
    NoCapacity = "NO_CAPACITY",
    /// No room in the volume's own zone, which a volume cannot leave.
    NoRoomInZone = "NO_ROOM_IN_ZONE",
    /// Another change of this subscription is running.
    ChangeActive = "CHANGE_ACTIVE",
    /// The last change is still being settled.
    Settling = "SETTLING",
    /// The subscription is not active.
    SubscriptionNotActive = "SUBSCRIPTION_NOT_ACTIVE",
    /// The graph is not active, or is a shared repository, which has no tier of its own.
    GraphNotEligible = "GRAPH_NOT_ELIGIBLE",
    /// A shared repository has no tier of its own to change.
    SharedRepository = "SHARED_REPOSITORY",
    /// The graph is suspended.
    GraphNotActive = "GRAPH_NOT_ACTIVE",
    /// Only a downgrade may wait for the end of the period.
    ScheduleNotAllowed = "SCHEDULE_NOT_ALLOWED",
    /// Fewer credits are left this month than were asked for.
    CreditsExhausted = "CREDITS_EXHAUSTED",
    /// The subscription cannot be resumed from its status.
    NotResumable = "NOT_RESUMABLE",
    /// Tier changes are switched off here.
    FeatureDisabled = "FEATURE_DISABLED",
    /// The usage that a limit is compared with cannot be read now.
    UsageUnknown = "USAGE_UNKNOWN",
    /// An instance's agent does not speak the contract (release, adopt).
    AgentUnsupported = "AGENT_UNSUPPORTED",
    /// An instance's agent does not answer.
    AgentUnreachable = "AGENT_UNREACHABLE",
    /// Source and target run another engine or storage format.
    EngineMismatch = "ENGINE_MISMATCH",
    /// The registry and EC2 tell different things about the volume.
    RegistryMismatch = "REGISTRY_MISMATCH",
    /// Somebody else wrote a registry row that the migration holds.
    RegistryConflict = "REGISTRY_CONFLICT",
    /// The graph, its volume or its instance is not on the source tier that was named.
    TierMismatch = "TIER_MISMATCH",
    /// The volume is smaller than what it would have to hold, or a shrink was asked for.
    StorageSmaller = "STORAGE_SMALLER",
    /// Another operation holds the volume or the graph.
    VolumeLocked = "VOLUME_LOCKED",
    /// The instance type is not to be had in the volume's zone.
    InstanceTypeNotOffered = "INSTANCE_TYPE_NOT_OFFERED",
    /// The instance or the migration has used up its attachments or device names.
    AttachmentLimit = "ATTACHMENT_LIMIT",
    /// The volume's encryption key cannot be used by the target's role.
    EncryptionKeyUnusable = "ENCRYPTION_KEY_UNUSABLE",
    /// The volume is being modified.
    VolumeModifying = "VOLUME_MODIFYING",
    /// Too many snapshots of the volume are pending.
    SnapshotsPending = "SNAPSHOTS_PENDING",
    /// A group's health check would kill an instance whose engine is stopped.
    HealthCheckType = "HEALTH_CHECK_TYPE",
    /// A group is missing, suspended or being refreshed.
    GroupNotReady = "GROUP_NOT_READY",
    /// The volume manager function does not do what a migration needs.
    LambdaUnsupported = "LAMBDA_UNSUPPORTED",
    /// A volume is held by an instance that is not part of the migration.
    ForeignHolder = "FOREIGN_HOLDER",
    /// What the engine answers is not what it answered before the move.
    DataMismatch = "DATA_MISMATCH",
    /// The source instance was lost.
    SourceLost = "SOURCE_LOST",
    /// The target instance was lost.
    TargetLost = "TARGET_LOST",
    /// The volume could not be attached.
    AttachFailed = "ATTACH_FAILED",
    /// The volume could not be detached.
    DetachFailed = "DETACH_FAILED",
    /// A snapshot failed.
    SnapshotFailed = "SNAPSHOT_FAILED",
    /// Connections did not end within the drain deadline.
    DrainTimeout = "DRAIN_TIMEOUT",
    /// The agent could not stop the engine or unmount.
    ReleaseFailed = "RELEASE_FAILED",
    /// The agent could not mount or open the volume.
    AdoptFailed = "ADOPT_FAILED",
    /// A step did not end within its deadline.
    StepTimeout = "STEP_TIMEOUT",
    /// The writes were blocked for longer than the tier allows.
    WriteBlockExceeded = "WRITE_BLOCK_EXCEEDED",
    /// The volume was offline for longer than allowed, and no further target was tried.
    OfflineBudget = "OFFLINE_BUDGET",
    /// Going back could not be verified; the locks are kept.
    UndoFailed = "UNDO_FAILED",
    /// AWS refused a call for good.
    CloudRefused = "CLOUD_REFUSED",
    /// The gate was not confirmed in time.
    GateTimeout = "GATE_TIMEOUT",
    /// The gate id is not that of the open request, or the migration is not at its gate.
    GateMismatch = "GATE_MISMATCH",
    /// The volume's detach is journalled: the change runs to its end.
    TooLateToCancel = "TOO_LATE_TO_CANCEL",
    /// Canceled on request.
    CanceledByRequest = "CANCELED_BY_REQUEST",
    /// The migration is not stuck.
    NotStuck = "NOT_STUCK",
    /// This action cannot be taken from where the migration is stuck.
    ActionNotPossible = "ACTION_NOT_POSSIBLE",
    /// The volume does not serve where the operator says it does.
    HandoverUnverified = "HANDOVER_UNVERIFIED",
    /// The resource has reached its end, so the request cannot apply.
    AlreadyEnded = "ALREADY_ENDED",
    /// A launch for a migration in this group and zone has no result yet, so no volume may be claimed.
    LaunchPending = "LAUNCH_PENDING",
    /// The volume is not attached to the instance that was named.
    VolumeNotAttached = "VOLUME_NOT_ATTACHED",
    /// The volume is mounted, or its agent does not confirm the release.
    VolumeInUse = "VOLUME_IN_USE",
    /// The snapshot is pending or in error: nothing can be restored from it.
    SnapshotNotCompleted = "SNAPSHOT_NOT_COMPLETED",
    /// EC2 allows one modification of a volume in six hours.
    ModificationTooSoon = "MODIFICATION_TOO_SOON",
    /// The state of the resource does not allow this.
    WrongState = "WRONG_STATE",
    /// A tombstone stands where the migration would be: it was canceled before it started.
    Tombstone = "TOMBSTONE",
    /// The store was restored; an operator must reconcile first.
    StoreRestored = "STORE_RESTORED",
    /// The price differs from the one accepted.
    PriceChanged = "PRICE_CHANGED",
    /// The payment was declined for good.
    PaymentDeclined = "PAYMENT_DECLINED",
    /// The payment was not complete at once, which counts as refused (H21).
    PaymentNotImmediate = "PAYMENT_NOT_IMMEDIATE",
    /// The payment's outcome is not known yet.
    PaymentUnknown = "PAYMENT_UNKNOWN",
    /// Access: the volume is in flight.
    VolumeMoving = "VOLUME_MOVING",
    /// Access: a tier change has closed the write gate.
    TierChangeInProgress = "TIER_CHANGE_IN_PROGRESS",
    /// Access: no subscription row.
    NoSubscription = "NO_SUBSCRIPTION",
    /// Access: canceled, in its grace period: reads only.
    SubscriptionCanceled = "SUBSCRIPTION_CANCELED",
    /// Access: canceled and ended.
    SubscriptionEnded = "SUBSCRIPTION_ENDED",
    /// Access: created, not yet paid or provisioned.
    SubscriptionPending = "SUBSCRIPTION_PENDING",
    /// Access: waiting for the first payment.
    SubscriptionPendingPayment = "SUBSCRIPTION_PENDING_PAYMENT",
    /// Access: being provisioned.
    SubscriptionProvisioning = "SUBSCRIPTION_PROVISIONING",
    /// Access: paused.
    SubscriptionPaused = "SUBSCRIPTION_PAUSED",
    /// Access: a payment is overdue.
    SubscriptionPastDue = "SUBSCRIPTION_PAST_DUE",
    /// Access: unpaid.
    SubscriptionUnpaid = "SUBSCRIPTION_UNPAID",
    /// Access: provisioning failed.
    SubscriptionFailed = "SUBSCRIPTION_FAILED",
    /// Access: the holder's lease has run out; writes fail closed.
    LeaseExpired = "LEASE_EXPIRED",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_round_trip() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("nonsense"), None);
    }
}
