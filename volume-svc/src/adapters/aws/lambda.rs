//! Snapshot, detach and attach by the volume manager function (`docs/volume-function.md`): one invocation, one attempt,
//! and its four ways to fail told apart in this order (rule 44): Lambda refuses; the function ends in the middle
//! (`FunctionError`); it says no (`statusCode`); what it says cannot be read. Whatever does not say clearly that nothing
//! happened is unknown, and is observed by reads of EC2, never invoked again to find out.

use super::errors;
use crate::ports::cloud::{ApiError, Class, SnapshotRequest, codes};
use crate::ports::volume_ops::{Operation, VolumeOps};
use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use serde_json::{Value, json};
use std::time::Duration;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId};
use volume_core::plan::FunctionFacts;

/// What a function must say of itself (H17).
const REQUIRED: [&str; 6] =
    ["operation_id", "expected_instance_id", "device", "not_after_ms", "tags", "no_registry_writes"];

/// The version of the contract that is spoken here.
const CONTRACT: u64 = 1;

/// Most characters of a function's words that are kept for the log.
const WORDS_MAX: usize = 500;

/// The volume manager function.
#[derive(Clone, Debug)]
pub struct Lambda {
    pub(super) client: Client,
    function: String,
    limit: Duration,
}

impl Lambda {
    /// Over a client that tries once and waits longer than `limit`, the function's time limit (`config` makes it).
    pub fn new(client: Client, function: String, limit: Duration) -> Self {
        Self { client, function, limit }
    }

    /// One invocation; what the function answered with 200. `operation` is the call of EC2 that it stands for.
    async fn run(&self, operation: &'static str, payload: Value) -> Result<Value, ApiError> {
        let call = self.client.invoke().function_name(&self.function).payload(Blob::new(payload.to_string()));
        let answer = call.send().await.map_err(|e| ApiError { operation, ..errors::api("Invoke", &e) })?;
        let words = answer.payload().map(Blob::as_ref).unwrap_or_default();
        let error = |class: Class, code: &str| ApiError {
            operation,
            class,
            code: code.to_owned(),
            message: String::from_utf8_lossy(words).chars().take(WORDS_MAX).collect(),
            request_id: None,
        };
        if answer.function_error().is_some() {
            return Err(error(Class::Unknown, "FunctionError"));
        }
        let said: Value = serde_json::from_slice(words).map_err(|_| error(Class::Unknown, "Unparsable"))?;
        match said["statusCode"].as_u64() {
            Some(200) => Ok(said),
            Some(status @ 400..=499) => {
                let code = said["code"].as_str().map_or_else(|| format!("Status{status}"), str::to_owned);
                Err(error(refusal(operation, status, &code), &code))
            }
            Some(status) => Err(error(Class::Unknown, &format!("Status{status}"))),
            None => Err(error(Class::Unknown, "Unparsable")),
        }
    }
}

/// What a clear no of the function means: its own words, else EC2's, which it hands on.
fn refusal(operation: &str, status: u64, code: &str) -> Class {
    match (code, status) {
        ("TOO_LATE", _) => Class::TooLate,
        ("HOLDER_MISMATCH", _) => Class::IncorrectState,
        ("INVALID_REQUEST" | "UNKNOWN_ACTION", _) => Class::Permanent,
        (_, 429) => Class::Throttled,
        _ => codes::class_of(operation, code).unwrap_or(Class::UnknownCode),
    }
}

/// The answer lacks what it must have, or speaks of something else. What was asked for may have been done.
fn must(operation: &'static str, holds: bool, what: &str) -> Result<(), ApiError> {
    if holds { Ok(()) } else { Err(errors::malformed(operation, what)) }
}

#[async_trait]
impl VolumeOps for Lambda {
    async fn snapshot(&self, operation: &Operation, request: &SnapshotRequest) -> Result<SnapshotId, ApiError> {
        const OP: &str = "CreateSnapshot";
        let tag = |key: &str| request.tags.get(key);
        let payload = json!({
            "action": "snapshot_for_upgrade",
            "operation_id": operation.id,
            "not_after_ms": operation.not_after.0,
            "volume_id": request.volume_id,
            "graph_id": tag("GraphId"),
            "old_tier": tag("UpgradeFrom"),
            "new_tier": tag("UpgradeTo"),
            "description": request.description,
            "tags": request.tags,
        });
        let said = self.run(OP, payload).await?;
        must(OP, said["volume_id"] == json!(request.volume_id), "volume_id")?;
        let id = said["snapshot_id"].as_str().and_then(|id| SnapshotId::parse(id).ok());
        id.ok_or_else(|| errors::malformed(OP, "snapshot_id"))
    }

