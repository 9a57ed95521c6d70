//! One list of cases over every store: what the port promises, and what its schema refuses. What is one store's own is
//! `sqlite.rs` and `postgres.rs`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test: its failure is the report")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use subscription_core::access::Pace;
use subscription_core::change::{Effect, State};
use subscription_core::status::SubscriptionStatus;
use subscription_svc::store::rows::{
    AuditEvent, AuditKind, Endpoint, Graph, Owed, PaymentOutcome, PaymentRequest, Request, RequestKey, Subgraph,
    Subscription, TierChange,
};
use subscription_svc::store::{
    ChangeFilter, Committed, Constraint, FIRST_LEASES, Fault, Feed, Key, Store, SubscriptionFilter, Write,
};
use support::rows::*;
use support::stores::{Case, in_memory, in_postgres, in_sqlite};
use tiershift_core::UnixMs;
use tiershift_core::ids::{AuditId, ChangeId, RequestId, UserId};

/// The cases, by name.
const CASES: &[Case] = &[
    ("rows come back as they were written", |b| Box::pin(rows_come_back(b.store))),
    ("texts of any kind come back", |b| Box::pin(texts_come_back(b.store))),
    ("writes follow each other in their order", |b| Box::pin(in_order(b.store))),
    ("nothing is written without writes", |b| Box::pin(nothing_without_writes(b.store))),
    ("a refused write writes nothing at all", |b| Box::pin(all_or_nothing(b.store))),
    ("one live subscription per graph", |b| Box::pin(one_live_subscription(b.store))),
    ("one active change per subscription", |b| Box::pin(one_active_change(b.store))),
    ("events have the next sequence or fail", |b| Box::pin(gapless_events(b.store))),
    ("feeds select, order and page", |b| Box::pin(feeds(b.store))),
    ("effects are owed in order and one of a kind", |b| Box::pin(owed_in_order(b.store))),
    ("what is due, and what comes next", |b| Box::pin(due(b.store))),
    ("payment bytes never change", |b| Box::pin(payment_bytes(b.store))),
    ("versions grow with their nonces", |b| Box::pin(versions(b.store))),
    ("a request id is used once", |b| Box::pin(requests(b.store))),
    ("subgraphs are counted, listed and deleted", |b| Box::pin(subgraphs(b.store))),
    ("lists filter and page from the newest", |b| Box::pin(lists(b.store))),
    ("concurrent transactions of a graph are serial", |b| Box::pin(serial(b.store))),
];

#[tokio::test]
async fn memory() {
    in_memory(CASES).await;
}

#[tokio::test]
async fn sqlite() {
    in_sqlite(CASES).await;
}

#[tokio::test]
async fn postgres() {
    in_postgres(CASES).await;
}

/// One transaction about graph 1.
async fn write(store: &dyn Store, writes: Vec<Write>) -> Result<Committed, Fault> {
    let mut writes = Some(writes);
    store.transact(&Key::graph(graph(1).id), &mut |_| writes.take().unwrap_or_default()).await
}

async fn refused(store: &dyn Store, writes: Vec<Write>, constraint: Constraint) {
    match write(store, writes).await {
        Err(Fault::Constraint(found)) => assert_eq!(found, constraint),
        other => panic!("{constraint:?} expected, found {other:?}"),
    }
}

/// A graph, a subscription and a change.
async fn began(store: &dyn Store, n: u64) {
    let mut writes = vec![
        Write::Graph(graph(n)),
        Write::Subscription(Box::new(subscription(n, n))),
        Write::Change(Box::new(change(n, n, n))),
        Write::Event(event(n, 1)),
    ];
    let key = Key::graph(graph(n).id);
    store.transact(&key, &mut |_| std::mem::take(&mut writes)).await.expect("written");
}

// The cases.

