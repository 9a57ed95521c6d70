//! All writes of a transaction as one piece of work: the steps in their order, each a statement or a few that are known
//! beforehand, and what their answers mean.
//!
//! Order: everything else as it was said, then the events with their feed numbers, and the access counter by the last step
//! before COMMIT (H38). Each of the two counters is one locked row, taken always in this order, and nothing but the database
//! is waited for while it is held.

use super::decode::{Columns, id};
use super::encode::{Row, Table, Value, instant as at, json, text};
use super::{Dialect, instant};
use crate::store::inbox::WebhookMark;
use crate::store::rows::{
    Access, AuditEvent, Graph, PaymentRequest, Request, Revision, Subgraph, Subscription, TierChange,
};
use crate::store::{Committed, Constraint, Fault, Published, Write};
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::OrgId;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Writes a graph.
    Graph,
    /// Writes a subgraph.
    Subgraph,
    /// Marks all subgraphs of a graph as deleted.
    DeleteSubgraphs,
    /// Writes a subscription.
    Subscription,
    /// Writes a change.
    Change,
    /// Owes an effect.
    Owe,
    /// Takes an owed effect away.
    Settle,
    /// Puts an owed effect off.
    Retry,
    /// Writes a provider request.
    Payment,
    /// Appends to the audit.
    Audit,
    /// Remembers a request.
    Request,
    /// Appends an event.
    Event,
    /// Notes what became of events of the payment provider.
    Webhooks,
    /// Writes an access record under the next version.
    Access,
}

impl Deed {
    /// All.
    pub const ALL: [Self; 14] = [
        Self::Graph,
        Self::Subgraph,
        Self::DeleteSubgraphs,
        Self::Subscription,
        Self::Change,
        Self::Owe,
        Self::Settle,
        Self::Retry,
        Self::Payment,
        Self::Audit,
        Self::Request,
        Self::Event,
        Self::Webhooks,
        Self::Access,
    ];

    /// Its name among the statements of a session.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graph => "put_graph",
            Self::Subgraph => "put_subgraph",
            Self::DeleteSubgraphs => "delete_subgraphs",
            Self::Subscription => "put_subscription",
            Self::Change => "put_change",
            Self::Owe => "owe",
            Self::Settle => "settle",
            Self::Retry => "retry",
            Self::Payment => "put_payment",
            Self::Audit => "append_audit",
            Self::Request => "put_request",
            Self::Event => "append_event",
            Self::Webhooks => "mark_webhooks",
            Self::Access => "put_access",
        }
    }

    /// Its statements, in their order. All have the same parameters.
    pub fn statements(self, dialect: &Dialect) -> Vec<String> {
        let put = |table: Table| vec![dialect.put(&table)];
        let own = |statements: &[&str]| statements.iter().map(ToString::to_string).collect();
        match self {
            Self::Graph => put(Graph::TABLE),
            Self::Subgraph => put(Subgraph::TABLE),
            Self::DeleteSubgraphs => {
                let deleted = (dialect.column)(&instant("deleted"));
                vec![format!("UPDATE subgraph SET {deleted} = $1 WHERE graph_id = $2 AND {deleted} IS NULL")]
            }
            Self::Subscription => put(Subscription::TABLE),
            Self::Change => put(TierChange::TABLE),
            Self::Owe => own(dialect.owe),
            Self::Settle => vec!["DELETE FROM owed_effect WHERE id = $1".to_owned()],
            Self::Retry => {
                // A row that was dropped meanwhile stays dropped.
                let not_before = (dialect.column)(&instant("not_before"));
                vec![format!("UPDATE owed_effect SET attempts = $1, {not_before} = $2 WHERE id = $3")]
            }
            Self::Payment => put(PaymentRequest::TABLE),
            Self::Audit => put(AuditEvent::TABLE),
            Self::Request => put(Request::TABLE),
            Self::Event => own(dialect.event),
            Self::Webhooks => own(dialect.webhooks),
            Self::Access => own(dialect.access),
        }
    }

    /// The rule that can refuse it, where the store itself does not name it.
    pub const fn refused_by(self) -> Constraint {
        match self {
            Self::Subscription => Constraint::LiveSubscription,
            Self::Change => Constraint::ActiveChange,
            Self::Event => Constraint::EventSequence,
            Self::Payment => Constraint::PaymentBytes,
            Self::Graph
            | Self::Subgraph
            | Self::DeleteSubgraphs
            | Self::Owe
            | Self::Settle
            | Self::Retry
            | Self::Audit
            | Self::Request
            | Self::Webhooks
            | Self::Access => Constraint::Other,
        }
    }
}

