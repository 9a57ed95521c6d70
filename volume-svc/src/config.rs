//! The command line of `volume-svc`: what it listens on, where AWS is, what it calls itself. Every fault is said at
//! once, and a start that cannot work does not start (R19).

use crate::adapters::aws::sns::Topic;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use tiershift_common::telemetry;

/// Who makes the calls that move a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VolumeOps {
    /// This service, by EC2
    Ec2,
    /// The volume manager function, by Lambda
    Lambda,
}

/// volume-svc: EBS volumes, fleets and migrations.
///
/// It keeps its journal and registries in DynamoDB and moves volumes by EC2, Auto Scaling and the agents on the
/// instances. Several processes may run over the same tables: they share the work by leases.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "Example (development stack):\n  volume-svc --dev --listen 127.0.0.1:0 \
    --aws-endpoint-url http://127.0.0.1:4566 \\\n    --dynamodb-endpoint-url http://127.0.0.1:8000 --create-tables"
)]
pub struct Args {
    /// Where to serve gRPC and grpc-web; port 0 takes a free one
    #[arg(long, env = "TIERSHIFT_VOLUME_LISTEN", default_value = "127.0.0.1:7102")]
    pub listen: SocketAddr,
    /// Name of the environment: part of table, group and function names
    #[arg(long, env = "TIERSHIFT_ENVIRONMENT", default_value = "dev")]
    pub environment: String,
    /// First part of the tables' names: {prefix}-{environment}-{table}
    #[arg(long, env = "TIERSHIFT_TABLE_PREFIX", default_value = "tiershift")]
    pub table_prefix: String,
    /// AWS region
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Instead of AWS's own services but DynamoDB: a simulator
    #[arg(long)]
    pub aws_endpoint_url: Option<String>,
    /// Instead of AWS's DynamoDB: an embedded server
    #[arg(long)]
    pub dynamodb_endpoint_url: Option<String>,
    /// Who makes the calls that move a volume: snapshot, detach and attach
    #[arg(long, env = "TIERSHIFT_VOLUME_OPS", value_enum, default_value = "ec2")]
    pub volume_ops: VolumeOps,
    /// With --volume-ops lambda: the volume manager function, by its name or ARN
    #[arg(long, env = "TIERSHIFT_VOLUME_FUNCTION_NAME")]
    pub volume_function_name: Option<String>,
    /// With --volume-ops lambda: the function's own time limit in seconds, 40 to 900; no smaller than the true one
    #[arg(long, env = "TIERSHIFT_VOLUME_FUNCTION_TIMEOUT_S", default_value_t = 900)]
    pub volume_function_timeout_s: u64,
    /// SNS topic that alerts are published to, by its ARN; without one they are in the log only
    #[arg(long, env = "TIERSHIFT_ALERTS_TOPIC_ARN")]
    pub alerts_topic_arn: Option<String>,
    /// Create missing tables at the start (development; production makes them by CloudFormation)
    #[arg(long)]
    pub create_tables: bool,
    /// Calls to AWS that this process may make, in percent of its share: 100 is half of what AWS gives the account, for one
    /// process; two processes get 50 each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub call_budget_percent: u32,
    /// Key of the agents on the instances, sent as X-API-Key
    #[arg(long, env = "TIERSHIFT_AGENT_API_KEY", hide_env_values = true)]
    pub agent_api_key: Option<String>,
    /// Where an agent is whose row names no address, with {instance_id}; else port 8001 of its private address
    #[arg(long)]
    pub agent_url_template: Option<String>,
    /// Origins whose pages may call by grpc-web (repeat for more)
    #[arg(long = "cors-origin")]
    pub cors_origins: Vec<String>,
    /// JSON file {origin_ms, boot_ms, speed} of a simulated clock; else the wall clock
    #[arg(long)]
    pub clock_file: Option<PathBuf>,
    /// Development: callers are believed (header x-tiershift-dev-caller), AWS credentials are fixed words
    #[arg(long)]
    pub dev: bool,
    /// JSON file of deadlines, gaps and limits in milliseconds ({"soak_ms": 60000}); what it does not name keeps its
    /// default
    #[arg(long)]
    pub settings: Option<PathBuf>,
    /// TOML file of tiers, laid over the compiled-in ones key by key, as subscription-svc has it (repeat for more)
    #[arg(long, value_name = "FILE", env = "TIERSHIFT_CATALOGUE", value_delimiter = ',')]
    pub catalogue: Vec<PathBuf>,
    /// With --dev: stand still at an instant, <stage>.<intent|sending|called|outcome> (repeat for more), until killed or
    /// sent SIGUSR1; for crash tests
    #[arg(long)]
    pub hold: Vec<String>,
    /// How the log looks.
    #[command(flatten)]
    pub telemetry: telemetry::Options,
}

impl Args {
    /// Every fault of the command line, for people; empty when it can start.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let word = |text: &str| {
            (1..=40).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !word(&self.environment) {
            faults.push("--environment must be 1 to 40 lower-case letters, digits or -".to_owned());
        }
        if !word(&self.table_prefix) {
            faults.push("--table-prefix must be 1 to 40 lower-case letters, digits or -".to_owned());
        }
        if !self.dev && !self.hold.is_empty() {
            faults.push("--hold needs --dev: it makes the process hang on purpose".to_owned());
        }
        if !self.dev && self.aws_endpoint_url.is_some() {
            faults.push("--aws-endpoint-url needs --dev".to_owned());
        }
        if !self.dev && self.agent_api_key.as_deref().unwrap_or("").is_empty() {
            faults.push("--agent-api-key (or TIERSHIFT_AGENT_API_KEY) must be set".to_owned());
        }
        if self.agent_url_template.as_ref().is_some_and(|t| !t.contains("{instance_id}")) {
            faults.push("--agent-url-template must contain {instance_id}".to_owned());
        }
        let function = self.volume_function_name.as_deref().unwrap_or("");
        if self.volume_ops == VolumeOps::Lambda && function.is_empty() {
            faults.push(
                "--volume-ops lambda needs --volume-function-name (or TIERSHIFT_VOLUME_FUNCTION_NAME): the name or ARN of \
                 the volume manager function"
                    .to_owned(),
            );
        }
        if self.volume_ops == VolumeOps::Ec2 && !function.is_empty() {
            faults.push("--volume-function-name needs --volume-ops lambda: nobody would call it".to_owned());
        }
        // A call begins within 30 s and calls EC2 within 10 s: whoever waits for the limit has waited for both.
        if !(40..=900).contains(&self.volume_function_timeout_s) {
            faults.push("--volume-function-timeout-s must be 40 to 900".to_owned());
        }
        if let Some(Err(bad)) = self.alerts_topic_arn.as_deref().map(Topic::parse) {
            faults.push(format!("--alerts-topic-arn {bad}"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn all_faults_are_said_at_once() {
        let args = Args::parse_from([
            "volume-svc",
            "--hold",
            "gate.intent",
            "--agent-url-template",
            "http://x",
            "--environment",
            "Prod",
            "--alerts-topic-arn",
            "alerts",
            "--volume-ops",
            "lambda",
            "--volume-function-timeout-s",
            "20",
        ]);
        assert_eq!(args.faults().len(), 7, "{:?}", args.faults());
    }
}