async fn rows_come_back(store: Arc<dyn Store>) {
    let key = RequestKey {
        user: UserId::parse("alice").expect("well formed"),
        id: RequestId::parse("r").expect("well formed"),
    };
    let request =
        Request { key: key.clone(), method: "M".to_owned(), fingerprint: "f".to_owned(), resource: "x".to_owned() };
    let audit = AuditEvent {
        id: AuditId::parse(ulid("aud_", 1)).expect("well formed"),
        org: org("org_a"),
        graph: Some(graph(1).id),
        subscription: None,
        change: Some(change_id(1)),
        kind: AuditKind::ChangeGated,
        actor: "system".to_owned(),
        at: T,
        message: "m".to_owned(),
        detail: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
    };
    let committed = write(
        store.as_ref(),
        vec![
            Write::Graph(graph(1)),
            Write::Subgraph(subgraph(1, "a")),
            Write::Subscription(Box::new(subscription(1, 1))),
            Write::Change(Box::new(change(1, 1, 1))),
            Write::Event(event(1, 1)),
            owe(1, Effect::ConfirmGate { gate_id: 12 }, T),
            Write::Payment(payment(1, "{}", PaymentOutcome::Unknown)),
            Write::Audit(Box::new(audit.clone())),
            Write::Request(request.clone()),
            Write::Access(Box::new(access(1, Pace::Changing)), -7),
        ],
    )
    .await
    .expect("written");
    assert!(committed.owes);
    assert_eq!(committed.published.iter().map(|p| &p.event).collect::<Vec<_>>(), [&event(1, 1)]);
    let mut wanted = Key::change(change_id(1)).with_request(key);
    wanted.subgraph = Some(subgraph(1, "a").id);
    let loaded = store.read(&wanted).await.expect("read");
    assert_eq!(loaded.graph, Some(graph(1)));
    assert_eq!((loaded.subgraphs, loaded.subgraph), (1, Some(subgraph(1, "a"))));
    assert_eq!(loaded.subscription, Some(subscription(1, 1)));
    assert_eq!(loaded.change, Some(change(1, 1, 1)));
    assert_eq!(loaded.owed.len(), 1);
    assert_eq!((loaded.owed[0].attempts, &loaded.owed[0].effect), (0, &Effect::ConfirmGate { gate_id: 12 }));
    assert_eq!(loaded.payments, [payment(1, "{}", PaymentOutcome::Unknown)]);
    assert_eq!(loaded.request, Some(request));
    assert_eq!((loaded.leases, loaded.epoch), (FIRST_LEASES, 1));
    let mut stored = access(1, Pace::Changing);
    stored.record.revision = 1;
    assert_eq!(loaded.access, Some(stored.clone()));
    let (revision, leases, all) = store.access().await.expect("read");
    assert_eq!((revision.version, revision.nonce, leases, all), (1, -7, FIRST_LEASES, vec![stored]));
    assert_eq!(store.audit(&change_id(1)).await.expect("read"), [audit]);
    assert_eq!(store.subscription(&subscription(1, 1).id).await.expect("read"), Some(subscription(1, 1)));
    assert_eq!(store.changes_by_id(&[change_id(1), change_id(2)]).await.expect("read"), [change(1, 1, 1)]);
    let nothing = store.read(&Key::graph(graph(9).id)).await.expect("read");
    assert!(nothing.graph.is_none() && nothing.change.is_none() && nothing.access.is_none());
    let nothing = store.read(&Key::change(change_id(9))).await.expect("read");
    assert!(nothing.graph.is_none() && nothing.change.is_none());
}

async fn texts_come_back(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let texts = [
        "it's",
        "''",
        "back\\slash",
        "\\'; DROP TABLE graph; --",
        "E'\\\\''",
        "'); COMMIT; BEGIN; --",
        "$1 ? ?1 :name @name $$ $x$",
        "one\ntwo\r\n\tthree",
        "\u{1}\u{7f}\u{feff}",
        "null",
        "{\"k\": \"v\"}",
        "übermäßig 漢字 🦀",
        "",
    ];
    for (n, text) in (1_u64..).zip(texts) {
        let endpoint = graph(1).endpoint.map(|endpoint| Endpoint { instance_id: text.to_owned(), ..endpoint });
        let graph = Graph { display_name: text.to_owned(), endpoint, ..graph(1) };
        let subscription = Subscription { provider_subscription_id: text.to_owned(), ..subscription(1, 1) };
        let payment = PaymentRequest { reference: text.to_owned(), ..payment(1, texts[0], PaymentOutcome::Taken) };
        let key = RequestKey {
            user: UserId::parse("alice").expect("well formed"),
            id: RequestId::parse(format!("r-{n}")).expect("well formed"),
        };
        let request = Request {
            key: key.clone(),
            method: text.to_owned(),
            fingerprint: text.to_owned(),
            resource: text.to_owned(),
        };
        let audit = AuditEvent {
            id: AuditId::parse(ulid("aud_", n)).expect("well formed"),
            org: org("org_a"),
            graph: None,
            subscription: None,
            change: Some(change_id(n)),
            kind: AuditKind::ChangeGated,
            actor: text.to_owned(),
            at: T,
            message: text.to_owned(),
            detail: BTreeMap::from([(text.to_owned(), text.to_owned())]),
        };
        let writes = vec![
            Write::Graph(graph.clone()),
            Write::Subscription(Box::new(subscription.clone())),
            Write::Payment(payment.clone()),
            Write::Request(request.clone()),
            Write::Audit(Box::new(audit.clone())),
        ];
        write(store.as_ref(), writes).await.expect("written");
        let loaded = store.read(&Key::graph(graph.id.clone()).with_request(key)).await.expect("read");
        assert_eq!(loaded.graph, Some(graph), "{text:?}");
        assert_eq!(loaded.subscription, Some(subscription), "{text:?}");
        assert_eq!((loaded.payments, loaded.request), (vec![payment], Some(request)), "{text:?}");
        assert_eq!(store.audit(&change_id(n)).await.expect("read"), [audit], "{text:?}");
    }
}

