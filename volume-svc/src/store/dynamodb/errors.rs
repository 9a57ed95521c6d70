//! What DynamoDB's errors mean, by code: one table for calls, one for the reasons of a cancelled transaction.
//!
//! A code that neither has is decided by its status: 4xx is a refusal that no retry mends, anything else is unknown (it
//! may have been applied).

use super::convert;
use crate::ports::Source;
use crate::ports::store::{Refusal, StoreError, TransactError};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// What an error of a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Not applied; later.
    Throttled,
    /// Not applied; another transaction was on the item.
    Conflict,
    /// May have been applied.
    Unknown,
    /// Not applied, never will be.
    Invalid,
}

/// Codes of calls. TransactionCanceledException is not here: its reasons decide.
const CALLS: [(&str, Verdict); 14] = [
    ("ProvisionedThroughputExceededException", Verdict::Throttled),
    ("RequestLimitExceeded", Verdict::Throttled),
    ("ThrottlingException", Verdict::Throttled),
    ("Throttling", Verdict::Throttled),
    ("TransactionConflictException", Verdict::Conflict),
    // The first use of this token is still running: its outcome is open.
    ("TransactionInProgressException", Verdict::Unknown),
    ("InternalServerError", Verdict::Unknown),
    ("InternalFailure", Verdict::Unknown),
    ("ServiceUnavailable", Verdict::Unknown),
    ("RequestTimeout", Verdict::Unknown),
    ("IdempotentParameterMismatchException", Verdict::Invalid),
    ("ResourceNotFoundException", Verdict::Invalid),
    ("ValidationException", Verdict::Invalid),
    ("AccessDeniedException", Verdict::Invalid),
];

/// Codes of the reasons of a cancelled transaction. No reason, `None`, is a literal text.
const REASONS: [(&str, Reason); 8] = [
    ("None", Reason::Fine),
    ("ConditionalCheckFailed", Reason::Refused),
    ("TransactionConflict", Reason::Conflict),
    ("ThrottlingError", Reason::Throttled),
    ("ProvisionedThroughputExceeded", Reason::Throttled),
    ("RequestLimitExceeded", Reason::Throttled),
    ("ItemCollectionSizeLimitExceeded", Reason::Bug),
    ("ValidationError", Reason::Bug),
];

/// What a reason says about its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Fine,
    Refused,
    Conflict,
    Throttled,
    /// Also a reason that this build does not know: it was cancelled, and nobody knows what would help.
    Bug,
}

/// A failed transaction.
pub(super) fn transact(error: SdkError<TransactWriteItemsError, HttpResponse>) -> TransactError {
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() {
        let reasons = canceled.cancellation_reasons().to_vec();
        return cancelled(reasons, error.into());
    }
    match verdict(&error) {
        Verdict::Throttled => TransactError::Throttled,
        Verdict::Conflict => TransactError::Conflict,
        Verdict::Unknown => TransactError::Unknown(error.into()),
        Verdict::Invalid => TransactError::Invalid(error.into()),
    }
}

/// A transaction that was cancelled for reasons, in the order of its writes. Refusals count only when there is
/// nothing else: with a conflict beside them the list would not tell whether META was refused too (H32), and the
/// repetition gives the whole list.
fn cancelled(reasons: Vec<CancellationReason>, source: Source) -> TransactError {
    let kinds: Vec<Reason> = reasons.iter().map(|reason| kind(reason.code())).collect();
    if kinds.contains(&Reason::Bug) || kinds.iter().all(|kind| *kind == Reason::Fine) {
        return TransactError::Invalid(source);
    }
    if kinds.contains(&Reason::Conflict) {
        return TransactError::Conflict;
    }
    if kinds.contains(&Reason::Throttled) {
        return TransactError::Throttled;
    }
    let refused = reasons.into_iter().enumerate().zip(kinds).filter(|(_, kind)| *kind == Reason::Refused);
    let refusal = |((write, reason), _): ((usize, CancellationReason), Reason)| {
        let item = reason.item.filter(|item| !item.is_empty()).map(convert::item_from);
        Refusal { write, item }
    };
    TransactError::Refused(refused.map(refusal).collect())
}

fn kind(code: Option<&str>) -> Reason {
    let Some(code) = code else { return Reason::Fine };
    REASONS.iter().find(|(known, _)| *known == code).map_or(Reason::Bug, |(_, kind)| *kind)
}

