//! The batching describer: every read of AWS that is polled or made for a plan goes through here (rule 11), so that the
//! number of Describe calls grows with time and not with migrations.
//!
//! Ids are collected for a window, and on until the call's budget lets one go (`budget.rs`), and asked for together, in
//! filter form where there is one. Nobody gets an answer older than the question: a question that arrives while a call
//! is out waits for the next one. A batch that is refused for what is in it is asked again in halves, so that one bad
//! id spoils nobody else's answer. It repeats nothing else and remembers nothing; a throttled call makes the next
//! windows longer, and its askers get the error. What is asked while writes are blocked, or to undo something, is in the
//! next call, however many other questions wait. Two agreeing reads (rule 12) are two questions, and the asker's
//! business.

use super::budget::{Api, Budget};
use crate::ports::cloud::traffic::{self, Traffic};
use crate::ports::cloud::{
    ApiError, AutoScalingApi, Class, Ec2Api, FILTER_VALUES_MAX, Group, Instance, Member, Refresh, Snapshot,
    SnapshotFilter, Volume, VolumeFilter, VolumeModification,
};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tiershift_common::clock::Clock;
use tiershift_core::ids::{GroupName, InstanceId, VolumeId, Zone};
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

/// Questions of a kind that may wait to be collected; more wait in their askers.
const QUEUE: usize = 1_024;

/// The most names or ids of one call to Auto Scaling.
const NAMES_MAX: usize = 50;

type Answer<T> = Result<Option<T>, ApiError>;
type Asker<T> = oneshot::Sender<Answer<T>>;
type Question<I, T> = (I, Traffic, Asker<T>);
type Found<I, T> = Result<BTreeMap<I, T>, ApiError>;
type Describe<I, T> = Arc<dyn Fn(Vec<I>) -> BoxFuture<'static, Found<I, T>> + Send + Sync>;

/// The describer. Clones share its tasks, which end with the last clone.
#[derive(Clone, Debug)]
pub struct Describer {
    volumes: Queue<VolumeId, Volume>,
    attached: Queue<InstanceId, Vec<Volume>>,
    modifications: Queue<VolumeId, VolumeModification>,
    instances: Queue<InstanceId, Instance>,
    snapshots: Queue<VolumeId, Vec<Snapshot>>,
    tagged: Queue<(String, String), Vec<Snapshot>>,
    offerings: Queue<String, Vec<Zone>>,
    members: Queue<InstanceId, Member>,
    // Shared by all who asked in one window: a group has thousands of members, and thousands of migrations may ask.
    groups: Queue<GroupName, Arc<Group>>,
    refreshes: Queue<GroupName, Vec<Refresh>>,
}

/// The lists that items are in, by a key of each.
fn grouped<K: Ord, T>(items: impl IntoIterator<Item = (K, T)>) -> BTreeMap<K, Vec<T>> {
    let mut lists: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for (key, item) in items {
        lists.entry(key).or_default().push(item);
    }
    lists
}

