//! The describer over a cloud that counts its calls and a clock that the test moves.

use super::*;
use crate::ports::cloud::{
    Attachment, CreateVolume, InstanceState, InstanceStatus, SnapshotRequest, SnapshotState, Subnet, Tags,
    VolumeModification, VolumeState,
};
use async_trait::async_trait;
use std::sync::Mutex;
use std::time::Duration;
use tiershift_core::UnixMs;
use tiershift_core::ids::Zone;
use tokio::sync::{Notify, watch};

/// A clock that the test moves.
#[derive(Debug)]
struct Manual(watch::Sender<i64>);

impl Manual {
    fn new() -> Arc<Self> {
        Arc::new(Self(watch::channel(0).0))
    }

    fn advance(&self, ms: i64) {
        self.0.send_modify(|now| *now += ms);
    }
}

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> UnixMs {
        UnixMs(*self.0.borrow())
    }

    async fn sleep_until(&self, at: UnixMs) {
        self.0.subscribe().wait_for(|now| *now >= at.0).await.unwrap();
    }

    fn real(&self, ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(ms).unwrap())
    }
}

/// Every second volume exists. Calls wait for a permit when `held`.
#[derive(Debug, Default)]
struct Cloud {
    calls: Mutex<Vec<Vec<VolumeId>>>,
    answers: Mutex<Vec<Result<(), ApiError>>>,
    held: Mutex<bool>,
    release: Notify,
}

impl Cloud {
    fn calls(&self) -> Vec<Vec<VolumeId>> {
        self.calls.lock().unwrap().clone()
    }

    /// The next calls fail so, the first last.
    fn fail_next(&self, errors: Vec<ApiError>) {
        *self.answers.lock().unwrap() = errors.into_iter().map(Err).collect();
    }
}

fn not_called<T>() -> T {
    panic!("the describer does not call this")
}

fn error(class: Class) -> ApiError {
    ApiError { operation: "DescribeVolumes", class, code: "X".to_owned(), message: String::new(), request_id: None }
}

fn volume(id: &VolumeId) -> Volume {
    Volume {
        volume_id: id.clone(),
        state: VolumeState::Available,
        zone: Zone::parse("us-east-1a").unwrap(),
        zone_id: None,
        size_gib: 1,
        volume_type: "gp3".to_owned(),
        encrypted: false,
        kms_key_id: None,
        snapshot_id: None,
        multi_attach: false,
        attachments: vec![],
        tags: Tags::new(),
        created_at: None,
    }
}

#[async_trait]
impl Ec2Api for Cloud {
    async fn describe_volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, ApiError> {
        self.calls.lock().unwrap().push(filter.ids.clone());
        if *self.held.lock().unwrap() {
            self.release.notified().await;
        }
        self.answers.lock().unwrap().pop().unwrap_or(Ok(()))?;
        let even =
            |id: &&VolumeId| u64::from_str_radix(id.as_str().trim_start_matches("vol-"), 16).unwrap().is_multiple_of(2);
        Ok(filter.ids.iter().filter(even).map(volume).collect())
    }
    async fn describe_instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, ApiError> {
        let instance = |id: &InstanceId| Instance {
            instance_id: id.clone(),
            state: InstanceState::Running,
            instance_type: "r7g.large".to_owned(),
            zone: Zone::parse("us-east-1a").unwrap(),
            zone_id: None,
            private_ip: None,
            subnet_id: None,
            root_device: None,
            block_devices: vec![],
            tags: Tags::new(),
            launched_at: None,
        };
        Ok(ids.iter().map(instance).collect())
    }
    async fn describe_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>, ApiError> {
        let snapshot = |id: &SnapshotId| Snapshot {
            snapshot_id: id.clone(),
            volume_id: None,
            state: SnapshotState::Completed,
            state_message: None,
            progress_percent: Some(100),
            started_at: None,
            volume_size_gib: 1,
            tags: Tags::new(),
        };
        Ok(filter.ids.iter().map(snapshot).collect())
    }
    async fn describe_instance_status(&self, _: &[InstanceId]) -> Result<Vec<InstanceStatus>, ApiError> {
        not_called()
    }
    async fn describe_volumes_modifications(&self, _: &[VolumeId]) -> Result<Vec<VolumeModification>, ApiError> {
        not_called()
    }
    async fn describe_instance_type_offerings(&self, _: &str) -> Result<Vec<Zone>, ApiError> {
        not_called()
    }
    async fn describe_subnets(&self, _: &[String]) -> Result<Vec<Subnet>, ApiError> {
        not_called()
    }
    async fn create_snapshot(&self, _: &SnapshotRequest) -> Result<Snapshot, ApiError> {
        not_called()
    }
    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), ApiError> {
        not_called()
    }
    async fn attach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<Attachment, ApiError> {
        not_called()
    }
    async fn detach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<Attachment, ApiError> {
        not_called()
    }
    async fn create_tags(&self, _: &[String], _: &Tags) -> Result<(), ApiError> {
        not_called()
    }
    async fn modify_instance_attribute(&self, _: &InstanceId, _: &str) -> Result<(), ApiError> {
        not_called()
    }
    async fn terminate_instances(&self, _: &InstanceId) -> Result<InstanceState, ApiError> {
        not_called()
    }
    async fn create_volume(&self, _: &CreateVolume) -> Result<Volume, ApiError> {
        not_called()
    }
}

