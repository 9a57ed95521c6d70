//! Lambda: running the volume manager function.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Runs a function and waits for what it says. Not idempotent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Invoke {
    /// Its name.
    pub function_name: String,
    /// What it is given.
    pub payload: Value,
}

/// Answer of `Invoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoked {
    /// What it said; with `function_error`, what the runtime says of its end.
    pub payload: Value,
    /// `Unhandled` if it did not end by itself.
    pub function_error: Option<String>,
}