/// Each write of a transaction finds what those before it did; the counters are taken for each event and each record.
async fn in_order(store: Arc<dyn Store>) {
    let access = |n, nonce| Write::Access(Box::new(access(n, Pace::Calm)), nonce);
    let writes = vec![
        access(1, 7),
        Write::Graph(graph(1)),
        Write::Graph(Graph { display_name: "renamed".to_owned(), ..graph(1) }),
        Write::Subgraph(subgraph(1, "gone")),
        Write::DeleteSubgraphs(graph(1).id, T),
        Write::Subgraph(subgraph(1, "stays")),
        Write::Subscription(Box::new(subscription(1, 1))),
        Write::Change(Box::new(change(1, 1, 1))),
        Write::Event(event(1, 1)),
        Write::Event(event(1, 2)),
        Write::Graph(graph(2)),
        owe(1, Effect::Charge, T),
        owe(1, Effect::CloseGate, T),
        owe(1, Effect::Charge, T.plus(1)),
        access(2, 8),
    ];
    let committed = write(store.as_ref(), writes).await.expect("written");
    let feeds: Vec<u64> = committed.published.iter().map(|p| p.feed).collect();
    assert_eq!(feeds, [1, 2]);
    assert!(committed.published.iter().all(|p| p.org == org("org_a")));
    let (revision, records) = committed.access.expect("a revision");
    assert_eq!((revision.version, revision.nonce), (2, 8));
    assert_eq!(
        records.iter().map(|a| (a.graph.clone(), a.record.revision)).collect::<Vec<_>>(),
        [(graph(1).id, 1), (graph(2).id, 2)]
    );
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.graph.map(|g| g.display_name), Some("renamed".to_owned()));
    assert_eq!(loaded.subgraphs, 1);
    let owed: Vec<(&str, UnixMs)> = loaded.owed.iter().map(|o| (o.effect.kind(), o.not_before)).collect();
    assert_eq!(owed, [("close_gate", T), ("charge", T.plus(1))], "one of a kind, and behind the others");
    assert_eq!(loaded.access.map(|a| a.record.revision), Some(1));
    let (revision, _, all) = store.access().await.expect("read");
    assert_eq!((revision.version, revision.nonce, all), (2, 8, records), "as they are stored");
    assert_eq!(store.feed_base(&org("org_a")).await.expect("read"), 0, "the change begins with its first event");
}

async fn nothing_without_writes(store: Arc<dyn Store>) {
    let mut asked = 0;
    let key = Key::graph(graph(1).id);
    let mut ask = |_: &subscription_svc::store::Loaded| {
        asked += 1;
        Vec::new()
    };
    assert_eq!(store.transact(&key, &mut ask).await.expect("done"), Committed::default());
    assert_eq!(asked, 1, "the function of a transaction is asked once");
}

async fn all_or_nothing(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let renamed = Graph { display_name: "renamed".to_owned(), ..graph(1) };
    let writes = vec![
        Write::Graph(renamed),
        Write::Access(Box::new(access(1, Pace::Calm)), 1),
        Write::Event(event(1, 2)),
        Write::Event(event(1, 4)),
    ];
    refused(store.as_ref(), writes, Constraint::EventSequence).await;
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!((loaded.graph, loaded.access), (Some(graph(1)), None));
    assert_eq!(store.access().await.expect("read").0.version, 0);
    let committed = write(store.as_ref(), vec![Write::Event(event(1, 2))]).await.expect("still the next");
    assert_eq!(committed.published.len(), 1);
}

