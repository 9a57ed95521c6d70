//! Lambda, with the one function that there is: the volume manager, which makes EC2's calls for others.
//!
//! It speaks the contract of `docs/volume-function.md`: an operation id that it dedupes by, the holder it expects, a last
//! moment, and no registry rows. The fault `function_is_old` turns it into the one that came before, which knows none of
//! that and detaches from whoever holds the volume. Its EC2 calls stand in the ledger like everybody's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::ec2::{AttachVolume, CreateSnapshot, DetachVolume};
use crate::api::lambda::{Invoke, Invoked};
use crate::api::{Answer, ApiError, Call};
use crate::faults::Fault;
use crate::ledger::key_parameters;
use crate::sim::{Event, Sim};

/// When a function runs that its caller has given up on: in time for its last moment, and long behind everything else.
pub const LATE_MS: u64 = 20_000;

/// Actions that move volumes.
pub(crate) const ACTIONS: [&str; 3] = ["snapshot_for_upgrade", "attach_volume", "detach_volume"];

/// When Lambda runs it again by itself: its first pause between two tries.
pub const AGAIN_MS: u64 = 60_000;

/// The function's time limit, in seconds.
pub const TIMEOUT_S: u64 = 60;

/// What a function that speaks the contract says that it does.
const CAPABILITIES: [&str; 6] =
    ["operation_id", "expected_instance_id", "device", "not_after_ms", "tags", "no_registry_writes"];

/// The functions and what they remember.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Functions {
    names: BTreeSet<String>,
    /// What was answered to an operation that succeeded.
    done: BTreeMap<String, Value>,
}

/// A refusal of the function, with the code of whoever refused.
struct No(u16, String, String);

impl From<ApiError> for No {
    fn from(error: ApiError) -> Self {
        let status = if error.code.ends_with(".NotFound") { 404 } else { error.http_status };
        Self(status, error.code, error.message)
    }
}

fn bad(what: &str) -> No {
    No(400, "INVALID_REQUEST".to_owned(), format!("{what} is missing or malformed"))
}

impl Sim {
    /// A function of the account.
    pub fn add_function(&mut self, name: &str) {
        self.functions.names.insert(name.to_owned());
    }

    pub(crate) fn invoke(&mut self, at_ms: u64, request: &Invoke) -> Result<Invoked, ApiError> {
        if !self.functions.names.contains(&request.function_name) {
            let message = format!("Function not found: {}", request.function_name);
            return Err(ApiError::new("ResourceNotFoundException", message, 404));
        }
        let action = request.payload["action"].as_str().unwrap_or_default();
        if self.faults.strikes(&Fault::FunctionRunsTwice { action: action.to_owned() }) {
            self.run_later(at_ms + AGAIN_MS, &request.payload);
        }
        // It ends in the middle: what it did is done, and it has not remembered it.
        if self.faults.strikes(&Fault::FunctionCrashes { action: action.to_owned() }) {
            self.run_function(at_ms, &request.payload, false);
            let payload = json!({ "errorMessage": format!("Task timed out after {TIMEOUT_S}.00 seconds") });
            return Ok(Invoked { payload, function_error: Some("Unhandled".to_owned()) });
        }
        if self.faults.strikes(&Fault::FunctionFails { action: action.to_owned() }) {
            self.run_function(at_ms, &request.payload, false);
            let payload = json!({ "statusCode": 500, "error": "internal error" });
            return Ok(Invoked { payload, function_error: None });
        }
        Ok(Invoked { payload: self.run_function(at_ms, &request.payload, true), function_error: None })
    }

    /// Runs the function at another time, when nobody waits for it.
    pub(crate) fn run_later(&mut self, at_ms: u64, payload: &Value) {
        self.queue(at_ms, Event::FunctionRuns { payload: payload.clone() });
    }

