//! One list of cases over every store, for what the life of subscriptions rests on: what is due, names at the provider, the
//! audit's lists, and the provider's events.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use subscription_core::credits::Credits;
use subscription_core::status::SubscriptionStatus;
use subscription_svc::store::inbox::{WebhookEvent, WebhookMark, WebhookState};
use subscription_svc::store::rows::{AuditEvent, AuditKind, Subscription};
use subscription_svc::store::{AuditFilter, Constraint, Fault, Key, Write};
use support::rows::*;
use support::stores::{Both, Case, in_memory, in_postgres, in_sqlite};
use tiershift_core::UnixMs;
use tiershift_core::ids::AuditId;

const CASES: &[Case] = &[
    ("due subscriptions come first due first", |b| Box::pin(due_first(b))),
    ("of one whose tier changes only words are due", |b| Box::pin(changing(b))),
    ("a name at the provider is one subscription's", |b| Box::pin(names(b))),
    ("the audit is listed by what it is about", |b| Box::pin(audit(b))),
    ("an event is stored once and comes back", |b| Box::pin(once(b))),
    ("events are due in their order", |b| Box::pin(events_due(b))),
    ("what became of events is written with its effect or not at all", |b| Box::pin(marked(b))),
    ("a burst is one call", |b| Box::pin(burst(b))),
    ("an answer is for all that was received before its question", |b| Box::pin(answered(b))),
    ("dead events are replayed and done ones forgotten", |b| Box::pin(replayed_and_forgotten(b))),
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

async fn write(both: &Both, n: u64, writes: Vec<Write>) -> Result<(), Fault> {
    let mut writes = Some(writes);
    let key = Key::graph(graph(n).id);
    both.store.transact(&key, &mut |_| writes.take().unwrap_or_default()).await.map(|_| ())
}

/// The n-th graph with an active subscription that ends its period at an instant, and nothing to be told.
fn renews_at(n: u64, at: UnixMs) -> Subscription {
    let (active_change, scheduled_change) = (None, None);
    let credits = Credits::none(at);
    Subscription {
        period_end: at,
        told: vec![],
        active_change,
        scheduled_change,
        credits,
        ends_at: None,
        ..subscription(n, n)
    }
}

async fn subscribe(both: &Both, row: Subscription, n: u64) {
    write(both, n, vec![Write::Graph(graph(n)), Write::Subscription(Box::new(row))]).await.expect("written");
}

async fn due_first(both: Both) {
    for (n, at) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        subscribe(&both, renews_at(n, T.plus(at)), n).await;
    }
    let canceled =
        Subscription { status: SubscriptionStatus::Canceled, ends_at: Some(T.plus(15)), ..renews_at(5, T.plus(99)) };
    subscribe(&both, canceled, 5).await;
    subscribe(&both, Subscription { status: SubscriptionStatus::Unpaid, ..renews_at(6, T.plus(1)) }, 6).await;
    subscribe(&both, Subscription { provider: "stripe".to_owned(), ..renews_at(7, T.plus(1)) }, 7).await;
    // Years have months of credits: the next begins before the period ends.
    let monthly = Credits { start: T, end: T.plus(50), granted: 9, used: 1 };
    subscribe(&both, Subscription { credits: monthly, ..renews_at(8, T.plus(999)) }, 8).await;
    let later = Subscription { scheduled_change: Some(change_id(8)), ..renews_at(9, T.plus(5)) };
    subscribe(&both, later, 9).await;
    let ask = async |at, limit| {
        let (due, next) = both.store.due_subscriptions(T.plus(at), limit).await.expect("read");
        (due.iter().map(|s| s.graph.clone()).collect::<Vec<_>>(), next)
    };
    let of = |all: &[u64]| all.iter().map(|n| graph(*n).id).collect::<Vec<_>>();
    assert_eq!(ask(9, 10).await, (of(&[]), Some(T.plus(10))));
    assert_eq!(ask(30, 10).await, (of(&[2, 5, 3, 1]), Some(T.plus(40))));
    assert_eq!(ask(30, 2).await.0, of(&[2, 5]));
    assert_eq!(ask(99, 10).await, (of(&[2, 5, 3, 1, 4, 8]), None), "a renewal waits for a change that is scheduled");
}

