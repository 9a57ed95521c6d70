//! The instances' own addresses, all on one port: `/agents/{instance_id}/...` for the agent's HTTP contract and
//! `/engine/{instance_id}/{graph_id}/...` for clients of the graph engine.
//!
//! An instance that is dead, terminated, still booting or unknown has nobody who could answer: its connections are
//! closed without a word, whatever the request was.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::cloud::Cloud;
use super::json;
use super::net::NoAnswer;
use crate::api::agent::{
    Address, AgentAdopt, AgentConnections, AgentDrain, AgentHealth, AgentInfo, AgentProbe, AgentRelease, AgentResume,
    AgentUsage, AgentVolume, Command, DrainScope,
};
use crate::api::engine::{EngineRead, EngineWrite};
use crate::api::{Answer, ApiError, Call};

/// The most that a request may have in its body; a command has 200 bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The body of a drain.
#[derive(Deserialize)]
struct Drain {
    #[serde(flatten)]
    command: Command,
    scope: DrainScope,
}

/// The body of an adoption.
#[derive(Deserialize)]
struct Adopt {
    #[serde(flatten)]
    command: Command,
    #[serde(default)]
    fs_uuid: Option<String>,
}

/// The body of an engine's request.
#[derive(Deserialize)]
struct Write {
    write_id: u64,
}

