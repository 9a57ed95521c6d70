//! What all handlers share: the model, who may call, and the way from a call to its answer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::net::NoAnswer;
use super::state::State;
use crate::Sim;
use crate::api::{Answer, ApiError, Call};
use crate::seed::Fleet;

/// The simulated cloud as its handlers see it.
#[derive(Debug)]
pub(super) struct Cloud {
    /// The model.
    pub(super) state: State,
    /// The key id that signatures must name.
    pub(super) access_key_id: String,
    /// The account in answers.
    pub(super) account_id: String,
    /// Where DynamoDB is, for those who ask for it here.
    pub(super) dynamodb_url: String,
    /// Numbers the requests of this run.
    requests: AtomicU64,
}

impl Cloud {
    /// A cloud around a model.
    pub(super) fn new(state: State, access_key_id: String, account_id: String, dynamodb_url: String) -> Self {
        Self { state, access_key_id, account_id, dynamodb_url, requests: AtomicU64::new(0) }
    }

    /// Carries a call out, waits as long as it takes, and gives the answer unless it is lost.
    pub(super) async fn ask(&self, call: Call) -> Result<Result<Answer, ApiError>, NoAnswer> {
        let called = self.state.call(call).map_err(|_| NoAnswer)?;
        self.state.answerable(&called).await.map_err(|_| NoAnswer)?;
        if called.reply.lost.is_some() {
            return Err(NoAnswer);
        }
        Ok(called.reply.answer)
    }

    /// Looks at the model without calling it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Sim) -> T) -> Result<T, NoAnswer> {
        self.state.look(look).map_err(|_| NoAnswer)
    }

    /// What was planted.
    pub(super) fn fleet(&self) -> Result<Fleet, NoAnswer> {
        self.state.fleet().map_err(|_| NoAnswer)
    }

    /// A new request id, in the form of a UUID: which run, which request.
    pub(super) fn request_id(&self) -> String {
        let run = self.state.clock().boot_ms;
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-0000-4000-8000-{request:012x}", run & 0xffff_ffff)
    }
}
