//! What is PostgreSQL's own about the store: its schema, what it must be set to, who may serve it, what waits for what,
//! and that no list reads a whole table. What every store promises is `store_suite.rs`.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use sqlx::postgres::PgListener;
use std::sync::Arc;
use std::time::Duration;
use subscription_core::access::Pace;
use subscription_core::change::State;
use subscription_core::status::SubscriptionStatus;
use subscription_svc::store::inbox::{Inbox, WebhookState};
use subscription_svc::store::postgres::failover::{self, Failover};
use subscription_svc::store::postgres::tenure::Tenure;
use subscription_svc::store::postgres::{Migrate, OpenFault, Postgres, SchemaFault, news};
use subscription_svc::store::rows::Revision;
use subscription_svc::store::{AuditFilter, ChangeFilter, Fault, Feed, Key, Loaded, Store, SubscriptionFilter, Write};
use support::rows::*;
use tiershift_common::clock::{Clock as _, Scaled};
use tiershift_core::ids::OrgId;
use tiershift_postgres::Server;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

/// How long anything here may take on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

fn server(settings: &[&str]) -> (Server, String) {
    let server = Server::start(settings).expect("a server");
    let url = server.database().expect("a database");
    (server, url)
}

async fn open(url: &str) -> Postgres {
    Postgres::open(url, Migrate::Apply, Failover::Single).await.expect("opened")
}

async fn refusal(url: &str, migrate: Migrate) -> OpenFault {
    Postgres::open(url, migrate, Failover::Single).await.expect_err("refused")
}

async fn write(store: &dyn Store, key: Key, writes: Vec<Write>) -> Result<(), Fault> {
    let mut writes = Some(writes);
    store.transact(&key, &mut |_| writes.take().unwrap_or_default()).await.map(|_| ())
}

#[tokio::test]
async fn the_schema_is_applied_once_whoever_comes_and_another_one_is_refused() {
    let (server, url) = server(&[]);
    let name = "test_0";
    let verified = refusal(&url, Migrate::Verify).await;
    assert!(matches!(verified, OpenFault::Schema(SchemaFault::Older { found: 0, .. })), "{verified:?}");
    assert_eq!(server.sql(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").expect("asked"), "0");

    let at_once: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Postgres::open(&url, Migrate::Apply, Failover::Single).await.map(|_| ()) })
        })
        .collect();
    for opened in at_once {
        opened.await.expect("no panic").expect("one applies, the others wait");
    }
    Postgres::open(&url, Migrate::Verify, Failover::Single).await.expect("it is there now").close().await;

    server.sql(name, "INSERT INTO schema_migration (number, sha256) VALUES (999, '')").expect("written");
    let newer = refusal(&url, Migrate::Apply).await;
    assert!(matches!(newer, OpenFault::Schema(SchemaFault::Newer { .. })), "{newer:?}");
    server.sql(name, "DELETE FROM schema_migration WHERE number = 999").expect("written");
    server.sql(name, "UPDATE schema_migration SET sha256 = 'edited' WHERE number = 3").expect("written");
    let changed = refusal(&url, Migrate::Apply).await;
    assert!(matches!(changed, OpenFault::Schema(SchemaFault::Changed(3))), "{changed:?}");
}

/// H9: what is acknowledged is kept, whatever the role's own settings are.
#[tokio::test]
async fn h9_a_server_that_would_lose_what_it_acknowledged_is_refused() {
    let (_server, url) = server(&["fsync=off"]);
    assert!(matches!(refusal(&url, Migrate::Apply).await, OpenFault::NotDurable("fsync")));

    let (server, url) = server(&["synchronous_commit=off"]);
    let store = open(&url).await;
    assert_eq!(store.setting("synchronous_commit").await.expect("asked"), "on");
    assert_eq!(server.sql("test_0", "SHOW synchronous_commit").expect("asked"), "off", "the server's own");
    for (name, value) in [("lock_timeout", "1s"), ("idle_in_transaction_session_timeout", "5s")] {
        assert_eq!(store.setting(name).await.expect("asked"), value, "H38");
    }
}

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted_and_then_has_everything() {
    let (primary, url) = server(&["wal_level=replica"]);
    let store = open(&url).await;
    write(&store, Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("written");
    let standby = primary.standby(&["hot_standby=on"]).expect("a standby");
    assert!(matches!(refusal(&standby.url("test_0"), Migrate::Verify).await, OpenFault::Standby));
    primary.kill();
    standby.promote().expect("promoted");
    let store =
        Postgres::open(&standby.url("test_0"), Migrate::Verify, Failover::Single).await.expect("the primary now");
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.graph, Some(graph(1)));
}