    async fn attach(
        &self,
        operation: &Operation,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ApiError> {
        const OP: &str = "AttachVolume";
        let payload = json!({
            "action": "attach_volume",
            "operation_id": operation.id,
            "not_after_ms": operation.not_after.0,
            "volume_id": volume,
            "instance_id": instance,
            "expected_instance_id": instance,
            "device": device,
        });
        let said = self.run(OP, payload).await?;
        must(OP, said["attachment_state"].is_string(), "attachment_state")
    }

    async fn detach(
        &self,
        operation: &Operation,
        volume: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ApiError> {
        const OP: &str = "DetachVolume";
        let payload = json!({
            "action": "detach_volume",
            "operation_id": operation.id,
            "not_after_ms": operation.not_after.0,
            "volume_id": volume,
            "expected_instance_id": instance,
            "device": device,
            "force": false,
        });
        let said = self.run(OP, payload).await?;
        must(OP, said["volume_id"] == json!(volume), "volume_id")
    }

    async fn function(&self) -> Result<Option<FunctionFacts>, ApiError> {
        let lacks = match self.run("Invoke", json!({ "action": "describe" })).await {
            Ok(said) => lacks(&said, self.limit),
            Err(error) => match (error.class, error.code.as_str()) {
                (_, "ResourceNotFoundException") => vec!["everything: there is no such function".to_owned()],
                // No answer, or not now: it cannot be judged.
                (Class::Unknown | Class::Throttled | Class::TooLate | Class::Denied, _) => return Err(error),
                // It does not know what it is asked: the one that came before.
                _ => REQUIRED.map(str::to_owned).to_vec(),
            },
        };
        Ok(Some(FunctionFacts { name: self.function.clone(), lacks }))
    }
}

/// What a description of a function lacks.
fn lacks(said: &Value, limit: Duration) -> Vec<String> {
    let says = |word: &str| said["capabilities"].as_array().is_some_and(|all| all.iter().any(|c| c == word));
    let mut lacks: Vec<String> = REQUIRED.into_iter().filter(|word| !says(word)).map(str::to_owned).collect();
    if said["contract"].as_u64() != Some(CONTRACT) {
        lacks.push(format!("version {CONTRACT} of the contract"));
    }
    if said["timeout_s"].as_u64().is_none_or(|s| s > limit.as_secs()) {
        lacks.push(format!("a time limit of at most {} s (--volume-function-timeout-s)", limit.as_secs()));
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_of_the_function_is_its_own_word_or_ec2s() {
        let cases = [
            (400, "TOO_LATE", Class::TooLate),
            (409, "HOLDER_MISMATCH", Class::IncorrectState),
            (400, "UNKNOWN_ACTION", Class::Permanent),
            (429, "Status429", Class::Throttled),
            (400, "InvalidParameterValue", Class::DeviceInUse),
            (400, "VolumeInUse", Class::VolumeInUse),
            (400, "Brand.New", Class::UnknownCode),
            (404, "Status404", Class::UnknownCode),
        ];
        for (status, code, class) in cases {
            assert_eq!(refusal("AttachVolume", status, code), class, "{code}");
        }
    }

    #[test]
    fn everything_that_is_required_must_be_said() {
        let limit = Duration::from_mins(1);
        let whole = json!({ "contract": 1, "capabilities": REQUIRED, "timeout_s": 60 });
        assert_eq!(lacks(&whole, limit), Vec::<String>::new());
        for word in REQUIRED {
            let others: Vec<&str> = REQUIRED.into_iter().filter(|other| *other != word).collect();
            let less = json!({ "contract": 1, "capabilities": others, "timeout_s": 60 });
            assert_eq!(lacks(&less, limit), [word]);
        }
        let slow = json!({ "contract": 1, "capabilities": REQUIRED, "timeout_s": 61 });
        assert_eq!(lacks(&slow, limit), ["a time limit of at most 60 s (--volume-function-timeout-s)"]);
        let next = json!({ "contract": 2, "capabilities": REQUIRED, "timeout_s": 60 });
        assert_eq!(lacks(&next, limit), ["version 1 of the contract"]);
        assert_eq!(lacks(&json!({}), limit).len(), REQUIRED.len() + 2);
    }
}
