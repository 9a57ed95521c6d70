//! What is SQLite's own about the store: how it keeps what it acknowledged, which files it takes, and that writers wait for
//! each other. What every store promises is `store_suite.rs`.

mod support;

use std::sync::Arc;
use std::time::Duration;
use subscription_core::access::Pace;
use subscription_svc::store::sqlite::{OpenFault, Sqlite, path_of};
use subscription_svc::store::{Committed, Fault, Key, Loaded, Store, Write};
use support::rows::*;

/// One transaction about graph 1.
async fn write(store: &dyn Store, writes: Vec<Write>) -> Result<Committed, Fault> {
    let mut writes = Some(writes);
    store.transact(&Key::graph(graph(1).id), &mut |_| writes.take().unwrap_or_default()).await
}

#[tokio::test]
async fn keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/down/store.db");
    let store = Sqlite::open(&path).await.expect("opened");
    assert_eq!(store.durability().await.expect("pragmas"), ("wal".to_owned(), 2), "H9: WAL, synchronous = FULL");
    write(&store, vec![Write::Graph(graph(1))]).await.expect("written");
    store.close().await;
    let again = Sqlite::open(&path).await.expect("opened again");
    let loaded = again.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.graph, Some(graph(1)));
}

#[tokio::test]
async fn refuses_a_newer_schema_and_a_bad_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    Sqlite::open(&path).await.expect("opened").close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("connected");
    sqlx::raw_sql("PRAGMA user_version = 999").execute(&pool).await.expect("written");
    pool.close().await;
    assert!(matches!(Sqlite::open(&path).await, Err(OpenFault::Newer { found: 999, .. })));
    for url in ["", "sqlite://", "postgres://x", "sqlite://x?mode=ro"] {
        assert!(path_of(url).is_err(), "{url}");
    }
    assert_eq!(path_of("sqlite:///a/b.db").expect("a path").to_str(), Some("/a/b.db"));
}

/// H38: a reader that becomes a writer must not fail at once while another writes.
#[tokio::test]
async fn writers_wait_for_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let (one, two) = (Sqlite::open(&path).await.expect("one"), Sqlite::open(&path).await.expect("two"));
    write(&one, vec![Write::Graph(graph(1))]).await.expect("written");
    let mut tasks = Vec::new();
    for store in [Arc::new(one), Arc::new(two)] {
        for n in 0..20 {
            let store = Arc::clone(&store);
            tasks.push(tokio::spawn(async move {
                let access = vec![Write::Access(Box::new(access(1, Pace::Calm)), n)];
                write(store.as_ref(), access).await.expect("waited and written")
            }));
        }
    }
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.expect("no panic").access.expect("a revision").0.version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=40).collect::<Vec<u64>>(), "each took its own version");
}

/// H38: who waited for the lock sees what was committed meanwhile, also by another process.
#[tokio::test]
async fn who_waited_sees_what_was_committed_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let (one, two) = (Sqlite::open(&path).await.expect("one"), Sqlite::open(&path).await.expect("two"));
    let began = vec![
        Write::Graph(graph(1)),
        Write::Subscription(Box::new(subscription(1, 1))),
        Write::Change(Box::new(change(1, 1, 1))),
    ];
    write(&one, began).await.expect("written");
    let mut tasks = Vec::new();
    for store in [Arc::new(one), Arc::new(two)] {
        for _ in 0..20 {
            let store = Arc::clone(&store);
            tasks.push(tokio::spawn(async move {
                // Read, then write what was read and one more: lost updates would show.
                let mut one_more = |loaded: &Loaded| {
                    let mut change = loaded.change.clone().expect("a change");
                    change.volume_seq += 1;
                    vec![Write::Change(Box::new(change))]
                };
                store.transact(&Key::graph(graph(1).id), &mut one_more).await.expect("waited and written");
            }));
        }
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let again = Sqlite::open(&path).await.expect("opened again");
    let loaded = again.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.change.map(|c| c.volume_seq), Some(4 + 40));
}

/// A transaction whose caller is gone while it waits leaves no connection with an open transaction behind.
#[tokio::test]
async fn a_transaction_that_is_dropped_holds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let store = Sqlite::open(&path).await.expect("opened");
    write(&store, vec![Write::Graph(graph(1))]).await.expect("written");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("connected");
    let other = pool.begin_with("BEGIN IMMEDIATE").await.expect("locked");
    // By then it has been handed to the thread that waits; on a slow machine it may not, and is dropped before.
    let waiting = write(&store, vec![Write::Graph(graph(1))]);
    tokio::time::timeout(Duration::from_millis(200), waiting).await.expect_err("it waits");
    other.rollback().await.expect("ended");
    write(&store, vec![Write::Graph(graph(1))]).await.expect("written");
}
