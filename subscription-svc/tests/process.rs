//! The binary itself, over SQLite and over PostgreSQL, against a scripted volume-svc behind gRPC: killed at every named
//! instant of a change and behind each of its writes, started again, and nothing is lost or done twice.

#![expect(clippy::expect_used, clippy::panic, reason = "a test: its failure is the report")]

mod support;

use futures_util::StreamExt as _;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use subscription_core::access::Gate;
use subscription_svc::store::postgres::{Migrate, Postgres};
use subscription_svc::store::rows::{AuditKind, PaymentOutcome};
use subscription_svc::store::sqlite::Sqlite;
use subscription_svc::store::{Key, Store};
use support::seed;
use support::volume::{Fake, Script};
use support::volume_grpc;
use tiershift_common::caller::Caller;
use tiershift_common::client::{CallerChannel, channel_as};
use tiershift_common::clock::{Clock, Scaled};
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::ChangeId;
use tiershift_postgres::Server;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::tier_service_client::TierServiceClient;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;

/// A change takes about a second of real time here; a busy machine is given a minute.
const BOUND: Duration = Duration::from_mins(1);

const OWNER: &str = "alice;org_a=owner";

/// A folder, a volume-svc, and one subscription-svc at a time.
struct Stack {
    folder: tempfile::TempDir,
    volume: Arc<Fake>,
    volume_url: String,
    stop: CancellationToken,
    database: Database,
}

/// Where a stack keeps its state.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Sqlite,
    Postgres,
}

enum Database {
    Sqlite,
    Postgres { url: String, _server: Arc<Server> },
}

/// A server for the databases of one test.
struct Stores(Option<Arc<Server>>);

impl Stores {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self(None),
            Kind::Postgres => Self(Some(Arc::new(Server::start(&[]).expect("a server")))),
        }
    }

    fn database(&self) -> Database {
        match &self.0 {
            None => Database::Sqlite,
            Some(server) => {
                Database::Postgres { url: server.database().expect("a database"), _server: Arc::clone(server) }
            }
        }
    }
}

/// A running process.
struct Process {
    child: Child,
    url: String,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Stack {
    async fn new(script: Script, database: Database) -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("db/subscription.sqlite")
    }

    fn url(&self) -> String {
        match &self.database {
            Database::Sqlite => format!("sqlite://{}", self.file().display()),
            Database::Postgres { url, .. } => url.clone(),
        }
    }

    /// What it keeps, read from outside while no process runs.
    async fn store(&self) -> Arc<dyn Store> {
        match &self.database {
            Database::Sqlite => Arc::new(Sqlite::open(&self.file()).await.expect("opened")),
            Database::Postgres { url, .. } => Arc::new(Postgres::open(url, Migrate::Verify).await.expect("opened")),
        }
    }

    fn command(&self, hold: Option<&str>) -> Command {
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

    async fn start(&self, hold: Option<&str>) -> Process {
        let mut child = self.command(hold).spawn().expect("started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = bounded("the address", stdout.next_line()).await.expect("readable").expect("a line");
        let line: Value = serde_json::from_str(&line).expect("one JSON object");
        let address = line["listening"].as_str().expect("an address");
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Process { child, url: format!("http://{address}"), stderr }
    }

    /// Net cents of a change in the provider's own book, and its keys.
    fn book(&self, change: &str) -> (i64, Vec<String>) {
        let text = std::fs::read_to_string(self.path("payments.jsonl")).unwrap_or_default();
        let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
        let own = entries.iter().filter(|e| e["change"] == change);
        let mut keys: Vec<String> = own.clone().map(|e| e["key"].as_str().expect("a key").to_owned()).collect();
        keys.sort();
        (own.map(|e| e["amount_cents"].as_i64().expect("an amount")).sum(), keys)
    }
}

async fn bounded<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what} takes longer than {BOUND:?}"))
}

impl Process {
    fn channel(&self, who: &str) -> CallerChannel {
        channel_as(&self.url, &Caller::parse_dev(who).expect("a caller")).expect("an address")
    }

    async fn seed(&self) {
        let graph = pb::RegisterGraphRequest {
            request_id: "g".to_owned(),
            org_id: "org_a".to_owned(),
            graph_id: seed::graph(1).to_string(),
            tier: "ladybug-standard".to_owned(),
            ..Default::default()
        };
        let mut graphs = pb::graph_service_client::GraphServiceClient::new(self.channel("root;operator"));
        graphs.register_graph(graph).await.expect("registered");
        let subscription = pb::CreateSubscriptionRequest {
            request_id: "s".to_owned(),
            org_id: "org_a".to_owned(),
            graph_id: seed::graph(1).to_string(),
            tier: "ladybug-standard".to_owned(),
            initial: Some(pb::InitialSubscription::default()),
            ..Default::default()
        };
        let channel = self.channel("root;operator");
        let mut subscriptions = pb::subscription_service_client::SubscriptionServiceClient::new(channel);
        subscriptions.create_subscription(subscription).await.expect("subscribed");
    }