async fn one_live_subscription(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let second = || Write::Subscription(Box::new(subscription(2, 1)));
    refused(store.as_ref(), vec![second()], Constraint::LiveSubscription).await;
    let dead = Subscription { live: false, ..subscription(1, 1) };
    write(store.as_ref(), vec![Write::Subscription(Box::new(dead)), second()]).await.expect("one after the other");
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.subscription, Some(subscription(2, 1)), "the live one counts");
    let older_is_live = Subscription { live: false, ..subscription(2, 1) };
    write(
        store.as_ref(),
        vec![Write::Subscription(Box::new(older_is_live)), Write::Subscription(Box::new(subscription(1, 1)))],
    )
    .await
    .expect("back");
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.subscription, Some(subscription(1, 1)), "D-72: a stale row never shadows the live one");
}

async fn one_active_change(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let second = || Write::Change(Box::new(change(2, 1, 1)));
    refused(store.as_ref(), vec![second()], Constraint::ActiveChange).await;
    write(store.as_ref(), vec![Write::Change(Box::new(ended(1, 1, 1))), second()]).await.expect("one after the other");
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.change.map(|c| c.id), Some(change_id(2)));
    // A graph shows its active change, though an ended one is newer.
    write(store.as_ref(), vec![Write::Change(Box::new(ended(3, 1, 1)))]).await.expect("written");
    let loaded = store.read(&Key::graph(graph(1).id)).await.expect("read");
    assert_eq!(loaded.change.map(|c| c.id), Some(change_id(2)));
    let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
    assert_eq!(loaded.change.map(|c| c.id), Some(change_id(1)), "and a change shows itself");
}

async fn gapless_events(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    for seq in [0, 1, 3] {
        refused(store.as_ref(), vec![Write::Event(event(1, seq))], Constraint::EventSequence).await;
    }
    refused(store.as_ref(), vec![Write::Event(event(2, 1))], Constraint::EventSequence).await;
    let committed = write(store.as_ref(), vec![Write::Event(event(1, 2)), Write::Event(event(1, 3))]).await;
    let feeds: Vec<u64> = committed.expect("the next two").published.iter().map(|p| p.feed).collect();
    assert!(feeds[0] < feeds[1] && feeds[0] > 1, "{feeds:?}");
}

async fn feeds(store: Arc<dyn Store>) {
    for n in 1..=3 {
        began(store.as_ref(), n).await;
    }
    for seq in 2..=4 {
        for n in 1..=3 {
            write(store.as_ref(), vec![Write::Event(event(n, seq))]).await.expect("written");
        }
    }
    let read = async |feed: &Feed, after, limit| {
        let events = store.events(feed, after, limit).await.expect("read");
        assert!(events.is_sorted_by_key(|p| p.feed));
        events.into_iter().map(|p| (p.feed, p.event.change_id, p.event.seq)).collect::<Vec<_>>()
    };
    let two = Feed::Changes(vec![change_id(1), change_id(3)]);
    let all = read(&two, 0, 100).await;
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|(_, id, _)| *id != change_id(2).to_string()));
    assert_eq!(read(&two, all[3].0, 2).await, all[4..6]);
    let everything = read(&Feed::Org(org("org_a"), 0), 0, 100).await;
    assert_eq!(everything.len(), 12);
    assert_eq!(store.feed_head().await.expect("read"), everything[11].0);
    assert!(read(&Feed::Org(org("org_b"), 0), 0, 100).await.is_empty());
    // Above the first event of change 1: that change is not shown at all, the others whole.
    let base = everything[0].0;
    let whole = read(&Feed::Org(org("org_a"), base), 0, 100).await;
    assert_eq!(whole.len(), 8, "{whole:?}");
    assert_eq!(store.feed_base(&org("org_a")).await.expect("read"), base - 1);
    write(store.as_ref(), vec![Write::Change(Box::new(ended(1, 1, 1)))]).await.expect("written");
    assert_eq!(store.feed_base(&org("org_a")).await.expect("read"), everything[1].0 - 1, "the oldest that runs");
    let head = store.feed_head().await.expect("read");
    assert_eq!(store.feed_base(&org("org_b")).await.expect("read"), head, "nothing runs");
}