/// A request to the agent of an instance.
pub(super) async fn agent(
    State(cloud): State<Arc<Cloud>>,
    Path((instance_id, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, NoAnswer> {
    let api_key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let to = Address { instance_id, api_key };
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| NoAnswer)?;
    let call = match agent_call(&method, &path, &to, &body) {
        Ok(call) => Ok(call),
        Err(_) if cloud.look(|sim| sim.is_silent(&to.instance_id))? => return Err(NoAnswer),
        // The model is not asked, so the key is checked here.
        Err(refusal) => {
            let right = cloud.look(|sim| to.api_key.as_ref() == Some(&sim.config().agent_api_key))?;
            Err(if right { refusal } else { ApiError::new("UNAUTHORIZED", "the API key is missing or wrong", 401) })
        }
    };
    reply(&cloud, &to.instance_id, call).await
}

fn agent_call(method: &Method, path: &str, to: &Address, body: &[u8]) -> Result<Call, ApiError> {
    let to = to.clone();
    let asked = match path {
        "health" | "admin/info" | "admin/volume" | "admin/connections" | "admin/usage" => Method::GET,
        _ if path.starts_with("admin/probe/") => Method::GET,
        "admin/drain" | "admin/resume" | "admin/volume/release" | "admin/volume/adopt" => Method::POST,
        _ => return Err(ApiError::new("NOT_FOUND", format!("there is no /{path}"), 404)),
    };
    if *method != asked {
        return Err(ApiError::new("METHOD_NOT_ALLOWED", format!("/{path} is a {asked}"), 405));
    }
    Ok(match path {
        "health" => Call::AgentHealth(AgentHealth { to }),
        "admin/info" => Call::AgentInfo(AgentInfo { to }),
        "admin/volume" => Call::AgentVolume(AgentVolume { to }),
        "admin/connections" => Call::AgentConnections(AgentConnections { to }),
        "admin/usage" => Call::AgentUsage(AgentUsage { to }),
        "admin/drain" => {
            let Drain { command, scope } = json::parse(body)?;
            Call::AgentDrain(AgentDrain { to, command, scope })
        }
        "admin/resume" => Call::AgentResume(AgentResume { to, command: json::parse(body)? }),
        "admin/volume/release" => Call::AgentRelease(AgentRelease { to, command: json::parse(body)? }),
        "admin/volume/adopt" => {
            let Adopt { command, fs_uuid } = json::parse(body)?;
            Call::AgentAdopt(AgentAdopt { to, command, fs_uuid })
        }
        probe => {
            let graph_id = probe.trim_start_matches("admin/probe/").to_owned();
            Call::AgentProbe(AgentProbe { to, graph_id })
        }
    })
}

/// A request to the engine of an instance.
pub(super) async fn engine(
    State(cloud): State<Arc<Cloud>>,
    Path((instance_id, graph_id, action)): Path<(String, String, String)>,
    method: Method,
    body: Body,
) -> Result<Response, NoAnswer> {
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| NoAnswer)?;
    let call = match (action.as_str(), json::parse::<Write>(&body)) {
        ("write" | "read", _) if method != Method::POST => {
            Err(ApiError::new("METHOD_NOT_ALLOWED", format!("/{action} is a POST"), 405))
        }
        ("write", Ok(Write { write_id })) => {
            Ok(Call::EngineWrite(EngineWrite { instance_id: instance_id.clone(), graph_id, write_id }))
        }
        ("read", Ok(Write { write_id })) => {
            Ok(Call::EngineRead(EngineRead { instance_id: instance_id.clone(), graph_id, write_id }))
        }
        ("write" | "read", Err(refusal)) => Err(refusal),
        _ => Err(ApiError::new("NOT_FOUND", format!("there is no /{action}"), 404)),
    };
    reply(&cloud, &instance_id, call).await
}

/// Answers for an instance, if it is there to answer.
async fn reply(cloud: &Cloud, instance_id: &str, call: Result<Call, ApiError>) -> Result<Response, NoAnswer> {
    let answer = match call {
        Ok(call) => cloud.ask(call).await?,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(answer) => Ok(written(&answer)),
        Err(refusal) if cloud.look(|sim| sim.answering(instance_id).is_ok())? => Ok(json::refusal(&refusal)),
        Err(_) => Err(NoAnswer),
    }
}

fn written(answer: &Answer) -> Response {
    let (ok, accepted) = (StatusCode::OK, StatusCode::ACCEPTED);
    match answer {
        Answer::AgentHealth(body) => json::answer(ok, body),
        Answer::AgentInfo(body) => json::answer(ok, body),
        Answer::AgentVolume(body) | Answer::AgentDrain(body) | Answer::AgentResume(body) => json::answer(ok, body),
        Answer::AgentConnections(body) => json::answer(ok, body),
        Answer::AgentUsage(body) => json::answer(ok, body),
        Answer::AgentProbe(body) => json::answer(ok, body),
        // The work begins; how it ends is read from the volume.
        Answer::AgentRelease(body) | Answer::AgentAdopt(body) => json::answer(accepted, body),
        Answer::EngineWrite(body) => json::answer(ok, body),
        Answer::EngineRead(body) => json::answer(ok, body),
        // Nothing else is asked for here.
        _ => json::refusal(&ApiError::new("INTERNAL", "no such answer", 500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = r#""migration_id":"chg_1","fence":7,"volume_id":"vol-1","instance_id":"i-1""#;

    fn to() -> Address {
        Address { instance_id: "i-1".into(), api_key: Some("k".into()) }
    }

    fn call(method: &Method, path: &str, body: &str) -> Result<Call, ApiError> {
        agent_call(method, path, &to(), body.as_bytes())
    }

    fn command() -> Command {
        Command { migration_id: "chg_1".into(), fence: 7, volume_id: "vol-1".into(), instance_id: "i-1".into() }
    }

    #[test]
    fn commands_are_read_from_their_bodies() {
        let drain = call(&Method::POST, "admin/drain", &format!(r#"{{{COMMAND},"scope":"all"}}"#));
        assert_eq!(drain, Ok(Call::AgentDrain(AgentDrain { to: to(), command: command(), scope: DrainScope::All })));
        let release = call(&Method::POST, "admin/volume/release", &format!("{{{COMMAND}}}"));
        assert_eq!(release, Ok(Call::AgentRelease(AgentRelease { to: to(), command: command() })));
        for (body, fs_uuid) in
            [(format!(r#"{{{COMMAND},"fs_uuid":"u"}}"#), Some("u".to_owned())), (format!("{{{COMMAND}}}"), None)]
        {
            let adopt = call(&Method::POST, "admin/volume/adopt", &body);
            assert_eq!(adopt, Ok(Call::AgentAdopt(AgentAdopt { to: to(), command: command(), fs_uuid })));
        }
        let probe = call(&Method::GET, "admin/probe/kg1", "");
        assert_eq!(probe, Ok(Call::AgentProbe(AgentProbe { to: to(), graph_id: "kg1".into() })));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        let status = |method, path, body| call(method, path, body).unwrap_err().http_status;
        assert_eq!(status(&Method::GET, "admin/shutdown", ""), 404);
        assert_eq!(status(&Method::GET, "admin/drain", ""), 405);
        assert_eq!(status(&Method::POST, "health", ""), 405);
        assert_eq!(status(&Method::POST, "admin/drain", "{}"), 400);
        assert_eq!(status(&Method::POST, "admin/resume", &format!("{{{COMMAND}}}").replace('7', "-7")), 400);
    }
}
