//! From an error of the SDK to a code, and by the one table (`ports/cloud/codes.rs`) to its class.
//!
//! Failures without a code of AWS get one of ours: `Timeout`, `Dispatch` (I/O), `Response` (unreadable), `NoCode`,
//! `Construction` (never sent), `LeaseEnded` (not sent, F7), `MalformedAnswer`, `EmptyFilter`, `TooManyIds` (not sent).

use super::last_look;
use crate::ports::cloud::{ApiError, Class, codes};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A failed call of the SDK.
pub(super) fn api<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> ApiError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (class, code) = match error {
        SdkError::ServiceError(answer) => {
            codes::answered(operation, answer.err().code(), answer.raw().status().as_u16())
        }
        SdkError::ConstructionFailure(_) => (Class::Permanent, "Construction"),
        SdkError::DispatchFailure(_) if last_look::stopped(error) => (Class::TooLate, "LeaseEnded"),
        SdkError::TimeoutError(_) => (Class::Unknown, "Timeout"),
        SdkError::DispatchFailure(_) => (Class::Unknown, "Dispatch"),
        _ => (Class::Unknown, "Response"),
    };
    let message = match error.meta().message() {
        Some(message) => message.to_owned(),
        None => DisplayErrorContext(error).to_string(),
    };
    // The key under which the SDK keeps the id in an error's metadata.
    let request_id = error.meta().extra("aws_request_id").map(str::to_owned);
    ApiError { operation, class, code: code.to_owned(), message, request_id }
}

/// An answer that lacks what it must have. What was asked for may have been done.
pub(super) fn malformed(operation: &'static str, what: &str) -> ApiError {
    ApiError {
        operation,
        class: Class::Unknown,
        code: "MalformedAnswer".to_owned(),
        message: format!("the answer has no usable {what}"),
        request_id: None,
    }
}

/// A request that is not sent because AWS would refuse it, or worse, would not.
pub(super) fn not_asked(operation: &'static str, code: &str, message: String) -> ApiError {
    ApiError { operation, class: Class::Permanent, code: code.to_owned(), message, request_id: None }
}
