//! DynamoDB as far as the model knows it: the names of its actions and the faults that its face carries out.
//!
//! Tables and items are not here: an embedded DynamoDB has them (`server/dynamodb.rs`).

use crate::faults::Fault;
use crate::sim::Sim;

/// Writes that can meet another one.
pub const CONFLICTING: &[&str] = &["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"];

/// Actions that a fault can strike: those that read or write items.
pub const ACTIONS: &[&str] = &[
    "GetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "Query",
    "Scan",
    "BatchGetItem",
    "BatchWriteItem",
    "TransactGetItems",
    "TransactWriteItems",
];

/// What the face does instead of asking and answering as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Closes the connection.
    Lost,
    /// Answers HTTP 500.
    Error,
    /// Answers that the throughput is exceeded.
    Throttled,
    /// Answers that another write is under way.
    Conflict,
}

impl Sim {
    /// Whether a fault strikes a call of DynamoDB before it is made; uses up its count.
    pub fn strike_store_before(&mut self, action: &str) -> Option<StoreFault> {
        let api = action.to_owned();
        if self.faults.strikes(&Fault::LostAnswerBefore { api: api.clone() }) {
            Some(StoreFault::Lost)
        } else if self.faults.strikes(&Fault::ServerErrorBefore { api: api.clone() }) {
            Some(StoreFault::Error)
        } else if self.faults.strikes(&Fault::Throttle { api }) {
            Some(StoreFault::Throttled)
        } else {
            let conflict = |fault: &Fault| match fault {
                Fault::Conflict { api } => {
                    CONFLICTING.contains(&action) && api.as_ref().is_none_or(|api| api == action)
                }
                _ => false,
            };
            self.faults.strike(conflict).map(|_| StoreFault::Conflict)
        }
    }

    /// Whether a fault strikes a call of DynamoDB that was made and succeeded; uses up its count.
    pub fn strike_store_after(&mut self, action: &str) -> Option<StoreFault> {
        let api = action.to_owned();
        if self.faults.strikes(&Fault::LostAnswerAfter { api: api.clone() }) {
            Some(StoreFault::Lost)
        } else if self.faults.strikes(&Fault::ServerErrorAfter { api }) {
            Some(StoreFault::Error)
        } else {
            None
        }
    }

    /// How far an index query that is made now lags, in real ms; uses up one of its count.
    pub fn strike_index(&mut self) -> Option<u64> {
        match self.faults.strike(|fault| matches!(fault, Fault::IndexLag { .. })) {
            Some(Fault::IndexLag { lag_ms }) => Some(lag_ms),
            _ => None,
        }
    }

    /// How far index queries lag; uses up nothing. Writes are remembered for so long.
    pub fn index_lag_ms(&self) -> Option<u64> {
        self.faults.list().iter().find_map(|active| match active.fault {
            Fault::IndexLag { lag_ms } => Some(lag_ms),
            _ => None,
        })
    }

    /// Whether any fault is on that may strike DynamoDB.
    pub fn has_store_faults(&self) -> bool {
        self.faults.list().iter().any(|active| match &active.fault {
            Fault::Conflict { .. } | Fault::IndexLag { .. } => true,
            other => other.api().is_some_and(|api| ACTIONS.contains(&api)),
        })
    }
}
