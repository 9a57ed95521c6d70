//! What AWS's codes mean, of every service but DynamoDB: one table by operation and code (rule 46). In Rust all EC2 errors are
//! untyped, so the code is all there is; texts are never compared.
//!
//! Pure, so that what drives a simulated cloud without the SDK reads the same table. How an error of the SDK becomes a
//! code is in `adapters/aws/errors.rs`; what the machine makes of a class is `world::trouble`.

use super::{Class, Thing};

/// In a row: every operation that has no row of its own for the code.
const ANY: &str = "*";

/// Operation, code, meaning. More exact rows first.
const TABLE: [(&str, &str, Class); 85] = [
    // The device name is taken in the instance, which EC2 cannot know better; nothing else of an attach is ours to
    // get wrong, and the caller's list of devices ends.
    ("AttachVolume", "InvalidParameterValue", Class::DeviceInUse),
    ("ModifyInstanceAttribute", "InvalidInstanceAttributeValue", Class::NotFound(Thing::Device)),
    // Not in service yet.
    ("SetInstanceProtection", "ValidationError", Class::IncorrectState),
    // In no group (any more), or the group is at its minimum size.
    ("TerminateInstanceInAutoScalingGroup", "ValidationError", Class::IncorrectState),
    // A function that was not run. What Lambda says with a 5xx and without a row may have been said behind its end.
    ("Invoke", "ResourceNotFoundException", Class::Permanent),
    ("Invoke", "InvalidRequestContentException", Class::Permanent),
    ("Invoke", "InvalidParameterValueException", Class::Permanent),
    ("Invoke", "RequestTooLargeException", Class::Permanent),
    ("Invoke", "UnsupportedMediaTypeException", Class::Permanent),
    ("Invoke", "RecursiveInvocationException", Class::Permanent),
    ("Invoke", "ResourceConflictException", Class::Throttled),
    ("Invoke", "SnapStartNotReadyException", Class::Throttled),
    // Alerts: SNS spells its own codes.
    ("Publish", "Throttled", Class::Throttled),
    ("Publish", "KMSThrottling", Class::Throttled),
    ("Publish", "NotFound", Class::Permanent),
    ("Publish", "EndpointDisabled", Class::Permanent),
    ("Publish", "KMSDisabled", Class::Permanent),
    ("Publish", "KMSInvalidState", Class::Permanent),
    ("Publish", "KMSNotFound", Class::Permanent),
    ("Publish", "KMSOptInRequired", Class::Permanent),
    ("Publish", "AuthorizationError", Class::Denied),
    ("Publish", "InvalidSecurity", Class::Denied),
    ("Publish", "KMSAccessDenied", Class::Denied),
    (ANY, "RequestLimitExceeded", Class::Throttled),
    (ANY, "Throttling", Class::Throttled),
    (ANY, "ThrottlingException", Class::Throttled),
    (ANY, "EC2ThrottledException", Class::Throttled),
    (ANY, "TooManyRequestsException", Class::Throttled),
    (ANY, "InvalidVolume.NotFound", Class::NotFound(Thing::Volume)),
    (ANY, "InvalidInstanceID.NotFound", Class::NotFound(Thing::Instance)),
    (ANY, "InvalidSnapshot.NotFound", Class::NotFound(Thing::Snapshot)),
    (ANY, "InvalidAttachment.NotFound", Class::NotFound(Thing::Attachment)),
    (ANY, "InvalidSubnetID.NotFound", Class::NotFound(Thing::Subnet)),
    (ANY, "IncorrectState", Class::IncorrectState),
    (ANY, "IncorrectInstanceState", Class::IncorrectState),
    (ANY, "VolumeInUse", Class::VolumeInUse),
    (ANY, "InvalidVolume.ZoneMismatch", Class::ZoneMismatch),
    (ANY, "AttachmentLimitExceeded", Class::SlotsFull),
    (ANY, "InsufficientInstanceCapacity", Class::NoCapacity),
    (ANY, "InsufficientCapacity", Class::NoCapacity),
    (ANY, "InsufficientVolumeCapacity", Class::NoCapacity),
    (ANY, "InsufficientFreeAddressesInSubnet", Class::NoCapacity),
    (ANY, "UnfulfillableCapacity", Class::NoCapacity),
    (ANY, "IdempotentParameterMismatch", Class::TokenMismatch),
    (ANY, "IdempotentCallInProgress", Class::InProgress),
    (ANY, "ScalingActivityInProgress", Class::InProgress),
    // HTTP 500, but it says clearly that another update of the group is pending.
    (ANY, "ResourceContention", Class::InProgress),
    (ANY, "ConcurrentSnapshotLimitExceeded", Class::SnapshotLimit),
    (ANY, "SnapshotCreationPerVolumeRateExceeded", Class::SnapshotLimit),
    (ANY, "RequestExpired", Class::TooLate),
    (ANY, "UnauthorizedOperation", Class::Denied),
    (ANY, "AuthFailure", Class::Denied),
    (ANY, "AccessDenied", Class::Denied),
    (ANY, "AccessDeniedException", Class::Denied),
    (ANY, "Blocked", Class::Denied),
    (ANY, "OptInRequired", Class::Denied),
    (ANY, "InvalidClientTokenId", Class::Denied),
    (ANY, "MissingAuthenticationToken", Class::Denied),
    (ANY, "SignatureDoesNotMatch", Class::Denied),
    (ANY, "ExpiredToken", Class::Denied),
    (ANY, "ExpiredTokenException", Class::Denied),
    (ANY, "UnsupportedOperation", Class::Permanent),
    (ANY, "UnsupportedOperationException", Class::Permanent),
    (ANY, "OperationNotPermitted", Class::Permanent),
    (ANY, "InvalidParameter", Class::Permanent),
    (ANY, "InvalidParameterValue", Class::Permanent),
    (ANY, "InvalidParameterCombination", Class::Permanent),
    (ANY, "MissingParameter", Class::Permanent),
    (ANY, "ValidationError", Class::Permanent),
    (ANY, "FilterLimitExceeded", Class::Permanent),
    (ANY, "InvalidZone.NotFound", Class::Permanent),
    // CreateTags on what EC2 does not take for an id.
    (ANY, "InvalidID", Class::Permanent),
    (ANY, "InvalidSnapshot.InUse", Class::Permanent),
    (ANY, "SnapshotLimitExceeded", Class::Permanent),
    (ANY, "VolumeLimitExceeded", Class::Permanent),
    (ANY, "InstanceLimitExceeded", Class::Permanent),
    (ANY, "VcpuLimitExceeded", Class::Permanent),
    (ANY, "MaxIOPSLimitExceeded", Class::Permanent),
    (ANY, "LimitExceeded", Class::Permanent),
    (ANY, "TagLimitExceeded", Class::Permanent),
    (ANY, "InternalError", Class::Unknown),
    (ANY, "InternalFailure", Class::Unknown),
    (ANY, "ServiceUnavailable", Class::Unknown),
    (ANY, "Unavailable", Class::Unknown),
    (ANY, "RequestTimeout", Class::Unknown),
];