async fn owed_in_order(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let kinds = async || {
        let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
        loaded.owed.iter().map(|o| o.effect.kind()).collect::<Vec<_>>()
    };
    let first = vec![owe(1, Effect::Charge, T), owe(1, Effect::CloseGate, T)];
    write(store.as_ref(), first).await.expect("written");
    assert_eq!(kinds().await, ["charge", "close_gate"]);
    write(store.as_ref(), vec![owe(1, Effect::CancelMigration, T), owe(1, Effect::Charge, T)]).await.expect("written");
    assert_eq!(kinds().await, ["close_gate", "cancel_migration", "charge"], "a repeat goes to the end");
    let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
    let gone = loaded.owed[0].clone();
    write(store.as_ref(), vec![Write::Settle(gone.id)]).await.expect("written");
    write(store.as_ref(), vec![Write::Settle(gone.id), Write::Retry(Owed { attempts: 9, ..gone })])
        .await
        .expect("a row that is gone stays gone");
    assert_eq!(kinds().await, ["cancel_migration", "charge"]);
    let later = Owed { attempts: 3, not_before: T.plus(9), ..loaded.owed[1].clone() };
    write(store.as_ref(), vec![Write::Retry(later.clone())]).await.expect("written");
    let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
    assert_eq!(loaded.owed[0], later);
}

async fn due(store: Arc<dyn Store>) {
    for n in 1..=3 {
        began(store.as_ref(), n).await;
    }
    write(
        store.as_ref(),
        vec![
            owe(1, Effect::Charge, T.plus(10)),
            owe(1, Effect::CloseGate, T),
            owe(2, Effect::StartMigration, T),
            Write::Change(Box::new(TierChange { deadline: Some(T.plus(5)), ..change(2, 2, 2) })),
            Write::Change(Box::new(TierChange { deadline: None, ..change(3, 3, 3) })),
        ],
    )
    .await
    .expect("written");
    let at = async |ms: i64| {
        let due = store.due(T.plus(ms)).await.expect("read");
        let kinds: Vec<&str> = due.owed.iter().map(|o| o.effect.kind()).collect();
        (kinds, due.overdue, due.next.map(|next| next.0 - T.0))
    };
    assert_eq!(at(0).await, (vec!["start_migration"], vec![], Some(5)), "a later row never overtakes the first");
    assert_eq!(at(5).await, (vec!["start_migration"], vec![change_id(2)], Some(10)));
    let (mut kinds, overdue, next) = at(10).await;
    kinds.sort_unstable();
    assert_eq!((kinds, overdue, next), (vec!["charge", "start_migration"], vec![change_id(2)], Some(60_000)));
    let (_, overdue, next) = at(60_000).await;
    assert_eq!((overdue, next), (vec![change_id(1), change_id(2)], None));
}

async fn payment_bytes(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    write(store.as_ref(), vec![Write::Payment(payment(1, "{}", PaymentOutcome::Unknown))]).await.expect("written");
    let other = vec![Write::Payment(payment(1, "{\"x\":1}", PaymentOutcome::Unknown))];
    refused(store.as_ref(), other, Constraint::PaymentBytes).await;
    write(store.as_ref(), vec![Write::Payment(payment(1, "{}", PaymentOutcome::Taken))]).await.expect("its outcome");
    let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
    assert_eq!(loaded.payments, [payment(1, "{}", PaymentOutcome::Taken)]);
}

async fn versions(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    for version in 1..=3_u64 {
        let nonce = i64::try_from(version).expect("small") * 100;
        let committed = write(store.as_ref(), vec![Write::Access(Box::new(access(1, Pace::Calm)), nonce)]).await;
        let (revision, changed) = committed.expect("written").access.expect("a revision");
        assert_eq!((revision.version, revision.nonce, changed[0].record.revision), (version, nonce, version));
    }
    let untouched = write(store.as_ref(), vec![Write::Event(event(1, 2))]).await.expect("written");
    assert_eq!(untouched.access, None);
    assert_eq!(store.access().await.expect("read").0.version, 3);
}

async fn requests(store: Arc<dyn Store>) {
    let key = RequestKey {
        user: UserId::parse("alice").expect("well formed"),
        id: RequestId::parse("r").expect("well formed"),
    };
    let request = |resource: &str| {
        Write::Request(Request {
            key: key.clone(),
            method: "M".to_owned(),
            fingerprint: "f".to_owned(),
            resource: resource.to_owned(),
        })
    };
    write(store.as_ref(), vec![request("one")]).await.expect("written");
    refused(store.as_ref(), vec![request("two")], Constraint::Other).await;
    let loaded = store.read(&Key::graph(graph(1).id).with_request(key.clone())).await.expect("read");
    assert_eq!(loaded.request.map(|r| r.resource), Some("one".to_owned()));
    let other = RequestKey { user: UserId::parse("bob").expect("well formed"), ..key.clone() };
    let loaded = store.read(&Key::graph(graph(1).id).with_request(other)).await.expect("read");
    assert_eq!(loaded.request, None, "an id belongs to its caller");
}