/// One of them, with what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub deed: Deed,
    /// Its parameters.
    pub values: Vec<Value>,
}

/// The work.
#[derive(Debug)]
pub struct Batch {
    /// Its steps, in their order. Those of events and of records are the last.
    pub steps: Vec<Step>,
    events: Vec<ChangeEvent>,
    records: Vec<(Access, i64)>,
    owes: bool,
}

impl Batch {
    /// What these writes are made of.
    pub fn of(writes: Vec<Write>) -> Result<Self, Fault> {
        let mut batch = Self { steps: Vec::new(), events: Vec::new(), records: Vec::new(), owes: false };
        for write in writes {
            batch.owes |= matches!(write, Write::Change(_) | Write::Owe { .. } | Write::Settle(_));
            let (deed, values) = match write {
                Write::Graph(row) => (Deed::Graph, row.values()?),
                Write::Subgraph(row) => (Deed::Subgraph, row.values()?),
                Write::DeleteSubgraphs(parent, deleted) => {
                    (Deed::DeleteSubgraphs, vec![at(deleted), text(parent.as_str())])
                }
                Write::Subscription(row) => (Deed::Subscription, row.values()?),
                Write::Change(row) => (Deed::Change, row.values()?),
                Write::Owe { change, effect, attempts, not_before } => {
                    let (kind, attempts) = (text(effect.kind()), Value::Number(i64::from(attempts)));
                    (Deed::Owe, vec![text(change.as_str()), kind, json(&effect)?, attempts, at(not_before)])
                }
                Write::Settle(id) => (Deed::Settle, vec![Value::Number(id)]),
                Write::Retry(row) => {
                    let attempts = Value::Number(i64::from(row.attempts));
                    (Deed::Retry, vec![attempts, at(row.not_before), Value::Number(row.id)])
                }
                Write::Payment(row) => (Deed::Payment, row.values()?),
                Write::Audit(row) => (Deed::Audit, row.values()?),
                Write::Request(row) => (Deed::Request, row.values()?),
                Write::Webhooks(mark) => (Deed::Webhooks, marked(&mark)?),
                Write::Event(event) => {
                    batch.events.push(event);
                    continue;
                }
                Write::Access(row, nonce) => {
                    batch.records.push((*row, nonce));
                    continue;
                }
            };
            batch.steps.push(Step { deed, values });
        }
        for event in &batch.events {
            let seq = Value::Number(i64::try_from(event.seq).unwrap_or(i64::MAX));
            let values = vec![text(event.change_id.as_str()), seq, json(event)?];
            batch.steps.push(Step { deed: Deed::Event, values });
        }
        for (row, nonce) in &batch.records {
            let values =
                vec![Value::Number(*nonce), text(row.graph.as_str()), text(row.org.as_str()), json(&row.record)?];
            batch.steps.push(Step { deed: Deed::Access, values });
        }
        Ok(batch)
    }

    /// What was done, by the rows that each step answered with. A fault undoes it: the caller rolls back.
    pub fn committed<R: Columns>(self, answers: &[Vec<R>]) -> Result<Committed, Fault> {
        let missing = || Fault::Corrupt("a step without an answer".to_owned());
        let before = self.steps.len() - self.events.len() - self.records.len();
        let mut answers = answers.iter().skip(before);
        let mut published = Vec::new();
        for event in self.events {
            // No row: of a change that does not exist.
            let row = answers.next().ok_or_else(missing)?.first();
            let row = row.ok_or(Fault::Constraint(Constraint::EventSequence))?;
            published.push(Published { feed: row.count("feed")?, org: id(row, "org_id", OrgId::parse)?, event });
        }
        let mut access = None;
        let mut stored = Vec::new();
        for (mut row, nonce) in self.records {
            row.record.revision = answers.next().and_then(|rows| rows.first()).ok_or_else(missing)?.count("version")?;
            access = Some(Revision { version: row.record.revision, nonce });
            stored.push(row);
        }
        Ok(Committed { access: access.map(|revision| (revision, stored)), published, owes: self.owes })
    }
}

/// What became of events: state, attempts, instant, note, ids as a list, the subject and the number up to which its events are
/// answered; none has the number 0.
pub fn marked(mark: &WebhookMark) -> Result<Vec<Value>, Fault> {
    let (subject, n) = mark.answered.as_ref().map_or(("", 0), |(subject, n)| (subject.as_str(), *n));
    Ok(vec![
        text(mark.state.as_str()),
        Value::Number(i64::from(mark.attempts)),
        at(mark.not_before),
        text(mark.note.as_str()),
        json(&mark.ids)?,
        text(subject),
        Value::Number(i64::try_from(n).unwrap_or(i64::MAX)),
    ])
}
