//! What a failed EC2 or Auto Scaling call means. How a code becomes a class is one table, with a test per row:
//! `codes.rs`.

use std::fmt;

/// Something that a call named and that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A volume: gone, or not visible yet.
    Volume,
    /// An instance: gone, or not visible yet.
    Instance,
    /// A snapshot.
    Snapshot,
    /// An attachment: the volume is not attached to that instance on that device.
    Attachment,
    /// A subnet.
    Subnet,
    /// A device in an instance's block device map.
    Device,
}

/// What an error means. Decided by operation and code only, never by text (rule 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Refused for its rate; no effect. Later.
    Throttled,
    /// No such thing, *or not visible yet* (rule 14). No effect; observe.
    NotFound(Thing),
    /// A precondition is not met now; no effect *of this call*. Observe: an earlier one may have had it.
    IncorrectState,
    /// The volume is attached somewhere. No effect; observe who holds it.
    VolumeInUse,
    /// Volume and instance are in different zones. Permanent.
    ZoneMismatch,
    /// The device name is taken. No effect; another device.
    DeviceInUse,
    /// The instance has no free attachment slot. Permanent for this instance.
    SlotsFull,
    /// No capacity in this zone. No effect; wait, then other options.
    NoCapacity,
    /// The token was used with other parameters: a bug, or a burned token.
    TokenMismatch,
    /// The same or another call on the same thing is running. Ask again, with the same token if there is one.
    InProgress,
    /// Too many pending snapshots of the volume. No effect; wait.
    SnapshotLimit,
    /// We may not. Stop and alert; a fault of our set-up, not the caller's.
    Denied,
    /// It will never work as asked. No effect.
    Permanent,
    /// No effect: the driver's lease had run out when the request was about to leave, or AWS refused it as signed
    /// too long ago (F7). Someone else may drive: look before anything else.
    TooLate,
    /// No answer, or one that does not say (time-out, I/O, 5xx): **the effect may have happened, or may yet**.
    Unknown,
    /// A clear refusal with a code that the table lacks. Retry twice, then stop and alert.
    UnknownCode,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The call, in AWS's words (`AttachVolume`).
    pub operation: &'static str,
    /// What it means.
    pub class: Class,
    /// AWS's code, or one of ours for a failure without one (`adapters/aws/errors.rs` has them).
    pub code: String,
    /// AWS's text: for the log only, never compared, never shown to a caller.
    pub message: String,
    /// AWS's id of the request, for its support.
    pub request_id: Option<String>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {:?} ({})", self.operation, self.class, self.code)
    }
}

impl std::error::Error for ApiError {}
