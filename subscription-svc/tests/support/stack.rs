//! The binary itself over a database of its own, with a scripted volume-svc behind gRPC: to be killed, started again, and
//! looked into from outside.

use super::seed;
use super::volume::{Fake, Script};
use super::volume_grpc;
use futures_util::StreamExt as _;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use subscription_svc::store::Store;
use subscription_svc::store::postgres::failover::Failover;
use subscription_svc::store::postgres::{Migrate, Postgres};
use subscription_svc::store::sqlite::Sqlite;
use tiershift_common::caller::Caller;
use tiershift_common::client::{CallerChannel, channel_as};
use tiershift_common::clock::{Clock, Scaled};
use tiershift_postgres::Server;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::tier_service_client::TierServiceClient;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;

/// A change takes about a second of real time here; a busy machine is given a minute.
pub const BOUND: Duration = Duration::from_mins(1);

pub const OWNER: &str = "alice;org_a=owner";

/// A folder, a volume-svc, and one subscription-svc at a time.
pub struct Stack {
    folder: tempfile::TempDir,
    pub volume: Arc<Fake>,
    volume_url: String,
    stop: CancellationToken,
    database: Database,
}

/// Where a stack keeps its state.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database, with the server that it is in.
pub enum Database {
    /// A file in the stack's folder.
    Sqlite,
    /// One in a server.
    Postgres {
        /// Its address.
        url: String,
        /// Lives as long as this.
        server: Arc<Server>,
    },
}

/// A server for the databases of one test.
pub struct Stores(Option<Arc<Server>>);

impl Stores {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self(None),
            Kind::Postgres => Self(Some(Arc::new(Server::start(&[]).expect("a server")))),
        }
    }

    pub fn database(&self) -> Database {
        match &self.0 {
            None => Database::Sqlite,
            Some(server) => {
                Database::Postgres { url: server.database().expect("a database"), server: Arc::clone(server) }
            }
        }
    }
}

/// A running process.
pub struct Process {
    pub child: Child,
    url: String,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Stack {
    pub async fn new(script: Script, database: Database) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Scaled { speed: 100, ..Scaled::wall() };
        let text = serde_json::to_string(&clock).expect("JSON");
        std::fs::write(folder.path().join("clock.json"), text).expect("written");
        let volume = Fake::new(Arc::new(clock) as Arc<dyn Clock>);
        volume.script(&seed::graph(1), script);
        let stop = CancellationToken::new();
        let volume_url = volume_grpc::serve(&volume, &stop).await;
        Self { folder, volume, volume_url, stop, database }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self) -> PathBuf {
        self.path("db/subscription.sqlite")
    }

    pub fn url(&self) -> String {
        match &self.database {
            Database::Sqlite => format!("sqlite://{}", self.file().display()),
            Database::Postgres { url, .. } => url.clone(),
        }
    }

    /// What it keeps, read from outside while no process runs.
    pub async fn store(&self) -> Arc<dyn Store> {
        match &self.database {
            Database::Sqlite => Arc::new(Sqlite::open(&self.file()).await.expect("opened")),
            Database::Postgres { url, .. } => {
                Arc::new(Postgres::open(url, Migrate::Verify, Failover::Single).await.expect("opened"))
            }
        }
    }

    pub fn command(&self, hold: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subscription-svc"));
        command
            .args(["--dev", "--listen", "127.0.0.1:0", "--payments", "sim", "--volume-url", &self.volume_url])
            .arg("--database")
            .arg(self.url())
            .arg("--payments-book")
            .arg(self.path("payments.jsonl"))
            .arg("--clock-file")
            .arg(self.path("clock.json"))
            .args(hold.iter().flat_map(|instant| ["--hold", instant]))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn start(&self, hold: Option<&str>) -> Process {
        let mut child = self.command(hold).spawn().expect("started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = bounded("the address", stdout.next_line()).await.expect("readable").expect("a line");
        let line: Value = serde_json::from_str(&line).expect("one JSON object");
        let address = line["listening"].as_str().expect("an address");
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Process { child, url: format!("http://{address}"), stderr }
    }

    /// Net cents of a change in the provider's own book, and its keys.
    pub fn book(&self, change: &str) -> (i64, Vec<String>) {
        let text = std::fs::read_to_string(self.path("payments.jsonl")).unwrap_or_default();
        let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        let own = entries.iter().filter(|e| e["change"] == change);
        let mut keys: Vec<String> = own.clone().map(|e| e["key"].as_str().expect("a key").to_owned()).collect();
        keys.sort();
        (own.map(|e| e["amount_cents"].as_i64().expect("an amount")).sum(), keys)
    }
}

pub async fn bounded<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what} takes longer than {BOUND:?}"))
}