/// What a code of an operation means; none if the table lacks it.
pub fn class_of(operation: &str, code: &str) -> Option<Class> {
    let row = TABLE.iter().find(|(op, known, _)| *known == code && (*op == operation || *op == ANY));
    row.map(|(_, _, class)| *class)
}

/// What an answer with a code means; without one of AWS the code is `NoCode`. A code without a row is `UnknownCode` if AWS
/// refused (4xx), else `Unknown`.
pub fn answered<'a>(operation: &str, code: Option<&'a str>, status: u16) -> (Class, &'a str) {
    // Neither: a proxy's page, or a success that could not be read, which the SDK gives as an error.
    let refused = (400..500).contains(&status);
    let otherwise = if refused { Class::UnknownCode } else { Class::Unknown };
    match code {
        Some(code) => (class_of(operation, code).unwrap_or(otherwise), code),
        None => (otherwise, "NoCode"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Class of every code on an ordinary call; one line per class, so that a changed row breaks exactly one.
    const EXPECTED: &[(Class, &str)] = &[
        (
            Class::Throttled,
            "RequestLimitExceeded Throttling ThrottlingException EC2ThrottledException TooManyRequestsException",
        ),
        (Class::NotFound(Thing::Volume), "InvalidVolume.NotFound"),
        (Class::NotFound(Thing::Instance), "InvalidInstanceID.NotFound"),
        (Class::NotFound(Thing::Snapshot), "InvalidSnapshot.NotFound"),
        (Class::NotFound(Thing::Attachment), "InvalidAttachment.NotFound"),
        (Class::NotFound(Thing::Subnet), "InvalidSubnetID.NotFound"),
        (Class::IncorrectState, "IncorrectState IncorrectInstanceState"),
        (Class::VolumeInUse, "VolumeInUse"),
        (Class::ZoneMismatch, "InvalidVolume.ZoneMismatch"),
        (Class::SlotsFull, "AttachmentLimitExceeded"),
        (
            Class::NoCapacity,
            "InsufficientInstanceCapacity InsufficientCapacity InsufficientVolumeCapacity \
             InsufficientFreeAddressesInSubnet UnfulfillableCapacity",
        ),
        (Class::TokenMismatch, "IdempotentParameterMismatch"),
        (Class::InProgress, "IdempotentCallInProgress ScalingActivityInProgress ResourceContention"),
        (Class::SnapshotLimit, "ConcurrentSnapshotLimitExceeded SnapshotCreationPerVolumeRateExceeded"),
        (Class::TooLate, "RequestExpired"),
        (
            Class::Denied,
            "UnauthorizedOperation AuthFailure AccessDenied AccessDeniedException Blocked OptInRequired \
             InvalidClientTokenId MissingAuthenticationToken SignatureDoesNotMatch ExpiredToken ExpiredTokenException",
        ),
        (
            Class::Permanent,
            "UnsupportedOperation UnsupportedOperationException OperationNotPermitted InvalidParameter \
             InvalidParameterValue InvalidParameterCombination MissingParameter ValidationError FilterLimitExceeded \
             InvalidZone.NotFound InvalidID InvalidSnapshot.InUse SnapshotLimitExceeded VolumeLimitExceeded \
             InstanceLimitExceeded VcpuLimitExceeded MaxIOPSLimitExceeded LimitExceeded TagLimitExceeded",
        ),
        (Class::Unknown, "InternalError InternalFailure ServiceUnavailable Unavailable RequestTimeout"),
    ];

    #[test]
    fn every_row_means_what_the_catalogue_of_failures_says() {
        let mut tested = BTreeSet::new();
        for (class, codes) in EXPECTED {
            for code in codes.split_whitespace() {
                assert_eq!(class_of("DescribeVolumes", code), Some(*class), "{code}");
                tested.insert(code);
            }
        }
        let exact = [
            ("AttachVolume", "InvalidParameterValue", Class::DeviceInUse),
            ("ModifyInstanceAttribute", "InvalidInstanceAttributeValue", Class::NotFound(Thing::Device)),
            ("SetInstanceProtection", "ValidationError", Class::IncorrectState),
            ("TerminateInstanceInAutoScalingGroup", "ValidationError", Class::IncorrectState),
            ("Invoke", "ResourceNotFoundException", Class::Permanent),
            ("Invoke", "InvalidRequestContentException", Class::Permanent),
            ("Invoke", "InvalidParameterValueException", Class::Permanent),
            ("Invoke", "RequestTooLargeException", Class::Permanent),
            ("Invoke", "UnsupportedMediaTypeException", Class::Permanent),
            ("Invoke", "RecursiveInvocationException", Class::Permanent),
            ("Invoke", "ResourceConflictException", Class::Throttled),
            ("Invoke", "SnapStartNotReadyException", Class::Throttled),
            ("Publish", "Throttled", Class::Throttled),
            ("Publish", "KMSThrottling", Class::Throttled),
            ("Publish", "NotFound", Class::Permanent),
            ("Publish", "EndpointDisabled", Class::Permanent),
            ("Publish", "KMSDisabled", Class::Permanent),
            ("Publish", "KMSInvalidState", Class::Permanent),
            ("Publish", "KMSNotFound", Class::Permanent),
            ("Publish", "KMSOptInRequired", Class::Permanent),
            ("Publish", "AuthorizationError", Class::Denied),
            ("Publish", "InvalidSecurity", Class::Denied),
            ("Publish", "KMSAccessDenied", Class::Denied),
        ];
        for (operation, code, class) in exact {
            assert_eq!(class_of(operation, code), Some(class), "{operation} {code}");
        }
        for (operation, code, _) in TABLE {
            let has_test = if operation == ANY { tested.contains(code) } else { exact.iter().any(|e| e.1 == code) };
            assert!(has_test, "{operation} {code} has no test");
        }
        assert_eq!(tested.len() + exact.len(), TABLE.len(), "a row is there twice");
    }

    #[test]
    fn a_code_without_a_row_is_no_success_and_no_refusal_that_we_understand() {
        assert_eq!(class_of("AttachVolume", "SomethingNew"), None);
        assert_eq!(answered("AttachVolume", Some("SomethingNew"), 400), (Class::UnknownCode, "SomethingNew"));
        assert_eq!(answered("AttachVolume", Some("SomethingNew"), 500), (Class::Unknown, "SomethingNew"));
        assert_eq!(
            answered("AttachVolume", Some("RequestLimitExceeded"), 503),
            (Class::Throttled, "RequestLimitExceeded")
        );
        assert_eq!(answered("AttachVolume", None, 502), (Class::Unknown, "NoCode"));
        assert_eq!(answered("AttachVolume", None, 200), (Class::Unknown, "NoCode"), "a success that cannot be read");
        assert_eq!(answered("AttachVolume", None, 404), (Class::UnknownCode, "NoCode"));
    }
}
