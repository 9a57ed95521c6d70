//! How a simulated cloud is started: the values, and the command line that gives them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use tiershift_common::telemetry;

use crate::sim;
use crate::timing::Timing;

/// Speed of a new data folder unless another one is asked for.
const DEFAULT_SPEED: u32 = 20;

/// How a simulated cloud is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of everything that is kept: `cloud.json`, `clock.json`, `dynamodb.sqlite`, `cloud.lock`.
    pub data: PathBuf,
    /// Where EC2, Auto Scaling, agents, engines and control are served: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where DynamoDB is served: a loopback address; port 0 takes a free one.
    pub dynamodb_listen: SocketAddr,
    /// How much faster than real time the clock runs, 1 to 100. `None` = as the folder has it, 20 for a new one.
    pub speed: Option<u32>,
    /// The key id that signatures must name. DynamoDB takes any.
    pub access_key_id: String,
    /// How the cloud behaves. Counts when the folder is new, but for the agents' key, which always counts.
    pub cloud: sim::Config,
    /// Seed of the cloud's chance; ids depend on it too. Counts when the folder is new.
    pub seed: u64,
    /// Go on by the folder's `clock.json` as if the clock had never stopped: for a cloud that is started again while
    /// other processes of its stack live on. Otherwise simulated time has stood still while the cloud was down.
    pub same_clock: bool,
}

impl Config {
    /// The dev stack's cloud, in a folder, on free ports of 127.0.0.1.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            data: data.into(),
            listen: free,
            dynamodb_listen: free,
            speed: None,
            access_key_id: "dev".to_owned(),
            cloud: sim::Config::default(),
            seed: 1,
            same_clock: false,
        }
    }

    /// The speed of a new folder.
    pub(super) fn speed_of_new(&self) -> u32 {
        self.speed.unwrap_or(DEFAULT_SPEED)
    }

    /// Everything that is wrong with it, for people; empty when it can start.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.speed.is_some_and(|speed| !(1..=100).contains(&speed)) {
            faults.push("speed must be 1 to 100".to_owned());
        }
        for (name, address) in [("listen", self.listen), ("dynamodb_listen", self.dynamodb_listen)] {
            if !address.ip().is_loopback() {
                faults.push(format!("{name} must be a loopback address: nothing here keeps secrets"));
            }
        }
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&self.access_key_id) || self.access_key_id.contains(['/', ',']) {
            faults.push("access_key_id must be printable ASCII without slash and comma".to_owned());
        }
        if !printable(&self.cloud.agent_api_key) {
            faults.push("agent_api_key must be printable ASCII".to_owned());
        }
        faults
    }
}

/// cloud-sim: a simulated AWS (EC2, Auto Scaling, DynamoDB) with instances, agents and graph engines.
///
/// Prints one JSON line once it serves: cloud_url, dynamodb_url, clock_file, speed, pid.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cloud-sim",
    version,
    after_help = "Example:\n  cloud-sim --data ./data --listen 127.0.0.1:4566 --dynamodb-listen 127.0.0.1:8000\n  \
    AWS_ACCESS_KEY_ID=dev AWS_SECRET_ACCESS_KEY=dev aws --endpoint-url http://127.0.0.1:4566 \\\n      \
    --region us-east-1 ec2 describe-volumes"
)]
pub struct Args {
    /// Folder of everything that is kept; made and filled with the dev stack's fleet if it is new
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
    /// Where to serve EC2, Auto Scaling, agents, engines and control; loopback only, port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where to serve DynamoDB; loopback only, port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub dynamodb_listen: SocketAddr,
    /// How much faster than real time the clock runs, 1 to 100; belongs to the folder once chosen [default: 20]
    #[arg(long)]
    pub speed: Option<u32>,
    /// The key id that signatures of EC2 and Auto Scaling requests must name
    #[arg(long, default_value = "dev")]
    pub access_key_id: String,
    /// The key that agents expect in X-API-Key
    #[arg(long, env = "TIERSHIFT_AGENT_API_KEY", hide_env_values = true, default_value = "dev-agent-key")]
    pub agent_api_key: String,
    /// Draw every duration from the timing model with this seed, instead of its median; for a new folder
    #[arg(long)]
    pub seed: Option<u64>,
    /// Let things go wrong by themselves as often as the timing model says; for a new folder
    #[arg(long, requires = "seed")]
    pub mishaps: bool,
    /// Go on by the folder's clock.json, for a restart while other processes of the stack live on
    #[arg(long)]
    pub same_clock: bool,
    /// How the log looks.
    #[command(flatten)]
    pub telemetry: telemetry::Options,
}

impl Args {
    /// The values that the command line gives.
    pub fn config(&self) -> Config {
        let base = Config::new(&self.data);
        Config {
            listen: self.listen,
            dynamodb_listen: self.dynamodb_listen,
            speed: self.speed,
            access_key_id: self.access_key_id.clone(),
            cloud: sim::Config {
                timing: if self.seed.is_some() { Timing::Drawn } else { Timing::Median },
                mishaps: self.mishaps,
                agent_api_key: self.agent_api_key.clone(),
                ..base.cloud.clone()
            },
            seed: self.seed.unwrap_or(base.seed),
            same_clock: self.same_clock,
            ..base
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_its_defaults_are_the_values() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let args = Args::try_parse_from(["cloud-sim", "--data", "d"]).unwrap();
        assert_eq!(args.config(), Config::new("d"));
        assert!(args.config().faults().is_empty());
        assert!(Args::try_parse_from(["cloud-sim", "--mishaps"]).is_err(), "mishaps need a seed");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let config = Config {
            speed: Some(101),
            listen: "0.0.0.0:1".parse().unwrap(),
            dynamodb_listen: "192.0.2.1:1".parse().unwrap(),
            access_key_id: "a/b".to_owned(),
            cloud: sim::Config { agent_api_key: String::new(), ..sim::Config::default() },
            ..Config::new("d")
        };
        assert_eq!(config.faults().len(), 5, "{:?}", config.faults());
    }
}
