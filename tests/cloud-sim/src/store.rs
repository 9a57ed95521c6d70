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
    /// Does not ask, and closes the connection.
    LostBefore,
    /// Asks, and closes the connection.
    LostAfter,
    /// Does not ask, and answers HTTP 500.
    ErrorBefore,
    /// Asks, and answers HTTP 500.
    ErrorAfter,
    /// Does not ask, and answers that the throughput is exceeded.
    Throttled,
    /// Does not ask, and answers that another write is under way.
    Conflict,
}

impl Sim {
    /// Whether a fault strikes a call of DynamoDB; uses up its count.
    pub fn strike_store(&mut self, action: &str) -> Option<StoreFault> {
        let api = || action.to_owned();
        let whole = [
            (Fault::LostAnswerBefore { api: api() }, StoreFault::LostBefore),
            (Fault::ServerErrorBefore { api: api() }, StoreFault::ErrorBefore),
            (Fault::Throttle { api: api() }, StoreFault::Throttled),
        ];
        if let Some((_, fault)) = whole.iter().find(|(fault, _)| self.faults.strikes(fault)) {
            return Some(*fault);
        }
        let conflict = |fault: &Fault| match fault {
            Fault::Conflict { api } => api.as_ref().is_none_or(|api| api == action) && CONFLICTING.contains(&action),
            _ => false,
        };
        if self.faults.strike(conflict).is_some() {
            return Some(StoreFault::Conflict);
        }
        let late = [
            (Fault::LostAnswerAfter { api: api() }, StoreFault::LostAfter),
            (Fault::ServerErrorAfter { api: api() }, StoreFault::ErrorAfter),
        ];
        late.iter().find(|(fault, _)| self.faults.strikes(fault)).map(|(_, fault)| *fault)
    }

    /// How far an index query that is made now lags, in real ms; uses up one of its count.
    pub fn strike_index(&mut self) -> Option<u64> {
        match self.faults.strike(|fault| matches!(fault, Fault::IndexLag { .. })) {
            Some(Fault::IndexLag { lag_ms }) => Some(lag_ms),
            _ => None,
        }
    }

    /// How far index queries lag; uses up nothing. Writes are remembered while this says something.
    pub fn index_lag_ms(&self) -> Option<u64> {
        self.faults.list().iter().find_map(|active| match active.fault {
            Fault::IndexLag { lag_ms } => Some(lag_ms),
            _ => None,
        })
    }
}