async fn subgraphs(store: Arc<dyn Store>) {
    let names = ["b", "a", "c"];
    let mut writes = vec![Write::Graph(graph(1)), Write::Graph(graph(16))];
    writes.extend(names.iter().map(|name| Write::Subgraph(subgraph(1, name))));
    writes.push(Write::Subgraph(subgraph(16, "z")));
    write(store.as_ref(), writes).await.expect("written");
    let list = async |after: Option<&str>, limit| {
        let after = after.map(|name| subgraph(1, name).id);
        let found = store.subgraphs(&graph(1).id, after.as_ref(), limit).await.expect("read");
        found.into_iter().map(|s| s.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["a", "b", "c"]);
    assert_eq!(list(Some("a"), 1).await, ["b"]);
    let gone = Subgraph { deleted: Some(T), ..subgraph(1, "b") };
    write(store.as_ref(), vec![Write::Subgraph(gone)]).await.expect("written");
    assert_eq!(list(None, 10).await, ["a", "c"]);
    assert_eq!(store.read(&Key::graph(graph(1).id)).await.expect("read").subgraphs, 2);
    write(store.as_ref(), vec![Write::DeleteSubgraphs(graph(1).id, T)]).await.expect("written");
    assert_eq!(store.read(&Key::graph(graph(1).id)).await.expect("read").subgraphs, 0);
    assert_eq!(store.read(&Key::graph(graph(16).id)).await.expect("read").subgraphs, 1);
    write(store.as_ref(), vec![Write::Subgraph(subgraph(1, "b"))]).await.expect("registered anew");
    assert_eq!(list(None, 10).await, ["b"]);
}

async fn lists(store: Arc<dyn Store>) {
    for n in 1..=5 {
        began(store.as_ref(), n).await;
    }
    write(store.as_ref(), vec![Write::Change(Box::new(ended(2, 2, 2)))]).await.expect("written");
    let changes = async |filter: ChangeFilter, before: Option<u64>, limit| {
        let before = before.map(change_id);
        let found = store.changes(&filter, before.as_ref(), limit).await.expect("read");
        found.into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    let ids = |all: &[u64]| all.iter().map(|n| change_id(*n)).collect::<Vec<_>>();
    let any = ChangeFilter::default;
    assert_eq!(changes(any(), None, 2).await, ids(&[5, 4]));
    assert_eq!(changes(any(), Some(4), 10).await, ids(&[3, 2, 1]));
    assert_eq!(changes(ChangeFilter { active_only: true, ..any() }, Some(4), 10).await, ids(&[3, 1]));
    assert_eq!(changes(ChangeFilter { state: Some(State::Failed), ..any() }, None, 10).await, ids(&[2]));
    assert_eq!(changes(ChangeFilter { graph: Some(graph(3).id), ..any() }, None, 10).await, ids(&[3]));
    assert!(changes(ChangeFilter { org: Some(org("org_b")), ..any() }, None, 10).await.is_empty());
    let filter = SubscriptionFilter { status: Some(SubscriptionStatus::Active), ..Default::default() };
    let found = store.subscriptions(&filter, Some(&subscription(3, 3).id), 10).await.expect("read");
    assert_eq!(found, [subscription(2, 2), subscription(1, 1)]);
    let open: Vec<ChangeId> = store.open_changes().await.expect("read").into_iter().map(|c| c.id).collect();
    assert_eq!(open, ids(&[1, 3, 4, 5]));
    write(store.as_ref(), vec![Write::Change(Box::new(TierChange { follows: true, ..ended(2, 2, 2) }))])
        .await
        .expect("written");
    assert_eq!(store.open_changes().await.expect("read").len(), 5, "ended, and with something to hear");
}

async fn serial(store: Arc<dyn Store>) {
    began(store.as_ref(), 1).await;
    let mut tasks = Vec::new();
    for _ in 0..25 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let key = Key::change(change_id(1));
            // Read, then write what was read and one more: lost updates would show.
            let mut one_more = |loaded: &subscription_svc::store::Loaded| {
                let mut change = loaded.change.clone().expect("a change");
                change.volume_seq += 1;
                vec![Write::Change(Box::new(change))]
            };
            store.transact(&key, &mut one_more).await.expect("written");
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let loaded = store.read(&Key::change(change_id(1))).await.expect("read");
    assert_eq!(loaded.change.map(|c| c.volume_seq), Some(4 + 25));
}
