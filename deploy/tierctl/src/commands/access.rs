//! `tierctl access`: may this graph be read and written now?

use super::absent;
use crate::cli::{Access, Mode};
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{duration, or_dash};
use serde::Serialize;
use tiershift_common::convert::reason_from_proto;
use tiershift_proto::subscription::v1::{AccessDecision, AccessMode, CheckAccessRequest};

/// Asks for each mode; the second answer is at least as new as the first.
pub async fn run(target: &Target, command: Access, output: &mut Output) -> Result<Exit, Fault> {
    let Access::Check { graph, mode } = command;
    let modes: &[AccessMode] = match mode {
        Mode::Read => &[AccessMode::Read],
        Mode::Write => &[AccessMode::Write],
        Mode::Both => &[AccessMode::Read, AccessMode::Write],
    };
    let mut client = target.access()?;
    let mut rows: Vec<AccessRow> = Vec::new();
    let mut min_revision = None;
    for mode in modes {
        let request = CheckAccessRequest { graph_id: graph.clone(), mode: (*mode).into(), min_revision };
        let answer = client.check_access(request).await?.into_inner();
        let decision = answer.decision.ok_or_else(|| absent("the decision"))?;
        rows.push(AccessRow::of(&graph, *mode, &decision));
        min_revision = decision.revision;
    }
    output.rows(&rows)?;
    Ok(if rows.iter().all(|row| row.allowed) { Exit::Succeeded } else { Exit::Refused })
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessRow {
    /// What was asked about.
    pub graph_id: String,
    /// `read` or `write`.
    pub mode: &'static str,
    /// The answer.
    pub allowed: bool,
    /// Why not; empty if allowed.
    pub reason: String,
    /// When to ask again; 0 if waiting does not help.
    pub retry_after_ms: i64,
    /// How long the answer may be kept.
    pub valid_for_ms: i64,
    /// Whether the replica has lost touch with its store.
    pub stale: bool,
    /// The version of access that it rests on; 0 if there is no record at all.
    pub version: i64,
}

impl AccessRow {
    fn of(graph_id: &str, mode: AccessMode, decision: &AccessDecision) -> Self {
        let reason = reason_from_proto(decision.reason).map(|reason| reason.to_string());
        Self {
            graph_id: graph_id.to_owned(),
            mode: if mode == AccessMode::Read { "read" } else { "write" },
            allowed: decision.allowed,
            // A refusal whose reason this build does not know is a refusal all the same.
            reason: if decision.allowed { String::new() } else { reason.unwrap_or_else(|| "UNKNOWN".to_owned()) },
            retry_after_ms: decision.retry_after_ms,
            valid_for_ms: decision.valid_for_ms,
            stale: decision.stale,
            version: decision.revision.as_ref().map_or(0, |revision| revision.version),
        }
    }
}

impl Row for AccessRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("GRAPH", Align::Left),
        ("MODE", Align::Left),
        ("ALLOWED", Align::Left),
        ("REASON", Align::Left),
        ("REPEAT IN", Align::Right),
        ("VALID FOR", Align::Right),
        ("NOTE", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        let time = |ms: i64| if ms > 0 { duration(ms) } else { "-".to_owned() };
        vec![
            self.graph_id.clone(),
            self.mode.to_owned(),
            if self.allowed { "yes" } else { "no" }.to_owned(),
            or_dash(&self.reason),
            time(self.retry_after_ms),
            time(self.valid_for_ms),
            if self.stale { "stale" } else { "" }.to_owned(),
        ]
    }
}
