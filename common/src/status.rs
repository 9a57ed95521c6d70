//! The one place where an error becomes a gRPC status, and where a status becomes an error again.
//!
//! Two messages leave a failing use case: [`tiershift_core::Error`] for the caller, and a cause for the log. They
//! travel together as [`Fault`], whose cause has no getter, is in neither `Display` nor `Debug`, and is written to
//! the log once, here, when the status is made.
//!
//! A status always carries ErrorInfo. Faults of a request are in it twice: as the standard PreconditionFailure or
//! BadRequest, which any client can show, and whole, as a `tiershift.common.v1.ViolationReport` in the same list of
//! details, so that programs get limit and actual as numbers. It is a detail and no trailer of its own, because
//! `grpc-status-details-bin` is what proxies, grpc-web and other languages' libraries already pass on.
//!
//! Not here: which reason a use case chooses (the cores), and the conversion of single messages (`convert`).

use crate::convert;
use prost::Message as _;
use prost_types::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;
use tiershift_core::{Error, FieldFault, Kind, Reason, Violation};
use tiershift_proto::common::v1 as pb;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every ErrorInfo that this project makes.
pub const DOMAIN: &str = "tiershift.dev";

/// Key of ErrorInfo's metadata that names the log line of an internal fault: 16 hex digits.
pub const INCIDENT: &str = "incident";

/// Key of ErrorInfo's metadata that counts the faults left out to stay below [`DETAILS_BYTES_MAX`]. Absent = none.
pub const OMITTED: &str = "omitted_faults";

/// Most bytes of the encoded details. Base 64 makes a third more of it, and some gRPC libraries begin to refuse
/// metadata at 8 KiB in all. Some 25 violations fit; no request is known to have more than a dozen.
pub const DETAILS_BYTES_MAX: usize = 5_600;

const REPORT_URL: &str = "type.googleapis.com/tiershift.common.v1.ViolationReport";

/// The cause of a fault, as the layer below gave it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error for the caller, and its cause for the log.
pub struct Fault {
    error: Error,
    cause: Option<Cause>,
}

impl Fault {
    /// A fault of ours. The caller is told nothing but the number under which the log has the cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let message = "a fault of the service, which its log explains; a repeat with the same request_id is safe";
        Self::because(Error::new(Kind::Internal, Reason::Internal, message), cause)
    }

    /// Something needed does not answer now: `what` names it for the caller ("the database").
    pub fn unavailable(what: &str, retry_after_ms: u64, cause: impl Into<Cause>) -> Self {
        let message = format!("{what} does not answer now; repeat with the same request_id");
        Self::because(Error::new(Kind::Unavailable, Reason::Unavailable, message).retry_after_ms(retry_after_ms), cause)
    }

    /// An error for the caller together with what the log should say about it.
    pub fn because(error: Error, cause: impl Into<Cause>) -> Self {
        Self { error, cause: Some(cause.into()) }
    }

    /// What the caller will see.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Writes the cause to the log and makes the status. An internal fault without a cause is logged too.
    pub fn into_status(self) -> Status {
        let Self { mut error, cause } = self;
        if error.kind == Kind::Internal {
            error.metadata.entry(INCIDENT.to_owned()).or_insert_with(|| format!("{:016x}", rand::random::<u64>()));
        }
        let incident = error.metadata.get(INCIDENT).map_or("", String::as_str);
        let chain = cause.as_deref().map(|cause| chain(cause)).unwrap_or_default();
        match (error.kind, &cause) {
            (Kind::Internal, _) => {
                tracing::error!(reason = error.reason.as_str(), incident, cause = chain, "{}", error.message);
            }
            // What is away is not broken here: whoever watches the other side alarms.
            (_, Some(_)) => tracing::warn!(reason = error.reason.as_str(), cause = chain, "{}", error.message),
            (_, None) => {}
        }
        to_status(&error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, cause: None }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        fault.into_status()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("error", &self.error).field("has_cause", &self.cause.is_some()).finish()
    }
}

