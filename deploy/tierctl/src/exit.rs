//! How a run ends: one table from errors to exit statuses, and how an error is said.

use crate::output::Output;
use crate::summary::Summary;
use std::fmt;
use std::io;
use tiershift_common::status::from_status;
use tiershift_core::{Error, Kind, Reason};
use tonic::Status;

/// How a run ended. The numbers are part of the command line's contract (and of `./x demo`'s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Succeeded,
    /// The arguments, or the addresses, are wrong.
    Usage,
    /// The service says no.
    Refused,
    /// It failed, or was canceled.
    Failed,
    /// Only a person can go on.
    NeedsAttention,
    /// Nobody answers.
    Unreachable,
}

impl Exit {
    /// The process's exit status.
    pub const fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Failed => 4,
            Self::NeedsAttention => 5,
            Self::Unreachable => 6,
        }
    }

    /// The ending of a run that this error ended.
    pub const fn of(error: &Error) -> Self {
        match error.kind {
            Kind::InvalidArgument | Kind::OutOfRange => Self::Usage,
            Kind::NotFound
            | Kind::AlreadyExists
            | Kind::FailedPrecondition
            | Kind::Aborted
            | Kind::PermissionDenied
            | Kind::Unauthenticated
            | Kind::ResourceExhausted
            | Kind::Unimplemented => Self::Refused,
            // With a reason of its own (USAGE_UNKNOWN, LEASE_EXPIRED) a service was reached and says "not now".
            Kind::Unavailable => match error.reason {
                Reason::Unavailable => Self::Unreachable,
                _ => Self::Refused,
            },
            Kind::Internal => Self::Failed,
        }
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum Fault {
    /// The arguments or the configuration are wrong, in a way that only shows when they are used.
    Usage(String),
    /// A service answered with an error, or not at all.
    Service(Box<Error>),
    /// The answer could not be written.
    Output(io::Error),
}

impl Fault {
    /// Wrong usage, with the causes below the error in the same line.
    pub fn usage(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            below = cause.source();
        }
        Self::Usage(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Service(error) => write!(f, "{error}"),
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        from_status(&status).into()
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Service(Box::new(error))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Says why a run ended, and gives back how: for people on stderr; with `--json` a refusal also as the summary object
/// on stdout.
pub fn report(fault: &Fault, output: &mut Output) -> Exit {
    match fault {
        Fault::Usage(text) => {
            eprintln!("error: {text}");
            Exit::Usage
        }
        // The reader has closed the pipe (`| head`): it has what it wanted.
        Fault::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Succeeded,
        Fault::Output(_) => {
            eprintln!("error: {fault}");
            Exit::Failed
        }
        Fault::Service(error) => {
            let exit = Exit::of(error);
            if exit == Exit::Refused {
                return report_refusal(error, &Summary::refused(error), output);
            }
            eprint!("{}", said(error, exit));
            exit
        }
    }
}

/// Says why a service refused, like [`report`], with a summary that knows more than the error.
pub fn report_refusal(error: &Error, summary: &Summary, output: &mut Output) -> Exit {
    eprint!("{}", said(error, Exit::Refused));
    if output.json()
        && let Err(error) = output.object(summary)
    {
        eprintln!("error: cannot write the answer: {error}");
    }
    Exit::Refused
}

/// An error in lines: what, then each fault with what mends it.
fn said(error: &Error, exit: Exit) -> String {
    use fmt::Write as _;
    let word = match exit {
        Exit::Refused => "refused",
        Exit::Unreachable => "unreachable",
        _ => "error",
    };
    let mut text = format!("{word}: {error}\n");
    // Writing to a String cannot fail.
    for fault in &error.fields {
        let _ = writeln!(text, "  {}: {}", fault.field, fault.rule);
    }
    for line in crate::summary::violation_lines(&error.violations, &error.not_checked) {
        let _ = writeln!(text, "  {line}");
    }
    for (key, value) in &error.metadata {
        let _ = writeln!(text, "  {key}: {value}");
    }
    if let Some(ms) = error.retry_after_ms {
        let _ = writeln!(text, "  repeat in {}", crate::words::duration(i64::try_from(ms).unwrap_or(i64::MAX)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiershift_core::{FieldFault, NotChecked, Violation};

    #[test]
    fn the_statuses_are_those_of_the_contract() {
        let all = [Exit::Succeeded, Exit::Usage, Exit::Refused, Exit::Failed, Exit::NeedsAttention, Exit::Unreachable];
        assert_eq!(all.map(Exit::code), [0, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn each_kind_of_error_has_its_ending() {
        for (kind, reason, exit) in [
            (Kind::InvalidArgument, Reason::InvalidArgument, Exit::Usage),
            (Kind::OutOfRange, Reason::CursorOutOfRange, Exit::Usage),
            (Kind::NotFound, Reason::GraphNotFound, Exit::Refused),
            (Kind::FailedPrecondition, Reason::SameTier, Exit::Refused),
            (Kind::Aborted, Reason::ChangeActive, Exit::Refused),
            (Kind::PermissionDenied, Reason::NotOwner, Exit::Refused),
            (Kind::Unauthenticated, Reason::Unauthenticated, Exit::Refused),
            (Kind::Unavailable, Reason::UsageUnknown, Exit::Refused),
            (Kind::Unavailable, Reason::Unavailable, Exit::Unreachable),
            (Kind::Internal, Reason::Internal, Exit::Failed),
        ] {
            assert_eq!(Exit::of(&Error::new(kind, reason, "x")), exit, "{kind:?} {reason}");
        }
    }

    #[test]
    fn a_refusal_says_every_fault_with_its_fix_one_a_line() {
        let violation = |reason, limit, actual, fix: &str| Violation {
            reason,
            field: "target_tier".into(),
            limit,
            actual,
            fix: fix.into(),
        };
        let error = Error::refused(
            vec![
                violation(Reason::TooManySubgraphs, Some(3), Some(5), "delete 2 subgraphs"),
                violation(Reason::StorageExceedsLimit, Some(20 << 30), Some(25 << 30), "delete 5 GiB"),
                violation(Reason::SameTier, None, None, "choose another tier"),
            ],
            vec![NotChecked { check: Reason::NoCapacity, because: Reason::Unavailable }],
        )
        .with("change_id", "chg_1")
        .retry_after_ms(2_500);
        assert_eq!(
            said(&error, Exit::of(&error)),
            "refused: TOO_MANY_SUBGRAPHS: the change is refused; see the violations\n  \
             TOO_MANY_SUBGRAPHS (target_tier; limit 3, found 5): delete 2 subgraphs\n  \
             STORAGE_EXCEEDS_LIMIT (target_tier; limit 20.0 GiB, found 25.0 GiB): delete 5 GiB\n  \
             SAME_TIER (target_tier): choose another tier\n  \
             NO_CAPACITY was not checked because of UNAVAILABLE\n  \
             change_id: chg_1\n  \
             repeat in 2.5 s\n"
        );
        let fields = vec![FieldFault { field: "graph_id".into(), rule: "must be a graph".into() }];
        let error = Error::invalid(fields);
        assert!(said(&error, Exit::of(&error)).ends_with("\n  graph_id: must be a graph\n"));
    }
}
