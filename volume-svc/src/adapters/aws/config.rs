//! The SDK's clients: one HTTP client, explicit time-outs (rule 43), one attempt for every write (rule 16).
//!
//! A wrong endpoint is refused, and so are the development credentials without one: they must never reach AWS.

use super::autoscaling::AutoScaling;
use super::ec2::Ec2;
use super::lambda::Lambda;
use super::last_look::{Guard, SigningTime};
use super::sns::{Sns, Topic};
use crate::store::dynamodb::{DynamoDb, Names};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::{SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::pool::{Client as PooledClient, ConnectionPool, DriverSpawner, Partition, PartitionId};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use std::time::Duration;

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// One attempt of a write, but for a launch.
const WRITE: Duration = Duration::from_secs(10);

/// One attempt of a read: a Describe of 200 volumes may be slow.
const READ: Duration = Duration::from_secs(15);

/// All attempts of a read. A step that waits longer should observe its deadline instead.
const READ_TOTAL: Duration = Duration::from_secs(30);

/// LaunchInstances waits for the instances' ids.
const LAUNCH: Duration = Duration::from_mins(1);

/// Beside a function's own time limit: for the way there and back, and a cold start.
const INVOKE_MARGIN: Duration = Duration::from_secs(30);

/// Between two signs of life on a connection that waits for a function's end: NATs forget a silent one after 350 s.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// How long a connection may idle: less than the 60 s and more after which servers and NATs close it, for a write on a
/// connection that is being closed has an unknown outcome. Only a call to a function lasts long enough to need TCP
/// keepalive.
const IDLE: Duration = Duration::from_secs(15);

/// Where AWS is and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The region, `us-east-1` and so on.
    pub region: String,
    /// Instead of AWS's own EC2 and Auto Scaling: the simulator.
    pub endpoint_url: Option<String>,
    /// Instead of AWS's own DynamoDB: an embedded server.
    pub dynamodb_endpoint_url: Option<String>,
    /// Who we are.
    pub identity: Identity,
}

/// Who we are to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// What the SDK finds: environment, container, instance profile.
    Chain,
    /// Fixed words that open nothing, for endpoints that do not check them.
    Dev,
}

/// Why there are no clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadSettings(pub Vec<String>);

/// Everything that the SDK's clients share.
#[derive(Clone, Debug)]
pub struct Aws {
    reads: SdkConfig,
    writes: SdkConfig,
    launches: SdkConfig,
    dynamodb_http: SharedHttpClient,
    settings: Settings,
}