#[tokio::test]
async fn one_process_works_and_its_loss_is_noticed() {
    let (server, url) = server(&[]);
    open(&url).await.close().await;
    let first = Tenure::take(&url, "the first", Failover::Single).await.expect("free");
    let waiting = {
        let url = url.clone();
        tokio::spawn(async move { Tenure::take(&url, "the second", Failover::Single).await })
    };
    // The first shows life for longer than one that stands still is waited for.
    let end = CancellationToken::new();
    let keeping = tokio::spawn(first.keep(end.clone()));
    let beats = || -> i64 {
        server.sql("test_0", "SELECT beat FROM service").expect("asked").trim().parse().expect("a number")
    };
    let (first_beat, until) = (beats(), tokio::time::Instant::now() + BOUND);
    while beats() < first_beat + 12 {
        assert!(tokio::time::Instant::now() < until, "it shows no life");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!waiting.is_finished() && !keeping.is_finished());
    end.cancel();
    assert!(keeping.await.expect("no panic").is_none(), "given back, not lost");
    let second = waiting.await.expect("no panic").expect("free at last");

    let keeping = tokio::spawn(second.keep(CancellationToken::new()));
    server.kill();
    let lost = tokio::time::timeout(BOUND, keeping).await.expect("it is noticed").expect("no panic");
    assert!(lost.is_some());
}

