//! What calls for a human and with which words; and what the desk makes of a slow, a broken and a forgetful outside.

use super::*;
use crate::ports::store::Store;
use crate::store::memory::Memory;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tiershift_core::ids::{GroupName, TierName, WorkerId, Zone};
use volume_core::Machine;
use volume_core::effect::Engine;
use volume_core::fact::{Party, Resume, SCHEMA, Spec};
use volume_core::settings::Settings;

fn id() -> ChangeId {
    ChangeId::parse(format!("chg_{:026}", 1)).unwrap()
}

/// A migration that has just been accepted, but for its direction.
pub(crate) fn migration(direction: Direction) -> Migration {
    let engine = Engine { engine: "ladybug".to_owned(), version: "1".to_owned(), format: "1".to_owned() };
    let spec = Spec {
        id: id(),
        graph: GraphId::parse("kg0123456789abcdef").unwrap(),
        volume: VolumeId::parse("vol-0123456789abcdef0").unwrap(),
        zone: Zone::parse("us-east-1a").unwrap(),
        device: "/dev/sdf".to_owned(),
        source: Party {
            instance: InstanceId::parse("i-0123456789abcdef0").unwrap(),
            private_ip: "10.0.0.1".to_owned(),
            endpoint_url: None,
            group: GroupName::parse("g").unwrap(),
            launched: false,
        },
        engine,
        source_tier: TierName::parse("ladybug-standard").unwrap(),
        target_tier: TierName::parse("ladybug-large").unwrap(),
        target_group: GroupName::parse("h").unwrap(),
        storage_limit_bytes: None,
        max_write_block_ms: 1,
        requested_by: "u".to_owned(),
        fingerprint: "f".to_owned(),
        store_epoch: 1,
    };
    let worker = WorkerId::parse("w-1").unwrap();
    let started = Machine::start(spec, &worker, 1, &Settings::default(), UnixMs(5)).unwrap();
    Migration { direction, ..started.after }
}

fn entry(seq: u64, fact: Fact) -> Entry {
    Entry { schema: SCHEMA, seq, at: UnixMs(7), fact, public: None }
}

fn stuck(reason: Reason) -> Fact {
    Fact::Stuck { reason, detail: "why".to_owned() }
}

fn back(reason: Reason) -> Fact {
    Fact::UndoBegun { reason, detail: "why".to_owned(), by: None }
}

#[test]
fn a_fact_calls_for_a_human_by_its_reason_and_else_by_its_direction() {
    use Direction::{Forward, Settle, Undo};
    let cases = [
        (stuck(Reason::ForeignHolder), Forward, Some(Kind::ForeignHolder)),
        (stuck(Reason::ForeignHolder), Undo, Some(Kind::ForeignHolder)),
        (stuck(Reason::SourceLost), Forward, Some(Kind::SourceLost)),
        (stuck(Reason::RegistryConflict), Undo, Some(Kind::ForeignWriter)),
        (stuck(Reason::UndoFailed), Undo, Some(Kind::UndoFailed)),
        (stuck(Reason::DetachFailed), Undo, Some(Kind::UndoFailed)),
        (stuck(Reason::DetachFailed), Forward, Some(Kind::Stuck)),
        (stuck(Reason::SnapshotFailed), Settle, Some(Kind::Stuck)),
        (back(Reason::SourceLost), Undo, Some(Kind::SourceLost)),
        (back(Reason::RegistryConflict), Undo, Some(Kind::ForeignWriter)),
        (back(Reason::CanceledByRequest), Undo, None),
        (Fact::RolledBack, Undo, None),
        (Fact::Opened, Forward, None),
    ];
    for (fact, direction, kind) in cases {
        let alert = Alert::of(&migration(direction), &entry(9, fact.clone()));
        assert_eq!(alert.as_ref().map(|a| a.kind), kind, "{fact:?} {direction:?}");
        if let Some(alert) = alert {
            assert_eq!(alert.occurrence, format!("{}/9", id()), "it hangs on the entry");
        }
    }
}

#[test]
fn a_journal_calls_for_a_human_for_what_came_behind_the_last_one() {
    let resumed = Fact::Resumed { action: Resume::Retry, by: "o".to_owned(), note: "n".to_owned() };
    let entries = [
        entry(3, stuck(Reason::DetachFailed)),
        entry(4, resumed),
        entry(5, back(Reason::SourceLost)),
        entry(6, Fact::Progress { percent: 1 }),
        entry(7, stuck(Reason::UndoFailed)),
    ];
    let alerts = Alert::all_of(&migration(Direction::Undo), &entries);
    let kinds: Vec<_> = alerts.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, [Kind::SourceLost, Kind::UndoFailed]);
    assert_eq!(Alert::all_of(&migration(Direction::Undo), &entries[..2]), []);
}

