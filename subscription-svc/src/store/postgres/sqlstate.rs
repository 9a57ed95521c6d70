//! What PostgreSQL's refusals mean, by SQLSTATE and by the name of the rule, never by text.

use crate::store::{Cause, Constraint, Fault};

/// The rules of the schema that have a meaning of their own, by the names that PostgreSQL gives them.
const RULES: &[(&str, Constraint)] = &[
    ("subscription_live", Constraint::LiveSubscription),
    ("tier_change_active", Constraint::ActiveChange),
    ("change_event_gapless", Constraint::EventSequence),
    ("change_event_pkey", Constraint::EventSequence),
    ("change_event_seq_check", Constraint::EventSequence),
    ("payment_request_bytes", Constraint::PaymentBytes),
];

/// An error before COMMIT: nothing was written.
pub fn away(error: sqlx::Error) -> Fault {
    match &error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => Fault::Corrupt(error.to_string()),
        sqlx::Error::Database(refusal) => match refusal.code().as_deref().unwrap_or_default() {
            // Class 23 is the integrity of data: a rule of the schema. Class 22: a value that a column cannot hold.
            code if code.starts_with("23") || code.starts_with("22") => {
                Fault::Constraint(rule(refusal.constraint().unwrap_or_default()))
            }
            _ => Fault::Away(Cause::from(error)),
        },
        _ => Fault::Away(Cause::from(error)),
    }
}

fn rule(name: &str) -> Constraint {
    RULES.iter().find(|(known, _)| *known == name).map_or(Constraint::Other, |(_, rule)| *rule)
}

/// An error of COMMIT itself. PostgreSQL's own refusal rolled it back: a deferred rule (23), a serialization failure or a
/// deadlock (40). Anything else, and silence, leave it open (H7); 40003 says so itself.
pub fn commit(error: sqlx::Error) -> Fault {
    let code = match &error {
        sqlx::Error::Database(refusal) => refusal.code().map(std::borrow::Cow::into_owned),
        _ => None,
    };
    match code.as_deref() {
        Some("40003") | None => Fault::Unknown(Cause::from(error)),
        Some(code) if code.starts_with("23") || code.starts_with("40") => away(error),
        Some(_) => Fault::Unknown(Cause::from(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_by_its_name() {
        assert_eq!(rule("tier_change_active"), Constraint::ActiveChange);
        assert_eq!(rule("graph_pkey"), Constraint::Other);
    }

    #[test]
    fn silence_at_commit_leaves_the_outcome_open_and_silence_before_it_does_not() {
        assert!(matches!(commit(sqlx::Error::WorkerCrashed), Fault::Unknown(_)));
        assert!(matches!(away(sqlx::Error::PoolTimedOut), Fault::Away(_)));
    }
}
