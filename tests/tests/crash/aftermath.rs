//! What must be true after a change that survived: judged from outside, by what the cloud, the services and a watcher
//! show, never by a process's own opinion of itself.

use super::victim::Remains;
use serde_json::Value;
use std::collections::BTreeMap;
use tierctl::summary::{Ending, Summary};
use tiershift_dev::workload;
use tiershift_proto::subscription::v1::{GetGraphRequest, GetTierChangeRequest};

/// The change succeeded; the same volume is on the target; one charge; one snapshot per purpose; no event is missing or
/// double; every acknowledged write is readable.
pub async fn as_if_nothing_had_happened(remains: Remains) {
    let Remains { target, cloud, graph, source, change_id, events, .. } = &remains;
    let request = GetTierChangeRequest { change_id: change_id.clone() };
    let change = target.tiers().expect("an address").get_tier_change(request).await.expect("known").into_inner();
    let change = change.tier_change.expect("present");
    let summary = Summary::of(&change, events.len() as u64).expect("a summary");
    assert_eq!(summary.result, Ending::Succeeded, "{summary:?}\n{events:#?}");
    assert!(summary.writes_blocked_ms > 0 && summary.offline_ms > 0, "{summary:?}");

    // Gapless and without a duplicate, through every restart (invariant 11).
    let seqs: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "{events:#?}");
    let mut highest = BTreeMap::new();
    for event in events {
        let before = highest.insert(format!("{:?}", event.direction), event.permille).unwrap_or(0);
        assert!(event.permille >= before, "progress fell at {event:?}");
    }

    let request = GetGraphRequest { graph_id: graph.clone() };
    let row = target.graphs().expect("an address").get_graph(request).await.expect("known").into_inner();
    let row = row.graph.expect("present");
    assert_eq!(row.tier, "ladybug-large");
    assert_eq!(row.active_change_id, "");
    let serving = row.endpoint.expect("an endpoint").instance_id;
    assert_ne!(&serving, source, "the graph serves where it did");

    the_cloud_agrees(&remains_ledger(cloud).await, change_id);

    let audit = workload::audit(cloud, graph).await.expect("an audit");
    assert!(audit.acknowledged > 0, "the customer wrote nothing");
    assert_eq!((audit.missing_count, audit.readable), (0, audit.acknowledged), "acknowledged writes are lost");
    one_charge(&remains, change_id);
}

/// By the provider's own book: one request of this change was carried out, the charge, and nothing was given back.
fn one_charge(remains: &Remains, change_id: &str) {
    let book = std::fs::read_to_string(&remains.payments_book).expect("the provider's book");
    let entries: Vec<Value> = book.lines().map(|l| serde_json::from_str(l).expect("an entry")).collect();
    let mine: Vec<&Value> = entries.iter().filter(|e| e["change"] == change_id).collect();
    assert_eq!(mine.len(), 1, "{mine:#?}");
    assert_eq!(mine[0]["key"], format!("{change_id}/forward"));
    assert!(mine[0]["amount_cents"].as_i64().expect("an amount") > 0, "{mine:#?}");
}

async fn remains_ledger(cloud: &tiershift_dev::cloud::Cloud) -> Vec<Value> {
    let page: Value = cloud.get("/sim/ledger?after=0&limit=100000").await.expect("the ledger");
    page["entries"].as_array().expect("entries").clone()
}

/// By the cloud's own ledger: one snapshot per purpose, one instance launched, one detach from the source and one
/// attach to the target that took effect, each however often it was asked for.
fn the_cloud_agrees(ledger: &[Value], change_id: &str) {
    let done = |action: &str| -> Vec<&Value> {
        ledger.iter().filter(|e| e["action"] == action && e["outcome"] == "ok").collect()
    };
    let snapshots = done("CreateSnapshot");
    for purpose in ["safety", "final"] {
        let mine = snapshots.iter().filter(|e| {
            let text = e["parameters"].to_string();
            text.contains(change_id) && text.contains(purpose)
        });
        assert_eq!(mine.count(), 1, "{purpose} snapshots: {snapshots:#?}");
    }
    assert_eq!(done("AttachVolume").len(), 1, "{:#?}", done("AttachVolume"));
    assert_eq!(done("DetachVolume").len(), 1, "{:#?}", done("DetachVolume"));
}
