//! The error that crosses a service's border, as a value: a closed set of kinds, a public reason, the faults.
//!
//! It holds what the *caller* may see. The cause, for the log, travels beside it in `tiershift_common::status`
//! and cannot be printed by accident. Layers below keep their own enums and turn into this one at the use case.

use crate::{ids::Malformed, reason::Reason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What sort of error: decides the gRPC code. Closed on purpose: a layer that lacks a kind asks for one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The request itself is wrong; nothing was changed.
    InvalidArgument,
    /// No such thing, or none that the caller may see.
    NotFound,
    /// It exists and differs from what was asked for.
    AlreadyExists,
    /// The state of the world forbids it; the violations say what to mend.
    FailedPrecondition,
    /// Lost against something concurrent: read again, then repeat.
    Aborted,
    /// A cursor or token outside what exists.
    OutOfRange,
    /// Known caller, forbidden act.
    PermissionDenied,
    /// Unknown caller.
    Unauthenticated,
    /// A quota is used up.
    ResourceExhausted,
    /// Try again later.
    Unavailable,
    /// Part of the contract, not built.
    Unimplemented,
    /// A fault of ours.
    Internal,
}

/// One broken rule of a tier change or migration. All of a request's violations are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule.
    pub reason: Reason,
    /// The request field or resource attribute that it is about, as a path ("target_tier", "graph.subgraphs").
    pub field: String,
    /// The limit, where there is one; the unit is the field's.
    pub limit: Option<i64>,
    /// What was found, in the same unit.
    pub actual: Option<i64>,
    /// What would mend it, for people ("delete 2 subgraphs").
    pub fix: String,
}

/// A check that could not run, because another fault came first or what it reads was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotChecked {
    /// The reason that the check would have given.
    pub check: Reason,
    /// What kept it from running.
    pub because: Reason,
}

/// One field of a request that breaks its stated limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldFault {
    /// The field's path in the request.
    pub field: String,
    /// What it must be.
    pub rule: String,
}

/// An error as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Error {
    /// Decides the gRPC code.
    pub kind: Kind,
    /// The stable word.
    pub reason: Reason,
    /// One sentence for people that says what to do. Lower case, no full stop, no internals.
    pub message: String,
    /// Broken rules, for `FailedPrecondition`.
    pub violations: Vec<Violation>,
    /// Checks that could not run because another fault came first.
    pub not_checked: Vec<NotChecked>,
    /// Malformed fields, for `InvalidArgument`.
    pub fields: Vec<FieldFault>,
    /// When a retry may help, in milliseconds of real time.
    pub retry_after_ms: Option<u64>,
    /// Further facts for ErrorInfo ("change_id" → "chg_…"), sorted.
    pub metadata: BTreeMap<String, String>,
}

impl Error {
    /// An error with neither faults nor metadata.
    pub fn new(kind: Kind, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            violations: Vec::new(),
            not_checked: Vec::new(),
            fields: Vec::new(),
            retry_after_ms: None,
            metadata: BTreeMap::new(),
        }
    }

    /// A refusal for one or more malformed fields.
    pub fn invalid(fields: Vec<FieldFault>) -> Self {
        let mut error = Self::new(Kind::InvalidArgument, Reason::InvalidArgument, "the request has malformed fields");
        error.fields = fields;
        error
    }

    /// A refusal for one malformed field.
    pub fn invalid_field(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::invalid(vec![FieldFault { field: field.into(), rule: rule.into() }])
    }

    /// A refusal because rules are broken: all of them.
    pub fn refused(violations: Vec<Violation>, not_checked: Vec<NotChecked>) -> Self {
        let reason = violations.first().map_or(Reason::WrongState, |v| v.reason);
        let mut error = Self::new(Kind::FailedPrecondition, reason, "the change is refused; see the violations");
        error.violations = violations;
        error.not_checked = not_checked;
        error
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// Collects the faults of a request, so that all of them are reported at once.
#[derive(Debug, Default)]
pub struct Fields {
    faults: Vec<FieldFault>,
}

impl Fields {
    /// Nothing wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a fault.
    pub fn fault(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.faults.push(FieldFault { field: field.into(), rule: rule.into() });
    }

    /// Takes an id that parsed, or notes why it did not.
    pub fn id<T>(&mut self, field: &str, parsed: Result<T, Malformed>) -> Option<T> {
        match parsed {
            Ok(id) => Some(id),
            Err(malformed) => {
                self.fault(field, format!("must be {}", malformed.rule));
                None
            }
        }
    }

    /// Ok when nothing was wrong; else one error with every fault.
    pub fn finish(self) -> Result<(), Error> {
        if self.faults.is_empty() { Ok(()) } else { Err(Error::invalid(self.faults)) }
    }
}