/// A cause with all that lies below it, in one line.
fn chain(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut text = cause.to_string();
    let mut below = cause.source();
    while let Some(next) = below {
        text.push_str(": ");
        text.push_str(&next.to_string());
        below = next.source();
    }
    text
}

/// The table of kinds to codes. The only one.
pub const fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::Aborted => Code::Aborted,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    }
}

/// The same table read from a client's side, with the reason that stands in when the status has none of ours.
///
/// CANCELLED, UNKNOWN and DEADLINE_EXCEEDED say that the outcome is not known. They become UNAVAILABLE, which
/// promises no more: repeat with the same request id, or read the resource.
const fn kind(code: Code) -> (Kind, Reason) {
    match code {
        Code::InvalidArgument => (Kind::InvalidArgument, Reason::InvalidArgument),
        Code::NotFound => (Kind::NotFound, Reason::WrongState),
        Code::AlreadyExists => (Kind::AlreadyExists, Reason::WrongState),
        Code::FailedPrecondition => (Kind::FailedPrecondition, Reason::WrongState),
        Code::Aborted => (Kind::Aborted, Reason::ConcurrentUpdate),
        Code::OutOfRange => (Kind::OutOfRange, Reason::InvalidArgument),
        Code::PermissionDenied => (Kind::PermissionDenied, Reason::PermissionDenied),
        Code::Unauthenticated => (Kind::Unauthenticated, Reason::Unauthenticated),
        Code::ResourceExhausted => (Kind::ResourceExhausted, Reason::RateLimited),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => {
            (Kind::Unavailable, Reason::Unavailable)
        }
        Code::Unimplemented => (Kind::Unimplemented, Reason::NotImplemented),
        Code::Internal | Code::DataLoss | Code::Ok => (Kind::Internal, Reason::Internal),
    }
}

/// The status of an error that has no cause to log. What has one is a [`Fault`].
pub fn to_status(error: &Error) -> Status {
    let mut keep = error.violations.len().max(error.fields.len()).max(error.not_checked.len());
    loop {
        let status = with_first(error, keep);
        if status.details().len() <= DETAILS_BYTES_MAX || keep == 0 {
            return status;
        }
        keep = keep * 3 / 4;
    }
}

/// The status with the first `keep` faults of each sort.
fn with_first(error: &Error, keep: usize) -> Status {
    let mut details = ErrorDetails::new();
    let mut metadata: HashMap<String, String> =
        error.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let omitted = error.violations.len().saturating_sub(keep) + error.fields.len().saturating_sub(keep);
    if omitted > 0 {
        metadata.insert(OMITTED.to_owned(), omitted.to_string());
    }
    details.set_error_info(error.reason.as_str(), DOMAIN, metadata);
    for fault in error.fields.iter().take(keep) {
        details.add_bad_request_violation(&fault.field, &fault.rule);
    }
    for violation in error.violations.iter().take(keep) {
        details.add_precondition_failure_violation(violation.reason.as_str(), &violation.field, describe(violation));
    }
    if error.kind == Kind::ResourceExhausted {
        details.add_quota_failure_violation(
            error.metadata.get("subject").map_or("caller", String::as_str),
            &error.message,
        );
    }
    if let Some(ms) = error.retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    let status = Status::with_error_details(code(error.kind), error.message.clone(), details);
    if error.violations.is_empty() && error.not_checked.is_empty() {
        return status;
    }
    let report = pb::ViolationReport {
        violations: error.violations.iter().take(keep).map(convert::violation_to_proto).collect(),
        not_checked: error.not_checked.iter().take(keep).map(convert::not_checked_to_proto).collect(),
    };
    append(&status, Any { type_url: REPORT_URL.to_owned(), value: report.encode_to_vec() })
}

