//! What must hold of every history, by the numbers of docs/protocol.md: one function each, over what was written and
//! what is true of the world, never over what the code under test believes.
//!
//! `journal` is asked for every entry of a migration's journal, `cloud` for every call and every deed of an engine,
//! `rows` for every registry row that is written, `subscription` for every commit of the other service, `rest` when
//! nothing is owed any more.

pub mod cloud;
pub mod journal;
pub mod rest;
pub mod rows;
pub mod subscription;

use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: an invariant's number, or a rule's name.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.rule, self.what)
    }
}

/// Whether a rule holds.
pub type Verdict = Result<(), Violation>;

/// It holds, or this is what was seen.
pub fn holds(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { rule, what: what() }) }
}