impl Aws {
    /// Checks the settings and looks up the identity's chain; makes no call.
    pub async fn load(settings: &Settings) -> Result<Self, BadSettings> {
        check(settings)?;
        let base = match settings.identity {
            Identity::Chain => {
                let loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
                let http = http_client(settings.endpoint_url.as_deref());
                loader.region(Region::new(settings.region.clone())).http_client(http).load().await
            }
            // By hand, so that no variable of the environment changes what a simulated stack talks to.
            Identity::Dev => SdkConfig::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(settings.region.clone()))
                .credentials_provider(SharedCredentialsProvider::new(Credentials::new("dev", "dev", None, None, "dev")))
                .http_client(http_client(settings.endpoint_url.as_deref()))
                .build(),
        };
        let reads = RetryConfig::standard().with_max_attempts(3);
        Ok(Self {
            reads: tuned(&base, reads, READ, READ_TOTAL),
            writes: guarded(tuned(&base, RetryConfig::disabled(), WRITE, WRITE)),
            launches: guarded(tuned(&base, RetryConfig::disabled(), LAUNCH, LAUNCH)),
            dynamodb_http: http_client(settings.dynamodb_endpoint_url.as_deref()),
            settings: settings.clone(),
        })
    }

    /// EC2.
    pub fn ec2(&self) -> Ec2 {
        let builder = |config: &SdkConfig| {
            let mut builder = aws_sdk_ec2::config::Builder::from(config);
            builder.set_endpoint_url(self.settings.endpoint_url.clone());
            builder.set_retry_config(config.retry_config().cloned());
            builder
        };
        let reads = builder(&self.reads);
        let writes = builder(&self.writes).interceptor(Guard);
        Ec2::new(aws_sdk_ec2::Client::from_conf(reads.build()), aws_sdk_ec2::Client::from_conf(writes.build()))
    }

    /// Auto Scaling.
    pub fn autoscaling(&self) -> AutoScaling {
        use aws_sdk_autoscaling::Client;
        let builder = |config: &SdkConfig| {
            let mut builder = aws_sdk_autoscaling::config::Builder::from(config);
            builder.set_endpoint_url(self.settings.endpoint_url.clone());
            builder.set_retry_config(config.retry_config().cloned());
            builder
        };
        let reads = builder(&self.reads);
        let writes = builder(&self.writes).interceptor(Guard);
        let launches = builder(&self.launches).interceptor(Guard);
        AutoScaling::new(
            Client::from_conf(reads.build()),
            Client::from_conf(writes.build()),
            Client::from_conf(launches.build()),
        )
    }

    /// The volume manager function, by its name or ARN. `limit` is its own time limit: a caller that waits for less
    /// does not know what it missed.
    pub fn lambda(&self, function: &str, limit: Duration) -> Result<Lambda, BadSettings> {
        let attempt = limit + INVOKE_MARGIN;
        let config = guarded(tuned(&self.reads, RetryConfig::disabled(), attempt, attempt));
        let http = waiting_client(self.settings.endpoint_url.as_deref())?;
        let mut builder = aws_sdk_lambda::config::Builder::from(&config).http_client(http).interceptor(Guard);
        builder.set_endpoint_url(self.settings.endpoint_url.clone());
        builder.set_retry_config(config.retry_config().cloned());
        Ok(Lambda::new(aws_sdk_lambda::Client::from_conf(builder.build()), function.to_owned(), limit))
    }

    /// A topic for alerts, in its own region. No look guards it: an alert is true whoever drives now.
    pub fn sns(&self, topic: Topic, environment: &str) -> Sns {
        let config = tuned(&self.reads, RetryConfig::disabled(), WRITE, WRITE);
        let mut builder = aws_sdk_sns::config::Builder::from(&config).region(Region::new(topic.region().to_owned()));
        builder.set_endpoint_url(self.settings.endpoint_url.clone());
        builder.set_retry_config(config.retry_config().cloned());
        Sns::new(aws_sdk_sns::Client::from_conf(builder.build()), topic, environment.to_owned())
    }

    /// The store. Its writes carry their own fence, so no look guards them.
    pub fn dynamodb(&self, names: Names) -> DynamoDb {
        DynamoDb::new(self.dynamodb_client(Attempts::Several), self.dynamodb_client(Attempts::One), names)
    }

    /// A client of DynamoDB, to make tables with (`store::dynamodb::tables`).
    pub fn dynamodb_client(&self, attempts: Attempts) -> aws_sdk_dynamodb::Client {
        let (retry, total) = match attempts {
            Attempts::Several => (RetryConfig::standard().with_max_attempts(3), READ_TOTAL),
            Attempts::One => (RetryConfig::disabled(), WRITE),
        };
        let config = tuned(&self.reads, retry.clone(), WRITE, total);
        let mut builder = aws_sdk_dynamodb::config::Builder::from(&config);
        builder.set_endpoint_url(self.settings.dynamodb_endpoint_url.clone());
        builder.set_http_client(Some(self.dynamodb_http.clone()));
        // Last, because this service's conversion from the shared settings raises the attempts.
        builder.set_retry_config(Some(retry));
        aws_sdk_dynamodb::Client::from_conf(builder.build())
    }
}

/// How often a client tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// Once: for what has no token, and where a hidden second attempt would hide that the first is unknown.
    One,
    /// Up to three times: for reads.
    Several,
}

