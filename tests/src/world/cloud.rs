//! The simulated cloud as everybody in the process sees it: one model, the clock, and how an answer travels.
//!
//! A call has its effect when it is made (the model says what that means) and is answered after its latency; whoever is
//! gone by then has caused the effect all the same. What the calls mean is cloud-sim's.

use cloud_sim::Sim;
use cloud_sim::api::control::{
    AuditWrites, EngineLogEntry, LedgerEntry, ReadEngineLog, ReadLedger, SetFault, WriteAudit,
};
use cloud_sim::api::{ApiError, Request};
use cloud_sim::faults::Fault;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tiershift_common::clock::{Clock, sleep_ms};
use tiershift_core::ids::GraphId;

/// The cloud.
pub struct Cloud {
    sim: Mutex<Sim>,
    clock: Arc<dyn Clock>,
    after_each: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").finish_non_exhaustive()
    }
}

/// A call that gave nothing.
#[derive(Debug)]
pub struct Failed {
    /// The call, in its API's words.
    pub operation: &'static str,
    /// The refusal; none when no answer came.
    pub refusal: Option<ApiError>,
}

impl Cloud {
    /// Over a model and the clock that it lives by.
    pub fn new(sim: Sim, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { sim: Mutex::new(sim), clock, after_each: OnceLock::new() })
    }

    /// Runs `look` after the effect of each call that is waited for, before its answer. Once; a second one is ignored.
    pub fn after_each(&self, look: impl Fn() + Send + Sync + 'static) {
        let _first = self.after_each.set(Box::new(look));
    }

    /// What is true of the model now, whatever its API shows.
    pub fn truth<T>(&self, look: impl FnOnce(&Sim) -> T) -> T {
        let now_ms = self.now_ms();
        let mut sim = self.sim();
        sim.advance(now_ms);
        look(&sim)
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().0).expect("the clock is behind 1970")
    }

    /// Makes a call and waits for its answer.
    pub async fn ask<R: Request>(&self, request: R) -> Result<R::Answer, Failed> {
        let call = request.into_call();
        let operation = call.action();
        let reply = self.sim().call(self.now_ms(), call);
        if let Some(look) = self.after_each.get() {
            look();
        }
        sleep_ms(&*self.clock, i64::try_from(reply.latency_ms).unwrap_or(i64::MAX)).await;
        if reply.lost.is_some() {
            return Err(Failed { operation, refusal: None });
        }
        let answer = reply.answer.map_err(|refusal| Failed { operation, refusal: Some(refusal) })?;
        Ok(R::from_answer(answer).expect("an answer of the call's own kind"))
    }

    /// Looks or meddles without time passing. Panics if the model refuses.
    pub fn at_once<R: Request>(&self, request: R) -> R::Answer {
        self.sim().ask(self.now_ms(), request).answer.expect("the simulated cloud refuses")
    }

    /// Switches a fault on, for so many times or for good.
    pub fn fault(&self, fault: Fault, count: Option<u32>) {
        self.at_once(SetFault::new(fault, count));
    }

    /// Every API call so far.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        let page = self.at_once(ReadLedger::default());
        assert!(page.oldest_seq <= 1, "the ledger has forgotten its beginning");
        page.entries
    }

    /// Everything that the engines did so far.
    pub fn engine_log(&self) -> Vec<EngineLogEntry> {
        let page = self.at_once(ReadEngineLog::default());
        assert!(page.oldest_seq <= 1, "the engine log has forgotten its beginning");
        page.entries
    }

    /// Which acknowledged writes of a graph can be read now.
    pub fn audit(&self, graph: &GraphId) -> WriteAudit {
        self.at_once(AuditWrites { graph_id: graph.to_string() })
    }
}
