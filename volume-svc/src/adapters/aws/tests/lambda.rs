//! The volume manager function by its adapter: what it is asked, and what is made of each of its ways to fail.

use super::{aws, instance_id, tags, volume_id};
use crate::adapters::aws::lambda::Lambda;
use crate::adapters::canned::{Canned, Reply};
use crate::ports::cloud::last_look::{LastLook, under};
use crate::ports::cloud::{ApiError, Class, SnapshotRequest};
use crate::ports::volume_ops::{Operation, VolumeOps as _};
use serde_json::{Value, json};
use std::time::Duration;
use tiershift_core::UnixMs;

const OTHER: &str = r#"{"statusCode":200,"volume_id":"vol-00000000000000001","databases":[]}"#;
const DONE: &str = r#"{"statusCode":200,"volume_id":"vol-0123456789abcdef0","databases":[]}"#;

async fn function(server: &Canned) -> Lambda {
    aws(server).await.lambda("volume-manager", Duration::from_mins(1)).unwrap()
}

fn operation() -> Operation {
    Operation { id: "0123456789abcdef".to_owned(), not_after: UnixMs(1_700_000_000_000) }
}

async fn detach(server: &Canned) -> Result<(), ApiError> {
    function(server).await.detach(&operation(), &volume_id(), &instance_id(), "/dev/sdf").await
}

