//! A cloud to test on, clients for it, and short words for long requests.

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, Volume, VolumeAttachmentState, VolumeState};
use aws_smithy_http_client::Builder;
use aws_smithy_types::retry::RetryConfig;
use bytes::Bytes;
use cloud_sim::seed::{Fleet, FleetGraph, FleetInstance};
use cloud_sim::server::{Config, Running, start};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ZONE_A: &str = "us-east-1a";
pub const ZONE_B: &str = "us-east-1b";
pub const MISSING_VOLUME: &str = "vol-00000000000000001";
pub const MISSING_INSTANCE: &str = "i-00000000000000001";
pub const MISSING_SNAPSHOT: &str = "snap-00000000000000001";
pub const KEY: &str = "dev-agent-key";

/// The longest that anything is waited for, real time. The clock runs 100 times as fast: 50 simulated minutes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A seeded cloud in a temporary folder, with clients that try once.
pub struct World {
    pub running: Running,
    pub fleet: Fleet,
    pub ec2: aws_sdk_ec2::Client,
    pub autoscaling: aws_sdk_autoscaling::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub http: Http,
    pub data: TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap()).await
    }

    /// A slower one, for what must be seen before it is over, on a busy machine too.
    pub async fn at_speed(speed: u32) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = Config { speed: Some(speed), ..config(data.path()) };
        Self::started(config, data).await
    }

    /// A cloud over a folder that may have been used before.
    pub async fn over(data: TempDir) -> Self {
        Self::started(config(data.path()), data).await
    }

    async fn started(config: Config, data: TempDir) -> Self {
        let running = start(config).await.unwrap();
        let http = Http::at(&running.cloud_url);
        let fleet = serde_json::from_value(http.get("/sim/fleet").await).unwrap();
        Self {
            ec2: ec2_as(&running.cloud_url, "dev"),
            autoscaling: autoscaling_as(&running.cloud_url, "dev"),
            dynamodb: dynamodb(&running.dynamodb_url),
            running,
            fleet,
            http,
            data,
        }
    }

    /// An instance without a data volume.
    pub fn idle(&self, zone: &str) -> &FleetInstance {
        let idle = |i: &&FleetInstance| i.volume_id.is_none() && i.availability_zone == zone;
        self.fleet.instances.iter().find(idle).unwrap()
    }

    /// The graph of a story.
    pub fn graph(&self, name: &str) -> &FleetGraph {
        self.fleet.graphs.iter().find(|graph| graph.name == name).unwrap()
    }

    /// The group of a tier.
    pub fn group(&self, tier: &str) -> &str {
        &self.fleet.groups.iter().find(|group| group.tier == tier).unwrap().name
    }

    /// A new empty volume that can be attached.
    pub async fn volume(&self, zone: &str) -> String {
        let made = self.ec2.create_volume().availability_zone(zone).size(10).send().await.unwrap();
        let id = made.volume_id.unwrap();
        self.volume_becomes(&id, |volume| volume.state() == Some(&VolumeState::Available)).await;
        id
    }

    /// Waits until a read shows the volume as wanted.
    pub async fn volume_becomes(&self, id: &str, wanted: impl Fn(&Volume) -> bool) -> Volume {
        eventually(&format!("{id} as wanted"), async || {
            let read = self.ec2.describe_volumes().filters(filter("volume-id", id)).send().await.unwrap();
            read.volumes.unwrap_or_default().into_iter().find(&wanted)
        })
        .await
    }

    /// Attaches and waits.
    pub async fn attach(&self, volume: &str, instance: &str, device: &str) {
        self.ec2.attach_volume().volume_id(volume).instance_id(instance).device(device).send().await.unwrap();
        self.volume_becomes(volume, |volume| {
            volume.attachments().iter().any(|a| a.state() == Some(&VolumeAttachmentState::Attached))
        })
        .await;
    }

    /// The ledger after a sequence number.
    pub async fn ledger(&self, after: u64) -> Vec<Value> {
        let page = self.http.get(&format!("/sim/ledger?after={after}")).await;
        page["entries"].as_array().unwrap().clone()
    }

    /// Switches a fault on.
    pub async fn fault(&self, fault: Value) {
        let (status, body) = self.http.ask(Method::POST, "/sim/faults", None, Some(fault)).await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
}

/// The dev stack's cloud, fast.
pub fn config(data: &Path) -> Config {
    Config { speed: Some(100), ..Config::new(data) }
}

pub fn ec2_as(url: &str, key_id: &str) -> aws_sdk_ec2::Client {
    aws_sdk_ec2::Client::from_conf(ec2_config(url, key_id).build())
}

pub fn ec2_config(url: &str, key_id: &str) -> aws_sdk_ec2::config::Builder {
    use aws_sdk_ec2::config::{BehaviorVersion, Region};
    aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key_id, "secret", None, None, "test"))
        .http_client(Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
}

pub fn autoscaling_as(url: &str, key_id: &str) -> aws_sdk_autoscaling::Client {
    use aws_sdk_autoscaling::config::{BehaviorVersion, Region};
    let config = aws_sdk_autoscaling::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key_id, "secret", None, None, "test"))
        .http_client(Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url);
    aws_sdk_autoscaling::Client::from_conf(config.build())
}

pub fn dynamodb(url: &str) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("dev", "secret", None, None, "test"))
        .http_client(Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url);
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

pub fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// AWS's code of a refused call.
pub fn code<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(answer: Result<T, SdkError<E, R>>) -> String {
    match answer {
        Err(SdkError::ServiceError(refused)) => refused.err().code().unwrap_or("no code").to_owned(),
        other => panic!("not refused by the service: {other:?}"),
    }
}

/// Whether a call got no answer at all.
pub fn unanswered<T: Debug, E: Debug, R: Debug>(answer: &Result<T, SdkError<E, R>>) -> bool {
    matches!(answer, Err(SdkError::DispatchFailure(_)))
}

/// Asks until there is an answer, within a bound.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// Plain HTTP with JSON.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub fn at(base: &str) -> Self {
        Self { base: base.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Status and body; an error if there was no answer.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<Value>,
    ) -> Result<(u16, Value), hyper_util::client::legacy::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await?;
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        Ok((status, serde_json::from_slice(&text).unwrap_or(Value::Null)))
    }

    /// A body that must be there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None, None).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A request to an agent, with the right key.
    pub async fn agent(&self, method: Method, instance: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(method, &format!("/agents/{instance}/{path}"), Some(KEY), body).await.unwrap()
    }

    /// A client's write or read.
    pub async fn engine(&self, graph: &FleetGraph, action: &str, write_id: u64) -> (u16, Value) {
        let path = format!("/engine/{}/{}/{action}", graph.instance_id, graph.graph_id);
        self.ask(Method::POST, &path, None, Some(json!({ "write_id": write_id }))).await.unwrap()
    }
}
