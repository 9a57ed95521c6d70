//! The SDK's adapters against a server that answers in AWS's query protocol: what is sent, what is read, and what is
//! made of failures. The bodies are AWS's, shortened to what matters.

mod autoscaling;
mod ec2;
mod failures;
mod lambda;
mod sns;
mod unknown_codes;

use super::config::{Aws, Identity, Settings};
use crate::adapters::canned::{Canned, Reply};
use crate::ports::cloud::Tags;
use tiershift_core::ids::{InstanceId, VolumeId};

async fn aws(server: &Canned) -> Aws {
    let settings = Settings {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(server.url.clone()),
        dynamodb_endpoint_url: Some(server.url.clone()),
        identity: Identity::Dev,
    };
    Aws::load(&settings).await.unwrap()
}

/// A server with one answer.
async fn answering(body: &'static str) -> Canned {
    Canned::start(move |_, _| Reply::ok(body)).await
}

/// An EC2 refusal.
fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>the secret text</Message></Error></Errors>\
         <RequestID>req-1</RequestID></Response>"
    );
    Reply::Answer(status, body)
}

fn volume_id() -> VolumeId {
    VolumeId::parse("vol-0123456789abcdef0").unwrap()
}

fn instance_id() -> InstanceId {
    InstanceId::parse("i-0123456789abcdef0").unwrap()
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The form parameters of a request but the protocol's own, sorted.
fn parameters(body: &str) -> Vec<String> {
    let mut pairs: Vec<String> = body
        .split('&')
        .filter(|pair| !pair.starts_with("Version="))
        .map(|pair| pair.replace("%3A", ":").replace("%2F", "/").replace("%20", " "))
        .collect();
    pairs.sort();
    pairs
}