    /// Runs it now; whether it gets as far as remembering what it did.
    pub(crate) fn run_function(&mut self, at_ms: u64, payload: &Value, remembers: bool) -> Value {
        let old = self.faults.is_on(&Fault::FunctionIsOld);
        let id = payload["operation_id"].as_str().filter(|_| !old).map(str::to_owned);
        if let Some(done) = id.as_ref().and_then(|id| self.functions.done.get(id)) {
            return done.clone();
        }
        match self.run_action(at_ms, payload, old) {
            Ok(answer) => {
                if let Some(id) = id.filter(|_| remembers) {
                    self.functions.done.insert(id, answer.clone());
                }
                answer
            }
            Err(No(status, code, error)) => json!({ "statusCode": status, "code": code, "error": error }),
        }
    }

    fn run_action(&mut self, at_ms: u64, payload: &Value, old: bool) -> Result<Value, No> {
        let text = |key: &str| payload[key].as_str().map(str::to_owned).ok_or_else(|| bad(key));
        let action = text("action")?;
        if action == "describe" && !old {
            return Ok(json!({
                "statusCode": 200, "contract": 1, "capabilities": CAPABILITIES, "timeout_s": TIMEOUT_S,
            }));
        }
        if !ACTIONS.contains(&action.as_str()) {
            return Err(No(400, "UNKNOWN_ACTION".to_owned(), format!("Unknown action: {action}")));
        }
        let volume_id = text("volume_id")?;
        if !old {
            text("operation_id")?;
            let not_after_ms = payload["not_after_ms"].as_u64().ok_or_else(|| bad("not_after_ms"))?;
            if at_ms > not_after_ms {
                return Err(No(409, "TOO_LATE".to_owned(), "the last moment has passed; nothing was done".to_owned()));
            }
        }
        match action.as_str() {
            "snapshot_for_upgrade" => {
                let tags = payload["tags"].as_object().into_iter().flatten();
                let tags = tags.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
                let description = payload["description"].as_str().unwrap_or_default().to_owned();
                let request = CreateSnapshot { volume_id: volume_id.clone(), description, tags };
                match self.call_ec2(at_ms, &Call::CreateSnapshot(request))? {
                    Answer::CreateSnapshot(made) => {
                        Ok(json!({ "statusCode": 200, "snapshot_id": made.snapshot_id, "volume_id": volume_id }))
                    }
                    _ => Err(bad("answer")),
                }
            }
            "attach_volume" => {
                let device = if old { "/dev/xvdf".to_owned() } else { text("device")? };
                let request = AttachVolume { volume_id, instance_id: text("instance_id")?, device };
                self.call_ec2(at_ms, &Call::AttachVolume(request))?;
                Ok(json!({ "statusCode": 200, "attachment_state": "attaching" }))
            }
            _ => {
                let (instance_id, device) = if old {
                    (None, None)
                } else {
                    let (instance_id, device) = (text("expected_instance_id")?, text("device")?);
                    let link = self.volumes.get(&volume_id).and_then(|volume| volume.link(at_ms));
                    if link.is_none_or(|link| link.instance_id != instance_id || link.device != device) {
                        let error = format!("{volume_id} is not attached to {instance_id} as {device}");
                        return Err(No(409, "HOLDER_MISMATCH".to_owned(), error));
                    }
                    (Some(instance_id), Some(device))
                };
                let request = DetachVolume { volume_id: volume_id.clone(), instance_id, device, force: false };
                self.call_ec2(at_ms, &Call::DetachVolume(request))?;
                Ok(json!({ "statusCode": 200, "volume_id": volume_id, "databases": [] }))
            }
        }
    }

    /// A call that the function makes.
    fn call_ec2(&mut self, at_ms: u64, call: &Call) -> Result<Answer, ApiError> {
        let answer = self.dispatch(at_ms, at_ms, call);
        let outcome = answer.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        self.ledger.call(self.now_ms, call, key_parameters(call), outcome, None, Vec::new());
        answer
    }
}
