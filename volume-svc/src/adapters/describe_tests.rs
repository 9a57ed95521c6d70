//! The describer over a cloud that counts its calls and a clock that the test moves.

use super::*;
use crate::adapters::doubles::{Cloud, Scaling, error, volume};
use crate::ports::cloud::{InstanceState, Lifecycle, SnapshotState};
use async_trait::async_trait;
use std::time::Duration;
use tiershift_common::clock::{Virtual, sleep_ms};
use tiershift_core::UnixMs;
use tokio::sync::watch;

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

struct Bench {
    cloud: Arc<Cloud>,
    scaling: Arc<Scaling>,
    clock: Arc<Manual>,
    describer: Describer,
}

impl Bench {
    fn start() -> Self {
        let (cloud, clock) = (Arc::new(Cloud::default()), Manual::new());
        let (api, time): (Arc<dyn Ec2Api>, Arc<dyn Clock>) = (cloud.clone(), clock.clone());
        let scaling = Arc::new(Scaling::default());
        let groups: Arc<dyn AutoScalingApi> = scaling.clone();
        let budget = Budget::new(Arc::clone(&time), 100);
        Self { describer: Describer::start(&api, &groups, &budget, &time, WINDOW_MS), cloud, scaling, clock }
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
async fn a_call_for_one_thing_answers_all_who_ask_for_it_and_the_next_asks_for_the_next() {
    let bench = Bench::start();
    let ask = |name: &str| {
        let (describer, name) = (bench.describer.clone(), GroupName::parse(name).unwrap());
        tokio::spawn(async move { describer.refreshes(&name).await })
    };
    let asked: Vec<_> = (0..100).map(|n| ask(if n % 2 == 0 { "writers" } else { "readers" })).collect();
    bench.settle().await;
    assert_eq!(bench.scaling.asked().len(), 0, "the window is open");
    for calls in 1..=2 {
        bench.clock.advance(WINDOW_MS);
        bench.settle().await;
        assert_eq!(bench.scaling.asked().len(), calls);
    }
    for answer in asked {
        assert!(answer.await.unwrap().is_ok());
    }
    assert_eq!(bench.scaling.asked(), ["DescribeInstanceRefreshes"; 2]);
}

/// What waits for a place or for the budget is joined by whoever asks for the same.
#[tokio::test]
async fn a_full_batch_that_waits_takes_who_asks_for_the_same() {
    let bench = Bench::start();
    *bench.cloud.held.lock().unwrap() = true;
    let full = |from: u64| (from..from + FILTER_VALUES_MAX as u64).map(|n| bench.ask(n)).collect::<Vec<_>>();
    let mut asked: Vec<_> = (0..CALLS_MAX as u64).flat_map(|n| full(n * 1_000)).collect();
    assert_eq!(bench.calls().await, CALLS_MAX);
    asked.extend(full(9_000));
    bench.settle().await;
    let (other, same) = (bench.ask(5), bench.ask(9_000));
    bench.settle().await;
    bench.cloud.release.notify_one();
    assert_eq!(bench.calls().await, CALLS_MAX + 1);
    for _ in 0..CALLS_MAX {
        bench.cloud.release.notify_one();
        bench.settle().await;
    }
    assert!(same.is_finished(), "it was answered with the batch that waited");
    bench.clock.advance(WINDOW_MS);
    bench.settle().await;
    bench.cloud.release.notify_one();
    asked.extend([same, other]);
    for answer in asked {
        assert!(answer.await.unwrap().is_ok());
    }
    assert_eq!(bench.cloud.calls().len(), CALLS_MAX + 2);
}

/// Thousands that wait for their gates ask on, and must not make those wait whose writes are blocked.
#[tokio::test]
async fn what_is_asked_while_writes_are_blocked_is_in_the_next_call() {
    let bench = Bench::start();
    *bench.cloud.held.lock().unwrap() = true;
    let mut crowd: Vec<_> = (0..5_000).map(|n| bench.ask(n)).collect();
    assert_eq!(bench.calls().await, CALLS_MAX);
    bench.clock.advance(WINDOW_MS);
    bench.settle().await;
    let describer = bench.describer.clone();
    let blocked = traffic::on_behalf_of(Traffic::Blocked, async move { describer.volume(&id(9_000)).await });
    let blocked = tokio::spawn(blocked);
    assert_eq!(bench.calls().await, CALLS_MAX, "no more are out at a time");
    *bench.cloud.held.lock().unwrap() = false;
    bench.cloud.release.notify_one();
    assert!(bench.calls().await > CALLS_MAX);
    assert!(bench.cloud.calls()[CALLS_MAX].contains(&id(9_000)), "{:?}", bench.cloud.calls()[CALLS_MAX].first());
    // Whoever was left out for it is asked for all the same.
    bench.cloud.release.notify_waiters();
    crowd.push(blocked);
    for answer in crowd {
        while !answer.is_finished() {
            bench.clock.advance(WINDOW_MS);
            bench.cloud.release.notify_waiters();
            bench.settle().await;
        }
        assert!(answer.await.unwrap().is_ok());
    }
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
async fn each_kind_has_its_own_windows() {
    let bench = Bench::start();
    let (instance, group) = (InstanceId::parse("i-01234567").unwrap(), GroupName::parse("writers").unwrap());
    let (carried, describer) = (id(2), bench.describer.clone());
    let asked = tokio::spawn(async move {
        tokio::join!(
            describer.instance(&instance),
            describer.member(&instance),
            describer.group(&group),
            describer.snapshots(&carried),
            describer.tagged_snapshots("change", "chg_1"),
        )
    });
    bench.settle().await;
    bench.clock.advance(WINDOW_MS);
    let (instance, member, group, of_volume, tagged) = asked.await.unwrap();
    assert_eq!(instance.unwrap().unwrap().state, InstanceState::Running);
    assert_eq!(member.unwrap().unwrap().lifecycle, Lifecycle::InService);
    assert_eq!(group.unwrap(), None);
    assert_eq!(of_volume.unwrap()[0].volume_id, Some(id(2)));
    assert_eq!(tagged.unwrap()[0].state, SnapshotState::Completed);
}

#[tokio::test]
async fn a_bad_id_spoils_nobody_elses_answer() {
    let bench = Bench::start();
    *bench.cloud.bad.lock().unwrap() = Some(id(77));
    let asked: Vec<_> = (0..FILTER_VALUES_MAX as u64).map(|n| (n, bench.ask(n))).collect();
    // Half of the bucket is theirs at once, which is more than they need.
    bench.settle().await;
    for (n, answer) in asked {
        match answer.await.unwrap() {
            Err(error) => assert_eq!((n, error.class), (77, Class::NotFound(crate::ports::cloud::Thing::Volume))),
            Ok(found) => assert_eq!(found, (n % 2 == 0).then(|| volume(&id(n))), "volume {n}"),
        }
    }
    let calls = bench.cloud.calls();
    assert!(calls.len() <= 17, "halves, not one by one: {}", calls.len());
    assert_eq!(calls.iter().filter(|ids| **ids == [id(77)]).count(), 1);
}

/// A thousand migrations that each look at their volume every second, for a minute: the calls grow with time, by the
/// rate of their budget, and everybody is answered.
#[tokio::test(start_paused = true)]
async fn a_thousand_that_poll_cost_no_more_than_their_batches() {
    const ASKERS: u64 = 1_000;
    const LOOKS: u64 = 60;
    let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(0));
    let cloud = Arc::new(Cloud::default());
    let (api, scaling): (Arc<dyn Ec2Api>, Arc<dyn AutoScalingApi>) = (cloud.clone(), Arc::new(Scaling::default()));
    let budget = Budget::new(Arc::clone(&clock), 100);
    let describer = Describer::start(&api, &scaling, &budget, &clock, 50);
    let polls: Vec<_> = (0..ASKERS)
        .map(|n| {
            let (describer, clock) = (describer.clone(), Arc::clone(&clock));
            tokio::spawn(async move {
                sleep_ms(&*clock, i64::try_from(n % 997).unwrap()).await;
                let mut longest_ms = 0;
                for _ in 0..LOOKS {
                    let asked_at = clock.now();
                    assert!(describer.volume(&id(n)).await.is_ok());
                    longest_ms = clock.now().since(asked_at).max(longest_ms);
                    sleep_ms(&*clock, 1_000).await;
                }
                longest_ms
            })
        })
        .collect();
    for poll in polls {
        let longest_ms = poll.await.unwrap();
        assert!(longest_ms <= 2_000, "an answer took {longest_ms} ms");
    }
    let took_s = clock.now().0 / 1_000 + 1;
    let calls = i64::try_from(cloud.calls().len()).unwrap();
    // Half of the bucket at once, then five a second; one by one it would be a thousand a second.
    assert!(calls <= 25 + 5 * took_s, "{calls} calls in {took_s} s");
    assert!(cloud.calls().iter().all(|ids| ids.len() <= FILTER_VALUES_MAX));
    assert_eq!(budget.counts()[&Api::DescribeVolumes].calls, cloud.calls().len() as u64);
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
