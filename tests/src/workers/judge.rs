//! What must hold after a change whose workers were stopped, killed or cut off: by the cloud's ledger, the engines' log,
//! the journal and the rows; never by a worker's own opinion of itself.

use super::crew::{BOUND, Crew, LOOK_EVERY};
use super::journey::{Journey, told};
use cloud_sim::api::Service;
use cloud_sim::api::control::{EngineEvent, EngineLogPage, LedgerEntry, LedgerPage, WriteAudit};
use cloud_sim::api::engine::Door;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tiershift_core::ids::ChangeId;
use tiershift_dev::cloud::Cloud;
use volume_core::effect::Effect;
use volume_core::fact::{Entry, Fact};
use volume_core::item::Table;
use volume_core::state::{End, Migration};
use volume_svc::journal::holder;
use volume_svc::world::{TAG_MIGRATION, TAG_STEP};

/// The cloud's calls after a sequence number.
pub async fn ledger_after(cloud: &Cloud, seq: u64) -> Vec<LedgerEntry> {
    let page: LedgerPage = cloud.get(&format!("/sim/ledger?after={seq}")).await.expect("the ledger");
    assert!(page.oldest_seq <= seq + 1, "the ledger has forgotten what was not read yet");
    page.entries
}

/// All of the cloud's calls.
pub async fn ledger(cloud: &Cloud) -> Vec<LedgerEntry> {
    ledger_after(cloud, 0).await
}

/// Waits until an action is called behind so many calls.
pub async fn until_called(cloud: &Cloud, behind: usize, action: &str) {
    let begun = Instant::now();
    while !ledger_after(cloud, behind as u64).await.iter().any(|call| call.action == action) {
        assert!(begun.elapsed() < BOUND, "{action} did not arrive");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Calls of an action that concern an instance, a volume or a migration, whatever they were answered.
pub fn calls<'a>(ledger: &'a [LedgerEntry], action: &str, of: &str) -> Vec<&'a LedgerEntry> {
    let concerns = |entry: &&LedgerEntry| entry.parameters.values().any(|value| value == of);
    ledger.iter().filter(|entry| entry.action == action).filter(concerns).collect()
}

/// Effects of one migration that happened more than once, in words; empty as it should be. What is harmless when it is
/// repeated (protection, tags, commands to agents under one fence) is not counted.
pub fn doubled(ledger: &[LedgerEntry], id: &ChangeId, entries: &[Entry]) -> Vec<String> {
    let mut happened: BTreeMap<String, u32> = BTreeMap::new();
    let mut launched: Vec<&str> = Vec::new();
    for intent in entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Intent { effect, token, .. } => Some((effect, token.as_str())),
        _ => None,
    }) {
        let ok = |action: &str, wanted: &[(&str, &str)]| {
            let is = |call: &&LedgerEntry| {
                let matches = |(key, value): &(&str, &str)| call.parameters.get(*key).is_some_and(|v| v == value);
                call.action == action && call.outcome == "ok" && wanted.iter().all(matches)
            };
            u32::try_from(ledger.iter().filter(is).count()).unwrap_or(u32::MAX)
        };
        let (instance, device) = ("instance_id", "device");
        let (line, times) = match intent.0 {
            Effect::Snapshot { purpose } => {
                let (migration, step) = (format!("tag:{TAG_MIGRATION}"), format!("tag:{TAG_STEP}"));
                let wanted = [(migration.as_str(), id.as_str()), (step.as_str(), purpose.name())];
                (format!("CreateSnapshot {}", purpose.name()), ok("CreateSnapshot", &wanted))
            }
            Effect::Attach { instance: on, device: at } => {
                let wanted = [(instance, on.as_str()), (device, at.as_str())];
                (format!("AttachVolume {on} {at}"), ok("AttachVolume", &wanted))
            }
            Effect::Detach { instance: on, device: at } => {
                let wanted = [(instance, on.as_str()), (device, at.as_str())];
                (format!("DetachVolume {on} {at}"), ok("DetachVolume", &wanted))
            }
            Effect::Terminate { instance: on, .. } => {
                let action = "TerminateInstanceInAutoScalingGroup";
                (format!("{action} {on}"), ok(action, &[(instance, on.as_str())]))
            }
            Effect::DeleteSnapshot { snapshot } => {
                let wanted = [("snapshot_id", snapshot.as_str())];
                (format!("DeleteSnapshot {snapshot}"), ok("DeleteSnapshot", &wanted))
            }
            // The same token again is the same instance.
            Effect::Launch { .. } => {
                if ok("LaunchInstances", &[("client_token", intent.1)]) > 0 && !launched.contains(&intent.1) {
                    launched.push(intent.1);
                }
                ("LaunchInstances".to_owned(), u32::try_from(launched.len()).unwrap_or(u32::MAX))
            }
            _ => continue,
        };
        happened.insert(line, times);
    }
    happened.into_iter().filter(|(_, times)| *times > 1).map(|(line, times)| format!("{line} {times} times")).collect()
}

/// What must hold of a change that is over and was to move: nothing happened twice.
pub async fn moved(crew: &Crew, journey: &Journey) {
    moved_but(crew, journey, &[]).await;
}

