//! What every store must do, as named cases: each takes an empty store.
//!
//! `store_suite!(fresh)` makes one test of each case, where `fresh` is an async function that gives a store with
//! empty tables. Only tests use it; it is not behind `cfg(test)` because the DynamoDB adapter is tested from
//! another crate, which owns the embedded server. A case fails by panic or by an error. Tests run on four threads,
//! or a race would be none.

use crate::ports::Source;
use crate::ports::store::{Store, StoreError, TransactError, WRITES_MAX};
use std::collections::BTreeSet;
use std::sync::Arc;
use volume_core::item::{Cond, Index, Item, Key, Op, Table, Value, Write};

/// Makes one test of each case.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite!($fresh:
            every_condition_means_what_the_core_says,
            every_value_comes_back_as_it_was,
            words_that_dynamodb_reserves_are_names_too,
            refused_names_the_write_and_gives_the_old_item,
            one_refused_write_stops_all,
            update_never_creates,
            upsert_creates_and_removes,
            put_replaces_the_whole_item,
            a_token_is_applied_once,
            a_token_with_other_writes_is_invalid,
            a_refused_token_may_be_used_again,
            a_race_for_one_lock_has_one_winner,
            no_increment_is_lost_in_a_race,
            malformed_transactions_change_nothing,
            a_hundred_writes_are_one_transaction,
            many_items_come_in_the_order_of_their_keys,
            query_starts_where_asked_and_stops_at_the_limit,
            query_follows_pages,
            an_index_shows_only_items_that_have_its_attributes,
            an_index_of_numbers_is_in_order_and_in_pages,
            an_index_answers_for_one_range,
            a_scan_shows_every_item_once,
            malformed_reads_are_refused
        );
    };
    ($fresh:path: $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::store::suite::$case($fresh().await).await.unwrap();
            }
        )+
    };
}

/// What a case gives.
pub type CaseResult = Result<(), Source>;

type AnyStore = Arc<dyn Store>;

fn lock(pk: &str) -> Key {
    Key::new(Table::Locks, pk)
}

fn item(name: &str, value: impl Into<Value>) -> Item {
    Item::default().with(name, value)
}

/// An upsert without conditions.
fn set(key: Key, item: Item) -> Write {
    Write::upsert(key, item, &[], vec![])
}

