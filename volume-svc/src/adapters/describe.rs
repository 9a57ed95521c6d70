//! The batching describer: every poll of a volume, instance or snapshot goes through here (rule 11), so that the
//! number of Describe calls grows with time and not with migrations.
//!
//! Ids are collected for a window and asked for together, in filter form. Nobody gets an answer older than the
//! question: a question that arrives while a call is out waits for the next one. It retries nothing and remembers
//! nothing; a throttled call makes the next windows longer, and its askers get the error. Two agreeing reads
//! (rule 12) are two questions, and the asker's business.

use crate::ports::cloud::{
    ApiError, Class, Ec2Api, FILTER_VALUES_MAX, Instance, Snapshot, SnapshotFilter, Volume, VolumeFilter,
};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use tiershift_common::clock::Clock;
use tiershift_core::ids::{InstanceId, SnapshotId, VolumeId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

/// How long ids are collected, in milliseconds of the clock: a third of a poll interval, and two agreeing reads
/// 0.3 s apart (N2) then fall into two windows.
pub const WINDOW_MS: i64 = 300;

/// Windows after one and after more throttled calls in a row, in milliseconds of the clock (section 11).
const SLOW_WINDOWS_MS: [i64; 2] = [2_000, 5_000];

/// Calls of one kind that may be out at a time, so that a slow one does not hold up the rest: with batches of 200,
/// four carry 800 questions.
const CALLS_MAX: usize = 4;

/// Questions that may wait to be collected; more wait in their askers.
const QUEUE: usize = 1_024;

type Answer<T> = Result<Option<T>, ApiError>;
type Asker<T> = oneshot::Sender<Answer<T>>;
type Describe<I, T> = Box<dyn Fn(Vec<I>) -> BoxFuture<'static, Result<Vec<T>, ApiError>> + Send + Sync>;

/// The describer. Clones share its tasks, which end with the last clone.
#[derive(Clone, Debug)]
pub struct Describer {
    volumes: Queue<VolumeId, Volume>,
    instances: Queue<InstanceId, Instance>,
    snapshots: Queue<SnapshotId, Snapshot>,
}

impl Describer {
    /// Starts its tasks on the present runtime.
    pub fn start(ec2: &Arc<dyn Ec2Api>, clock: &Arc<dyn Clock>, window_ms: i64) -> Self {
        let (api, now) = (Arc::clone(ec2), Arc::clone(clock));
        let volumes = Queue::start(
            now,
            window_ms,
            |volume: &Volume| volume.volume_id.clone(),
            move |ids| {
                let api = Arc::clone(&api);
                Box::pin(async move { api.describe_volumes(&VolumeFilter { ids, ..VolumeFilter::default() }).await })
            },
        );
        let (api, now) = (Arc::clone(ec2), Arc::clone(clock));
        let instances = Queue::start(
            now,
            window_ms,
            |instance: &Instance| instance.instance_id.clone(),
            move |ids| {
                let api = Arc::clone(&api);
                Box::pin(async move { api.describe_instances(&ids).await })
            },
        );
        let (api, now) = (Arc::clone(ec2), Arc::clone(clock));
        let snapshots = Queue::start(
            now,
            window_ms,
            |snapshot: &Snapshot| snapshot.snapshot_id.clone(),
            move |ids| {
                let api = Arc::clone(&api);
                Box::pin(
                    async move { api.describe_snapshots(&SnapshotFilter { ids, ..SnapshotFilter::default() }).await },
                )
            },
        );
        Self { volumes, instances, snapshots }
    }

    /// The volume as one read saw it; none if the read did not show it, which proves nothing yet (rule 14).
    pub async fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, ApiError> {
        self.volumes.ask("DescribeVolumes", id).await
    }

    /// The instance as one read saw it; none if the read did not show it.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, ApiError> {
        self.instances.ask("DescribeInstances", id).await
    }

    /// The snapshot as one read saw it; none if the read did not show it.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, ApiError> {
        self.snapshots.ask("DescribeSnapshots", id).await
    }
}

/// The questions of one kind.
#[derive(Debug)]
struct Queue<I, T> {
    questions: mpsc::Sender<(I, Asker<T>)>,
}

impl<I, T> Clone for Queue<I, T> {
    fn clone(&self) -> Self {
        Self { questions: self.questions.clone() }
    }
}