impl Describer {
    /// Starts its tasks on the present runtime. They take from the budget, so the ports are to be those that do not.
    pub fn start(
        ec2: &Arc<dyn Ec2Api>,
        autoscaling: &Arc<dyn AutoScalingApi>,
        budget: &Arc<Budget>,
        clock: &Arc<dyn Clock>,
        window_ms: i64,
    ) -> Self {
        let kind = |api, most| Kind { api, most, window_ms, clock: Arc::clone(clock), budget: Arc::clone(budget) };
        /// A queue whose batches are asked by one expression over a port.
        macro_rules! queue {
            ($api:ident, $most:expr, $port:expr, |$cloud:ident, $ids:ident| $found:expr) => {{
                let port = Arc::clone($port);
                Queue::start(kind(Api::$api, $most), move |$ids| {
                    let $cloud = Arc::clone(&port);
                    Box::pin(async move { Ok($found) })
                })
            }};
        }
        let most = FILTER_VALUES_MAX;
        Self {
            volumes: queue!(DescribeVolumes, most, ec2, |cloud, ids| {
                let found = cloud.describe_volumes(&VolumeFilter { ids, ..VolumeFilter::default() }).await?;
                found.into_iter().map(|volume| (volume.volume_id.clone(), volume)).collect()
            }),
            attached: queue!(DescribeVolumes, most, ec2, |cloud, instance_ids| {
                let filter = VolumeFilter { instance_ids, ..VolumeFilter::default() };
                let found = cloud.describe_volumes(&filter).await?;
                let holders = |volume: &Volume| {
                    let mut ids: Vec<_> = volume.attachments.iter().filter_map(|a| a.instance_id.clone()).collect();
                    ids.dedup();
                    ids
                };
                grouped(found.into_iter().flat_map(|v| holders(&v).into_iter().map(move |id| (id, v.clone()))))
            }),
            modifications: queue!(DescribeVolumesModifications, most, ec2, |cloud, ids| {
                let found = cloud.describe_volumes_modifications(&ids).await?;
                found.into_iter().map(|modification| (modification.volume_id.clone(), modification)).collect()
            }),
            instances: queue!(DescribeInstances, most, ec2, |cloud, ids| {
                let found = cloud.describe_instances(&ids).await?;
                found.into_iter().map(|instance| (instance.instance_id.clone(), instance)).collect()
            }),
            snapshots: queue!(DescribeSnapshots, most, ec2, |cloud, volume_ids| {
                let filter = SnapshotFilter { volume_ids, ..SnapshotFilter::default() };
                let found = cloud.describe_snapshots(&filter).await?;
                grouped(found.into_iter().filter_map(|snapshot| Some((snapshot.volume_id.clone()?, snapshot))))
            }),
            tagged: queue!(DescribeSnapshots, most, ec2, |cloud, tags| {
                let found = cloud.describe_snapshots(&tagged(&tags)).await?;
                let with = |snapshot: &Snapshot| {
                    let has = |(key, value): &&(String, String)| snapshot.tags.get(key) == Some(value);
                    tags.iter().find(has).cloned()
                };
                grouped(found.into_iter().filter_map(|snapshot| Some((with(&snapshot)?, snapshot))))
            }),
            offerings: queue!(DescribeInstanceTypeOfferings, 1, ec2, |cloud, types| {
                let mut offered = BTreeMap::new();
                for name in types as Vec<String> {
                    let zones = cloud.describe_instance_type_offerings(&name).await?;
                    offered.insert(name, zones);
                }
                offered
            }),
            members: queue!(AutoScaling, NAMES_MAX, autoscaling, |cloud, ids| {
                let found = cloud.describe_auto_scaling_instances(&ids).await?;
                found.into_iter().map(|member| (member.instance_id.clone(), member)).collect()
            }),
            groups: queue!(AutoScaling, NAMES_MAX, autoscaling, |cloud, names| {
                let found = cloud.describe_auto_scaling_groups(&names).await?;
                found.into_iter().map(|group| (group.name.clone(), Arc::new(group))).collect()
            }),
            refreshes: queue!(AutoScaling, 1, autoscaling, |cloud, names| {
                let mut refreshes = BTreeMap::new();
                for name in names {
                    let found = cloud.describe_instance_refreshes(&name).await?;
                    refreshes.insert(name, found);
                }
                refreshes
            }),
        }
    }

    /// The volume as one read saw it; none if the read did not show it, which proves nothing yet (rule 14).
    pub async fn volume(&self, id: &VolumeId) -> Answer<Volume> {
        self.volumes.ask(id).await
    }

    /// The volumes that one read saw at an instance, in whatever state of attachment.
    pub async fn attached(&self, id: &InstanceId) -> Result<Vec<Volume>, ApiError> {
        Ok(self.attached.ask(id).await?.unwrap_or_default())
    }

    /// The newest modification of a volume; none if it was never modified.
    pub async fn modification(&self, id: &VolumeId) -> Answer<VolumeModification> {
        self.modifications.ask(id).await
    }

    /// The instance as one read saw it; none if the read did not show it.
    pub async fn instance(&self, id: &InstanceId) -> Answer<Instance> {
        self.instances.ask(id).await
    }

    /// All snapshots of a volume.
    pub async fn snapshots(&self, id: &VolumeId) -> Result<Vec<Snapshot>, ApiError> {
        Ok(self.snapshots.ask(id).await?.unwrap_or_default())
    }

    /// The snapshots with a tag of this value.
    pub async fn tagged_snapshots(&self, key: &str, value: &str) -> Result<Vec<Snapshot>, ApiError> {
        Ok(self.tagged.ask(&(key.to_owned(), value.to_owned())).await?.unwrap_or_default())
    }

    /// The zones that offer an instance type, sorted.
    pub async fn offering(&self, instance_type: &str) -> Result<Vec<Zone>, ApiError> {
        Ok(self.offerings.ask(&instance_type.to_owned()).await?.unwrap_or_default())
    }

