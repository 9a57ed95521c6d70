//! Cases about transactions: conditions, refusals, tokens, races.

use super::{AnyStore, CaseResult, item, lock, set};
use crate::ports::Source;
use crate::ports::store::{StoreError, TransactError, WRITES_MAX};
use std::collections::BTreeSet;
use std::sync::Arc;
use volume_core::item::{Cond, Item, Key, Op, Table, Write};

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

/// A number is added to without being read, from nothing on and below a limit, with an attribute for each who adds.
pub async fn counting_needs_no_sight_of_the_others(store: AnyStore) -> CaseResult {
    let key = lock("PERMIT#counted");
    let mut tasks = Vec::new();
    for task in 0..16 {
        let (store, key) = (Arc::clone(&store), key.clone());
        tasks.push(tokio::spawn(async move {
            let below = vec![Cond::AbsentOrBelow("n".to_owned(), 10)];
            let add = Write::count(key, ("n", 1), item(&format!("holder#{task}"), true), &[], below);
            match transact(&store, &format!("count-{task}"), vec![add]).await {
                Ok(()) => Ok(1),
                Err(TransactError::Refused(_)) => Ok(0),
                Err(other) => Err(Source::from(other)),
            }
        }));
    }
    let mut added = 0;
    for task in tasks {
        added += task.await??;
    }
    assert_eq!(added, 10, "the limit is reached and not passed");
    let full = store.get(&key).await?.ok_or("there is an item")?;
    let holders: Vec<String> = full.0.keys().filter(|name| name.starts_with("holder#")).cloned().collect();
    assert_eq!((full.n("n"), holders.len()), (Some(10), 10));
    let give = Write::count(key.clone(), ("n", -1), Item::default(), &[&holders[0]], vec![]);
    store.transact("give", vec![give]).await?;
    let less = store.get(&key).await?.ok_or("there is an item")?;
    assert_eq!((less.n("n"), less.0.contains_key(&holders[0])), (Some(9), false));
    let twice = Write::count(key.clone(), ("n", 1), item("n", 1), &[], vec![]);
    assert!(matches!(store.transact("twice", vec![twice]).await, Err(TransactError::Invalid(_))));
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
