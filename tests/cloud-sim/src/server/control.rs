//! The simulator's own switches and reports under `/sim`: JSON, no key, no latency, not in the ledger.
//!
//! | path | |
//! |---|---|
//! | `GET /sim/health` | `{"status":"serving"}` |
//! | `GET /sim/clock` | `{now_ms, origin_ms, boot_ms, speed}` |
//! | `GET /sim/fleet` | what was planted ([`crate::seed::Fleet`]) |
//! | `GET /sim/ledger?after=&limit=` | API calls ([`crate::api::control::LedgerPage`]) |
//! | `GET /sim/engine-log?after=&limit=` | what the engines did ([`crate::api::control::EngineLogPage`]) |
//! | `GET /sim/published?after=&limit=` | what was published to topics ([`crate::api::sns::Messages`]) |
//! | `GET /sim/audit/{graph_id}` | acknowledged against readable writes ([`crate::api::control::WriteAudit`]) |
//! | `GET /sim/faults` | faults that are on ([`crate::api::control::Faults`]) |
//! | `GET /sim/faults/catalogue` | faults that there are ([`crate::faults::catalogue::Entry`]) |
//! | `POST /sim/faults` | switches one on: `{"fault":"throttle","api":"AttachVolume","count":2}`; also `skip`, `for_ms` |
//! | `POST /sim/faults/clear` | switches off: `{"fault":"throttle"}` all of that name, `{}` all; answers those that were on |
//! | `POST /sim/load/{graph_id}` | background load: `{"readers":4,"writers":2}` |
//! | `POST /sim/reboot/{instance_id}` | power cut and boot |
//! | `POST /sim/groups/{name}` | changes a group ([`crate::api::control::EditGroup`]) |
//!
//! A fault that is asked for badly is refused with 400 and `{"code", "message", "faults": [{"field", "rule"}]}`:
//! everything that is wrong, at once.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use tiershift_common::clock::Clock as _;
use tiershift_core::FieldFault;

use super::cloud::Cloud;
use super::json;
use super::net::NoAnswer;
use crate::api::control::{AuditWrites, EditGroup, ListFaults, ReadEngineLog, ReadLedger, RebootInstance, SetLoad};
use crate::api::sns::ReadPublished;
use crate::api::{Answer, ApiError, Call};
use crate::faults::catalogue::CATALOGUE;

type Shared = State<Arc<Cloud>>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/sim/health", get(health))
        .route("/sim/clock", get(clock))
        .route("/sim/fleet", get(fleet))
        .route("/sim/ledger", get(ledger))
        .route("/sim/engine-log", get(engine_log))
        .route("/sim/published", get(published))
        .route("/sim/audit/{graph_id}", get(audit))
        .route("/sim/faults", get(faults).post(set_fault))
        .route("/sim/faults/catalogue", get(catalogue))
        .route("/sim/faults/clear", post(clear_faults))
        .route("/sim/load/{graph_id}", post(set_load))
        .route("/sim/reboot/{instance_id}", post(reboot))
        .route("/sim/groups/{name}", post(edit_group))
}

/// From where on a log is read.
#[derive(Deserialize)]
struct Stretch {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: usize,
}

/// The body of a load.
#[derive(Deserialize)]
struct Load {
    readers: u32,
    writers: u32,
}

async fn health() -> Response {
    json::answer(StatusCode::OK, &serde_json::json!({ "status": "serving" }))
}

async fn clock(State(cloud): Shared) -> Response {
    let clock = cloud.state.clock();
    let body = serde_json::json!({
        "now_ms": clock.now().0,
        "origin_ms": clock.origin_ms,
        "boot_ms": clock.boot_ms,
        "speed": clock.speed,
    });
    json::answer(StatusCode::OK, &body)
}

async fn fleet(State(cloud): Shared) -> Result<Response, NoAnswer> {
    Ok(json::answer(StatusCode::OK, &cloud.fleet()?))
}