async fn changing(both: Both) {
    // Both columns: its period is over, and the provider is to be told something a little later.
    let row = Subscription { active_change: Some(change_id(7)), ..subscription(1, 1) };
    let at = row.told[0].not_before;
    subscribe(&both, row.clone(), 1).await;
    assert_eq!(both.store.due_subscriptions(at.plus(-1), 9).await.expect("read"), (vec![], Some(at)));
    assert_eq!(both.store.due_subscriptions(at, 9).await.expect("read").0, vec![row.clone()]);
    let told = Subscription { told: vec![], ..row };
    write(&both, 1, vec![Write::Subscription(Box::new(told))]).await.expect("written");
    assert_eq!(both.store.due_subscriptions(T.plus(i64::from(u32::MAX)), 9).await.expect("read"), (vec![], None));
}

async fn names(both: Both) {
    let named =
        |n: u64, name: &str| Subscription { provider_subscription_id: name.to_owned(), ..renews_at(n, T.plus(9)) };
    subscribe(&both, named(1, "sub_p"), 1).await;
    subscribe(&both, named(2, ""), 2).await;
    subscribe(&both, named(3, ""), 3).await;
    subscribe(&both, Subscription { provider: "stripe".to_owned(), ..named(4, "sub_p") }, 4).await;
    let find = async |provider: &str, name: &str| {
        both.store.subscription_of_provider(provider, name).await.expect("read").map(|s| s.graph)
    };
    assert_eq!(find("sim", "sub_p").await, Some(graph(1).id));
    assert_eq!(find("stripe", "sub_p").await, Some(graph(4).id));
    assert_eq!((find("sim", "").await, find("sim", "sub_q").await), (None, None));
    let taken = vec![Write::Subscription(Box::new(named(2, "sub_p")))];
    let refused = write(&both, 2, taken).await;
    assert!(
        matches!(refused, Err(Fault::Constraint(Constraint::Other | Constraint::LiveSubscription))),
        "no two are alike: {refused:?}"
    );
    assert_eq!(find("sim", "sub_p").await, Some(graph(1).id));
}

fn entry(n: u64, about: u64) -> AuditEvent {
    AuditEvent {
        id: AuditId::parse(ulid("aud_", n)).expect("well formed"),
        org: org(if about == 1 { "org_a" } else { "org_b" }),
        graph: Some(graph(about).id),
        subscription: Some(subscription(about, about).id),
        change: n.is_multiple_of(2).then(|| change_id(about)),
        kind: AuditKind::SubscriptionRenewed,
        actor: "system".to_owned(),
        at: T,
        message: format!("entry {n}"),
        detail: [("n".to_owned(), n.to_string())].into(),
    }
}

async fn audit(both: Both) {
    let all: Vec<AuditEvent> = (1..=6).map(|n| entry(n, 1 + n % 3)).collect();
    write(&both, 1, all.iter().map(|e| Write::Audit(Box::new(e.clone()))).collect()).await.expect("written");
    let list = async |filter: AuditFilter, before: Option<u64>, limit| {
        let before = before.map(|n| entry(n, 1).id);
        let found = both.store.audit_events(&filter, before.as_ref(), limit).await.expect("read");
        found.iter().map(|e| e.detail["n"].parse::<u64>().expect("a number")).collect::<Vec<_>>()
    };
    let any = AuditFilter::default;
    assert_eq!(list(any(), None, 10).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(any(), Some(4), 2).await, [3, 2]);
    assert_eq!(list(AuditFilter { org: Some(org("org_a")), ..any() }, None, 10).await, [6, 3]);
    assert_eq!(list(AuditFilter { graph: Some(graph(2).id), ..any() }, None, 10).await, [4, 1]);
    assert_eq!(list(AuditFilter { subscription: Some(subscription(3, 3).id), ..any() }, None, 10).await, [5, 2]);
    assert_eq!(list(AuditFilter { change: Some(change_id(3)), ..any() }, None, 10).await, [2]);
    let mixed = AuditFilter { org: Some(org("org_b")), graph: Some(graph(1).id), ..any() };
    assert_eq!(list(mixed, None, 10).await, [] as [u64; 0]);
    let found = both.store.audit_events(&any(), None, 1).await.expect("read");
    assert_eq!(found, [all[5].clone()], "they come back as they were written");
}

fn webhook(id: &str, not_before: UnixMs) -> WebhookEvent {
    WebhookEvent {
        id: id.to_owned(),
        n: 0,
        provider: "stripe".to_owned(),
        kind: "invoice.paid".to_owned(),
        subject: "sub_p'\\\"é🦀".to_owned(),
        ours: String::new(),
        created: T.plus(-1_000),
        received: T.plus(123),
        state: WebhookState::Pending,
        attempts: 0,
        not_before,
        note: String::new(),
        body: "{\"a\": [1, \"\\u0041\"]}".to_owned(),
    }
}

