//! One migration, with the other service's part of it played here in as few words as possible: start, confirm the gate,
//! watch. And a customer who writes whenever the engine lets him, without asking any gate.

use super::crew::{BOUND, Crew, LOOK_EVERY};
use cloud_sim::seed::FleetGraph;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tierctl::connect::Target;
use tiershift_core::ids::ChangeId;
use tiershift_dev::cloud::Cloud;
use tiershift_proto::volume::v1::{ConfirmGateRequest, MigrationSpec, StartMigrationRequest};
use tokio_util::sync::{CancellationToken, DropGuard};
use volume_core::stage::Stage;
use volume_svc::journal::{Head, Journal};

/// Longest that one call may take before it is made again: whoever it went to may be stopped or cut off.
const CALL: Duration = Duration::from_secs(2);

/// Between two writes of the customer.
const PACE: Duration = Duration::from_millis(40);

/// The longest block of writes that a request may ask for: no change is to turn back because its drivers die.
const WRITE_BLOCK_MS: i64 = 3_600_000;

/// A migration under way.
#[derive(Debug)]
pub struct Journey {
    /// Its id.
    pub id: ChangeId,
    /// What is moved, as it was seeded.
    pub graph: FleetGraph,
    /// Writes that the engines acknowledged.
    pub acknowledged: Arc<AtomicU64>,
    journal: Journal,
    _end: DropGuard,
}

/// What a caller of volume-svc needs.
#[derive(Clone, Debug)]
struct Caller {
    target: Target,
    journal: Journal,
    id: ChangeId,
}

impl Journey {
    /// Begins to move a seeded small graph to the large tier, and returns when the migration is accepted.
    pub async fn begin(crew: &Crew, graph: &str) -> Self {
        Self::move_by(crew, &crew.target, &crew.graph(graph), ["ladybug-standard", "ladybug-large"]).await
    }

    /// Begins to move a graph from one tier to another, and returns when the migration is accepted by `first`; every later
    /// call goes to whom the crew's calls reach.
    pub async fn move_by(crew: &Crew, first: &Target, graph: &FleetGraph, [from, to]: [&str; 2]) -> Self {
        let id = ChangeId::parse(format!("chg_{}", ulid::Ulid::generate())).expect("a change id");
        let caller = Caller { target: crew.target.clone(), journal: crew.journal.clone(), id: id.clone() };
        let request = StartMigrationRequest {
            migration_id: id.to_string(),
            spec: Some(MigrationSpec {
                graph_id: graph.graph_id.clone(),
                source_tier: from.to_owned(),
                target_tier: to.to_owned(),
                target_instance_type: String::new(),
                storage_limit_bytes: 0,
                max_write_block_ms: WRITE_BLOCK_MS,
            }),
            requested_by: "user_ada".to_owned(),
            request_fingerprint: "0".repeat(64),
        };
        caller.start(first, request).await;
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(caller.clone().confirm()));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let customer = write(crew.cloud.clone(), caller, graph.clone(), Arc::clone(&acknowledged));
        tokio::spawn(end.clone().run_until_cancelled_owned(customer));
        let journal = crew.journal.clone();
        Self { id, graph: graph.clone(), acknowledged, journal, _end: end.drop_guard() }
    }

    /// The head of its journal.
    pub async fn head(&self) -> Head {
        self.journal.head(&self.id).await.expect("the journal can be read").expect("there is one")
    }

    /// Waits until its head is as wanted; panics with the journal when it is not within the bound.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Head) -> bool) -> Head {
        let begun = Instant::now();
        loop {
            let head = self.head().await;
            if wanted(&head) {
                return head;
            }
            let late = begun.elapsed() > BOUND;
            assert!(!late, "{what} did not come within {BOUND:?}:\n{}", self.told().await);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a stage is entered.
    pub async fn until_stage(&self, stage: Stage) -> Head {
        self.until(stage.name(), |head| head.view.stage >= stage).await
    }

    /// Waits until nothing is owed any more.
    pub async fn until_done(&self) -> Head {
        self.until("the end", |head| head.done_at.is_some()).await
    }

    /// Its journal for people.
    pub async fn told(&self) -> String {
        told(&self.journal, &self.id).await
    }
}

/// A journal for people.
pub async fn told(journal: &Journal, id: &ChangeId) -> String {
    let entries = journal.entries(id, 1).await.expect("the journal can be read");
    let Some(first) = entries.first().map(|entry| entry.at) else { return String::new() };
    let line = |entry: &volume_core::fact::Entry| {
        let fact = serde_json::to_string(&entry.fact).unwrap_or_default();
        format!("{:>9} {:>3} {fact}\n", entry.at.since(first), entry.seq)
    };
    entries.iter().map(line).collect()
}

impl Caller {
    /// Asks until it is in the journal. A repeat of the same request is the same migration.
    async fn start(&self, first: &Target, request: StartMigrationRequest) {
        let mut client = first.migrations().expect("an address");
        let begun = Instant::now();
        loop {
            let answer = tokio::time::timeout(CALL, client.start_migration(request.clone())).await;
            match answer {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => {
                    let later = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Aborted);
                    assert!(later && begun.elapsed() < BOUND, "not accepted: {status:?}");
                }
                Err(_) => assert!(begun.elapsed() < BOUND, "nobody accepts it"),
            }
            tokio::time::sleep(LOOK_EVERY * 5).await;
        }
    }

    /// Confirms the gate when it is asked for, again and again until the journal says that it is confirmed.
    async fn confirm(self) {
        let mut client = self.target.migrations().expect("an address");
        loop {
            if let Ok(Some(head)) = self.journal.head(&self.id).await {
                if head.view.gate_confirmed || head.done_at.is_some() {
                    return;
                }
                if let (Stage::Gate, Some(gate)) = (head.view.stage, head.view.gate_id) {
                    let request = ConfirmGateRequest {
                        migration_id: self.id.to_string(),
                        gate_id: i64::try_from(gate).unwrap_or(i64::MAX),
                        store_epoch: head.store_epoch,
                    };
                    // What became of it is in the journal.
                    let _answer = tokio::time::timeout(CALL, client.confirm_gate(request)).await;
                }
            }
            tokio::time::sleep(LOOK_EVERY * 5).await;
        }
    }
}

/// Writes to the source, or to the target if the source refuses: behind every wall but the engines' own.
async fn write(cloud: Cloud, caller: Caller, graph: FleetGraph, acknowledged: Arc<AtomicU64>) {
    let first = u64::from(caller.id.as_str().bytes().rev().take(4).fold(0_u32, |sum, byte| sum << 8 | u32::from(byte)));
    let (mut next, mut at) = (first << 24, graph.instance_id.clone());
    loop {
        next += 1;
        let path = format!("/engine/{at}/{}/write", graph.graph_id);
        let answer: Result<Value, _> = cloud.post(&path, &json!({ "write_id": next })).await;
        if answer.is_ok() {
            acknowledged.fetch_add(1, Ordering::Relaxed);
        } else if let Ok(Some(head)) = caller.journal.head(&caller.id).await {
            let source = head.spec.map(|spec| spec.source.instance.to_string());
            let other = if source.as_ref() == Some(&at) { head.view.target } else { source };
            at = other.unwrap_or(at);
        }
        tokio::time::sleep(PACE).await;
    }
}
