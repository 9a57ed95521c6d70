//! Alerts by the SNS adapter: what is sent, once, and which failures may pass.

use super::aws;
use crate::adapters::aws::sns::{Sns, Topic};
use crate::adapters::canned::{Canned, Reply};
use crate::alerts::{Alert, Publisher as _};
use tiershift_core::UnixMs;

const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:alerts";

async fn topic(server: &Canned) -> Sns {
    aws(server).await.sns(Topic::parse(ARN).unwrap(), "prod")
}

fn alert() -> Alert {
    Alert::unknown_code("AttachVolume", "Brand.New", UnixMs(5))
}

#[tokio::test]
async fn a_message_goes_to_its_topics_region_with_its_attributes() {
    let answer = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>";
    let server = Canned::start(move |_, _| Reply::ok(answer)).await;
    topic(&server).await.publish(&alert()).await.unwrap();
    let seen = server.only();
    assert_eq!(seen.action(), "Publish");
    assert!(seen.headers["authorization"].contains("/eu-west-1/sns/"), "{:?}", seen.headers);
    let value = |name: &str| seen.parameter(name).unwrap_or_else(|| panic!("no {name} in {}", seen.body)).to_owned();
    assert_eq!(value("TopicArn"), ARN.replace(':', "%3A"));
    assert!(value("Subject").starts_with("%5Btiershift%20prod%5D%20unknown_code"), "{}", value("Subject"));
    assert!(value("Message").contains("%22occurrence%22%3A%22code%2FAttachVolume%2FBrand.New%2F0%22"));
    let attributes: Vec<(String, String)> = [1, 2]
        .map(|n| format!("MessageAttributes.entry.{n}"))
        .map(|entry| (value(&format!("{entry}.Name")), value(&format!("{entry}.Value.StringValue"))))
        .into();
    for expected in [("kind", "unknown_code"), ("environment", "prod")] {
        assert!(attributes.contains(&(expected.0.to_owned(), expected.1.to_owned())), "{attributes:?}");
    }
}

#[tokio::test]
async fn each_try_is_one_call_and_says_whether_another_may_help() {
    let refusal = |status: u16, code: &str| {
        let body = format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
        Reply::Answer(status, body)
    };
    let cases = [
        (refusal(429, "Throttled"), "Throttled", true),
        (refusal(500, "InternalError"), "InternalError", true),
        (Reply::Drop, "Dispatch", true),
        (refusal(404, "NotFound"), "NotFound", false),
        (refusal(403, "AuthorizationError"), "AuthorizationError", false),
        (refusal(400, "InvalidParameter"), "InvalidParameter", false),
    ];
    for (reply, code, again) in cases {
        let answered = reply.clone();
        let server = Canned::start(move |_, _| answered.clone()).await;
        let error = topic(&server).await.publish(&alert()).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.again), (code, again), "{reply:?}");
        assert_eq!(server.seen().len(), 1, "{reply:?}");
    }
}
