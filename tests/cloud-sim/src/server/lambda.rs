//! Lambda's REST protocol: `POST /2015-03-31/functions/{name}/invocations`, waiting for the function's end.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::auth::{self, Signature};
use super::cloud::Cloud;
use super::net::NoAnswer;
use crate::api::lambda::{Invoke, Invoked};
use crate::api::{Answer, ApiError, Call};

/// Runs a function.
pub(super) async fn invoke(
    State(cloud): State<Arc<Cloud>>,
    Path(function_name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, NoAnswer> {
    let request_id = cloud.request_id();
    let answer = match permitted(&headers, &cloud.access_key_id).and_then(|()| call(&headers, function_name, &body)) {
        Ok(call) => cloud.ask(call).await?,
        Err(error) => Err(error),
    };
    Ok(match answer {
        Ok(Answer::Invoke(Invoked { payload, function_error })) => {
            let mut response = super::json::answer(StatusCode::OK, &payload);
            set(&mut response, "x-amz-executed-version", "$LATEST");
            if let Some(error) = function_error {
                set(&mut response, "x-amz-function-error", &error);
            }
            named(response, &request_id)
        }
        Ok(_) => refusal(&ApiError::new("ServiceException", "no such answer", 500), &request_id),
        Err(error) => refusal(&error, &request_id),
    })
}

fn permitted(headers: &HeaderMap, access_key_id: &str) -> Result<(), ApiError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    Signature::of(headers).as_ref().ok_or_else(auth::missing)?.check(access_key_id, now_s)
}

fn call(headers: &HeaderMap, function_name: String, body: &[u8]) -> Result<Call, ApiError> {
    if headers.get("x-amz-invocation-type").is_some_and(|kind| kind != "RequestResponse") {
        return Err(ApiError::bad("InvalidParameterValueException", "only RequestResponse is served here"));
    }
    let payload: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad("InvalidRequestContentException", format!("no JSON: {error}")))?;
    Ok(Call::Invoke(Invoke { function_name, payload }))
}

fn refusal(error: &ApiError, request_id: &str) -> Response {
    let status = StatusCode::from_u16(error.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if error.http_status < 500 { "User" } else { "Service" };
    let mut response = super::json::answer(status, &json!({ "Type": kind, "message": error.message }));
    set(&mut response, "x-amzn-errortype", &error.code);
    named(response, request_id)
}

fn named(mut response: Response, request_id: &str) -> Response {
    set(&mut response, "x-amzn-requestid", request_id);
    response
}

/// A header whose value is printable, as all of ours are.
fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_waiting_call_with_json_is_understood() {
        let headers = HeaderMap::new();
        let expected = Invoke { function_name: "f".into(), payload: json!({ "action": "describe" }) };
        assert_eq!(call(&headers, "f".into(), br#"{"action":"describe"}"#), Ok(Call::Invoke(expected)));
        let code = |headers: &HeaderMap, body: &[u8]| call(headers, "f".into(), body).unwrap_err().code;
        assert_eq!(code(&headers, b"no"), "InvalidRequestContentException");
        let mut event = HeaderMap::new();
        event.insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
        assert_eq!(code(&event, b"{}"), "InvalidParameterValueException");
    }

    #[test]
    fn a_refusal_says_what_it_is_in_a_header() {
        let response = refusal(&ApiError::new("TooManyRequestsException", "slow down", 429), "r-1");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["x-amzn-errortype"], "TooManyRequestsException");
        assert_eq!(response.headers()["x-amzn-requestid"], "r-1");
    }
}