struct Bench {
    cloud: Arc<Cloud>,
    clock: Arc<Manual>,
    describer: Describer,
}

impl Bench {
    fn start() -> Self {
        let (cloud, clock) = (Arc::new(Cloud::default()), Manual::new());
        let (api, time): (Arc<dyn Ec2Api>, Arc<dyn Clock>) = (cloud.clone(), clock.clone());
        Self { describer: Describer::start(&api, &time, WINDOW_MS), cloud, clock }
    }

    /// Asks in a task of its own.
    fn ask(&self, n: u64) -> tokio::task::JoinHandle<Answer<Volume>> {
        let describer = self.describer.clone();
        tokio::spawn(async move { describer.volume(&id(n)).await })
    }

    /// Lets every task run until it waits. The test's runtime has one thread, and the clock stands still.
    async fn settle(&self) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    /// How many calls there were after all have run as far as they can.
    async fn calls(&self) -> usize {
        self.settle().await;
        self.cloud.calls().len()
    }
}

fn id(n: u64) -> VolumeId {
    VolumeId::parse(format!("vol-{n:017x}")).unwrap()
}

#[tokio::test]
async fn one_window_is_one_call_whoever_asks() {
    let bench = Bench::start();
    let asked: Vec<_> = [2, 3, 2, 4, 2].into_iter().map(|n| (n, bench.ask(n))).collect();
    bench.settle().await;
    bench.clock.advance(WINDOW_MS - 1);
    assert_eq!(bench.calls().await, 0, "the window is still open");
    bench.clock.advance(1);
    for (n, answer) in asked {
        assert_eq!(answer.await.unwrap(), Ok((n % 2 == 0).then(|| volume(&id(n)))), "volume {n}");
    }
    assert_eq!(bench.cloud.calls(), [[id(2), id(3), id(4)]]);
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let bench = Bench::start();
    let asked: Vec<_> = (0..450).map(|n| bench.ask(n)).collect();
    assert_eq!(bench.calls().await, 2, "two full batches have gone, the window is open for the rest");
    bench.clock.advance(WINDOW_MS);
    for answer in asked {
        assert!(answer.await.unwrap().is_ok());
    }
    let sizes: Vec<usize> = bench.cloud.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes, [FILTER_VALUES_MAX, FILTER_VALUES_MAX, 50]);
}