impl Process {
    pub fn channel(&self, who: &str) -> CallerChannel {
        channel_as(&self.url, &Caller::parse_dev(who).expect("a caller")).expect("an address")
    }

    /// The first graph, with a subscription.
    pub async fn seed(&self) {
        self.subscribe(1).await;
    }

    /// The n-th one.
    pub async fn subscribe(&self, n: u64) {
        let graph = pb::RegisterGraphRequest {
            request_id: format!("g-{n}"),
            org_id: "org_a".to_owned(),
            graph_id: seed::graph(n).to_string(),
            tier: "ladybug-standard".to_owned(),
            ..Default::default()
        };
        let mut graphs = pb::graph_service_client::GraphServiceClient::new(self.channel("root;operator"));
        graphs.register_graph(graph).await.expect("registered");
        let subscription = pb::CreateSubscriptionRequest {
            request_id: format!("s-{n}"),
            org_id: "org_a".to_owned(),
            graph_id: seed::graph(n).to_string(),
            tier: "ladybug-standard".to_owned(),
            initial: Some(pb::InitialSubscription::default()),
            ..Default::default()
        };
        let channel = self.channel("root;operator");
        let mut subscriptions = pb::subscription_service_client::SubscriptionServiceClient::new(channel);
        subscriptions.create_subscription(subscription).await.expect("subscribed");
    }

    pub fn tiers(&self) -> TierServiceClient<CallerChannel> {
        TierServiceClient::new(self.channel(OWNER))
    }

    pub async fn get(&self, change_id: &str) -> pb::TierChange {
        let request = pb::GetTierChangeRequest { change_id: change_id.to_owned() };
        self.tiers().get_tier_change(request).await.expect("read").into_inner().tier_change.expect("a change")
    }

    pub async fn ended(&self, change_id: &str) -> pb::TierChange {
        follow(self.tiers(), change_id).await.expect("followed");
        self.get(change_id).await
    }

    pub async fn held_at(&mut self, instant: &str) {
        let wanted = format!("holding at {instant}");
        loop {
            let line = bounded(&wanted, self.stderr.next_line()).await.expect("readable");
            if line.expect("it runs until it holds") == wanted {
                return;
            }
        }
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// Asks for the change of the first graph, always as the same request.
pub async fn change(tiers: TierServiceClient<CallerChannel>) -> Result<String, tonic::Status> {
    change_as(tiers, "c", 1).await
}

/// Asks for the change of the n-th graph.
pub async fn change_as(
    mut tiers: TierServiceClient<CallerChannel>,
    request_id: &str,
    n: u64,
) -> Result<String, tonic::Status> {
    let request = pb::ChangeTierRequest {
        request_id: request_id.to_owned(),
        graph_id: seed::graph(n).to_string(),
        target_tier: "ladybug-large".to_owned(),
        ..Default::default()
    };
    let answer = tiers.change_tier(request).await?;
    Ok(answer.into_inner().tier_change.expect("a change").change_id)
}

pub async fn cancel(mut tiers: TierServiceClient<CallerChannel>, change_id: &str) -> Result<(), tonic::Status> {
    let request = pb::CancelTierChangeRequest {
        request_id: "x".to_owned(),
        change_id: change_id.to_owned(),
        ..Default::default()
    };
    tiers.cancel_tier_change(request).await.map(|_| ())
}

/// Follows the change to its end and checks its whole public sequence.
pub async fn follow(mut tiers: TierServiceClient<CallerChannel>, change_id: &str) -> Result<(), tonic::Status> {
    use pb::watch_tier_change_response::Payload;
    let selection = pb::ChangeSelection { change_ids: vec![change_id.to_owned()] };
    let request = pb::WatchTierChangeRequest {
        selection: Some(pb::watch_tier_change_request::Selection::Changes(selection)),
        cursor: String::new(),
    };
    let mut stream = tiers.watch_tier_change(request).await?.into_inner();
    let mut best: BTreeMap<i32, i32> = BTreeMap::new();
    let mut seq = 0;
    loop {
        let message = bounded("an event", stream.next()).await.expect("not cut")?;
        match message.payload.expect("a payload") {
            Payload::Event(event) => {
                seq += 1;
                assert_eq!(event.seq, seq, "11: no gap, no duplicate");
                let before = best.insert(event.direction, event.permille).unwrap_or(0);
                assert!(event.permille >= before, "11: progress fell: {event:?}");
            }
            Payload::Heartbeat(_) => {}
            Payload::End(_) => return Ok(()),
        }
    }
}
