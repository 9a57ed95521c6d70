//! Cases about reads: keys, queries, indexes, scans.

use super::{AnyStore, CaseResult, item, lock, set};
use crate::ports::store::{PageKey, StoreError, WRITES_MAX};
use std::collections::BTreeSet;
use volume_core::item::{Index, Item, Key, Table, Write};

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

/// The index of live migrations is read whole every second: it shows what a hint is, and nothing that makes it dear.
pub async fn the_index_of_live_migrations_shows_no_more_than_a_hint(store: AnyStore) -> CaseResult {
    let head = item("active_shard", "A0").with("updated_at", 1).with("owner", "w-1").with("version", 7);
    let heavy = head.with("view", "x".repeat(5_000)).with("graph_id", "kg1").with("created_at", 1);
    store.transact("put", vec![Write::create(Key::journal("MIG#1", "META"), heavy.clone())]).await?;
    let shown = store.query_index(Index::JournalActive, "A0", None, None, 10).await?.items;
    let names = |item: &Item| item.0.keys().cloned().collect::<Vec<_>>();
    let hint: Vec<_> = shown.iter().map(names).collect();
    assert_eq!(hint, [["active_shard", "owner", "pk", "sk", "updated_at", "version"]]);
    assert_eq!((shown[0].s("owner"), shown[0].n("version")), (Some("w-1"), Some(7)));
    let whole = store.query_index(Index::JournalByGraph, "kg1", None, None, 10).await?.items;
    assert_eq!(whole.iter().map(|item| item.s("view")).collect::<Vec<_>>(), [heavy.s("view")]);
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
    let page = PageKey(item("volume_id", "vol-1"));
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