#[tokio::test]
async fn nobody_gets_an_answer_older_than_the_question() {
    let bench = Bench::start();
    *bench.cloud.held.lock().unwrap() = true;
    let first = bench.ask(2);
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    assert_eq!(bench.calls().await, 1);
    let second = bench.ask(2);
    bench.settle().await;
    bench.cloud.release.notify_one();
    assert!(first.await.unwrap().is_ok());
    bench.settle().await;
    assert!(!second.is_finished(), "the call that was out does not answer the later question");
    bench.clock.advance(WINDOW_MS);
    assert_eq!(bench.calls().await, 2);
    bench.cloud.release.notify_one();
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_the_next_but_calls_are_bounded() {
    let bench = Bench::start();
    *bench.cloud.held.lock().unwrap() = true;
    let mut asked = Vec::new();
    for n in 0..6 {
        asked.push(bench.ask(2 * n));
        bench.settle().await;
        bench.clock.advance(WINDOW_MS);
        bench.settle().await;
    }
    assert_eq!(bench.calls().await, CALLS_MAX);
    for _ in 0..2 {
        bench.cloud.release.notify_one();
        bench.settle().await;
    }
    // The two questions that waited for a place were collected together.
    assert_eq!(bench.cloud.calls().last(), Some(&vec![id(8), id(10)]));
    for _ in 0..CALLS_MAX {
        bench.cloud.release.notify_one();
        bench.settle().await;
    }
    for answer in asked {
        assert!(matches!(answer.await.unwrap(), Ok(Some(_))));
    }
}

#[tokio::test]
async fn a_throttled_call_tells_its_askers_and_slows_the_next_windows() {
    let bench = Bench::start();
    bench.cloud.fail_next(vec![error(Class::Throttled), error(Class::Throttled), error(Class::Throttled)]);
    let mut windows = Vec::new();
    for n in 0..5 {
        let asked = bench.ask(n);
        bench.settle().await;
        let before = bench.cloud.calls().len();
        let mut waited = 0;
        while bench.calls().await == before {
            bench.clock.advance(100);
            waited += 100;
            assert!(waited <= 10_000, "the window must end");
        }
        windows.push((waited, asked.await.unwrap().is_ok()));
    }
    assert_eq!(windows, [(300, false), (2_000, false), (5_000, false), (5_000, true), (300, true)]);
}

#[tokio::test]
async fn another_error_goes_to_all_askers_and_slows_nothing() {
    let bench = Bench::start();
    bench.cloud.fail_next(vec![error(Class::Unknown)]);
    let asked = [bench.ask(2), bench.ask(4)];
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Err(error(Class::Unknown)));
    }
    let next = bench.ask(2);
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    assert!(next.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_not_asked() {
    let bench = Bench::start();
    let gone = bench.ask(2);
    bench.settle().await;
    gone.abort();
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    assert_eq!(bench.calls().await, 0);
    let kept = bench.ask(4);
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    assert!(kept.await.unwrap().is_ok(), "the task goes on");
    assert_eq!(bench.cloud.calls(), [[id(4)]]);
}

#[tokio::test]
async fn instances_and_snapshots_have_their_own_windows() {
    let bench = Bench::start();
    let (instance, snapshot) = (InstanceId::parse("i-01234567").unwrap(), SnapshotId::parse("snap-01234567").unwrap());
    let describer = bench.describer.clone();
    let asked = tokio::spawn(async move { tokio::join!(describer.instance(&instance), describer.snapshot(&snapshot)) });
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    let (instance, snapshot) = asked.await.unwrap();
    assert_eq!(instance.unwrap().unwrap().state, InstanceState::Running);
    assert_eq!(snapshot.unwrap().unwrap().state, SnapshotState::Completed);
}

#[tokio::test]
async fn the_tasks_end_with_the_last_clone() {
    let bench = Bench::start();
    let sender = bench.describer.volumes.questions.clone().downgrade();
    let other = bench.describer.clone();
    drop(bench);
    assert!(sender.upgrade().is_some());
    drop(other);
    assert!(sender.upgrade().is_none(), "no sender is left, so the tasks' receivers end");
}