async fn once(both: Both) {
    let first = webhook("evt_1", T);
    let other = WebhookEvent { state: WebhookState::Ignored, ..webhook("evt_2", T) };
    assert_eq!(both.inbox.receive(&[first.clone(), other.clone(), first.clone()]).await.expect("stored"), 2);
    let again = WebhookEvent { body: "{}".to_owned(), ..first.clone() };
    assert_eq!(both.inbox.receive(&[again]).await.expect("stored"), 0);
    let (due, _) = both.inbox.due(T, 9).await.expect("read");
    assert_eq!(due.iter().map(|e| WebhookEvent { n: 0, ..e.clone() }).collect::<Vec<_>>(), [first]);
    assert!(due[0].n > 0);
    let ignored = both.inbox.list(WebhookState::Ignored, None, 9).await.expect("read");
    assert_eq!(ignored.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["evt_2"]);
    assert_eq!(both.inbox.receive(&[]).await.expect("nothing"), 0);
}

async fn events_due(both: Both) {
    let events = [webhook("evt_a", T.plus(5)), webhook("evt_b", T), webhook("evt_c", T), webhook("evt_d", T.plus(9))];
    both.inbox.receive(&events).await.expect("stored");
    let ask = async |at, limit| {
        let (due, next) = both.inbox.due(T.plus(at), limit).await.expect("read");
        (due.into_iter().map(|e| e.id).collect::<Vec<_>>(), next)
    };
    assert_eq!(ask(-1, 9).await, (vec![], Some(T)));
    assert_eq!(ask(5, 9).await.0, ["evt_b", "evt_c", "evt_a"]);
    assert_eq!(ask(5, 2).await.0, ["evt_b", "evt_c"]);
    assert_eq!(ask(5, 9).await.1, Some(T.plus(9)));
    let newest = both.inbox.list(WebhookState::Pending, None, 2).await.expect("read");
    assert_eq!(newest.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["evt_d", "evt_c"]);
    let rest = both.inbox.list(WebhookState::Pending, Some(newest[1].n), 9).await.expect("read");
    assert_eq!(rest.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["evt_b", "evt_a"]);
}

async fn marked(both: Both) {
    both.inbox.receive(&[webhook("evt_1", T), webhook("evt_2", T), webhook("evt_3", T)]).await.expect("stored");
    let mark = |ids: &[&str], state| WebhookMark {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        answered: None,
        state,
        attempts: 3,
        not_before: T.plus(7),
        note: "it's so".to_owned(),
    };
    subscribe(&both, renews_at(1, T.plus(9)), 1).await;
    let applied = || Write::Webhooks(mark(&["evt_1"], WebhookState::Applied));
    // The second live subscription is refused, and with it goes the mark.
    let other = Subscription { id: subscription(9, 9).id, ..renews_at(1, T.plus(9)) };
    let other = Subscription { provider_subscription_id: "else".to_owned(), ..other };
    let refused = write(&both, 1, vec![applied(), Write::Subscription(Box::new(other))]).await;
    assert!(matches!(refused, Err(Fault::Constraint(Constraint::LiveSubscription))), "{refused:?}");
    assert_eq!(both.inbox.due(T, 9).await.expect("read").0.len(), 3);
    write(&both, 1, vec![applied()]).await.expect("written");
    both.inbox.mark(&mark(&["evt_2"], WebhookState::Pending)).await.expect("marked");
    let (due, next) = both.inbox.due(T, 9).await.expect("read");
    assert_eq!((due.len(), next), (1, Some(T.plus(7))));
    let applied = both.inbox.list(WebhookState::Applied, None, 9).await.expect("read");
    assert_eq!(applied.iter().map(|e| (e.id.as_str(), e.note.as_str())).collect::<Vec<_>>(), [("evt_1", "it's so")]);
    let later = both.inbox.due(T.plus(7), 9).await.expect("read").0;
    assert_eq!(later.iter().find(|e| e.id == "evt_2").map(|e| (e.attempts, e.not_before)), Some((3, T.plus(7))));
}

