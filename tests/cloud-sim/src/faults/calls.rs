//! Faults that strike whole calls: lost requests and answers, throttling, HTTP 500, agents that answer nothing or late.

use super::Fault;
use crate::api::agent::Address;
use crate::api::{ApiError, Call, Lost, Service};
use crate::lambda::LATE_MS;
use crate::sim::{Sim, latency};
use crate::timing::{Mishap, Op};

/// After so long an agent's client gives up (docs/aws.md, rule 43). Nothing here ends a call of the client's: this is
/// when an answer is too late to be one.
const AGENT_TIMEOUT_MS: u64 = 10_000;

/// How a call gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Before or after its effect.
    pub(crate) lost: Lost,
    /// The caller knows no earlier than this.
    pub(crate) least_ms: u64,
}

impl Sim {
    /// Whether the request or its answer gets lost. Clients of the engine are never lied to: an answer is a promise.
    pub(crate) fn fate(&mut self, call: &Call) -> Option<Fate> {
        let api = call.action().to_owned();
        let fate = |lost| Some(Fate { lost, least_ms: 0 });
        if call.service() == Service::Engine {
            None
        } else if self.runs_late(call) {
            fate(Lost::Before)
        } else if let Some(lost) = self.unanswered(call) {
            Some(Fate { lost, least_ms: AGENT_TIMEOUT_MS })
        } else if self.faults.strikes(&Fault::LostAnswerBefore { api: api.clone() }) {
            fate(Lost::Before)
        } else if self.faults.strikes(&Fault::LostAnswerAfter { api }) {
            fate(Lost::After)
        } else if matches!(latency(call), Op::MutateCall | Op::SnapshotCall | Op::LaunchCall)
            && self.dice.mishap(Mishap::LostAnswer)
        {
            fate(if self.dice.coin() { Lost::Before } else { Lost::After })
        } else {
            None
        }
    }

    /// Whether the function that is called runs later, behind its caller's back.
    fn runs_late(&mut self, call: &Call) -> bool {
        let Call::Invoke(request) = call else { return false };
        let action = request.payload["action"].as_str().unwrap_or_default().to_owned();
        let late = self.faults.strikes(&Fault::FunctionRunsLate { action });
        if late {
            self.run_later(self.now_ms + LATE_MS, &request.payload);
        }
        late
    }

    /// Whether the agent that is called gives no answer, or one that is too late. One that cannot answer is not struck.
    fn unanswered(&mut self, call: &Call) -> Option<Lost> {
        let instance_id = &agent_of(call)?.instance_id;
        self.answering(instance_id).ok()?;
        let meant = |whose: &Option<String>| whose.as_ref().is_none_or(|whose| whose == instance_id);
        let silent = |fault: &Fault| matches!(fault, Fault::AgentSilent { instance_id } if meant(instance_id));
        if self.faults.strike(silent).is_some() {
            return Some(Lost::Before);
        }
        let slow = |fault: &Fault| matches!(fault, Fault::AgentSlow { instance_id } if meant(instance_id));
        self.faults.strike(slow).map(|_| Lost::After)
    }

    /// Whether the agent answers nothing at all; uses up nothing.
    #[cfg(feature = "server")]
    pub(crate) fn is_silent(&self, instance_id: &str) -> bool {
        let silent = |fault: &Fault| match fault {
            Fault::AgentSilent { instance_id: whose } => whose.as_ref().is_none_or(|whose| whose == instance_id),
            _ => false,
        };
        self.faults.list().iter().any(|active| active.skip == 0 && silent(&active.fault))
    }

    /// The refusal of a call that is turned away at the door.
    pub(crate) fn turned_away(&mut self, call: &Call) -> Option<ApiError> {
        let service = call.service();
        if service == Service::Engine {
            return None;
        }
        let api = call.action().to_owned();
        if self.faults.strikes(&Fault::ServerErrorBefore { api: api.clone() }) {
            return Some(server_error(service));
        }
        let empty = self.faults.is_on(&Fault::RateLimits) && !self.rates.take(call, self.now_ms);
        let throttled =
            self.faults.strikes(&Fault::Throttle { api }) || empty && self.faults.strikes(&Fault::RateLimits);
        throttled.then(|| match service {
            Service::Ec2 => ApiError::new("RequestLimitExceeded", "Request limit exceeded.", 503),
            Service::Autoscaling => ApiError::bad("Throttling", "Rate exceeded"),
            Service::Lambda => ApiError::new("TooManyRequestsException", "Rate exceeded", 429),
            Service::Sns => ApiError::new("Throttled", "Rate exceeded", 429),
            _ => ApiError::new("TOO_MANY_REQUESTS", "too many requests", 429),
        })
    }

    /// The error that stands in for the answer of a call that was carried out.
    pub(crate) fn spoilt(&mut self, call: &Call) -> Option<ApiError> {
        let service = call.service();
        let api = call.action().to_owned();
        let strikes = service != Service::Engine && self.faults.strikes(&Fault::ServerErrorAfter { api });
        strikes.then(|| server_error(service))
    }
}

fn server_error(service: Service) -> ApiError {
    match service {
        Service::Ec2 => ApiError::new("InternalError", "An internal error has occurred", 500),
        Service::Autoscaling => ApiError::new("InternalFailure", "We encountered an internal error.", 500),
        _ => ApiError::new("INTERNAL", "internal error", 500),
    }
}

/// The agent that a call goes to.
fn agent_of(call: &Call) -> Option<&Address> {
    Some(match call {
        Call::AgentHealth(r) => &r.to,
        Call::AgentInfo(r) => &r.to,
        Call::AgentVolume(r) => &r.to,
        Call::AgentConnections(r) => &r.to,
        Call::AgentUsage(r) => &r.to,
        Call::AgentProbe(r) => &r.to,
        Call::AgentDrain(r) => &r.to,
        Call::AgentResume(r) => &r.to,
        Call::AgentRelease(r) => &r.to,
        Call::AgentAdopt(r) => &r.to,
        _ => return None,
    })
}
