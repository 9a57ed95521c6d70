//! What one process among several may believe of the access records: over PostgreSQL that fails over, is cut off or is written
//! to from all sides, and in virtual time over a store that goes back in time.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use subscription_core::access::{Gate, Mode, Pace};
use subscription_core::change::State;
use subscription_svc::access::Replica;
use subscription_svc::refresh;
use subscription_svc::store::memory::Memory;
use subscription_svc::store::postgres::failover::Failover;
use subscription_svc::store::postgres::{Migrate, Postgres};
use subscription_svc::store::rows::{Access, Revision};
use subscription_svc::store::sqlite::Sqlite;
use subscription_svc::store::{FIRST_LEASES, Fault, Key, Refreshed, Store, Write};
use support::rows::*;
use support::volume::Script;
use support::world::World;
use tiershift_common::caller::Caller;
use tiershift_common::clock::{Clock as _, Scaled};
use tiershift_core::Reason;
use tiershift_postgres::Server;
use tokio_util::sync::CancellationToken;

/// How long anything here may take on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

async fn write(store: &dyn Store, n: u64, writes: Vec<Write>) -> Result<Option<Revision>, Fault> {
    let mut writes = Some(writes);
    let key = Key::graph(graph(n).id);
    let committed = store.transact(&key, &mut |_| writes.take().unwrap_or_default()).await?;
    Ok(committed.access.map(|(revision, _)| revision))
}

/// The record of the n-th graph with another gate, and where it was committed.
async fn turn(store: &dyn Store, n: u64, gate: Gate, nonce: i64) -> Revision {
    let mut access = access(n, Pace::Changing);
    access.record.gate = gate;
    write(store, n, vec![Write::Access(Box::new(access), nonce)]).await.expect("written").expect("a revision")
}

fn closed() -> Gate {
    Gate::WritesBlocked(change_id(7))
}

/// A refresh that counts: on a busy machine one may take longer than it may, and is no answer.
async fn refreshed(store: &dyn Store, from: Revision) -> Refreshed {
    let until = tokio::time::Instant::now() + BOUND;
    loop {
        match store.refresh("a", from).await {
            Ok(found) => return found,
            Err(fault) => assert!(tokio::time::Instant::now() < until, "no refresh counts: {fault:?}"),
        }
    }
}

async fn planted(store: &dyn Store, count: u64) {
    for n in 1..=count {
        write(store, n, vec![Write::Graph(graph(n))]).await.expect("written");
        turn(store, n, Gate::Open, 100).await;
    }
}

async fn gives_what_is_newer(store: &dyn Store) {
    let nothing = refreshed(store, Revision { version: 0, nonce: 7 }).await;
    assert_eq!((nothing.proved, nothing.changed.len(), nothing.revision.version), (true, 0, 0), "nothing to prove");
    planted(store, 3).await;
    let all = refreshed(store, nothing.revision).await;
    assert_eq!((all.proved, all.changed.len(), all.revision), (true, 3, Revision { version: 3, nonce: 100 }));
    assert_eq!(all.leases, FIRST_LEASES);
    turn(store, 2, closed(), 200).await;
    let newer = refreshed(store, all.revision).await;
    let gates: Vec<_> = newer.changed.iter().map(|access| (access.graph.clone(), access.record.gate.clone())).collect();
    assert_eq!((gates, newer.revision), (vec![(graph(2).id, closed())], Revision { version: 4, nonce: 200 }));
    let same = refreshed(store, newer.revision).await;
    assert!(same.proved && same.changed.is_empty() && same.revision == newer.revision);
    for (version, nonce) in [(4, 201), (3, 200), (5, 200)] {
        let other = refreshed(store, Revision { version, nonce }).await;
        assert!(!other.proved, "{version} {nonce}");
    }
}