async fn ledger(State(cloud): Shared, Query(stretch): Query<Stretch>) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::ReadLedger(ReadLedger { after_seq: stretch.after, limit: stretch.limit }))).await
}

async fn engine_log(State(cloud): Shared, Query(stretch): Query<Stretch>) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::ReadEngineLog(ReadEngineLog { after_seq: stretch.after, limit: stretch.limit }))).await
}

async fn published(State(cloud): Shared, Query(stretch): Query<Stretch>) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::ReadPublished(ReadPublished { after_seq: stretch.after, limit: stretch.limit }))).await
}

async fn audit(State(cloud): Shared, Path(graph_id): Path<String>) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::AuditWrites(AuditWrites { graph_id }))).await
}

async fn faults(State(cloud): Shared) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::ListFaults(ListFaults {}))).await
}

async fn catalogue() -> Response {
    json::answer(StatusCode::OK, &serde_json::json!({ "faults": CATALOGUE }))
}

async fn set_fault(State(cloud): Shared, body: Bytes) -> Result<Response, NoAnswer> {
    match cloud.look(|sim| sim.read_set_fault(&body))? {
        Ok(set) => send(&cloud, Ok(Call::SetFault(set))).await,
        Err(faults) => Ok(badly_asked(&faults)),
    }
}

async fn clear_faults(State(cloud): Shared, body: Bytes) -> Result<Response, NoAnswer> {
    match cloud.look(|sim| sim.read_clear_faults(&body))? {
        Ok(clear) => send(&cloud, Ok(Call::ClearFaults(clear))).await,
        Err(faults) => Ok(badly_asked(&faults)),
    }
}

async fn set_load(State(cloud): Shared, Path(graph_id): Path<String>, body: Bytes) -> Result<Response, NoAnswer> {
    let call =
        json::parse(&body).map(|Load { readers, writers }| Call::SetLoad(SetLoad { graph_id, readers, writers }));
    send(&cloud, call).await
}

async fn reboot(State(cloud): Shared, Path(instance_id): Path<String>) -> Result<Response, NoAnswer> {
    send(&cloud, Ok(Call::RebootInstance(RebootInstance { instance_id }))).await
}

async fn edit_group(State(cloud): Shared, Path(group_name): Path<String>, body: Bytes) -> Result<Response, NoAnswer> {
    let call = json::parse(&body).map(|edit| Call::EditGroup(EditGroup { group_name, ..edit }));
    send(&cloud, call).await
}

async fn send(cloud: &Cloud, call: Result<Call, ApiError>) -> Result<Response, NoAnswer> {
    let answer = match call {
        Ok(call) => cloud.ask(call).await?,
        Err(error) => Err(error),
    };
    Ok(match answer {
        Ok(answer) => written(&answer),
        Err(error) => json::refusal(&error),
    })
}

fn written(answer: &Answer) -> Response {
    let ok = StatusCode::OK;
    match answer {
        Answer::SetFault(done) | Answer::SetLoad(done) | Answer::RebootInstance(done) | Answer::EditGroup(done) => {
            json::answer(ok, done)
        }
        Answer::ListFaults(body) | Answer::ClearFaults(body) => json::answer(ok, body),
        Answer::ReadLedger(body) => json::answer(ok, body),
        Answer::ReadEngineLog(body) => json::answer(ok, body),
        Answer::ReadPublished(body) => json::answer(ok, body),
        Answer::AuditWrites(body) => json::answer(ok, body),
        // Nothing else is asked for here.
        _ => json::refusal(&ApiError::new("INTERNAL", "no such answer", 500)),
    }
}

/// The refusal of a request for a fault, with everything that is wrong with it.
fn badly_asked(faults: &[FieldFault]) -> Response {
    let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.rule)).collect();
    let body = serde_json::json!({ "code": "INVALID_FAULT", "message": lines.join("; "), "faults": faults });
    json::answer(StatusCode::BAD_REQUEST, &body)
}
