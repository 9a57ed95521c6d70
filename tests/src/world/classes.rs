//! What the simulated cloud's refusals mean to volume-svc: by code only, and by the table of its own adapters
//! (`volume_svc::ports::cloud::codes`).

use super::cloud::Failed;
use volume_svc::ports::agent::AgentError;
use volume_svc::ports::cloud::{ApiError, Class, codes};

/// A failed call to EC2 or Auto Scaling, as its port states it.
pub(super) fn aws(failed: Failed) -> ApiError {
    let Failed { operation, refusal } = failed;
    let (class, code, message) = match refusal {
        Some(refusal) => {
            let (class, code) = codes::answered(operation, Some(&refusal.code), refusal.http_status);
            (class, code.to_owned(), refusal.message)
        }
        None => (Class::Unknown, "Dispatch".to_owned(), "no answer".to_owned()),
    };
    ApiError { operation, class, code, message, request_id: None }
}

/// A request that volume-svc must not make.
pub(super) fn not_asked(operation: &'static str, code: &str) -> ApiError {
    let message = "refused before it is sent".to_owned();
    ApiError { operation, class: Class::Permanent, code: code.to_owned(), message, request_id: None }
}

/// A failed call to an agent, as its port states it. A 404 of a probe is about the graph; of any other call it says that
/// the agent lacks the call.
pub(super) fn agent(failed: Failed) -> AgentError {
    let Some(refusal) = failed.refusal else { return AgentError::Unknown("no answer".into()) };
    match refusal.http_status {
        401 | 403 => AgentError::Unauthorized,
        409 if refusal.code == "FENCED" => AgentError::Fenced,
        404 if failed.operation != "AgentProbe" => AgentError::Unsupported,
        500.. => AgentError::Unknown(Box::new(refusal)),
        _ => AgentError::Refused { code: refusal.code },
    }
}