    /// The instance as a member of its group; none if it is in no group.
    pub async fn member(&self, id: &InstanceId) -> Answer<Member> {
        self.members.ask(id).await
    }

    /// The group; none if there is none of that name.
    pub async fn group(&self, name: &GroupName) -> Answer<Arc<Group>> {
        self.groups.ask(name).await
    }

    /// The newest refreshes of a group, newest first.
    pub async fn refreshes(&self, name: &GroupName) -> Result<Vec<Refresh>, ApiError> {
        Ok(self.refreshes.ask(name).await?.unwrap_or_default())
    }
}

/// Any of these tags, where all have the same key, which is what all askers have in common.
fn tagged(tags: &[(String, String)]) -> SnapshotFilter {
    let any_of = grouped(tags.iter().cloned());
    SnapshotFilter { any_of, ..SnapshotFilter::default() }
}

/// What the questions of one kind have in common.
struct Kind {
    api: Api,
    /// Ids of one call.
    most: usize,
    window_ms: i64,
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
}

/// The questions of one kind.
#[derive(Debug)]
struct Queue<I, T> {
    questions: mpsc::Sender<Question<I, T>>,
    /// A way of their own for those that do not wait behind others.
    urgent: mpsc::Sender<Question<I, T>>,
}

impl<I, T> Clone for Queue<I, T> {
    fn clone(&self) -> Self {
        Self { questions: self.questions.clone(), urgent: self.urgent.clone() }
    }
}