fn errortype(status: u16, code: &'static str) -> Reply {
    Reply::Headed(status, ("x-amzn-errortype", code), r#"{"Type":"User","message":"the secret text"}"#.to_owned())
}

fn unhandled(body: &str) -> Reply {
    Reply::Headed(200, ("x-amz-function-error", "Unhandled"), body.to_owned())
}

/// The four channels in their order; each call is sent once, whatever comes back.
#[tokio::test]
async fn every_way_to_fail_has_its_class_and_nothing_is_sent_twice() {
    let said = |body: &str| Reply::ok(body);
    let cases = [
        (errortype(429, "TooManyRequestsException"), Class::Throttled, "TooManyRequestsException"),
        (errortype(404, "ResourceNotFoundException"), Class::Permanent, "ResourceNotFoundException"),
        (errortype(403, "AccessDeniedException"), Class::Denied, "AccessDeniedException"),
        (errortype(500, "ServiceException"), Class::Unknown, "ServiceException"),
        (errortype(502, "SomethingNew"), Class::Unknown, "SomethingNew"),
        (errortype(400, "SomethingNew"), Class::UnknownCode, "SomethingNew"),
        // Before what the payload says, even if that is a success or a clear no.
        (unhandled(DONE), Class::Unknown, "FunctionError"),
        (unhandled(r#"{"statusCode":400,"code":"IncorrectState"}"#), Class::Unknown, "FunctionError"),
        (unhandled(r#"{"errorMessage":"Task timed out after 60.00 seconds"}"#), Class::Unknown, "FunctionError"),
        (said(r#"{"statusCode":400,"code":"IncorrectState"}"#), Class::IncorrectState, "IncorrectState"),
        (said(r#"{"statusCode":409,"code":"HOLDER_MISMATCH"}"#), Class::IncorrectState, "HOLDER_MISMATCH"),
        (said(r#"{"statusCode":409,"code":"TOO_LATE"}"#), Class::TooLate, "TOO_LATE"),
        (said(r#"{"statusCode":404,"error":"no such volume"}"#), Class::UnknownCode, "Status404"),
        (said(r#"{"statusCode":500,"code":"IncorrectState"}"#), Class::Unknown, "Status500"),
        (said(r#"{"statusCode":302}"#), Class::Unknown, "Status302"),
        (said(r#"{"statusCode":"200"}"#), Class::Unknown, "Unparsable"),
        (said("null"), Class::Unknown, "Unparsable"),
        (said("it worked"), Class::Unknown, "Unparsable"),
        (said(""), Class::Unknown, "Unparsable"),
        (said(r#"{"statusCode":200}"#), Class::Unknown, "MalformedAnswer"),
        (said(OTHER), Class::Unknown, "MalformedAnswer"),
        (Reply::Drop, Class::Unknown, "Dispatch"),
    ];
    for (reply, class, code) in cases {
        let answered = reply.clone();
        let server = Canned::start(move |_, _| answered.clone()).await;
        let error = detach(&server).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code), "{reply:?}");
        assert_eq!(error.operation, "DetachVolume");
        assert_eq!(server.seen().len(), 1, "{reply:?}");
    }
    let server = Canned::start(|_, _| Reply::ok(DONE)).await;
    detach(&server).await.unwrap();
}

#[tokio::test]
async fn the_function_is_told_which_operation_where_and_until_when() {
    let server = Canned::start(|seen, _| {
        let action = serde_json::from_str::<Value>(&seen.body).unwrap()["action"].clone();
        Reply::ok(match action.as_str() {
            Some("attach_volume") => r#"{"statusCode":200,"attachment_state":"attaching"}"#,
            Some("detach_volume") => DONE,
            _ => r#"{"statusCode":200,"volume_id":"vol-0123456789abcdef0","snapshot_id":"snap-0123456789abcdef0"}"#,
        })
    })
    .await;
    let function = function(&server).await;
    function.attach(&operation(), &volume_id(), &instance_id(), "/dev/sdg").await.unwrap();
    function.detach(&operation(), &volume_id(), &instance_id(), "/dev/sdf").await.unwrap();
    let own = tags(&[("volsvc:migration", "chg_1"), ("GraphId", "kg1"), ("UpgradeFrom", "a"), ("UpgradeTo", "b")]);
    let request = SnapshotRequest { volume_id: volume_id(), description: "d".to_owned(), tags: own.clone() };
    let made = function.snapshot(&operation(), &request).await.unwrap();
    assert_eq!(made.as_str(), "snap-0123456789abcdef0");
    let seen = server.seen();
    let bodies: Vec<Value> = seen.iter().map(|s| serde_json::from_str(&s.body).unwrap()).collect();
    let (id, until, volume, instance) =
        ("0123456789abcdef", 1_700_000_000_000_i64, "vol-0123456789abcdef0", "i-0123456789abcdef0");
    let expected = [
        json!({"action": "attach_volume", "operation_id": id, "not_after_ms": until, "volume_id": volume,
            "instance_id": instance, "expected_instance_id": instance, "device": "/dev/sdg"}),
        json!({"action": "detach_volume", "operation_id": id, "not_after_ms": until, "volume_id": volume,
            "expected_instance_id": instance, "device": "/dev/sdf", "force": false}),
        json!({"action": "snapshot_for_upgrade", "operation_id": id, "not_after_ms": until, "volume_id": volume,
            "graph_id": "kg1", "old_tier": "a", "new_tier": "b", "description": "d", "tags": own}),
    ];
    assert_eq!(bodies, expected);
    for request in seen {
        assert_eq!(request.path, "/2015-03-31/functions/volume-manager/invocations");
        assert!(request.headers.get("x-amz-invocation-type").is_none_or(|kind| kind == "RequestResponse"));
    }
}

/// H17: what a function does not say of itself it does not do, and who cannot be asked is not judged.
#[tokio::test]
async fn a_function_is_taken_for_what_it_says_of_itself() {
    let whole = r#"{"statusCode":200,"contract":1,"timeout_s":60,"capabilities":["operation_id","expected_instance_id",
        "device","not_after_ms","tags","no_registry_writes"]}"#;
    let cases = [
        (Reply::ok(whole), Some(0)),
        (Reply::ok(whole.replace("\"tags\",", "")), Some(1)),
        (Reply::ok(whole.replace("60", "61")), Some(1)),
        (Reply::ok(r#"{"statusCode":400,"error":"Unknown action: describe"}"#), Some(6)),
        (errortype(404, "ResourceNotFoundException"), Some(1)),
        (Reply::ok(r#"{"statusCode":500,"error":"x"}"#), None),
        (unhandled("{}"), None),
        (errortype(429, "TooManyRequestsException"), None),
        (errortype(403, "AccessDeniedException"), None),
        (Reply::Drop, None),
    ];
    for (reply, lacks) in cases {
        let answered = reply.clone();
        let server = Canned::start(move |_, _| answered.clone()).await;
        let found = function(&server).await.function().await;
        let count = found.ok().flatten().map(|f| f.lacks.len());
        assert_eq!(count, lacks, "{reply:?}");
    }
}

/// F7, as for EC2's own writes.
#[tokio::test]
async fn nothing_is_invoked_behind_the_end_of_a_look() {
    let server = Canned::start(|_, _| Reply::ok(DONE)).await;
    let error = under(LastLook::with_left(-1), Box::pin(detach(&server))).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::TooLate, "LeaseEnded"));
    assert_eq!(server.seen(), []);
}