    fn tiers(&self) -> TierServiceClient<CallerChannel> {
        TierServiceClient::new(self.channel(OWNER))
    }

    async fn get(&self, change_id: &str) -> pb::TierChange {
        let request = pb::GetTierChangeRequest { change_id: change_id.to_owned() };
        self.tiers().get_tier_change(request).await.expect("read").into_inner().tier_change.expect("a change")
    }

    async fn ended(&self, change_id: &str) -> pb::TierChange {
        follow(self.tiers(), change_id).await.expect("followed");
        self.get(change_id).await
    }

    async fn held_at(&mut self, instant: &str) {
        let wanted = format!("holding at {instant}");
        loop {
            let line = bounded(&wanted, self.stderr.next_line()).await.expect("readable");
            if line.expect("it runs until it holds") == wanted {
                return;
            }
        }
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// Kills the process at an instant of a change, starts it again, and gives back the ended change. None if the change ends
/// before it comes to the instant.
async fn killed_at(instant: &str, stack: &Stack, cancel: bool) -> Option<pb::TierChange> {
    let mut process = stack.start(Some(instant)).await;
    process.seed().await;
    let tiers = process.tiers();
    let asked = tokio::spawn(async move {
        let id = change(tiers.clone()).await?;
        if cancel {
            self::cancel(tiers.clone(), &id).await?;
        }
        follow(tiers, &id).await
    });
    let held = tokio::select! {
        biased;
        () = process.held_at(instant) => true,
        // It may stand still before it has answered; then it never does.
        ended = asked => {
            ended.expect("no panic").expect("it is not killed before it ends");
            false
        }
    };
    process.kill().await;
    if !held {
        return None;
    }
    let again = stack.start(None).await;
    // The same requests once more, as a client does that has had no answer.
    let id = change(again.tiers()).await.expect("accepted");
    if cancel {
        self::cancel(again.tiers(), &id).await.expect("stored");
    }
    let change = again.ended(&id).await;
    again.kill().await;
    Some(change)
}

async fn change(mut tiers: TierServiceClient<CallerChannel>) -> Result<String, tonic::Status> {
    let request = pb::ChangeTierRequest {
        request_id: "c".to_owned(),
        graph_id: seed::graph(1).to_string(),
        target_tier: "ladybug-large".to_owned(),
        ..Default::default()
    };
    let answer = tiers.change_tier(request).await?;
    Ok(answer.into_inner().tier_change.expect("a change").change_id)
}

async fn cancel(mut tiers: TierServiceClient<CallerChannel>, change_id: &str) -> Result<(), tonic::Status> {
    let request = pb::CancelTierChangeRequest {
        request_id: "x".to_owned(),
        change_id: change_id.to_owned(),
        ..Default::default()
    };
    tiers.cancel_tier_change(request).await.map(|_| ())
}

/// Follows the change to its end and checks its whole public sequence.
async fn follow(mut tiers: TierServiceClient<CallerChannel>, change_id: &str) -> Result<(), tonic::Status> {
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

/// Money, plan, tier, credits, gate and audit agree with each other and with how the change ended.
async fn all_agree(stack: &Stack, change: &pb::TierChange, why: &str) {
    let store = stack.store().await;
    let id = ChangeId::parse(&change.change_id).expect("an id");
    let loaded = store.read(&Key::change(id.clone())).await.expect("read");
    let (graph, subscription) = (loaded.graph.expect("a graph"), loaded.subscription.expect("a subscription"));
    let succeeded = change.state() == pb::TierChangeState::Succeeded;
    let catalogue = Catalogue::default();
    let name = if succeeded { "ladybug-large" } else { "ladybug-standard" };
    let tier = catalogue.tiers().iter().find(|tier| tier.name.as_str() == name).expect("a tier");
    assert_eq!((graph.tier.as_str(), subscription.tier.as_str()), (name, name), "{why}: 5");
    assert_eq!(subscription.price_cents, tier.price_cents, "{why}");
    assert_eq!(subscription.monthly_credits, tier.monthly_credits, "{why}");
    assert_eq!(subscription.active_change, None, "{why}");
    let access = loaded.access.expect("an access record").record;
    assert_eq!(access.gate, Gate::Open, "{why}: 6");
    let unknown = loaded.payments.iter().any(|p| p.outcome == PaymentOutcome::Unknown);
    assert!(!unknown && loaded.owed.is_empty(), "{why}: {:?} {:?}", loaded.payments, loaded.owed);
    let audit: Vec<AuditKind> = store.audit(&id).await.expect("read").into_iter().map(|event| event.kind).collect();
    let mut once = audit.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), audit.len(), "{why}: each thing is in the audit once: {audit:?}");
    let charged = audit.contains(&AuditKind::ChangeCharged);
    assert_eq!(charged, matches!(change.charge(), pb::ChargeState::Taken | pb::ChargeState::Returned), "{why}");
    assert_eq!(audit.contains(&AuditKind::ChangeMoneyReturned), change.charge() == pb::ChargeState::Returned, "{why}");
    assert_eq!(audit.contains(&AuditKind::ChangeSucceeded), succeeded, "{why}: {audit:?}");
    store.close().await;
}

fn graph_is(stack: &Stack, change: &pb::TierChange, state: pb::TierChangeState, why: &str) {
    assert_eq!(change.state(), state, "{why}: {change:?}");
    let due = change.plan.as_ref().and_then(|p| p.due_now.as_ref()).expect("a price").amount_cents;
    let (net, keys) = stack.book(&change.change_id);
    let succeeded = state == pb::TierChangeState::Succeeded;
    assert_eq!(net, if succeeded { due } else { 0 }, "{why}: 7: {keys:?}");
    assert_eq!(change.net_charged.as_ref().expect("an amount").amount_cents, net, "{why}");
    let expected: &[&str] = match change.charge() {
        pb::ChargeState::Taken => &["forward"],
        pb::ChargeState::Returned => &["back/money", "back/price", "forward"],
        _ => &[],
    };
    let expected: Vec<String> = expected.iter().map(|key| format!("{}/{key}", change.change_id)).collect();
    assert_eq!(keys, expected, "{why}: each request once, under its own key");
}

const FORWARD: [&str; 13] = [
    "starting.intent",
    "starting.called",
    "starting.outcome",
    "charging.intent",
    "charging.called",
    "charging.outcome",
    "gating.intent",
    "gating.called",
    "moving.intent",
    "moving.called",
    "moving.outcome",
    "finalizing.outcome",
    "succeeded.outcome",
];

const BACK: [&str; 7] = [
    "compensating.outcome",
    "reverting.intent",
    "reverting.called",
    "reverting.outcome",
    "refunding.intent",
    "refunding.called",
    "refunding.outcome",
];

const CANCEL: [&str; 3] = ["canceling.intent", "canceling.called", "canceling.outcome"];

/// How many stacks run at once: each is mostly waiting.
const AT_ONCE: usize = 4;

/// Transactions that write something, from the third of a process on: the first two are the seed's. A change has fewer.
const COMMITS: std::ops::RangeInclusive<u64> = 3..=32;

/// So many writes of a change there are at least.
const WRITES_MIN: usize = 14;

struct Case {
    script: Script,
    cancel: bool,
    state: pb::TierChangeState,
}

/// How many of the instants a change came to.
async fn all(kind: Kind, instants: Vec<String>, case: Case) -> usize {
    let stores = Stores::new(kind);
    let runs = instants.iter().map(|instant| {
        let (stores, case) = (&stores, &case);
        async move {
            let stack = Stack::new(case.script.clone(), stores.database()).await;
            let Some(change) = killed_at(instant, &stack, case.cancel).await else { return 0 };
            graph_is(&stack, &change, case.state, instant);
            all_agree(&stack, &change, instant).await;
            // A cancel may overtake the start, which is then never sent (H27).
            assert!(case.cancel || stack.volume.calls("start") >= 1, "{instant}");
            1
        }
    });
    futures_util::stream::iter(runs).buffer_unordered(AT_ONCE).collect::<Vec<usize>>().await.into_iter().sum()
}

fn named(instants: &[&str]) -> Vec<String> {
    instants.iter().map(ToString::to_string).collect()
}

fn forward() -> Case {
    Case { script: Script::default(), cancel: false, state: pb::TierChangeState::Succeeded }
}

fn back() -> Case {
    let script = Script { turn_back_at: Some("attach"), ..Script::default() };
    Case { script, cancel: false, state: pb::TierChangeState::Failed }
}

fn canceled() -> Case {
    // The first stages are long enough for the cancel to come before the gate.
    let script = Script { stage_ms: 20_000, ..Script::default() };
    Case { script, cancel: true, state: pb::TierChangeState::Canceled }
}

fn commits() -> Vec<String> {
    COMMITS.map(|n| format!("commit.{n}")).collect()
}

#[tokio::test]
async fn killed_at_any_instant_of_the_way_forward_it_succeeds() {
    assert_eq!(all(Kind::Sqlite, named(&FORWARD), forward()).await, FORWARD.len());
}

#[tokio::test]
async fn killed_at_any_instant_of_the_way_back_everything_is_given_back() {
    assert_eq!(all(Kind::Sqlite, named(&BACK), back()).await, BACK.len());
}

#[tokio::test]
async fn killed_at_any_instant_of_a_cancel_it_is_canceled() {
    assert_eq!(all(Kind::Sqlite, named(&CANCEL), canceled()).await, CANCEL.len());
}

#[tokio::test]
async fn killed_behind_any_write_it_succeeds() {
    let killed = all(Kind::Sqlite, commits(), forward()).await;
    println!("killed behind {killed} writes");
    assert!((WRITES_MIN..COMMITS.count()).contains(&killed), "{killed}: a change is cut behind each of its writes");
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_it_succeeds() {
    assert_eq!(all(Kind::Postgres, named(&FORWARD), forward()).await, FORWARD.len());
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_of_the_way_back_everything_is_given_back() {
    assert_eq!(all(Kind::Postgres, named(&BACK), back()).await, BACK.len());
}

#[tokio::test]
async fn on_postgresql_killed_at_any_instant_of_a_cancel_it_is_canceled() {
    assert_eq!(all(Kind::Postgres, named(&CANCEL), canceled()).await, CANCEL.len());
}

#[tokio::test]
async fn on_postgresql_killed_behind_any_write_it_succeeds() {
    let killed = all(Kind::Postgres, commits(), forward()).await;
    println!("killed behind {killed} writes");
    assert!((WRITES_MIN..COMMITS.count()).contains(&killed), "{killed}: a change is cut behind each of its writes");
}

#[test]
fn every_instant_is_tried() {
    let mut tried: Vec<&str> = FORWARD.iter().chain(&BACK).chain(&CANCEL).copied().collect();
    let mut known = subscription_svc::hold::INSTANTS.to_vec();
    tried.sort_unstable();
    known.sort_unstable();
    assert_eq!(tried, known);
}

#[tokio::test]
async fn it_ends_in_order_when_told_to() {
    let stack = Stack::new(Script { stage_ms: 100_000, ..Script::default() }, Database::Sqlite).await;
    let mut process = stack.start(None).await;
    process.seed().await;
    let id = change(process.tiers()).await.expect("accepted");
    let selection = pb::ChangeSelection { change_ids: vec![id] };
    let request = pb::WatchTierChangeRequest {
        selection: Some(pb::watch_tier_change_request::Selection::Changes(selection)),
        cursor: String::new(),
    };
    let mut stream = process.tiers().watch_tier_change(request).await.expect("a stream").into_inner();
    let pid = process.child.id().expect("running").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let mut end = None;
    while let Some(message) = bounded("the end of the watch", stream.next()).await {
        use pb::watch_tier_change_response::Payload;
        if let Payload::End(told) = message.expect("in order").payload.expect("a payload") {
            end = Some(told.kind());
        }
    }
    assert_eq!(end, Some(tiershift_proto::common::v1::WatchEndKind::ComeBack));
    assert!(bounded("the end", process.child.wait()).await.expect("ended").success());
}

/// A process whose database is gone must not go on answering from memory; whoever starts it again has everything.
#[tokio::test]
async fn on_postgresql_a_process_that_loses_its_database_ends_and_a_second_one_is_refused() {
    let server = Server::start(&[]).expect("a server");
    let url = server.database().expect("a database");
    let server = Arc::new(server);
    let database = Database::Postgres { url, _server: Arc::clone(&server) };
    let stack = Stack::new(Script::default(), database).await;
    let mut first = stack.start(None).await;
    first.seed().await;
    let mut second = stack.command(None).spawn().expect("started");
    let status = bounded("the refusal of the second", second.wait()).await.expect("ended");
    assert_eq!(status.code(), Some(69), "another serves the database");
    // Its sessions end as they do in a failover.
    server
        .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_0'")
        .expect("cut");
    let status = bounded("the end of the first", first.child.wait()).await.expect("ended");
    assert_eq!(status.code(), Some(69));
    let again = stack.start(None).await;
    let id = change(again.tiers()).await.expect("accepted");
    assert_eq!(again.ended(&id).await.state(), pb::TierChangeState::Succeeded);
}

#[tokio::test]
async fn bad_options_are_told_all_at_once_and_nothing_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_subscription-svc"))
        .args(["--listen", "nowhere", "--database", "mysql://x", "--hold", "gating.called"])
        .output()
        .await
        .expect("ran");
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).expect("text");
    let told: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(told, ["--listen", "--database", "--hold"], "{text}");
    assert!(output.stdout.is_empty());
    assert!(!Path::new("data/subscription.db").exists());
}