/// The same, but for what is allowed to have happened twice, in the words of `doubled`.
pub async fn moved_but(crew: &Crew, journey: &Journey, allowed: &[String]) {
    let state = ended(crew, journey, End::Moved, allowed).await;
    let target = state.target.as_ref().map(|target| target.instance.to_string());
    serves(crew, journey, target).await;
}

/// What must hold of a change that had to turn back.
pub async fn rolled_back(crew: &Crew, journey: &Journey) {
    ended(crew, journey, End::RolledBack, &[]).await;
    serves(crew, journey, Some(journey.graph.instance_id.clone())).await;
}

/// It ended so, with no loose end, and the cloud and the tables agree.
async fn ended(crew: &Crew, journey: &Journey, end: End, allowed: &[String]) -> Migration {
    let id = &journey.id;
    let told = told(&crew.journal, id).await;
    let entries = crew.journal.entries(id, 1).await.expect("the journal can be read");
    let state = Migration::replay(id, &entries).expect("the journal folds");
    assert_eq!(state.end, Some(end), "{told}");
    assert!(state.open.is_none(), "an intent without an outcome (F8):\n{told}");
    let ledger = ledger(&crew.cloud).await;
    assert_eq!(doubled(&ledger, id, &entries), allowed, "{told}");
    assert_eq!(fences_only_grow(&ledger), [""; 0]);
    let mut engines = Engines::default();
    engines.read_on(&crew.cloud).await;
    assert_eq!(engines.faults, [""; 0]);
    nothing_is_held(crew, id).await;
    state
}

/// The graph is open where it should be, and every acknowledged write can be read (invariant 13).
async fn serves(crew: &Crew, journey: &Journey, on: Option<String>) {
    let path = format!("/sim/audit/{}", journey.graph.graph_id);
    let audit: WriteAudit = crew.cloud.get(&path).await.expect("an audit");
    assert_eq!(audit.open_on, on, "the engine that has it open");
    assert_eq!(audit.missing_count, 0, "acknowledged writes are gone: {audit:?}");
    let acknowledged = journey.acknowledged.load(Ordering::Relaxed);
    assert!(acknowledged > 0 && audit.acknowledged >= acknowledged, "{acknowledged} writes of {audit:?}");
}

/// F5: an agent that obeyed one fence obeys no lower one afterwards. Faults in words.
pub fn fences_only_grow(ledger: &[LedgerEntry]) -> Vec<String> {
    let mut highest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut faults = Vec::new();
    for call in ledger.iter().filter(|call| call.service == Service::Agent && call.outcome == "ok") {
        let [Some(instance), Some(volume), Some(fence)] =
            ["instance_id", "volume_id", "fence"].map(|key| call.parameters.get(key))
        else {
            continue;
        };
        let fence: i64 = fence.parse().expect("a number");
        let before = highest.insert((instance, volume), fence).unwrap_or(fence);
        if fence < before {
            faults.push(format!("obeyed {fence} after {before}: {call:?}"));
        }
    }
    faults
}

/// Invariants 2 and 14, as the engines' log is read on: at most one engine has a volume open, a shut door takes no write,
/// and no detach loses one.
#[derive(Debug, Default)]
pub struct Engines {
    read: u64,
    open: BTreeMap<String, String>,
    doors: BTreeMap<String, Door>,
    /// What was broken, in words.
    pub faults: Vec<String>,
}

impl Engines {
    /// Takes what is new in the log.
    pub async fn read_on(&mut self, cloud: &Cloud) {
        let page: EngineLogPage = cloud.get(&format!("/sim/engine-log?after={}", self.read)).await.expect("the log");
        assert!(page.oldest_seq <= self.read + 1, "the log has forgotten what was not read yet");
        for entry in page.entries {
            self.read = entry.seq;
            let (volume, instance) = (entry.volume_id.clone(), entry.instance_id.clone());
            let holds = match &entry.event {
                EngineEvent::Opened => self.open.insert(volume, instance).is_none(),
                EngineEvent::Closed { .. } => {
                    self.doors.remove(&volume);
                    self.open.remove(&volume) == Some(instance)
                }
                EngineEvent::Door { door } => {
                    self.doors.insert(volume, *door);
                    true
                }
                EngineEvent::Write { .. } => self.doors.get(&volume) == Some(&Door::Open),
                EngineEvent::Lost { .. } => false,
            };
            if !holds {
                self.faults.push(format!("{entry:?}"));
            }
        }
    }
}

/// No lock, permit or mark in any row names the migration.
async fn nothing_is_held(crew: &Crew, id: &ChangeId) {
    for table in [Table::Locks, Table::Graph, Table::Volume, Table::Instance] {
        let mut page = None;
        loop {
            let found = crew.journal.store().scan(table, page, 1_000).await.expect("the tables can be read");
            for item in found.items {
                let named = ["holder", "ts_migration"].iter().any(|name| item.s(name) == Some(id.as_str()));
                let permit = item.0.contains_key(&holder(id.as_str()));
                assert!(!named && !permit, "{id} still holds {item:?}");
            }
            page = found.next;
            if page.is_none() {
                break;
            }
        }
    }
}
