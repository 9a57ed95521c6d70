//! Budgets in virtual time.

use super::*;
use tiershift_common::clock::{Virtual, sleep_ms};
use tokio::task::JoinHandle;

/// Two a second, 25 at once; 12 and a half of them are kept.
const API: Api = Api::AttachVolume;

struct Bench {
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
    went: Arc<Mutex<Vec<&'static str>>>,
}

impl Bench {
    fn at(percent: u32) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(0));
        Self { budget: Budget::new(Arc::clone(&clock), percent), clock, went: Arc::default() }
    }

    /// When each of so many calls goes, one after the other.
    async fn times(&self, traffic: Traffic, count: usize) -> Vec<i64> {
        let mut times = Vec::new();
        for _ in 0..count {
            self.budget.take(API, traffic).await;
            times.push(self.clock.now().0);
        }
        times
    }

    async fn empty(&self) {
        assert_eq!(self.times(Traffic::Rollback, 25).await, [0; 25], "a full bucket");
    }

    /// Waits in a task of its own and leaves its name when it goes.
    async fn waits(&self, traffic: Traffic, name: &'static str) -> JoinHandle<()> {
        let (budget, went) = (Arc::clone(&self.budget), Arc::clone(&self.went));
        let task = tokio::spawn(async move {
            budget.take(API, traffic).await;
            went.lock().unwrap().push(name);
        });
        tokio::task::yield_now().await;
        task
    }

    fn went(&self) -> Vec<&'static str> {
        self.went.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_goes_on_has_half_of_a_full_bucket_and_then_the_rate() {
    let bench = Bench::at(100);
    let times = bench.times(Traffic::Forward, 15).await;
    assert_eq!(times[..12], [0; 12]);
    assert_eq!(times[12..], [250, 750, 1_250]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_there_for_undoing() {
    let bench = Bench::at(100);
    bench.times(Traffic::Forward, 12).await;
    assert_eq!(bench.times(Traffic::Rollback, 14).await, [&[0; 13][..], &[500]].concat());
    assert_eq!(bench.times(Traffic::Forward, 1).await, [7_250], "not before undoing has its half again");
}

#[tokio::test(start_paused = true)]
async fn undoing_goes_first_and_each_kind_in_order() {
    let bench = Bench::at(100);
    bench.empty().await;
    let mut tasks = Vec::new();
    for (traffic, name) in
        [(Traffic::Forward, "f1"), (Traffic::Forward, "f2"), (Traffic::Rollback, "r1"), (Traffic::Rollback, "r2")]
    {
        tasks.push(bench.waits(traffic, name).await);
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bench.went(), ["r1", "r2", "f1", "f2"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_while_writes_are_blocked_goes_before_what_can_wait() {
    let bench = Bench::at(100);
    bench.empty().await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(bench.waits(Traffic::Forward, "f").await);
    }
    for _ in 0..4 {
        tasks.push(bench.waits(Traffic::Blocked, "b").await);
    }
    tasks.push(bench.waits(Traffic::Rollback, "r").await);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bench.went(), ["r", "b", "b", "f", "b", "b", "f"], "and of every four one is that of who waits longest");
    assert!(bench.clock.now().0 > 6_250, "undoing's half is not touched: {}", bench.clock.now().0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let bench = Bench::at(100);
    bench.empty().await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(bench.waits(Traffic::Rollback, "r").await);
    }
    for _ in 0..3 {
        tasks.push(bench.waits(Traffic::Forward, "f").await);
    }
    sleep_ms(&*bench.clock, 6_600).await;
    assert_eq!(bench.went(), ["r", "r", "r", "f", "r", "r", "r", "f", "r", "r", "r", "f", "r"]);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_leaves_the_queue() {
    let bench = Bench::at(100);
    bench.empty().await;
    let gone = [bench.waits(Traffic::Rollback, "r1").await, bench.waits(Traffic::Forward, "f1").await];
    let stays = bench.waits(Traffic::Rollback, "r2").await;
    gone.iter().for_each(JoinHandle::abort);
    stays.await.unwrap();
    assert_eq!((bench.went(), bench.clock.now().0), (vec!["r2"], 500));
    let last = bench.waits(Traffic::Forward, "f2").await;
    last.await.unwrap();
    assert_eq!(bench.went(), ["r2", "f2"]);
}

#[tokio::test(start_paused = true)]
async fn no_stretch_of_time_has_more_calls_than_the_bucket_allows() {
    let bench = Bench::at(100);
    let tasks: Vec<_> = (0..120)
        .map(|n| {
            let (budget, clock) = (Arc::clone(&bench.budget), Arc::clone(&bench.clock));
            let traffic = if n % 3 == 0 { Traffic::Rollback } else { Traffic::Forward };
            tokio::spawn(async move {
                sleep_ms(&*clock, (n * 7_919) % 20_000).await;
                budget.take(API, traffic).await;
                clock.now().0
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap());
    }
    times.sort_unstable();
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let calls = i64::try_from(last - first + 1).unwrap();
            assert!((calls - 25) * 1_000 <= 2 * (to - from), "{calls} calls from {from} to {to}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_empties_the_half_of_work_that_goes_on() {
    let bench = Bench::at(100);
    bench.budget.throttled(API);
    assert_eq!(bench.times(Traffic::Rollback, 1).await, [0], "undoing tries on");
    assert_eq!(bench.times(Traffic::Forward, 1).await, [1_000], "two calls short of the kept half and one more");
    let counts = bench.budget.counts();
    assert_eq!(counts[&API], Counts { calls: 2, waits: 1, waited_ms: 1_000, throttles: 1 });
    assert_eq!(counts[&Api::DetachVolume], Counts::default(), "each API has its own");
}

#[tokio::test(start_paused = true)]
async fn a_small_part_of_a_budget_still_lets_calls_go() {
    let bench = Bench::at(1);
    assert_eq!(bench.times(Traffic::Forward, 3).await, [0, 50_000, 100_000]);
    let bench = Bench::at(10_000);
    assert_eq!(bench.times(Traffic::Forward, 1_250).await, [bench.clock.now().0; 1_250]);
}