fn check(settings: &Settings) -> Result<(), BadSettings> {
    let mut faults = Vec::new();
    if settings.region.is_empty() {
        faults.push("a region is needed".to_owned());
    }
    let endpoints =
        [("endpoint_url", &settings.endpoint_url), ("dynamodb_endpoint_url", &settings.dynamodb_endpoint_url)];
    for (name, url) in endpoints {
        let parsed = url.as_deref().map(str::parse::<http::Uri>);
        let usable = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        match (settings.identity, parsed) {
            (_, Some(Ok(uri))) if usable(&uri) => {}
            (_, Some(_)) => faults.push(format!("{name} must be an http or https URL")),
            (Identity::Dev, None) => faults.push(format!("the development identity needs {name}")),
            (Identity::Chain, None) => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(BadSettings(faults)) }
}

/// Plain HTTP for an `http` endpoint, else TLS by rustls and ring. Certificates are the machine's.
fn http_client(endpoint_url: Option<&str>) -> SharedHttpClient {
    if endpoint_url.is_some_and(|url| url.starts_with("http:")) {
        Builder::new().pool_idle_timeout(IDLE).build_http()
    } else {
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(IDLE).build_https()
    }
}

/// The same for calls that wait for minutes: TCP keepalive holds their connections (rule 43).
fn waiting_client(endpoint_url: Option<&str>) -> Result<SharedHttpClient, BadSettings> {
    let bad = |error: String| BadSettings(vec![format!("no HTTP client for Lambda: {error}")]);
    // Connections live on the runtime of whoever calls first; there is one.
    let spawner = DriverSpawner::from_fn(|connection| drop(tokio::spawn(connection)));
    let here = PartitionId::from_index(0);
    let builder = ConnectionPool::builder().idle_timeout(IDLE).tcp_keepalive(KEEPALIVE);
    let builder = builder.partitions([Partition::new(here, spawner)]);
    let pool = if endpoint_url.is_some_and(|url| url.starts_with("http:")) {
        builder.build_http()
    } else {
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    };
    let pool = pool.map_err(|e| bad(e.to_string()))?;
    Ok(SharedHttpClient::new(PooledClient::from_partition(&pool, here).map_err(|e| bad(e.to_string()))?))
}

fn tuned(base: &SdkConfig, retry: RetryConfig, attempt: Duration, total: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(total)
        .build();
    // Streams are not used; every attempt has a time-out of its own.
    let streams = StalledStreamProtectionConfig::disabled();
    base.to_builder().retry_config(retry).timeout_config(timeouts).stalled_stream_protection(streams).build()
}

/// For writes under a last look (F7). The SDK's correction of the clock is off: it takes the age of a signature for
/// a wrong clock, and would sign the next request of a driver that was paused as if nothing had been.
fn guarded(config: SdkConfig) -> SdkConfig {
    let mut builder = config.into_builder();
    builder.set_disable_clock_skew_correction(Some(true));
    builder.set_time_source(Some(SharedTimeSource::new(SigningTime)));
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(identity: Identity, ec2: Option<&str>, dynamodb: Option<&str>) -> Settings {
        Settings {
            region: "us-east-1".to_owned(),
            endpoint_url: ec2.map(str::to_owned),
            dynamodb_endpoint_url: dynamodb.map(str::to_owned),
            identity,
        }
    }

    #[tokio::test]
    async fn dev_credentials_need_endpoints_and_all_faults_are_named() {
        let no_endpoint = Settings { region: String::new(), ..settings(Identity::Dev, None, Some("localhost:8000")) };
        let faults = Aws::load(&no_endpoint).await.unwrap_err().0;
        let expected = [
            "a region is needed",
            "the development identity needs endpoint_url",
            "dynamodb_endpoint_url must be an http or https URL",
        ];
        assert_eq!(faults, expected);
        let local = Some("http://127.0.0.1:1");
        assert!(Aws::load(&settings(Identity::Dev, local, local)).await.is_ok());
        assert_eq!(check(&settings(Identity::Chain, None, None)), Ok(()));
    }

    #[tokio::test]
    async fn writes_have_one_attempt_and_everything_has_a_timeout() {
        let local = Some("http://127.0.0.1:1");
        let aws = Aws::load(&settings(Identity::Dev, local, local)).await.unwrap();
        for (config, attempts, attempt) in [(&aws.reads, 3, READ), (&aws.writes, 1, WRITE), (&aws.launches, 1, LAUNCH)]
        {
            assert_eq!(config.retry_config().map(RetryConfig::max_attempts), Some(attempts));
            let timeouts = config.timeout_config().unwrap();
            assert_eq!(timeouts.connect_timeout(), Some(CONNECT));
            assert_eq!(timeouts.operation_attempt_timeout(), Some(attempt));
            assert!(timeouts.operation_timeout().is_some());
        }
    }

    /// A caller that gives up before the function's own limit does not know what it missed, and one that asks twice has
    /// asked for two runs.
    #[tokio::test]
    async fn a_function_is_invoked_once_and_waited_for_longer_than_it_may_run() {
        let local = Some("http://127.0.0.1:1");
        let aws = Aws::load(&settings(Identity::Dev, local, local)).await.unwrap();
        let limit = Duration::from_mins(15);
        let lambda = aws.lambda("f", limit).unwrap();
        let config = lambda.client.config();
        assert_eq!(config.retry_config().map(RetryConfig::max_attempts), Some(1));
        let timeouts = config.timeout_config().unwrap();
        for timeout in [timeouts.read_timeout(), timeouts.operation_attempt_timeout(), timeouts.operation_timeout()] {
            assert_eq!(timeout, Some(limit + INVOKE_MARGIN));
        }
        assert_eq!(timeouts.connect_timeout(), Some(CONNECT));
        assert!(aws.sns(Topic::parse("arn:aws:sns:r:123456789012:t").unwrap(), "e").is_bounded(), "an alert too");
    }
}