/// Applies a transaction, repeating it when it meets another one: a conflict is no answer.
async fn transact(store: &AnyStore, token: &str, writes: Vec<Write>) -> Result<(), TransactError> {
    loop {
        match store.transact(token, writes.clone()).await {
            Err(TransactError::Conflict) => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

async fn number(store: &AnyStore, key: &Key) -> Result<Option<i64>, StoreError> {
    Ok(store.get(key).await?.and_then(|item| item.n("n")))
}

/// Each kind of condition, on items for which it holds and on items for which it does not.
pub async fn every_condition_means_what_the_core_says(store: AnyStore) -> CaseResult {
    let items = [
        ("five", item("n", 5)),
        ("six", item("n", 6)),
        ("text", item("n", "5")),
        ("list", item("n", vec!["5".to_owned()])),
        ("flag", item("n", true)),
        ("bare", item("other", 5)),
    ];
    let puts = items.iter().map(|(pk, item)| Write::create(lock(pk), item.clone())).collect();
    store.transact("put", puts).await?;
    let conditions = [
        Cond::NotExists,
        Cond::Exists,
        Cond::eq("n", 5),
        Cond::eq("n", "5"),
        Cond::eq("n", true),
        Cond::eq("n", vec!["5".to_owned()]),
        Cond::absent("n"),
        Cond::absent_or_eq("n", 5),
        Cond::Below("n".to_owned(), 6),
        Cond::AbsentOrBelow("n".to_owned(), 6),
    ];
    let mut seen = BTreeSet::new();
    for (c, cond) in conditions.iter().enumerate() {
        for pk in ["five", "six", "text", "list", "flag", "bare", "nothing"] {
            let item = store.get(&lock(pk)).await?;
            let expected = cond.holds(item.as_ref());
            seen.insert((c, expected));
            let check = vec![Write::check(lock(pk), vec![cond.clone()])];
            match store.transact(&format!("check-{c}-{pk}"), check).await {
                Ok(()) => assert!(expected, "{cond:?} holds for {pk} here, but not in the core"),
                Err(TransactError::Refused(_)) => assert!(!expected, "{cond:?} holds for {pk} in the core, not here"),
                Err(other) => return Err(other.into()),
            }
        }
    }
    assert_eq!(seen.len(), 2 * conditions.len(), "each condition is seen to hold and to fail");
    Ok(())
}

/// Unicode, empty strings and lists, the ends of the numbers.
pub async fn every_value_comes_back_as_it_was(store: AnyStore) -> CaseResult {
    let key = Key::journal("MIG#größe/数据 🦀", "EV#0000000001 \u{0}\n\"'#:");
    let item = Item::default()
        .with("text", "größe 数据 🦀 \"quoted\" \\ \u{7f}")
        .with("empty", "")
        .with("größe 🦀.[0]#:", "a name of odd characters")
        .with("least", i64::MIN)
        .with("most", i64::MAX)
        .with("zero", 0)
        .with("yes", true)
        .with("no", false)
        .with("list", vec![String::new(), "b".to_owned(), "a".to_owned(), "b".to_owned()])
        .with("nothing", Vec::new());
    store.transact("put", vec![Write::create(key.clone(), item.clone())]).await?;
    let expected = item.with("pk", key.pk.as_str()).with("sk", key.sk.clone().unwrap_or_default());
    assert_eq!(store.get(&key).await?.as_ref(), Some(&expected));
    let same = expected.0.iter().map(|(name, value)| Cond::Eq(name.clone(), value.clone())).collect();
    store.transact("same", vec![Write::check(key, same)]).await?;
    Ok(())
}

/// Attributes may be called what DynamoDB's expressions call something else.
pub async fn words_that_dynamodb_reserves_are_names_too(store: AnyStore) -> CaseResult {
    let words = ["status", "name", "size", "and", "set", "owner", "state", "token", "value"];
    let fields = words.iter().fold(Item::default(), |item, word| item.with(word, *word));
    store.transact("set", vec![set(lock("k"), fields)]).await?;
    let conds = words.iter().map(|word| Cond::eq(word, *word)).collect();
    store.transact("remove", vec![Write::update(lock("k"), item("n", 1), &words, conds)]).await?;
    assert_eq!(store.get(&lock("k")).await?, Some(item("n", 1).with("pk", "k")));
    Ok(())
}

/// The refusals say which writes, and what was there instead.
pub async fn refused_names_the_write_and_gives_the_old_item(store: AnyStore) -> CaseResult {
    store.transact("put", vec![Write::create(lock("held"), item("holder", "other").with("fence", 7))]).await?;
    let writes = vec![
        set(lock("free"), item("holder", "me")),
        Write::update(lock("held"), item("holder", "me"), &[], vec![Cond::absent("holder")]),
        set(lock("free too"), item("holder", "me")),
        Write::check(lock("missing"), vec![Cond::Exists]),
    ];
    let Err(TransactError::Refused(refusals)) = store.transact("take", writes).await else {
        return Err("two of the conditions do not hold".into());
    };
    let held = item("holder", "other").with("fence", 7).with("pk", "held");
    let expected: Vec<(usize, Option<Item>)> = vec![(1, Some(held)), (3, None)];
    assert_eq!(refusals.into_iter().map(|r| (r.write, r.item)).collect::<Vec<_>>(), expected);
    Ok(())
}

/// All or nothing, over tables.
pub async fn one_refused_write_stops_all(store: AnyStore) -> CaseResult {
    let meta = Key::journal("MIG#1", "META");
    store.transact("start", vec![Write::create(meta.clone(), item("version", 1))]).await?;
    let event = Key::journal("MIG#1", "EV#0000000001");
    let graph = Key::new(Table::Graph, "kg1");
    let append = |version: i64| {
        vec![
            Write::create(event.clone(), item("kind", "started")),
            set(graph.clone(), item("ts_state", "migrating")),
            Write::update(meta.clone(), item("version", version + 1), &[], vec![Cond::eq("version", version)]),
        ]
    };
    assert!(matches!(store.transact("stale", append(0)).await, Err(TransactError::Refused(_))));
    assert_eq!(store.get(&event).await?, None);
    assert_eq!(store.get(&graph).await?, None);
    store.transact("fresh", append(1)).await?;
    let all = store.get_many(&[event, graph, meta]).await?;
    assert!(all.iter().all(Option::is_some), "{all:?}");
    assert_eq!(all[2].as_ref().and_then(|meta| meta.n("version")), Some(2));
    Ok(())
}

/// Invariant 12: an update of a row that is not there is refused.
pub async fn update_never_creates(store: AnyStore) -> CaseResult {
    let key = Key::new(Table::Volume, "vol-1");
    for (token, conds) in [("bare", vec![]), ("absent", vec![Cond::absent("ts_state")])] {
        let update = Write::update(key.clone(), item("ts_state", "x"), &[], conds);
        let Err(TransactError::Refused(refusals)) = store.transact(token, vec![update]).await else {
            return Err("an update of no row must be refused".into());
        };
        assert_eq!(refusals.iter().map(|r| (r.write, r.item.is_none())).collect::<Vec<_>>(), [(0, true)]);
        assert_eq!(store.get(&key).await?, None);
    }
    Ok(())
}

/// Upsert is for items that come into being by being used; removing what is not there is no fault.
pub async fn upsert_creates_and_removes(store: AnyStore) -> CaseResult {
    let key = lock("VOL#vol-1");
    let take =
        Write::upsert(key.clone(), item("holder", "me").with("fence", 1), &["gone"], vec![Cond::absent("holder")]);
    store.transact("take", vec![take.clone()]).await?;
    assert_eq!(store.get(&key).await?.as_ref().and_then(|i| i.s("holder")), Some("me"));
    assert!(matches!(store.transact("again", vec![take]).await, Err(TransactError::Refused(_))));
    let free = Write::upsert(key.clone(), Item::default(), &["holder"], vec![Cond::eq("holder", "me")]);
    store.transact("free", vec![free]).await?;
    assert_eq!(store.get(&key).await?, Some(item("fence", 1).with("pk", key.pk.as_str())), "freed, not deleted");
    Ok(())
}

/// A put is not a merge.
pub async fn put_replaces_the_whole_item(store: AnyStore) -> CaseResult {
    store.transact("old", vec![set(lock("k"), item("old", 1))]).await?;
    let put = Write { key: lock("k"), op: Op::Put(item("new", 2)), conds: vec![] };
    store.transact("new", vec![put]).await?;
    assert_eq!(store.get(&lock("k")).await?, Some(item("new", 2).with("pk", "k")));
    Ok(())
}

/// The repetition is acknowledged although its condition no longer holds, and changes nothing.
pub async fn a_token_is_applied_once(store: AnyStore) -> CaseResult {
    let token = "0123456789abcdef0123456789abcdef";
    let first = vec![Write::upsert(lock("k"), item("n", 1), &[], vec![Cond::NotExists])];
    store.transact(token, first.clone()).await?;
    store.transact("other", vec![set(lock("k"), item("n", 2))]).await?;
    store.transact(token, first).await?;
    assert_eq!(number(&store, &lock("k")).await?, Some(2));
    Ok(())
}

/// Never applied, never mistaken for the first use.
pub async fn a_token_with_other_writes_is_invalid(store: AnyStore) -> CaseResult {
    store.transact("token", vec![set(lock("k"), item("n", 1))]).await?;
    let other = store.transact("token", vec![set(lock("k"), item("n", 2))]).await;
    assert!(matches!(other, Err(TransactError::Invalid(_))), "{other:?}");
    assert_eq!(number(&store, &lock("k")).await?, Some(1));
    Ok(())
}

/// A refusal is not an outcome that is remembered.
pub async fn a_refused_token_may_be_used_again(store: AnyStore) -> CaseResult {
    let take = vec![Write::update(lock("k"), item("n", 2), &[], vec![Cond::eq("n", 1)])];
    assert!(matches!(store.transact("token", take.clone()).await, Err(TransactError::Refused(_))));
    store.transact("put", vec![set(lock("k"), item("n", 1))]).await?;
    store.transact("token", take).await?;
    assert_eq!(number(&store, &lock("k")).await?, Some(2));
    Ok(())
}

/// Sixteen tasks for one lock.
pub async fn a_race_for_one_lock_has_one_winner(store: AnyStore) -> CaseResult {
    let mut tasks = Vec::new();
    for n in 0..16_i64 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let take = Write::upsert(lock("VOL#1"), item("n", n), &[], vec![Cond::absent("n")]);
            (n, transact(&store, &format!("take-{n}"), vec![take]).await)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task.await? {
            (n, Ok(())) => winners.push(n),
            (_, Err(TransactError::Refused(_))) => {}
            (_, Err(other)) => return Err(other.into()),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(number(&store, &lock("VOL#1")).await?, winners.first().copied());
    Ok(())
}

/// Sixteen tasks each add 1 five times by compare and set.
pub async fn no_increment_is_lost_in_a_race(store: AnyStore) -> CaseResult {
    let key = lock("PERMIT#account");
    store.transact("put", vec![set(key.clone(), item("n", 0))]).await?;
    let mut tasks = Vec::new();
    for task in 0..16 {
        let (store, key) = (Arc::clone(&store), key.clone());
        tasks.push(tokio::spawn(async move {
            let (mut added, mut tries) = (0, 0);
            while added < 5 {
                tries += 1;
                let n = number(&store, &key).await?.unwrap_or_default();
                let add = Write::update(key.clone(), item("n", n + 1), &[], vec![Cond::eq("n", n)]);
                match transact(&store, &format!("add-{task}-{tries}"), vec![add]).await {
                    Ok(()) => added += 1,
                    Err(TransactError::Refused(_)) => tokio::task::yield_now().await,
                    Err(other) => return Err(Source::from(other)),
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    assert_eq!(number(&store, &key).await?, Some(80));
    Ok(())
}

/// Faults of ours are told apart from refusals, and nothing is applied.
pub async fn malformed_transactions_change_nothing(store: AnyStore) -> CaseResult {
    let good = set(lock("good"), item("n", 1));
    let journal_without_range = Key { table: Table::Journal, pk: "p".to_owned(), sk: None };
    let cases = [
        ("no writes", "t", vec![]),
        ("101 writes", "t", (0..=WRITES_MAX).map(|n| set(lock(&format!("k{n}")), item("n", 1))).collect()),
        ("two writes to one item", "t", vec![good.clone(), Write::check(lock("good"), vec![Cond::NotExists])]),
        ("no token", "", vec![good.clone()]),
        ("a token of 37 characters", "0123456789012345678901234567890123456", vec![good.clone()]),
        ("an empty key", "t", vec![good.clone(), set(lock(""), item("n", 1))]),
        ("no range key", "t", vec![good.clone(), set(journal_without_range, item("n", 1))]),
        ("a key attribute", "t", vec![good.clone(), set(lock("k"), item("pk", "other"))]),
        ("an update of nothing", "t", vec![good.clone(), set(lock("k"), Item::default())]),
        ("a check of nothing", "t", vec![good.clone(), Write::check(lock("k"), vec![])]),
        ("an empty index key", "t", vec![good.clone(), set(Key::new(Table::Volume, "v"), item("instance_id", ""))]),
        ("an index key of text", "t", vec![good, set(Key::journal("p", "s"), item("updated_at", "now"))]),
    ];
    for (name, token, writes) in cases {
        let answer = store.transact(token, writes).await;
        assert!(matches!(answer, Err(TransactError::Invalid(_))), "{name}: {answer:?}");
    }
    for table in Table::ALL {
        assert_eq!(store.scan(table, None, 1).await?.items, [], "{table:?} is still empty");
    }
    Ok(())
}

/// DynamoDB's limit is ours.
pub async fn a_hundred_writes_are_one_transaction(store: AnyStore) -> CaseResult {
    let keys: Vec<Key> = (0..WRITES_MAX).map(|n| lock(&format!("k{n}"))).collect();
    store.transact("put", keys.iter().map(|key| set(key.clone(), item("n", 1))).collect()).await?;
    let writes = keys.iter().map(|key| set(key.clone(), item("n", 2)));
    let last_fails = writes
        .enumerate()
        .map(|(at, write)| if at + 1 < WRITES_MAX { write } else { Write { conds: vec![Cond::eq("n", 0)], ..write } });
    let Err(TransactError::Refused(refusals)) = store.transact("set", last_fails.collect()).await else {
        return Err("the last condition does not hold".into());
    };
    assert_eq!(refusals.iter().map(|r| r.write).collect::<Vec<_>>(), [WRITES_MAX - 1]);
    let items = store.get_many(&keys).await?;
    assert!(items.iter().all(|i| i.as_ref().and_then(|i| i.n("n")) == Some(1)));
    Ok(())
}

/// More keys than one request holds, some missing, some twice.
pub async fn many_items_come_in_the_order_of_their_keys(store: AnyStore) -> CaseResult {
    let all: Vec<i64> = (0..130).collect();
    for (chunk, numbers) in all.chunks(WRITES_MAX).enumerate() {
        let puts = numbers.iter().map(|n| set(lock(&format!("k{n}")), item("n", *n))).collect();
        store.transact(&format!("put-{chunk}"), puts).await?;
    }
    let wanted: Vec<i64> = all.into_iter().rev().chain([7, 999, 7]).collect();
    let keys: Vec<Key> = wanted.iter().map(|n| lock(&format!("k{n}"))).collect();
    let found: Vec<Option<i64>> = store.get_many(&keys).await?.iter().map(|i| i.as_ref()?.n("n")).collect();
    let expected: Vec<Option<i64>> = wanted.into_iter().map(|n| (n != 999).then_some(n)).collect();
    assert_eq!(found, expected);
    assert_eq!(store.get_many(&[]).await?, []);
    Ok(())
}

/// Range keys are compared by their bytes; the start is inclusive and need not exist.
pub async fn query_starts_where_asked_and_stops_at_the_limit(store: AnyStore) -> CaseResult {
    let order = ["EV#0000000002", "EV#0000000010", "META", "Z", "a", "é", "🦀"];
    for (n, sk) in order.iter().rev().enumerate() {
        let put = |pk: &str| Write::create(Key::journal(pk, *sk), item("at", *sk));
        store.transact(&format!("put-{n}"), vec![put("MIG#1"), put("MIG#12")]).await?;
    }
    let ask = async |from: Option<&str>, limit: usize| -> Result<Vec<String>, StoreError> {
        let items = store.query(Table::Journal, "MIG#1", from, limit).await?;
        Ok(items.iter().filter_map(|i| i.s("at").map(str::to_owned)).collect())
    };
    assert_eq!(ask(None, 100).await?, order);
    assert_eq!(ask(Some("META"), 100).await?, order[2..]);
    assert_eq!(ask(Some("EV#0000000003"), 2).await?, order[1..3]);
    assert_eq!(ask(Some("🦀🦀"), 2).await?, [] as [&str; 0]);
    assert_eq!(store.query(Table::Journal, "MIG#", None, 9).await?, []);
    store.transact("lock", vec![set(lock("k"), item("n", 1))]).await?;
    assert_eq!(store.query(Table::Locks, "k", None, 9).await?.len(), 1);
    Ok(())
}

/// DynamoDB ends a page at 1 MB: 45 events of 32 KB are more than that.
pub async fn query_follows_pages(store: AnyStore) -> CaseResult {
    let evidence = "x".repeat(32_000);
    for n in 0..45_i64 {
        let event = Key::journal("MIG#1", format!("EV#{n:010}"));
        let put = Write::create(event, item("n", n).with("evidence", evidence.as_str()));
        store.transact(&format!("put-{n}"), vec![put]).await?;
    }
    let all = store.query(Table::Journal, "MIG#1", None, 1_000).await?;
    assert_eq!(all.iter().filter_map(|i| i.n("n")).collect::<Vec<_>>(), (0..45).collect::<Vec<_>>());
    let first = store.query(Table::Journal, "MIG#1", Some("EV#0000000001"), 42).await?;
    assert_eq!(first.iter().filter_map(|i| i.n("n")).collect::<Vec<_>>(), (1..43).collect::<Vec<_>>());
    Ok(())
}

/// Rule 8: a free volume has no instance, and so is in no list of an instance.
pub async fn an_index_shows_only_items_that_have_its_attributes(store: AnyStore) -> CaseResult {
    let volume = |n: u8| Key::new(Table::Volume, format!("vol-{n}"));
    let writes = vec![
        set(volume(1), item("instance_id", "i-1").with("tier", "large")),
        set(volume(2), item("tier", "large")),
        set(volume(3), item("instance_id", "i-2")),
    ];
    store.transact("put", writes).await?;
    let ask = async |index: Index, hash: &str| -> Result<BTreeSet<String>, StoreError> {
        let page = store.query_index(index, hash, None, None, 10).await?;
        Ok(page.items.iter().filter_map(|i| i.s("volume_id").map(str::to_owned)).collect())
    };
    let names = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(ask(Index::VolumeByInstance, "i-1").await?, names(&["vol-1"]));
    assert_eq!(ask(Index::VolumeByTier, "large").await?, names(&["vol-1", "vol-2"]));
    let moved = vec![
        Write::update(volume(1), item("tier", "xlarge"), &["instance_id"], vec![]),
        Write::update(volume(2), item("instance_id", "i-1"), &[], vec![]),
    ];
    store.transact("move", moved).await?;
    assert_eq!(ask(Index::VolumeByInstance, "i-1").await?, names(&["vol-2"]));
    assert_eq!(ask(Index::VolumeByTier, "large").await?, names(&["vol-2"]));
    assert_eq!(ask(Index::VolumeByTier, "xlarge").await?, names(&["vol-1"]));
    assert_eq!(ask(Index::GraphByInstance, "i-1").await?, names(&[]), "of another table");
    Ok(())
}

/// Numbers are compared as numbers; pages join without gap or repetition, also between equal numbers.
pub async fn an_index_of_numbers_is_in_order_and_in_pages(store: AnyStore) -> CaseResult {
    let times = [-5, 100, 9, 20, 20, 20, i64::MAX];
    for (n, at) in times.into_iter().enumerate() {
        let meta = Key::journal(format!("MIG#{n}"), "META");
        let other = Write::create(Key::journal(format!("MIG#{n}"), "EV#1"), item("updated_at", at));
        let active = Write::create(meta, item("active_shard", "A0").with("updated_at", at));
        store.transact(&format!("put-{n}"), vec![active, other]).await?;
    }
    let elsewhere = Write::create(Key::journal("MIG#x", "META"), item("active_shard", "A1").with("updated_at", 1));
    store.transact("elsewhere", vec![elsewhere]).await?;
    let (mut found, mut next, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.query_index(Index::JournalActive, "A0", None, next, 2).await?;
        assert!(page.items.len() <= 2);
        found.extend(page.items.into_iter().filter_map(|i| Some((i.n("updated_at")?, i.s("pk")?.to_owned()))));
        pages += 1;
        assert!(pages < 20, "the listing must end");
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), sorted);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), times.len(), "{found:?}");
    Ok(())
}

/// The range attribute may be asked for.
pub async fn an_index_answers_for_one_range(store: AnyStore) -> CaseResult {
    let row = |id: &str, status: &str| {
        set(Key::new(Table::Instance, id), item("cluster_tier", "large").with("status", status))
    };
    let rows = vec![row("i-1", "healthy"), row("i-2", "idle"), row("i-3", "idle"), row("i-4", "retiring")];
    store.transact("put", rows).await?;
    let (mut found, mut next) = (Vec::new(), None);
    for _ in 0..5 {
        let page = store.query_index(Index::InstanceByTierStatus, "large", Some("idle"), next, 1).await?;
        found.extend(page.items.into_iter().filter_map(|i| i.s("instance_id").map(str::to_owned)));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["i-2", "i-3"]);
    assert!(next.is_none());
    Ok(())
}

/// Pages join without gap or repetition.
pub async fn a_scan_shows_every_item_once(store: AnyStore) -> CaseResult {
    let puts = (0..23_i64).map(|n| set(Key::new(Table::Graph, format!("kg{n}")), item("n", n)));
    store.transact("put", puts.collect()).await?;
    store.transact("other", vec![set(lock("k"), item("n", 99))]).await?;
    let (mut found, mut next, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.scan(Table::Graph, next, 5).await?;
        assert!(page.items.len() <= 5);
        found.extend(page.items.iter().filter_map(|i| i.n("n")));
        pages += 1;
        assert!(pages < 30, "the listing must end");
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..23).collect::<Vec<_>>());
    Ok(())
}

/// Faults of ours in reads.
pub async fn malformed_reads_are_refused(store: AnyStore) -> CaseResult {
    let index = Index::JournalActive;
    let page = crate::ports::store::PageKey(item("volume_id", "vol-1"));
    let answers = [
        store.get(&lock("")).await.err(),
        store.get(&Key::new(Table::Journal, "p")).await.err(),
        store.get_many(&[lock("k"), lock("")]).await.err(),
        store.query(Table::Locks, "k", Some("s"), 1).await.err(),
        store.query(Table::Journal, "", None, 1).await.err(),
        store.query(Table::Journal, "p", None, 0).await.err(),
        store.query_index(index, "", None, None, 1).await.err(),
        store.query_index(index, "A0", Some("5"), None, 1).await.err(),
        store.query_index(index, "A0", None, Some(page.clone()), 1).await.err(),
        store.scan(Table::Locks, Some(page), 1).await.err(),
        store.scan(Table::Locks, None, 0).await.err(),
    ];
    for (n, answer) in answers.iter().enumerate() {
        assert!(matches!(answer, Some(StoreError::Invalid(_))), "read {n}: {answer:?}");
    }
    Ok(())
}
