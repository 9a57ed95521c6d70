//! What the simulated cloud's refusals mean to volume-svc: by code only, and in the same sense as the table of its
//! adapters for the SDK (`volume-svc/src/adapters/aws/errors.rs`), which virtual time must not compile. Only the codes
//! that the model gives have a row; any other is a code that nobody knows, which is what AWS may send any day.

use super::cloud::Failed;
use volume_svc::ports::agent::AgentError;
use volume_svc::ports::cloud::{ApiError, Class, Thing};

/// Class of a code of EC2 or Auto Scaling.
pub(super) fn class_of(operation: &str, code: &str) -> Class {
    match (operation, code) {
        ("AttachVolume", "InvalidParameterValue") => Class::DeviceInUse,
        (_, "RequestLimitExceeded" | "Throttling") => Class::Throttled,
        (_, "InvalidVolume.NotFound") => Class::NotFound(Thing::Volume),
        (_, "InvalidInstanceID.NotFound") => Class::NotFound(Thing::Instance),
        (_, "InvalidSnapshot.NotFound") => Class::NotFound(Thing::Snapshot),
        (_, "InvalidAttachment.NotFound") => Class::NotFound(Thing::Attachment),
        (_, "IncorrectState")
        | ("SetInstanceProtection" | "TerminateInstanceInAutoScalingGroup", "ValidationError") => Class::IncorrectState,
        (_, "VolumeInUse") => Class::VolumeInUse,
        (_, "InvalidVolume.ZoneMismatch") => Class::ZoneMismatch,
        (_, "AttachmentLimitExceeded") => Class::SlotsFull,
        (_, "InsufficientInstanceCapacity") => Class::NoCapacity,
        (_, "IdempotentParameterMismatch") => Class::TokenMismatch,
        (_, "IdempotentCallInProgress") => Class::InProgress,
        (_, "ConcurrentSnapshotLimitExceeded") => Class::SnapshotLimit,
        (
            _,
            "InvalidParameterValue"
            | "MissingParameter"
            | "ValidationError"
            | "FilterLimitExceeded"
            | "OperationNotPermitted",
        ) => Class::Permanent,
        _ => Class::UnknownCode,
    }
}

/// A failed call to EC2 or Auto Scaling, as its port states it.
pub(super) fn aws(failed: Failed) -> ApiError {
    let Failed { operation, refusal } = failed;
    let (class, code, message) = match refusal {
        Some(refusal) => (class_of(operation, &refusal.code), refusal.code, refusal.message),
        None => (Class::Unknown, "Dispatch".to_owned(), "no answer".to_owned()),
    };
    ApiError { operation, class, code, message, request_id: None }
}

/// A request that volume-svc must not make.
pub(super) fn not_asked(operation: &'static str, code: &str) -> ApiError {
    let message = "refused before it is sent".to_owned();
    ApiError { operation, class: Class::Permanent, code: code.to_owned(), message, request_id: None }
}

/// A failed call to an agent, as its port states it. A 404 of a probe is about the graph; of any other call it says that
/// the agent lacks the call.
pub(super) fn agent(failed: Failed) -> AgentError {
    let Some(refusal) = failed.refusal else { return AgentError::Unknown("no answer".into()) };
    match refusal.http_status {
        401 | 403 => AgentError::Unauthorized,
        409 if refusal.code == "FENCED" => AgentError::Fenced,
        404 if failed.operation != "AgentProbe" => AgentError::Unsupported,
        500.. => AgentError::Unknown(Box::new(refusal)),
        _ => AgentError::Refused { code: refusal.code },
    }
}
