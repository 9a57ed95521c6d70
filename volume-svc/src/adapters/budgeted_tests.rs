//! What waits has not been called.

use super::*;
use crate::adapters::doubles::Scaling;
use crate::ports::cloud::last_look::Lasts;
use crate::ports::cloud::traffic::Traffic;
use std::sync::atomic::{AtomicBool, Ordering};
use tiershift_common::clock::{Clock, Virtual};

#[derive(Debug, Default)]
struct Lease(AtomicBool);

impl Lasts for Lease {
    fn left_ms(&self) -> i64 {
        if self.0.load(Ordering::Relaxed) { 6_000 } else { 0 }
    }
}

struct Bench {
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
    scaling: Arc<Scaling>,
    port: Budgeted<dyn AutoScalingApi>,
}

impl Bench {
    /// With nothing left for work that goes on.
    async fn short() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(0));
        let (budget, scaling) = (Budget::new(Arc::clone(&clock), 100), Arc::new(Scaling::default()));
        let port: Arc<dyn AutoScalingApi> = scaling.clone();
        let port = Budgeted::new(&port, &budget);
        for _ in 0..5 {
            budget.take(Api::AutoScaling, Traffic::Forward).await;
        }
        Self { clock, budget, scaling, port }
    }

    async fn protect(&self) -> Result<(), ApiError> {
        let group = GroupName::parse("writers").unwrap();
        self.port.set_instance_protection(&group, &[], true).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_when_its_budget_lets_it_go() {
    let bench = Bench::short().await;
    let waits = async {
        tokio::time::sleep(std::time::Duration::from_millis(499)).await;
        assert_eq!(bench.scaling.asked(), Vec::<&str>::new(), "nothing is sent while it waits");
    };
    let (called, ()) = tokio::join!(bench.protect(), waits);
    assert_eq!(called, Ok(()));
    assert_eq!((bench.scaling.asked(), bench.clock.now().0), (vec!["SetInstanceProtection"], 500));
    assert_eq!(bench.budget.counts()[&Api::AutoScaling].waits, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_undone_does_not_wait_for_what_goes_on() {
    let bench = Bench::short().await;
    assert_eq!(traffic::on_behalf_of(Traffic::Rollback, bench.protect()).await, Ok(()));
    assert_eq!(bench.clock.now().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_in_the_queue_sends_nothing() {
    let bench = Bench::short().await;
    let lease = Arc::new(Lease(AtomicBool::new(true)));
    let runs_out = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        lease.0.store(false, Ordering::Relaxed);
    };
    let (late, ()) = tokio::join!(last_look::under_lease(lease.clone(), bench.protect()), runs_out);
    assert_eq!(late.map_err(|error| error.class), Err(Class::TooLate));
    assert_eq!(bench.scaling.asked(), Vec::<&str>::new());
    // One that lasts is looked at anew: the first look may be older than any lease.
    lease.0.store(true, Ordering::Relaxed);
    assert_eq!(last_look::under_lease(lease, bench.protect()).await, Ok(()));
    assert_eq!(bench.scaling.asked(), ["SetInstanceProtection"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_counted() {
    let bench = Bench::short().await;
    bench.scaling.throttle_next();
    assert_eq!(bench.protect().await.map_err(|error| error.class), Err(Class::Throttled));
    assert_eq!(bench.budget.counts()[&Api::AutoScaling].throttles, 1);
}