#[tokio::test]
async fn the_others_are_told_of_a_commit() {
    let (_server, url) = server(&[]);
    let store = open(&url).await;
    let mut listener = PgListener::connect(&url).await.expect("connected");
    listener.listen(news::CHANNEL).await.expect("it listens");
    write(&store, Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("committed");
    tokio::time::timeout(BOUND, listener.recv()).await.expect("in time").expect("a word");
}

#[tokio::test]
async fn the_session_of_one_that_stands_still_is_ended() {
    let (_server, url) = server(&[]);
    open(&url).await.close().await;
    // It never beats: as a process that is stopped, whose kernel keeps its connection.
    let still = Tenure::take(&url, "stands still", Failover::Single).await.expect("free");
    let next = tokio::time::timeout(BOUND, Tenure::take(&url, "the next", Failover::Single))
        .await
        .expect("in time")
        .expect("taken");
    let lost = tokio::time::timeout(BOUND, still.keep(CancellationToken::new())).await.expect("it is noticed");
    assert!(lost.is_some(), "it learns of it at its next beat");
    let end = CancellationToken::new();
    end.cancel();
    assert!(next.keep(end).await.is_none());
}

/// H2: a primary that is cut off from its standby takes no beat, although its own settings would not wait.
#[tokio::test]
async fn h2_a_process_of_an_isolated_primary_does_not_go_on() {
    let (server, url) = server(&["synchronous_commit=local"]);
    open(&url).await.close().await;
    let tenure = Tenure::take(&url, "the only one", Failover::Single).await.expect("free");
    let keeping = tokio::spawn(tenure.keep(CancellationToken::new()));
    server.sql("test_0", "ALTER SYSTEM SET synchronous_standby_names = 'gone'").expect("set");
    server.sql("test_0", "SELECT pg_reload_conf()").expect("set");
    let lost = tokio::time::timeout(BOUND, keeping).await.expect("it is noticed").expect("no panic");
    assert!(lost.is_some());
}

/// As the process does: without it nobody hears of a warning.
fn listen() {
    let log = tracing_subscriber::registry().with(failover::listener());
    // One of another test of this process serves as well.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Sets whom it waits for, and waits until new sessions know.
async fn waits_for(server: &Server, names: &str) {
    server.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).expect("set");
    server.sql("postgres", "SELECT pg_reload_conf()").expect("set");
    let until = tokio::time::Instant::now() + BOUND;
    while server.sql("postgres", "SHOW synchronous_standby_names").expect("asked").trim() != names {
        assert!(tokio::time::Instant::now() < until, "it is not in force");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn h9_a_failover_that_is_declared_is_checked() {
    let (server, url) = server(&[]);
    let synchronous = || Postgres::open(&url, Migrate::Apply, Failover::Synchronous);
    listen();
    assert!(matches!(synchronous().await, Err(OpenFault::NoStandby)));
    let standby = server.standby(&[]).expect("a standby");
    waits_for(&server, "*").await;
    let store = synchronous().await.expect("it waits for its standby");
    write(&store, Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("both have it");
    // Sessions that begin when nobody is waited for any more are none.
    server.sql("test_0", "ALTER SYSTEM RESET synchronous_standby_names").expect("set");
    server.sql("test_0", "SELECT pg_reload_conf()").expect("set");
    server
        .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_0'")
        .expect("cut");
    let refused = async {
        while store.refresh("r", Revision { version: 0, nonce: 0 }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(BOUND, refused).await.expect("a new session is refused");
    drop(standby);
}

/// H9: a wait for the standby that somebody cancels ends with a warning and with success; it is neither.
#[tokio::test]
async fn h9_a_commit_whose_wait_was_cancelled_is_unknown_and_such_a_refresh_does_not_count() {
    let (server, url) = server(&[]);
    listen();
    let store = Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened");
    let server = Arc::new(server);
    waits_for(&server, "gone").await;
    let cancelling = |cancelled: CancellationToken| {
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            while !cancelled.is_cancelled() {
                let waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
                server.sql("postgres", waiting).expect("asked");
            }
        })
    };
    let done = CancellationToken::new();
    let _stops_if_this_fails = done.clone().drop_guard();
    let cancels = cancelling(done.clone());
    // The server itself needs a moment until it waits.
    let until = tokio::time::Instant::now() + BOUND;
    let mut n = 1;
    let outcome = loop {
        match write(&store, Key::graph(graph(n).id), vec![Write::Graph(graph(n))]).await {
            Ok(()) if tokio::time::Instant::now() < until => n += 1,
            outcome => break outcome,
        }
    };
    assert!(matches!(outcome, Err(Fault::Unknown(_))), "{outcome:?}");
    let loaded = store.read(&Key::graph(graph(n).id)).await.expect("read");
    assert_eq!(loaded.graph, Some(graph(n)), "it is committed here, and perhaps nowhere else");
    let refreshed = store.refresh("r", Revision { version: 0, nonce: 0 }).await;
    assert!(matches!(refreshed, Err(Fault::Away(_))), "{refreshed:?}");
    done.cancel();
    cancels.await.expect("no panic");
}

/// H38: two that take counters and records at once wait for each other and never for ever; versions have no gap.
#[tokio::test]
async fn h38_writers_of_many_graphs_take_the_counter_in_turn() {
    let (_server, url) = server(&[]);
    let (one, two) = (open(&url).await, open(&url).await);
    for n in 1..=8 {
        write(&one, Key::graph(graph(n).id), vec![Write::Graph(graph(n))]).await.expect("written");
    }
    let stores = [Arc::new(one), Arc::new(two)];
    let tasks: Vec<_> = (0..80_u64)
        .map(|n| {
            let (store, of) = (Arc::clone(&stores[usize::from(n % 2 == 0)]), n % 8 + 1);
            tokio::spawn(async move {
                let mut writes =
                    vec![Write::Access(Box::new(access(of, Pace::Calm)), i64::try_from(n).expect("small"))];
                let key = Key::graph(graph(of).id);
                let committed = store.transact(&key, &mut |_| std::mem::take(&mut writes)).await.expect("written");
                committed.access.expect("a revision").0.version
            })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.expect("no panic"));
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=80).collect::<Vec<u64>>());
}

/// H7: a transaction whose process is gone, but which has taken its version, is waited for by whoever loads everything.
#[tokio::test]
async fn h7_who_loads_the_records_outwaits_a_transaction_that_has_taken_a_version() {
    let (server, url) = server(&[]);
    let (server, store) = (Arc::new(server), open(&url).await);
    write(&store, Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("written");
    let other = done_and_not_committed(&server, "UPDATE access_counter SET version = version + 1, nonce = 7");
    let (revision, _, _) = store.access().await.expect("read");
    assert_eq!((revision.version, revision.nonce), (1, 7), "not what was before it");
    other.join().expect("no panic");
}

/// Does something in a session of its own, sleeps with it done, and commits. Comes back as soon as that one sleeps.
fn done_and_not_committed(server: &Arc<Server>, done: &str) -> std::thread::JoinHandle<()> {
    // Shorter than a lock is waited for.
    let statements = format!("BEGIN; {done}; SELECT pg_sleep(0.7); COMMIT");
    let other = {
        let server = Arc::clone(server);
        std::thread::spawn(move || {
            server.sql("test_0", &statements).expect("committed");
        })
    };
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let begun = std::time::Instant::now();
    while server.sql("test_0", sleeping).expect("asked") != "1" {
        assert!(begun.elapsed() < BOUND && !other.is_finished(), "it was not seen with its work done");
    }
    other
}

/// H7, H38: a transaction that waited for the lock of its graph sees what its predecessor committed, also what that one was
/// the first to write: the question is not part of the statement that waits.
#[tokio::test]
async fn h7_who_waited_for_the_lock_sees_what_was_committed_meanwhile() {
    let (server, url) = server(&[]);
    let (server, store) = (Arc::new(server), open(&url).await);
    let writes = vec![
        Write::Graph(graph(1)),
        Write::Subscription(Box::new(subscription(1, 1))),
        Write::Change(Box::new(change(1, 1, 1))),
    ];
    write(&store, Key::graph(graph(1).id), writes).await.expect("written");
    for (n, key) in [Key::graph(graph(1).id), Key::change(change_id(1))].into_iter().enumerate() {
        let done = format!(
            "SELECT pg_advisory_xact_lock(hashtextextended('{id}', 0));
             UPDATE graph SET display_name = 'newer {n}' WHERE graph_id = '{id}';
             INSERT INTO subgraph (subgraph_id, graph_id, name, created) VALUES ('{id}_s{n}', '{id}', 's{n}', now())",
            id = graph(1).id,
        );
        let other = done_and_not_committed(&server, &done);
        let mut seen = None;
        let mut look = |loaded: &Loaded| {
            seen = Some((loaded.graph.clone().expect("a graph").display_name, loaded.subgraphs));
            Vec::new()
        };
        store.transact(&key, &mut look).await.expect("it waited");
        assert_eq!(seen, Some((format!("newer {n}"), i64::try_from(n).expect("small") + 1)), "{key:?}");
        other.join().expect("no panic");
    }
}

/// A transaction whose caller is gone while it waits leaves no connection with a lock behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_dropped_holds_nothing() {
    let (server, url) = server(&[]);
    let (server, store, another) = (Arc::new(server), Arc::new(open(&url).await), open(&url).await);
    write(store.as_ref(), Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("written");
    let locked = format!("SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))", graph(1).id);
    let other = done_and_not_committed(&server, &locked);
    let waiting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { write(store.as_ref(), Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await })
    };
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let begun = std::time::Instant::now();
    while server.sql("test_0", waits).expect("asked") != "1" {
        assert!(begun.elapsed() < BOUND && !other.is_finished(), "it was not seen to wait");
    }
    waiting.abort();
    assert!(waiting.await.expect_err("dropped").is_cancelled());
    other.join().expect("no panic");
    // The lock of the one that is gone would be waited for in vain.
    write(&another, Key::graph(graph(1).id), vec![Write::Graph(graph(1))]).await.expect("written");
}

/// What a transaction costs: each message is a round trip.
#[tokio::test]
async fn a_transaction_is_three_messages_and_a_look_is_one() {
    let (server, url) = server(&["log_statement=all"]);
    let store = open(&url).await;
    let sent = async |transaction: bool| {
        let before = server.log().len();
        let key = Key::graph(graph(1).id);
        if transaction {
            let writes = vec![
                Write::Graph(graph(1)),
                Write::Subscription(Box::new(subscription(1, 1))),
                Write::Change(Box::new(change(1, 1, 1))),
                Write::Event(event(1, 1)),
                Write::Access(Box::new(access(1, Pace::Calm)), 1),
            ];
            write(&store, key, writes).await.expect("written");
        } else {
            store.read(&key).await.expect("read");
        }
        let log = server.log();
        let said = log[before..].lines().filter_map(|line| line.split_once("LOG:  statement: ")).map(|(_, said)| said);
        // A new connection's first message begins with a line's end.
        let said = said.filter(|said| !said.is_empty()).map(|said| said.chars().take(13).collect::<String>());
        said.collect::<Vec<_>>()
    };
    assert_eq!(sent(true).await, ["BEGIN;EXECUTE", "EXECUTE put_g", "COMMIT"]);
    assert_eq!(sent(false).await, ["EXECUTE pictu"]);
}

#[tokio::test]
async fn a_text_that_postgres_cannot_hold_is_refused_and_nothing_is_written() {
    let (_server, url) = server(&[]);
    let store = open(&url).await;
    let name = "a\0'; SELECT 1".to_owned();
    let nul = Write::Graph(subscription_svc::store::rows::Graph { display_name: name, ..graph(2) });
    let refused = write(&store, Key::graph(graph(1).id), vec![Write::Graph(graph(1)), nul]).await;
    assert!(matches!(refused, Err(Fault::Constraint(_))), "{refused:?}");
    assert_eq!(store.read(&Key::graph(graph(1).id)).await.expect("read").graph, None);
}

/// Every list finds its rows by an index, whatever it is filtered by.
#[tokio::test]
async fn no_list_reads_a_whole_table() {
    let explain = [
        "session_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_nested_statements=off",
    ];
    let (server, url) = server(&explain);
    let store = open(&url).await;
    let many = "
        INSERT INTO graph SELECT 'kg' || lpad(to_hex(n), 16, '0'), 'org_' || n % 50, 'ladybug-standard', 'active', false, '',
            NULL, now(), now(), NULL FROM generate_series(1, 20000) n;
        INSERT INTO subscription SELECT 'sub_' || lpad(n::text, 26, '0'), 'org_' || n % 50, 'kg' || lpad(to_hex(n), 16, '0'),
            'ladybug-standard', CASE WHEN n % 1000 = 0 THEN 'past_due' ELSE 'active' END, true, 100, 'USD', 1, 'monthly',
            now(), now() + interval '1 month', NULL, NULL, 'manual', 'p' || n, NULL, now(), now(), now(), '[]',
            now() + n * interval '1 s', NULL,
            '{\"start\": 0, \"end\": 0, \"granted\": 1, \"used\": 0}' FROM generate_series(1, 20000) n;
        INSERT INTO audit (audit_id, org_id, graph_id, subscription_id, change_id, kind, actor, at, message, detail)
            SELECT 'aud_' || lpad(n::text, 26, '0'), 'org_' || n % 50, 'kg' || lpad(to_hex(n), 16, '0'),
            'sub_' || lpad(n::text, 26, '0'), 'chg_' || lpad(n::text, 26, '0'), 'change_accepted', 'a', now(), 'm', '{}'
            FROM generate_series(1, 20000) n;
        INSERT INTO webhook_event (event_id, provider, kind, subject, ours, created, received, state, attempts, not_before,
            note, body) SELECT 'evt_' || n, 'stripe', 'invoice.paid', 's', '', now(), now(),
            CASE WHEN n % 1000 = 0 THEN 'pending' ELSE 'applied' END, 0, now(), '', '{}' FROM generate_series(1, 20000) n;
        INSERT INTO tier_change SELECT 'chg_' || lpad(n::text, 26, '0'), 'org_' || n % 50,
            'kg' || lpad(to_hex(n), 16, '0'), 'sub_' || lpad(n::text, 26, '0'),
            CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'succeeded' END, false, false, NULL, n, 1, now(), '{}'
            FROM generate_series(1, 20000) n;
        INSERT INTO change_event SELECT 'chg_' || lpad(n::text, 26, '0'), 1, n, 'org_' || n % 50, '{}'
            FROM generate_series(1, 20000) n;
        ANALYZE";
    server.sql("test_0", many).expect("written");
    let before = server.log().len();
    let org = OrgId::parse("org_7").expect("an id");
    let subscriptions = [
        SubscriptionFilter::default(),
        SubscriptionFilter { org: Some(org.clone()), ..Default::default() },
        SubscriptionFilter { graph: Some(graph(7).id), ..Default::default() },
        SubscriptionFilter { status: Some(SubscriptionStatus::PastDue), ..Default::default() },
        SubscriptionFilter { org: Some(org.clone()), status: Some(SubscriptionStatus::PastDue), ..Default::default() },
    ];
    for filter in &subscriptions {
        store.subscriptions(filter, None, 50).await.expect("listed");
        store.subscriptions(filter, Some(&subscription(9_000, 1).id), 50).await.expect("listed");
    }
    store.subscription(&subscription(9_000, 1).id).await.expect("read");
    let changes = [
        ChangeFilter::default(),
        ChangeFilter { org: Some(org.clone()), ..Default::default() },
        ChangeFilter { graph: Some(graph(7).id), ..Default::default() },
        ChangeFilter { state: Some(State::Canceled), ..Default::default() },
        ChangeFilter { active_only: true, ..Default::default() },
    ];
    for filter in &changes {
        // Their bodies are none: what matters is how they were looked for.
        let _unreadable = store.changes(filter, None, 50).await;
    }
    let _unreadable = store.events(&Feed::Org(org.clone(), 0), 0, 50).await;
    let _unreadable = store.events(&Feed::Changes(vec![change_id(7), change_id(9)]), 0, 50).await;
    store.feed_base(&org).await.expect("read");
    Store::due(&store, T).await.expect("read");
    let now = Scaled::wall().now();
    store.due_subscriptions(now.plus(5_000), 50).await.expect("read");
    store.subscription_of_provider("manual", "p7").await.expect("read");
    Inbox::due(&store, now.plus(5_000), 50).await.expect("read");
    store.list(WebhookState::Dead, None, 50).await.expect("read");
    let audits = [
        AuditFilter::default(),
        AuditFilter { org: Some(org.clone()), ..Default::default() },
        AuditFilter { graph: Some(graph(7).id), ..Default::default() },
        AuditFilter { subscription: Some(subscription(7, 7).id), ..Default::default() },
        AuditFilter { change: Some(change_id(7)), ..Default::default() },
    ];
    for filter in &audits {
        store.audit_events(filter, None, 50).await.expect("listed");
    }
    let _unreadable = store.read(&Key::graph(graph(7).id)).await;
    let _unreadable = store.read(&Key::change(change_id(7))).await;
    store.close().await;
    let log = server.log();
    let plans = &log[before..];
    assert!(plans.contains("Index"), "plans are logged: {plans}");
    for table in ["subscription", "tier_change", "graph", "change_event", "audit", "webhook_event"] {
        let whole = format!("Seq Scan on {table} ");
        assert!(!plans.contains(&whole), "{table} is read whole: {plans}");
    }
}
