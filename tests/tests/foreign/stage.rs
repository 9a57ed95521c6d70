//! A stack of its own for one test, and what the clients are told about it.

use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;
use tiershift_core::catalogue::Catalogue;
use tiershift_dev::run;
use tiershift_dev::stack::{DEV_CALLER, Options, Process, Stack};

/// Speed of the clock. At 40 a change takes some 10 s; beyond that the machine, and not the simulated cloud, is what a
/// test waits for.
const SPEED: u32 = 40;

/// Lines of each log that a failed test shows.
const LOG_LINES: usize = 40;

/// A running, seeded stack.
pub struct Stage {
    /// Its processes.
    pub stack: Stack,
    fleet: cloud_sim::seed::Fleet,
    descriptors: PathBuf,
    _folder: TempDir,
}

impl Stage {
    /// Starts it; pages of these origins may call.
    pub async fn start(cors_origins: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let descriptors = folder.path().join("contract.binpb");
        // Two encoded sets, one behind the other, are one set with the files of both.
        let set = [tiershift_proto::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET].concat();
        std::fs::write(&descriptors, set).expect("written");
        let options = Options {
            data: folder.path().join("data"),
            speed: SPEED,
            cors_origins: cors_origins.iter().map(ToString::to_string).collect(),
            database: None,
            logs: folder.path().join("logs"),
        };
        let (stack, fleet) = run::start(options).await.expect("a seeded stack");
        Self { stack, fleet, descriptors, _folder: folder }
    }

    /// A seeded graph by the name of its story.
    pub fn graph(&self, story: &str) -> &cloud_sim::seed::FleetGraph {
        self.fleet.graphs.iter().find(|g| g.name == story).unwrap_or_else(|| panic!("no graph {story} is seeded"))
    }

    /// A caller with a role in the organisation of the graphs that change.
    pub fn caller(&self, user: &str, role: &str) -> String {
        format!("{user};{}={role}", self.graph("upgrade-idle").organisation_id)
    }

    /// The owner of that organisation.
    pub fn owner(&self) -> String {
        self.caller("user_ada", "owner")
    }

    /// The tier that they change to, and the one that they have.
    pub fn tiers() -> (String, String) {
        let catalogue = Catalogue::default();
        (catalogue.tiers()[1].name.to_string(), catalogue.tiers()[0].name.to_string())
    }

    /// What a client is told: where everything is, who it is, and `more`.
    pub fn wanted(&self, more: Value) -> Value {
        let mut wanted = json!({
            "subscription_url": self.stack.subscription_url,
            "volume_url": self.stack.volume_url,
            "descriptors": self.descriptors,
            "owner": self.owner(),
            "operator": DEV_CALLER,
            "org_id": self.graph("upgrade-idle").organisation_id,
            "graph_id": self.graph("upgrade-idle").graph_id,
            "canceled_graph_id": self.graph("upgrade-1").graph_id,
            "target_tier": Self::tiers().0,
        });
        let (Value::Object(all), Value::Object(more)) = (&mut wanted, more) else { panic!("objects") };
        all.extend(more);
        wanted
    }
}

impl Drop for Stage {
    /// The folder goes with the test, so a failed one shows the ends of the logs first.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for process in [Process::Cloud, Process::Volume, Process::Subscription] {
            let log = std::fs::read_to_string(self.stack.log(process)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- {}", process.name());
            lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