#[tokio::test]
async fn every_store_gives_what_is_newer_and_the_proof_of_where_it_was_asked_from() {
    gives_what_is_newer(&Memory::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    gives_what_is_newer(&Sqlite::open(&folder.path().join("s.db")).await.expect("opened")).await;
    let server = Server::start(&[]).expect("a server");
    let url = server.database().expect("a database");
    gives_what_is_newer(&Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened")).await;
}

/// H1: a gate that was committed by a standby without the latest changes is seen, though its number is not higher than what the
/// replica has.
#[tokio::test]
async fn h1_after_a_lossy_failover_nothing_is_proved_and_everything_is_loaded() {
    let primary = Server::start(&["wal_level=replica"]).expect("a server");
    let url = primary.database().expect("a database");
    let store = Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened");
    planted(&store, 2).await;
    let standby = primary.standby(&["hot_standby=on"]).expect("a standby");
    let caught_up = async || {
        let version = "SELECT version FROM access_counter";
        let at = primary.sql("test_0", version).expect("asked");
        let until = tokio::time::Instant::now() + BOUND;
        while standby.sql("test_0", version).ok().as_ref() != Some(&at) {
            assert!(tokio::time::Instant::now() < until, "the standby does not follow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    caught_up().await;
    // From here on it hears nothing, and nobody waits for it.
    standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'").expect("set");
    standby.sql("postgres", "SELECT pg_reload_conf()").expect("set");
    let cut_off = "SELECT count(*) FROM pg_stat_wal_receiver";
    let until = tokio::time::Instant::now() + BOUND;
    while standby.sql("postgres", cut_off).expect("asked").trim() != "0" {
        assert!(tokio::time::Instant::now() < until, "the standby hears still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for nonce in 200..203 {
        turn(&store, 1, Gate::Open, nonce).await;
    }
    let seen = refreshed(&store, Revision { version: 0, nonce: 0 }).await;
    assert!(seen.proved && seen.changed.len() == 2 && seen.revision.version == 5);
    assert_eq!(refreshed(&store, seen.revision).await.changed, []);
    primary.kill();
    standby.promote().expect("promoted");
    let store =
        Postgres::open(&standby.url("test_0"), Migrate::Verify, Failover::Single).await.expect("the primary now");
    // The gate closes as version 3, and then the counter overtakes what was seen.
    let gate = turn(&store, 1, closed(), 300).await;
    assert!(gate.version < seen.revision.version);
    assert!(!refreshed(&store, seen.revision).await.proved);
    for nonce in 301..305 {
        turn(&store, 2, Gate::Open, nonce).await;
    }
    let later = refreshed(&store, seen.revision).await;
    assert!(!later.proved, "the number alone would have proved it: {later:?}");
    let (revision, _, all) = store.access().await.expect("loaded");
    assert!(all.iter().any(|access| access.record.gate == closed()));
    assert!(refreshed(&store, revision).await.proved);
}

/// H2: who is cut off from its standby answers questions, and completes no refresh.
#[tokio::test]
async fn h2_an_isolated_primary_completes_no_refresh_though_it_can_be_read() {
    let server = Server::start(&[]).expect("a server");
    let url = server.database().expect("a database");
    let store = Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened");
    planted(&store, 1).await;
    let from = Revision { version: 0, nonce: 0 };
    let here = refreshed(&store, from).await.revision;
    server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'elsewhere'").expect("set");
    server.sql("postgres", "SELECT pg_reload_conf()").expect("set");
    // The setting arrives a moment later; a refresh that was quicker is no proof of anything.
    let until = tokio::time::Instant::now() + BOUND;
    while store.refresh("a", here).await.is_ok() {
        assert!(tokio::time::Instant::now() < until, "refreshes go on");
    }
    let refused = tokio::time::timeout(BOUND, store.refresh("a", here)).await.expect("in time");
    assert!(matches!(refused, Err(Fault::Away(_))), "{refused:?}");
    store.feed_head().await.expect("it can be read");
    server.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names").expect("set");
    server.sql("postgres", "SELECT pg_reload_conf()").expect("set");
    let until = tokio::time::Instant::now() + BOUND;
    while store.refresh("a", here).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "it is not back");
    }
}

/// H4: whatever is acknowledged before a refresh begins is in a replica behind it, in every interleaving of writers.
#[tokio::test(flavor = "multi_thread")]
async fn h4_a_refresh_skips_nothing_that_was_committed_before_it() {
    const GRAPHS: u64 = 8;
    let server = Server::start(&[]).expect("a server");
    let url = server.database().expect("a database");
    let store = Arc::new(Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened"));
    planted(store.as_ref(), GRAPHS).await;
    let acknowledged: Arc<Vec<std::sync::Mutex<u64>>> = Arc::new((0..=GRAPHS).map(|_| 0.into()).collect());
    let end = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=GRAPHS)
        .map(|n| {
            let (store, acknowledged, end) = (Arc::clone(&store), Arc::clone(&acknowledged), Arc::clone(&end));
            tokio::spawn(async move {
                let mut nonce = 0;
                while !end.load(Ordering::Relaxed) {
                    nonce += 1;
                    let gate = if nonce % 2 == 0 { Gate::Open } else { closed() };
                    let at = turn(store.as_ref(), n, gate, nonce).await.version;
                    *acknowledged[usize::try_from(n).expect("small")].lock().expect("a number") = at;
                }
            })
        })
        .collect();
    let clock = Scaled::wall();
    let (revision, leases, all) = store.access().await.expect("loaded");
    let replica = Replica::default();
    replica.share();
    replica.load(revision, leases, all.clone());
    let mut held: std::collections::BTreeMap<_, Access> = all.into_iter().map(|a| (a.graph.clone(), a)).collect();
    for _ in 0..100 {
        let before: Vec<u64> = acknowledged.iter().map(|at| *at.lock().expect("a number")).collect();
        let begun = clock.now();
        let found = refreshed(store.as_ref(), replica.departure()).await;
        assert!(found.proved);
        for access in found.changed.clone() {
            held.insert(access.graph.clone(), access);
        }
        replica.refreshed(begun, found);
        for (n, at) in (0..).zip(before).skip(1) {
            let here = held[&graph(n).id].record.revision;
            assert!(here >= at, "graph {n}: {here} behind {at}");
        }
    }
    end.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no panic");
    }
    replica.refreshed(clock.now(), refreshed(store.as_ref(), replica.departure()).await);
    let (revision, _, all) = store.access().await.expect("loaded");
    assert_eq!(replica.revision(), revision);
    let caller = Caller::parse_dev("service:graph-api").expect("a caller");
    for access in all {
        let answer = replica.check(&caller, &access.graph.clone().into(), Mode::Write, None, clock.now());
        assert_eq!(answer.expect("answered").decision.allowed, access.record.gate == Gate::Open, "{}", access.graph);
    }
}

/// H1, H9: the store is as it was before the gate closed, with a migration past its gate. Nobody may write at any instant behind
/// that, and a person is called.
#[tokio::test(start_paused = true)]
async fn h9_a_gate_that_a_restored_store_has_lost_is_closed_before_anything_is_vouched_for() {
    let world = World::start().await;
    world.service.replica.share();
    let stop = CancellationToken::new();
    let refreshing = tokio::spawn(refresh::run(Arc::clone(&world.service), "a".to_owned(), stop.clone()));
    let graph = world.graph(1).await;
    // Long enough for all that follows to happen while the volume is on its way.
    world.volume.script(&graph, Script { stage_ms: 60_000, ..Script::default() });
    let other = world.graph(2).await;
    world.pass(1_000).await;
    assert!(world.writable(&graph) && world.writable(&other));
    let id = world.change(1).await.id;
    world.until(&id, "the start", |c| c.machine.state == State::Preparing).await;
    let backup = world.store.copy();
    world.until(&id, "the move", |c| c.machine.confirmed && c.machine.state == State::Moving).await;
    assert!(!world.writable(&graph));
    // volume-svc does not answer at first: nothing is vouched for, not even what does not move.
    world.volume.away(true);
    world.store.become_copy_of(&backup);
    // The restored history goes on, so that its number is as high as before.
    world.graph(3).await;
    world.graph(4).await;
    for _ in 0..100 {
        world.pass(100).await;
        assert!(!world.writable(&graph), "the volume is on its way");
    }
    assert!(!world.writable(&other), "another history, and nobody has compared");
    world.volume.away(false);
    for _ in 0..100 {
        world.pass(100).await;
        assert!(!world.writable(&graph), "the volume is on its way");
    }
    assert!(world.writable(&other), "what does not move is served again");
    let change = world.stored(&id).await;
    assert_eq!(change.machine.attention.map(|a| a.reason), Some(Reason::WrongState), "a person is called");
    stop.cancel();
    refreshing.await.expect("no panic");
}