/// A failed read.
pub(super) fn read<E>(error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match verdict(&error) {
        Verdict::Throttled => StoreError::Throttled,
        Verdict::Conflict | Verdict::Unknown => StoreError::Unavailable(error.into()),
        Verdict::Invalid => StoreError::Invalid(error.into()),
    }
}

/// A read that was not sent because it is wrong.
pub(super) fn invalid_read(error: impl Into<Source>) -> StoreError {
    StoreError::Invalid(error.into())
}

fn verdict<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Verdict {
    match error {
        SdkError::ConstructionFailure(_) => Verdict::Invalid,
        SdkError::ServiceError(answer) => by_code(answer.err().code(), answer.raw().status().as_u16()),
        // A time-out, a broken connection, an answer that cannot be read, and whatever the SDK may add.
        _ => Verdict::Unknown,
    }
}

fn by_code(code: Option<&str>, status: u16) -> Verdict {
    let row = CALLS.iter().find(|(known, _)| Some(*known) == code);
    // Neither code nor 4xx: a proxy's page, or a success that could not be read, which the SDK gives as an error.
    let otherwise = if (400..500).contains(&status) { Verdict::Invalid } else { Verdict::Unknown };
    row.map_or(otherwise, |(_, verdict)| *verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::AttributeValue;

    #[test]
    fn a_call_is_judged_by_its_code_before_its_status() {
        let rows = [
            ("ThrottlingException", 400, Verdict::Throttled),
            ("Throttling", 503, Verdict::Throttled),
            ("RequestLimitExceeded", 400, Verdict::Throttled),
            ("ProvisionedThroughputExceededException", 400, Verdict::Throttled),
            ("TransactionConflictException", 400, Verdict::Conflict),
            ("TransactionInProgressException", 400, Verdict::Unknown),
            ("InternalServerError", 500, Verdict::Unknown),
            ("InternalFailure", 500, Verdict::Unknown),
            ("ServiceUnavailable", 503, Verdict::Unknown),
            ("RequestTimeout", 400, Verdict::Unknown),
            ("IdempotentParameterMismatchException", 400, Verdict::Invalid),
            ("ResourceNotFoundException", 400, Verdict::Invalid),
            ("ValidationException", 400, Verdict::Invalid),
            ("AccessDeniedException", 400, Verdict::Invalid),
            ("SomethingNew", 400, Verdict::Invalid),
            ("SomethingNew", 500, Verdict::Unknown),
        ];
        for (code, status, expected) in rows {
            assert_eq!(by_code(Some(code), status), expected, "{code} {status}");
        }
        assert_eq!(by_code(None, 502), Verdict::Unknown, "a proxy's page");
        assert_eq!(by_code(None, 200), Verdict::Unknown, "a success that could not be read");
        for (code, _) in CALLS {
            assert!(rows.iter().any(|row| row.0 == code), "{code} has no test row");
        }
    }

    fn reasons(codes: &[&str]) -> TransactError {
        let reason = |code: &&str| {
            let item = (*code == "ConditionalCheckFailed")
                .then(|| std::collections::HashMap::from([("n".to_owned(), AttributeValue::N("1".to_owned()))]));
            CancellationReason::builder().code(*code).set_item(item).build()
        };
        cancelled(codes.iter().map(reason).collect(), "cancelled".into())
    }

    #[test]
    fn reasons_are_read_in_order_and_a_conflict_outweighs_a_refusal() {
        let TransactError::Refused(refusals) = reasons(&["None", "ConditionalCheckFailed", "None"]) else {
            panic!("refused");
        };
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].write, 1);
        assert_eq!(refusals[0].item.as_ref().and_then(|item| item.n("n")), Some(1));
        assert!(matches!(reasons(&["TransactionConflict", "ConditionalCheckFailed"]), TransactError::Conflict));
        assert!(matches!(reasons(&["ThrottlingError", "ConditionalCheckFailed"]), TransactError::Throttled));
        assert!(matches!(reasons(&["ProvisionedThroughputExceeded", "None"]), TransactError::Throttled));
        assert!(matches!(reasons(&["RequestLimitExceeded"]), TransactError::Throttled));
        assert!(matches!(reasons(&["ValidationError", "TransactionConflict"]), TransactError::Invalid(_)));
        assert!(matches!(reasons(&["ItemCollectionSizeLimitExceeded"]), TransactError::Invalid(_)));
        assert!(matches!(reasons(&["SomethingNew", "ConditionalCheckFailed"]), TransactError::Invalid(_)));
        assert!(matches!(reasons(&["None"]), TransactError::Invalid(_)));
        assert!(matches!(reasons(&[]), TransactError::Invalid(_)));
    }
}
