//! A stack for a test, and the project's own binaries run against it as a user would.

use cloud_sim::seed::Fleet;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};
use tiershift_dev::cloud::Cloud;
use tiershift_dev::stack::{Options, Process, Stack};
use tiershift_dev::{run, seed};
use tiershift_proto::subscription::v1::{GetGraphRequest, Graph};
use tokio::process::Command;

/// Longest that a run may take, in real time.
const BOUND: Duration = Duration::from_mins(3);

/// What a demo printed, and how it ended.
#[derive(Debug)]
pub struct Demo {
    pub status: i32,
    pub events: Vec<Value>,
    pub summary: Value,
}

impl Demo {
    fn of(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let mut lines: Vec<Value> =
            stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("nothing was printed: {output:?}"));
        Self { status: output.status.code().expect("it ended by itself"), events: lines, summary }
    }

    pub fn change_id(&self) -> &str {
        self.summary["change_id"].as_str().expect("a change")
    }
}

/// One of the project's binaries, from the build that this test is of.
pub fn binary(name: &str) -> Command {
    let me = std::env::current_exe().expect("a path");
    let path = me.ancestors().skip(1).take(2).map(|f| f.join(name)).find(|p| p.is_file());
    let mut command = Command::new(path.unwrap_or_else(|| panic!("{name} is not built; run ./x test")));
    command.kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::time::timeout(BOUND, command.output()).await.expect("it ends in time").expect("it runs")
}

/// A demo on a stack of its own.
pub async fn demo(args: &[&str]) -> Demo {
    let nowhere = tempfile::tempdir().expect("a folder");
    let mut command = binary("tiershift-dev");
    command.arg("demo").arg("--data").arg(nowhere.path()).args(args);
    Demo::of(&output(command).await)
}

/// A running stack.
pub struct Stage {
    stack: Stack,
    fleet: Fleet,
    folder: tempfile::TempDir,
}

impl Stage {
    pub async fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            data: folder.path().to_owned(),
            speed: 40,
            cors_origins: Vec::new(),
            database: None,
            logs: folder.path().join("logs"),
        };
        let (stack, fleet) = run::start(options).await.expect("the stack starts");
        stack.describe().write(&folder.path().join("stack.json")).expect("its file");
        Self { stack, fleet, folder }
    }

    pub fn data(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub fn graph(&self, name: &str) -> String {
        let found = self.fleet.graphs.iter().find(|g| g.name == name);
        found.unwrap_or_else(|| panic!("no graph {name}")).graph_id.clone()
    }

    pub fn instance(&self, graph: &str) -> String {
        self.fleet.graphs.iter().find(|g| g.graph_id == graph).expect("a seeded graph").instance_id.clone()
    }

    pub fn volume_url(&self) -> String {
        self.stack.volume_url.clone()
    }

    /// How many effects the cloud was asked for so far.
    pub async fn ledger_now(&self) -> usize {
        let page: Value = self.cloud().get("/sim/ledger?after=0&limit=100000").await.expect("the ledger");
        let entries = page["entries"].as_array().expect("entries");
        entries.iter().filter(|e| !e["action"].as_str().expect("a word").starts_with("Describe")).count()
    }

    /// Kills volume-svc and starts it again, with further arguments; returns when it answers.
    pub async fn restart_volume(&mut self, more: &[&str]) {
        self.stack.restart(Process::Volume, more).await.expect("restarted");
    }

    /// volume-svc's log, of all its starts.
    pub fn volume_log(&self) -> String {
        std::fs::read_to_string(self.stack.log(Process::Volume)).unwrap_or_default()
    }

    /// Switches a fault on.
    pub async fn fault(&self, fault: Value) {
        self.cloud().post::<Value>("/sim/faults", &fault).await.expect("the fault is on");
    }

    /// The cloud's clock.
    pub async fn now_ms(&self) -> i64 {
        let clock: Value = self.cloud().get("/sim/clock").await.expect("the clock");
        clock["now_ms"].as_i64().expect("a time")
    }

    /// Every API call so far.
    pub async fn everything(&self) -> Vec<Value> {
        let page: Value = self.cloud().get("/sim/ledger?after=0&limit=100000").await.expect("the ledger");
        page["entries"].as_array().expect("entries").clone()
    }

    /// Waits, within a bound, until something holds.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self).await {
            assert!(begun.elapsed() < Duration::from_mins(1), "no {what}\n{}", self.volume_log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn cloud(&self) -> Cloud {
        Cloud::at(&self.stack.cloud_url)
    }

    pub async fn run(&self, name: &str, args: &[&str]) -> Output {
        let mut command = binary(name);
        command.args(args);
        output(command).await
    }

    pub async fn demo(&self, args: &[&str]) -> Demo {
        let data = self.data();
        let mut all = vec!["demo", "--json", "--data", &data];
        all.extend(args);
        Demo::of(&self.run("tiershift-dev", &all).await)
    }

    pub async fn tierctl(&self, args: &[&str]) -> Output {
        let file = self.folder.path().join("stack.json").display().to_string();
        let mut all = vec!["--stack", file.as_str()];
        all.extend(args);
        self.run("tierctl", &all).await
    }

    /// The summary of a change that must be refused with status 3.
    pub async fn refused(&self, name: &str, tier: &str) -> Value {
        let graph = self.graph(name);
        let output = self.tierctl(&["--json", "tier", "change", &graph, tier]).await;
        assert_eq!(output.status.code(), Some(3), "{name} to {tier}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let summary: Value = serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(summary["result"], "refused");
        let people = String::from_utf8_lossy(&output.stderr).into_owned();
        for violation in summary["violations"].as_array().expect("violations") {
            assert!(people.contains(violation["fix"].as_str().expect("a fix")), "{people}");
        }
        summary
    }

    pub async fn get_graph(&self, graph: &str) -> Graph {
        let target = seed::target(&self.stack.describe()).expect("addresses");
        let request = GetGraphRequest { graph_id: graph.to_owned() };
        target
            .graphs()
            .expect("an address")
            .get_graph(request)
            .await
            .expect("known")
            .into_inner()
            .graph
            .expect("present")
    }

    /// What the payment provider's own book says of a change: charged, and the sum of everything.
    pub fn money(&self, change_id: &str) -> (i64, i64) {
        let book: PathBuf = self.folder.path().join("payments.jsonl");
        let text = std::fs::read_to_string(&book).expect("the book");
        let entries = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("an entry"));
        let amounts: Vec<i64> = entries
            .filter(|e| e["change"] == change_id)
            .map(|e| e["amount_cents"].as_i64().expect("an amount"))
            .collect();
        (amounts.iter().filter(|a| **a > 0).sum(), amounts.iter().sum())
    }

    /// The cloud's ledger of AWS calls, once an action is in it: Settle goes on behind the demo's end.
    pub async fn ledger_until(&self, action: &str) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let page: Value = self.cloud().get("/sim/ledger?after=0&limit=100000").await.expect("the ledger");
            let entries = page["entries"].as_array().expect("entries");
            let aws: Vec<Value> = entries
                .iter()
                .filter(|e| matches!(e["service"].as_str(), Some("ec2" | "autoscaling" | "auto_scaling")))
                .cloned()
                .collect();
            if aws.iter().any(|e| e["action"] == action) {
                return aws;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{action} was never called: {page:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A ledger's entry in the form of the kept list: service, action, outcome.
pub fn line(entry: &Value) -> String {
    let word = |key: &str| entry[key].as_str().unwrap_or("?").to_owned();
    format!("{} {} {}", word("service"), word("action"), word("outcome"))
}
