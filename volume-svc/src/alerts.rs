//! Who is called when a human is needed. Every alert is also logged; where else it goes is the implementation's.

use async_trait::async_trait;
use std::fmt::Debug;
use tiershift_core::ids::ChangeId;

/// A way to call an operator. Never fails the migration: an alert that could not be sent is logged.
#[async_trait]
pub trait Alerts: Debug + Send + Sync {
    /// A human is needed for a migration.
    async fn raise(&self, migration: &ChangeId, subject: &str, detail: &str);
}

/// Alerts as log lines at level ERROR.
#[derive(Debug, Default)]
pub struct Log;

#[async_trait]
impl Alerts for Log {
    async fn raise(&self, migration: &ChangeId, subject: &str, detail: &str) {
        tracing::error!(alert = true, %migration, subject, detail, "an operator is needed");
    }
}