/// The same status with one more detail.
fn append(status: &Status, detail: Any) -> Status {
    // The bytes were encoded a moment ago, so the default is never taken; losing details would beat losing the error.
    let mut rich = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    rich.details.push(detail);
    Status::with_details(status.code(), status.message(), rich.encode_to_vec().into())
}

/// A violation in one English line: the fix, with the numbers where there are any.
fn describe(violation: &Violation) -> String {
    match (violation.limit, violation.actual) {
        (Some(limit), Some(actual)) => format!("limit {limit}, found {actual}: {}", violation.fix),
        (Some(limit), None) => format!("limit {limit}: {}", violation.fix),
        (None, Some(actual)) => format!("found {actual}: {}", violation.fix),
        (None, None) => violation.fix.clone(),
    }
}

/// Reads a status that one of our services, or something on the way to it, has answered.
pub fn from_status(status: &Status) -> Error {
    let (kind, stand_in) = kind(status.code());
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let reason = info.and_then(|info| Reason::parse(&info.reason)).unwrap_or(stand_in);
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    let mut error = Error::new(kind, reason, message);
    error.metadata = info.map(|info| info.metadata.clone().into_iter().collect::<BTreeMap<_, _>>()).unwrap_or_default();
    error.fields = details.bad_request().map_or_else(Vec::new, |bad| {
        let fault =
            |v: &tonic_types::FieldViolation| FieldFault { field: v.field.clone(), rule: v.description.clone() };
        bad.field_violations.iter().map(fault).collect()
    });
    error.retry_after_ms = details
        .retry_info()
        .and_then(|info| info.retry_delay)
        .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    if let Some(report) = report(status) {
        error.violations = report.violations.iter().map(convert::violation_from_proto).collect();
        error.not_checked = report.not_checked.iter().map(convert::not_checked_from_proto).collect();
    } else if let Some(failure) = details.precondition_failure() {
        // Somebody stripped our own detail: the standard one still has the words.
        error.violations = failure
            .violations
            .iter()
            .map(|v| Violation {
                reason: Reason::parse(&v.r#type).unwrap_or(stand_in),
                field: v.subject.clone(),
                limit: None,
                actual: None,
                fix: v.description.clone(),
            })
            .collect();
    }
    error
}

/// The ViolationReport among a status's details.
fn report(status: &Status) -> Option<pb::ViolationReport> {
    let rich = tonic_types::pb::Status::decode(status.details()).ok()?;
    let any = rich.details.into_iter().find(|any| any.type_url == REPORT_URL)?;
    pb::ViolationReport::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiershift_core::NotChecked;

    const KINDS: [Kind; 12] = [
        Kind::InvalidArgument,
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::FailedPrecondition,
        Kind::Aborted,
        Kind::OutOfRange,
        Kind::PermissionDenied,
        Kind::Unauthenticated,
        Kind::ResourceExhausted,
        Kind::Unavailable,
        Kind::Unimplemented,
        Kind::Internal,
    ];

    fn refusal(count: usize) -> Error {
        let violation = |i: usize| Violation {
            reason: Reason::TooManySubgraphs,
            field: format!("graph.subgraphs[{i}]"),
            limit: Some(3),
            actual: Some(5),
            fix: "delete 2 subgraphs, or choose a larger tier".to_owned(),
        };
        let skipped = NotChecked { check: Reason::StorageExceedsLimit, because: Reason::UsageUnknown };
        Error::refused((0..count).map(violation).collect(), vec![skipped])
            .retry_after_ms(1_500)
            .with("change_id", "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    }

    #[test]
    fn an_error_survives_the_way_to_the_client_whole() {
        let refused = refusal(3);
        assert_eq!(from_status(&to_status(&refused)), refused);
        let malformed = Error::invalid(vec![
            FieldFault { field: "graph_id".into(), rule: "must be a graph id".into() },
            FieldFault { field: "target_tier".into(), rule: "must not be empty".into() },
        ]);
        assert_eq!(from_status(&to_status(&malformed)), malformed);
        for kind in KINDS {
            let plain = Error::new(kind, Reason::WrongState, "words");
            assert_eq!(from_status(&to_status(&plain)), plain, "{kind:?}");
        }
    }

    #[test]
    fn every_status_has_an_error_info_of_our_domain() {
        for kind in KINDS {
            let status = to_status(&Error::new(kind, Reason::Settling, "words"));
            let info = status.get_details_error_info().expect("an ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SETTLING", DOMAIN), "{kind:?}");
        }
    }

    #[test]
    fn the_standard_details_say_the_same_as_the_report() {
        let status = to_status(&refusal(1));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let failure = status.get_details_precondition_failure().expect("a PreconditionFailure");
        let line = &failure.violations[0];
        assert_eq!((line.r#type.as_str(), line.subject.as_str()), ("TOO_MANY_SUBGRAPHS", "graph.subgraphs[0]"));
        assert_eq!(line.description, "limit 3, found 5: delete 2 subgraphs, or choose a larger tier");
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(retry, Some(Duration::from_millis(1_500)));
        let quota =
            to_status(&Error::new(Kind::ResourceExhausted, Reason::RateLimited, "slow down").with("subject", "u1"));
        assert_eq!(quota.get_details_quota_failure().expect("a QuotaFailure").violations[0].subject, "u1");
    }

    #[test]
    fn too_many_faults_are_counted_instead_of_breaking_the_header() {
        let status = to_status(&refusal(400));
        assert!(status.details().len() <= DETAILS_BYTES_MAX, "{}", status.details().len());
        let read = from_status(&status);
        assert!(read.violations.len() >= 15, "{}", read.violations.len());
        let omitted: usize = read.metadata[OMITTED].parse().expect("a count");
        assert_eq!(omitted + read.violations.len(), 400);
        assert!(!from_status(&to_status(&refusal(15))).metadata.contains_key(OMITTED), "15 fit");
    }

    #[test]
    fn a_status_of_a_stranger_becomes_an_honest_error() {
        let foreign = from_status(&Status::deadline_exceeded("too slow"));
        assert_eq!((foreign.kind, foreign.reason), (Kind::Unavailable, Reason::Unavailable));
        let proxy = from_status(&Status::new(Code::Unimplemented, ""));
        assert_eq!(proxy.kind, Kind::Unimplemented);
        assert!(!proxy.message.is_empty());
        let mut details = ErrorDetails::new();
        details.set_error_info("SETTLING", "example.com", HashMap::new());
        let other = from_status(&Status::with_error_details(Code::Aborted, "x", details));
        assert_eq!(other.reason, Reason::ConcurrentUpdate, "a reason of another domain is not ours");
    }

    #[test]
    fn the_cause_reaches_the_log_once_and_the_caller_never() {
        #[derive(Debug, thiserror::Error)]
        #[error("query failed")]
        struct Outer(#[source] std::io::Error);
        let secret = || Outer(std::io::Error::other("password=hunter2"));

        let fault = Fault::internal(secret());
        assert!(!format!("{fault} {fault:?} {fault:#?}").contains("query failed"), "neither Display nor Debug");
        let (status, log) = crate::telemetry::captured(|| fault.into_status());
        assert!(!format!("{status:?}").contains("hunter2"));
        let incident = from_status(&status).metadata[INCIDENT].clone();
        assert_eq!(incident.len(), 16);
        assert_eq!(log.matches("query failed: password=hunter2").count(), 1, "{log}");
        assert!(log.contains("ERROR") && log.contains(&incident), "{log}");

        let (_, log) = crate::telemetry::captured(|| Fault::unavailable("the database", 200, secret()).into_status());
        assert!(log.contains("WARN") && log.contains("hunter2"), "{log}");
        let (_, log) = crate::telemetry::captured(|| Fault::from(refusal(1)).into_status());
        assert_eq!(log, "", "a refusal is no event of the service");
    }
}
