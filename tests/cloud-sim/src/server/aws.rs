//! AWS's front door at `/`: checks who asks, tells the services apart, and speaks the query protocol with each.
//!
//! The signature's credential scope names the service; without one the action does. DynamoDB has an address of its own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::{self, Signature};
use super::cloud::Cloud;
use super::net::NoAnswer;
use super::query::{Dialect, Query};
use super::{autoscaling, ec2, ec2_xml, json, sns};
use crate::api::{ApiError, Call, Service};

/// Where the SDK looks for the request id of an error.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A request to EC2, Auto Scaling or SNS.
pub(super) async fn handle(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, NoAnswer> {
    let signature = Signature::of(&headers);
    let dialect = match signature.as_ref().map(|signature| signature.service.as_str()) {
        Some("ec2") => Dialect::Ec2,
        Some("autoscaling") => Dialect::AutoScaling,
        Some("sns") => Dialect::Sns,
        Some("dynamodb") => return Ok(dynamodb_is_elsewhere(&cloud.dynamodb_url)),
        _ => dialect_of(&body),
    };
    let request_id = cloud.request_id();
    let call = match permitted(signature.as_ref(), &cloud.access_key_id).and_then(|()| parse(&body, dialect)) {
        Ok(call) => call,
        Err(error) => return Ok(refusal(&error, dialect, &request_id)),
    };
    let answer = match cloud.ask(call).await? {
        Ok(answer) => answer,
        Err(error) => return Ok(refusal(&error, dialect, &request_id)),
    };
    let text = match dialect {
        Dialect::Ec2 => ec2_xml::answer(&answer, &cloud.account_id, &request_id),
        Dialect::AutoScaling => autoscaling::answer(&answer, &request_id),
        Dialect::Sns => sns::answer(&answer, &request_id),
    };
    Ok(match text {
        Some(text) => xml(StatusCode::OK, text, request_id),
        // The model answers each call by the variant of the same name, and each of those can be written.
        None => refusal(&ApiError::new("InternalFailure", "no such answer", 500), dialect, &request_id),
    })
}

fn permitted(signature: Option<&Signature>, access_key_id: &str) -> Result<(), ApiError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    signature.ok_or_else(auth::missing)?.check(access_key_id, now_s)
}

fn parse(body: &[u8], dialect: Dialect) -> Result<Call, ApiError> {
    let query = Query::parse(body, dialect);
    match dialect {
        Dialect::Ec2 => ec2::call(query),
        Dialect::AutoScaling => autoscaling::call(query),
        Dialect::Sns => sns::call(query),
    }
}

/// The service whose action this is; EC2 if it is nobody's.
fn dialect_of(body: &[u8]) -> Dialect {
    let action = Query::parse(body, Dialect::Ec2).optional("Action").unwrap_or_default();
    let known = Call::actions().iter().find(|(_, name)| *name == action);
    match known {
        Some((Service::Autoscaling, _)) => Dialect::AutoScaling,
        Some((Service::Sns, _)) => Dialect::Sns,
        _ => Dialect::Ec2,
    }
}

fn refusal(error: &ApiError, dialect: Dialect, request_id: &str) -> Response {
    let text = match dialect {
        Dialect::Ec2 => ec2_xml::error(error, request_id),
        Dialect::AutoScaling => autoscaling::error(error, request_id),
        Dialect::Sns => sns::error(error, request_id),
    };
    let status = StatusCode::from_u16(error.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    xml(status, text, request_id.to_owned())
}

fn xml(status: StatusCode, text: String, request_id: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/xml;charset=UTF-8".to_owned()), (REQUEST_ID, request_id)];
    (status, headers, text).into_response()
}

fn dynamodb_is_elsewhere(url: &str) -> Response {
    let body = serde_json::json!({
        "__type": "com.amazon.coral.service#UnknownOperationException",
        "message": format!("DynamoDB is served at {url}"),
    });
    json::answer(StatusCode::BAD_REQUEST, &body)
}