impl<I, T> Queue<I, T>
where
    I: Clone + Ord + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn start(
        clock: Arc<dyn Clock>,
        window_ms: i64,
        id_of: fn(&T) -> I,
        describe: impl Fn(Vec<I>) -> BoxFuture<'static, Result<Vec<T>, ApiError>> + Send + Sync + 'static,
    ) -> Self {
        let (questions, received) = mpsc::channel(QUEUE);
        let collector = Collector { clock, window_ms, id_of, describe: Box::new(describe), throttled: 0 };
        tokio::spawn(collector.run(received));
        Self { questions }
    }

    async fn ask(&self, operation: &'static str, id: &I) -> Answer<T> {
        let (asker, answer) = oneshot::channel();
        let asked = self.questions.send((id.clone(), asker)).await.is_ok();
        let gone = || ApiError {
            operation,
            class: Class::Unknown,
            code: "DescriberGone".to_owned(),
            message: "the describer has ended".to_owned(),
            request_id: None,
        };
        if asked { answer.await.unwrap_or_else(|_| Err(gone())) } else { Err(gone()) }
    }
}

/// The task of one kind.
struct Collector<I, T> {
    clock: Arc<dyn Clock>,
    window_ms: i64,
    id_of: fn(&T) -> I,
    describe: Describe<I, T>,
    /// Throttled calls in a row.
    throttled: usize,
}

/// What one call answers.
type Batch<I, T> = BTreeMap<I, Vec<Asker<T>>>;

impl<I, T> Collector<I, T>
where
    I: Clone + Ord + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Until nobody can ask any more; then nobody waits either, and calls that are out are dropped.
    async fn run(mut self, mut questions: mpsc::Receiver<(I, Asker<T>)>) {
        let mut calls: JoinSet<bool> = JoinSet::new();
        // A window begins with its first question.
        while let Some(first) = questions.recv().await {
            while let Some(done) = calls.try_join_next() {
                self.note(&done);
            }
            let mut batch = Batch::new();
            add(&mut batch, first);
            let clock = Arc::clone(&self.clock);
            let mut window = clock.sleep_until(clock.now().plus(self.window_ms()));
            let mut open = true;
            loop {
                let full = batch.len() >= FILTER_VALUES_MAX;
                let due = !open || (full && self.throttled == 0);
                if due && calls.len() < CALLS_MAX {
                    break;
                }
                tokio::select! {
                    biased;
                    Some(done) = calls.join_next(), if !calls.is_empty() => self.note(&done),
                    question = questions.recv(), if !full => match question {
                        Some(question) => add(&mut batch, question),
                        None => return,
                    },
                    () = &mut window, if open => open = false,
                }
            }
            // Whoever has stopped waiting needs no call.
            batch.retain(|_, askers| askers.iter().any(|asker| !asker.is_closed()));
            if !batch.is_empty() {
                let call = (self.describe)(batch.keys().cloned().collect());
                calls.spawn(answer(batch, call, self.id_of));
            }
        }
    }

    fn window_ms(&self) -> i64 {
        let slow = self.throttled.min(SLOW_WINDOWS_MS.len()).checked_sub(1).map_or(0, |n| SLOW_WINDOWS_MS[n]);
        self.window_ms.max(slow)
    }

    /// A call that ended in a panic has told its askers by dropping them.
    fn note(&mut self, done: &Result<bool, JoinError>) {
        match done {
            Ok(true) => self.throttled += 1,
            Ok(false) => self.throttled = 0,
            Err(_) => {}
        }
    }
}

fn add<I: Ord, T>(batch: &mut Batch<I, T>, (id, asker): (I, Asker<T>)) {
    batch.entry(id).or_default().push(asker);
}

/// Makes the call and answers everyone; says whether it was throttled. An asker that is gone is no fault.
async fn answer<I: Ord, T: Clone>(
    batch: Batch<I, T>,
    call: BoxFuture<'static, Result<Vec<T>, ApiError>>,
    id_of: fn(&T) -> I,
) -> bool {
    let found: Result<BTreeMap<I, T>, ApiError> =
        call.await.map(|items| items.into_iter().map(|item| (id_of(&item), item)).collect());
    for (id, askers) in batch {
        for asker in askers {
            let answer = found.as_ref().map(|items| items.get(&id).cloned()).map_err(Clone::clone);
            drop(asker.send(answer));
        }
    }
    found.is_err_and(|error| error.class == Class::Throttled)
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