#[test]
fn a_message_has_always_the_same_keys_and_says_what_to_do() {
    let keys = [
        "at_ms",
        "detail",
        "direction",
        "environment",
        "graph_id",
        "instances",
        "kind",
        "migration_id",
        "next_step",
        "occurrence",
        "reason",
        "schema",
        "snapshots",
        "stage",
        "volume_at",
        "volume_id",
    ];
    let full = Alert::of(&migration(Direction::Forward), &entry(9, stuck(Reason::DetachFailed))).unwrap();
    let bare = Alert::unknown_code("AttachVolume", "Brand.New", UnixMs(3_600_000));
    for alert in [&full, &bare] {
        let message = alert.message("prod");
        let mut found: Vec<&String> = message.as_object().unwrap().keys().collect();
        found.sort();
        assert_eq!(found, keys.iter().collect::<Vec<_>>());
    }
    let message = full.message("prod");
    assert_eq!(message["kind"], "stuck");
    assert_eq!(message["reason"], "DETACH_FAILED");
    assert_eq!(message["direction"], "forward");
    assert_eq!(message["stage"], "preflight");
    assert_eq!(message["volume_at"], "i-0123456789abcdef0 /dev/sdf");
    assert_eq!(message["instances"], serde_json::json!(["i-0123456789abcdef0"]));
    for kind in Kind::ALL {
        assert!(!kind.next_step().is_empty() && !kind.as_str().is_empty());
        assert_eq!(Kind::ALL.iter().filter(|other| other.as_str() == kind.as_str()).count(), 1);
    }
    let long = Alert::defect(&migration(Direction::Forward), &"é".repeat(5_000), UnixMs(1));
    assert_eq!(long.detail.chars().count(), DETAIL_MAX);
}

#[test]
fn an_unknown_code_is_one_occurrence_an_hour_for_each_call() {
    let of = |call: &str, code: &str, at: i64| Alert::unknown_code(call, code, UnixMs(at)).occurrence;
    assert_eq!(of("AttachVolume", "New", 0), of("AttachVolume", "New", CODE_EVERY_MS - 1));
    assert_ne!(of("AttachVolume", "New", 0), of("AttachVolume", "New", CODE_EVERY_MS));
    assert_ne!(of("AttachVolume", "New", 0), of("DetachVolume", "New", 0));
    assert_ne!(of("AttachVolume", "New", 0), of("AttachVolume", "Newer", 0));
}

// ---- The desk ----

/// An outside that answers what it is told to, or never.
#[derive(Debug)]
struct Outside {
    answer: Option<Result<(), NotPublished>>,
    asked: AtomicUsize,
}

impl Outside {
    fn new(answer: Option<Result<(), NotPublished>>) -> Arc<Self> {
        Arc::new(Self { answer, asked: AtomicUsize::new(0) })
    }

    fn refusing(again: bool) -> Arc<Self> {
        Self::new(Some(Err(NotPublished { code: "No".to_owned(), again })))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Publisher for Outside {
    async fn publish(&self, _alert: &Alert) -> Result<(), NotPublished> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.answer.clone() {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

fn about(n: i64) -> Alert {
    Alert::unknown_code("AttachVolume", "Brand.New", UnixMs(n * CODE_EVERY_MS))
}

#[tokio::test(start_paused = true)]
async fn what_the_store_marks_as_told_is_not_told_again_by_whoever_comes_next() {
    let (store, outside) = (store(), Outside::new(Some(Ok(()))));
    let first = Desk::start(outside.clone(), Arc::clone(&store));
    first.raise(about(1));
    first.raise(about(1));
    first.raise(about(2));
    first.finish().await;
    assert_eq!(first.counts(), Counts { published: 2, ..Counts::default() });
    // Another process, over the same store.
    let second = Desk::start(outside.clone(), store);
    second.raise(about(1));
    second.raise(about(3));
    second.finish().await;
    assert_eq!(second.counts(), Counts { published: 1, known: 1, ..Counts::default() });
    assert_eq!(outside.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_again_a_bounded_number_of_times_and_not_marked() {
    let store = store();
    for (again, tries) in [(true, 6), (false, 1)] {
        let outside = Outside::refusing(again);
        let desk = Desk::start(outside.clone(), Arc::clone(&store));
        desk.raise(about(1));
        desk.finish().await;
        assert_eq!((outside.asked(), desk.counts().failed), (tries, 1));
    }
    let outside = Outside::new(Some(Ok(())));
    let desk = Desk::start(outside.clone(), store);
    desk.raise(about(1));
    desk.finish().await;
    assert_eq!(outside.asked(), 1, "whoever raises it next has it told");
}

#[tokio::test(start_paused = true)]
async fn an_outside_that_never_answers_holds_nobody_up() {
    let outside = Outside::new(None);
    let desk = Desk::start(outside.clone(), store());
    desk.raise(about(0));
    while outside.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // One is with the publisher, and this many wait. `raise` is no future: it cannot wait.
    let room = i64::try_from(QUEUE_MAX).unwrap();
    (1..=room + 2).for_each(|n| desk.raise(about(n)));
    assert_eq!(desk.counts(), Counts { dropped: 2, ..Counts::default() });
    // What was dropped counts as never raised.
    desk.raise(about(room + 1));
    desk.raise(about(1));
    assert_eq!(desk.counts().dropped, 3);
    assert!(tokio::time::timeout(Duration::from_secs(5), desk.finish()).await.is_err(), "its caller has a bound");
}