impl<I, T> Queue<I, T>
where
    I: Clone + Ord + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn start(kind: Kind, describe: impl Fn(Vec<I>) -> BoxFuture<'static, Found<I, T>> + Send + Sync + 'static) -> Self {
        let ((questions, received), (urgent, received_urgent)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let collector = Collector { kind, describe: Arc::new(describe), throttled: 0 };
        tokio::spawn(collector.run(received_urgent, received));
        Self { questions, urgent }
    }

    async fn ask(&self, id: &I) -> Answer<T> {
        let (asker, answer) = oneshot::channel();
        let traffic = traffic::current();
        let way = if traffic > Traffic::Forward { &self.urgent } else { &self.questions };
        let asked = way.send((id.clone(), traffic, asker)).await.is_ok();
        let gone = || ApiError {
            operation: "Describe",
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
    kind: Kind,
    describe: Describe<I, T>,
    /// Throttled calls in a row.
    throttled: usize,
}

/// What one call is to answer.
struct Batch<I, T> {
    askers: BTreeMap<I, Vec<(Traffic, Asker<T>)>>,
    /// Of the most urgent question.
    traffic: Traffic,
}

impl<I: Clone + Ord, T> Batch<I, T> {
    fn new() -> Self {
        Self { askers: BTreeMap::new(), traffic: Traffic::Forward }
    }

    /// Takes a question about something that it asks for anyway, that there is room for, or that is more urgent than
    /// another; gives back what is left out for it.
    fn add(&mut self, question: Question<I, T>, most: usize) -> Vec<Question<I, T>> {
        let (id, traffic, asker) = question;
        let mut out = Vec::new();
        if self.askers.len() >= most && !self.askers.contains_key(&id) {
            let Some(other) = self.less_urgent_than(traffic) else { return vec![(id, traffic, asker)] };
            let askers = self.askers.remove(&other).unwrap_or_default();
            out.extend(askers.into_iter().map(|(traffic, asker)| (other.clone(), traffic, asker)));
        }
        self.askers.entry(id).or_default().push((traffic, asker));
        self.traffic = self.traffic.max(traffic);
        out
    }

    fn less_urgent_than(&self, traffic: Traffic) -> Option<I> {
        if traffic == Traffic::Forward {
            return None;
        }
        let less = |askers: &[(Traffic, Asker<T>)]| askers.iter().all(|(asked, _)| *asked < traffic);
        self.askers.iter().find(|(_, askers)| less(askers)).map(|(id, _)| id.clone())
    }
}

impl<I, T> Collector<I, T>
where
    I: Clone + Ord + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Until nobody can ask any more; then nobody waits either, and calls that are out are dropped.
    async fn run(mut self, mut urgent: mpsc::Receiver<Question<I, T>>, mut questions: mpsc::Receiver<Question<I, T>>) {
        let most = self.kind.most;
        let mut calls: JoinSet<bool> = JoinSet::new();
        // Came while a full batch waited to go, and ask for something else: theirs are the next batches.
        let mut early: VecDeque<Question<I, T>> = VecDeque::new();
        // A window begins with its first question.
        loop {
            if early.is_empty() {
                let first = tokio::select! {
                    biased;
                    first = urgent.recv() => first,
                    first = questions.recv() => first,
                };
                early.extend(first);
                if early.is_empty() {
                    return;
                }
            }
            while let Some(done) = calls.try_join_next() {
                self.note(&done);
            }
            let mut batch = Batch::new();
            early = std::mem::take(&mut early).into_iter().flat_map(|question| batch.add(question, most)).collect();
            let (clock, budget) = (Arc::clone(&self.kind.clock), Arc::clone(&self.kind.budget));
            let mut window = clock.sleep_until(clock.now().plus(self.window_ms()));
            let mut open = true;
            // Asked for only when there is a batch to go, and anew when it has become more urgent.
            let mut admission: Option<(Traffic, BoxFuture<'_, bool>)> = None;
            loop {
                // A call for one thing is full with its first question; its window is for others who ask for the same.
                let full = most > 1 && batch.askers.len() >= most;
                let due = (!open || (full && self.throttled == 0)) && calls.len() < CALLS_MAX;
                let traffic = batch.traffic;
                if due && admission.as_ref().is_none_or(|(asked, _)| *asked != traffic) {
                    admission = Some((traffic, Box::pin(budget.take(self.kind.api, traffic))));
                }
                tokio::select! {
                    biased;
                    Some(done) = calls.join_next(), if !calls.is_empty() => self.note(&done),
                    () = admitted(&mut admission) => break,
                    question = urgent.recv() => match question {
                        Some(question) => early.extend(batch.add(question, most)),
                        None => return,
                    },
                    question = questions.recv(), if early.len() < QUEUE => match question {
                        Some(question) => early.extend(batch.add(question, most)),
                        None => return,
                    },
                    () = &mut window, if open => open = false,
                }
            }
            // Whoever has stopped waiting needs no call.
            batch.askers.retain(|_, askers| askers.iter().any(|(_, asker)| !asker.is_closed()));
            if !batch.askers.is_empty() {
                let (describe, budget) = (Arc::clone(&self.describe), Arc::clone(&budget));
                calls.spawn(answer(batch, describe, self.kind.api, budget));
            }
        }
    }

    fn window_ms(&self) -> i64 {
        let slow = self.throttled.min(SLOW_WINDOWS_MS.len()).checked_sub(1).map_or(0, |n| SLOW_WINDOWS_MS[n]);
        self.kind.window_ms.max(slow)
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

/// When the budget lets the batch go; never while nobody asked it.
async fn admitted(admission: &mut Option<(Traffic, BoxFuture<'_, bool>)>) {
    match admission {
        Some((_, admission)) => {
            admission.await;
        }
        None => std::future::pending().await,
    }
}

/// Whether a call was refused for what it asked about, which may be one of its ids only.
fn spoilt(error: &ApiError) -> bool {
    matches!(error.class, Class::NotFound(_) | Class::Permanent)
}

/// Makes the call, or as many as it takes to find what spoils it, and answers everyone; says whether one was throttled.
/// The first is admitted already. An asker that is gone is no fault.
async fn answer<I: Clone + Ord, T: Clone>(
    mut batch: Batch<I, T>,
    describe: Describe<I, T>,
    api: Api,
    budget: Arc<Budget>,
) -> bool {
    let mut left: Vec<Vec<I>> = vec![batch.askers.keys().cloned().collect()];
    let (mut admitted, mut throttled) = (true, false);
    while let Some(ids) = left.pop() {
        if !admitted {
            budget.take(api, batch.traffic).await;
        }
        admitted = false;
        let found = describe(ids.clone()).await;
        if let Err(error) = &found {
            if error.class == Class::Throttled {
                budget.throttled(api);
                throttled = true;
            }
            if spoilt(error) && ids.len() > 1 {
                let (one, other) = ids.split_at(ids.len() / 2);
                left.extend([other.to_vec(), one.to_vec()]);
                continue;
            }
        }
        for id in ids {
            for (_, asker) in batch.askers.remove(&id).unwrap_or_default() {
                let answer = found.as_ref().map(|items| items.get(&id).cloned()).map_err(Clone::clone);
                drop(asker.send(answer));
            }
        }
    }
    throttled
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