async fn replayed_and_forgotten(both: Both) {
    let at = |id: &str, state, received| WebhookEvent { state, received, ..webhook(id, T) };
    let events = [
        at("evt_dead", WebhookState::Dead, T),
        at("evt_pending", WebhookState::Pending, T),
        at("evt_done", WebhookState::Applied, T),
        at("evt_other", WebhookState::Ignored, T.plus(1)),
        at("evt_new", WebhookState::Applied, T.plus(9)),
    ];
    both.inbox.receive(&events).await.expect("stored");
    let ids: Vec<String> = events.iter().map(|event| event.id.clone()).chain(["evt_none".to_owned()]).collect();
    let replay = async || both.inbox.replay(&ids, T.plus(3), "it's Ada").await.expect("replayed");
    assert_eq!((replay().await, replay().await), (vec!["evt_dead".to_owned()], vec![]), "only what is dead, once");
    let (due, _) = both.inbox.due(T.plus(3), 9).await.expect("read");
    let again = due.iter().find(|event| event.id == "evt_dead").expect("pending");
    assert_eq!((again.attempts, again.not_before, again.note.as_str()), (0, T.plus(3), "it's Ada"));
    assert_eq!(both.inbox.prune(T.plus(5), 1).await.expect("forgotten"), 1);
    assert_eq!(both.inbox.prune(T.plus(5), 9).await.expect("forgotten"), 1);
    assert_eq!(both.inbox.prune(T.plus(5), 9).await.expect("nothing"), 0);
    let kept = both.inbox.list(WebhookState::Applied, None, 9).await.expect("read");
    assert_eq!(kept.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["evt_new"]);
    assert_eq!(both.inbox.due(T.plus(9), 9).await.expect("read").0.len(), 2, "what is not done is kept");
    // A number is never given out twice, whatever was forgotten.
    both.inbox.receive(&[at("evt_later", WebhookState::Applied, T.plus(9))]).await.expect("stored");
    let newest = both.inbox.list(WebhookState::Applied, None, 1).await.expect("read");
    assert_eq!(newest[0].id, "evt_later");
}

async fn answered(both: Both) {
    let about = |id: &str, subject: &str, state| WebhookEvent {
        subject: subject.to_owned(),
        state,
        ..webhook(id, T.plus(900))
    };
    assert_eq!(both.inbox.head().await.expect("read"), 0);
    let pending = WebhookState::Pending;
    let early = [
        about("evt_read", "sub_a", pending),
        about("evt_unread", "sub_a", pending),
        about("evt_dead", "sub_a", WebhookState::Dead),
        about("evt_other", "sub_b", pending),
    ];
    both.inbox.receive(&early).await.expect("stored");
    let head = both.inbox.head().await.expect("read");
    both.inbox.receive(&[about("evt_late", "sub_a", pending)]).await.expect("stored");
    let mark = WebhookMark {
        ids: vec!["evt_read".to_owned()],
        answered: Some(("sub_a".to_owned(), head)),
        state: WebhookState::Applied,
        attempts: 0,
        not_before: T,
        note: String::new(),
    };
    let states = async |state| {
        let found = both.inbox.list(state, None, 9).await.expect("read");
        found.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    subscribe(&both, renews_at(1, T.plus(9)), 1).await;
    write(&both, 1, vec![Write::Webhooks(mark.clone())]).await.expect("written");
    assert_eq!(states(WebhookState::Applied).await, ["evt_unread", "evt_read"]);
    assert_eq!(states(pending).await, ["evt_late", "evt_other"], "what came later, or is about another, waits");
    assert_eq!(states(WebhookState::Dead).await, ["evt_dead"], "an operator's to replay");
    let head = both.inbox.head().await.expect("read");
    let ignored =
        WebhookMark { ids: vec![], answered: Some(("sub_a".to_owned(), head)), state: WebhookState::Ignored, ..mark };
    both.inbox.mark(&ignored).await.expect("marked");
    assert_eq!(
        (states(WebhookState::Ignored).await, states(pending).await),
        (vec!["evt_late".to_owned()], vec!["evt_other".to_owned()])
    );
}

async fn burst(both: Both) {
    let events: Vec<WebhookEvent> = (0..500).map(|n| webhook(&format!("evt_{n:03}"), T)).collect();
    assert_eq!(both.inbox.receive(&events).await.expect("stored"), 500);
    let (due, _) = both.inbox.due(T, 1_000).await.expect("read");
    assert!(due.iter().map(|e| &e.id).eq(events.iter().map(|e| &e.id)), "in the order of arrival");
}
