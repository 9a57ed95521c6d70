//! Client-side budgets of AWS's calls: one token bucket for each API, at half of what AWS allows (rule 17). The whole
//! account shares AWS's buckets, with every other tool in it, so that this process must not empty them.
//!
//! Half of each bucket is kept for work that is being undone, and such work goes first; then goes what is done while
//! writes are blocked. Of every four calls that go while others wait behind them, one is that of the one that has waited
//! longest, so that nobody waits for ever. Within a kind calls go in the order in which they came. It runs on the process's clock and decides nothing else: who waits here is `budgeted.rs` and
//! `describe.rs`. With several processes each has its own, and a deployment gives each its part.

use crate::ports::cloud::traffic::Traffic;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tokio::sync::Notify;

/// The calls that have a budget of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// AttachVolume.
    AttachVolume,
    /// DetachVolume.
    DetachVolume,
    /// ModifyInstanceAttribute.
    ModifyInstanceAttribute,
    /// TerminateInstances.
    TerminateInstances,
    /// CreateSnapshot.
    CreateSnapshot,
    /// DeleteSnapshot.
    DeleteSnapshot,
    /// CreateVolume.
    CreateVolume,
    /// CreateTags.
    CreateTags,
    /// DescribeVolumes.
    DescribeVolumes,
    /// DescribeInstances.
    DescribeInstances,
    /// DescribeInstanceStatus.
    DescribeInstanceStatus,
    /// DescribeSnapshots.
    DescribeSnapshots,
    /// DescribeVolumesModifications.
    DescribeVolumesModifications,
    /// DescribeInstanceTypeOfferings.
    DescribeInstanceTypeOfferings,
    /// DescribeSubnets.
    DescribeSubnets,
    /// Every call of Auto Scaling: AWS has one bucket for all of them.
    AutoScaling,
}

impl Api {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::AttachVolume,
        Self::DetachVolume,
        Self::ModifyInstanceAttribute,
        Self::TerminateInstances,
        Self::CreateSnapshot,
        Self::DeleteSnapshot,
        Self::CreateVolume,
        Self::CreateTags,
        Self::DescribeVolumes,
        Self::DescribeInstances,
        Self::DescribeInstanceStatus,
        Self::DescribeSnapshots,
        Self::DescribeVolumesModifications,
        Self::DescribeInstanceTypeOfferings,
        Self::DescribeSubnets,
        Self::AutoScaling,
    ];

    /// (calls a second, calls at once): half of docs/aws.md, section 2, and less where the account's other tools are
    /// known to call too.
    pub const fn limits(self) -> (u32, u32) {
        match self {
            Self::AttachVolume | Self::DetachVolume | Self::ModifyInstanceAttribute | Self::TerminateInstances => {
                (2, 25)
            }
            Self::CreateSnapshot | Self::DeleteSnapshot | Self::CreateVolume => (2, 50),
            Self::CreateTags
            | Self::DescribeVolumes
            | Self::DescribeInstances
            | Self::DescribeInstanceStatus
            | Self::DescribeSnapshots
            | Self::DescribeVolumesModifications
            | Self::DescribeInstanceTypeOfferings
            | Self::DescribeSubnets => (5, 50),
            Self::AutoScaling => (2, 10),
        }
    }
}

/// What became of the calls of one API since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were let go.
    pub calls: u64,
    /// Those of them that had to wait.
    pub waits: u64,
    /// How long they waited together, in milliseconds of the clock.
    pub waited_ms: i64,
    /// Calls that AWS throttled all the same.
    pub throttles: u64,
}

/// The budgets of a process.
#[derive(Debug)]
pub struct Budget {
    clock: Arc<dyn Clock>,
    doors: BTreeMap<Api, Door>,
}

#[derive(Debug)]
struct Door {
    bucket: Mutex<Bucket>,
    /// Somebody went, came or left: who waits looks again.
    changed: Notify,
}

impl Door {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    /// Full buckets, at so many percent of [`Api::limits`].
    pub fn new(clock: Arc<dyn Clock>, percent: u32) -> Arc<Self> {
        let now = clock.now();
        let door = |api: Api| Door { bucket: Mutex::new(Bucket::full(api, percent, now)), changed: Notify::new() };
        Arc::new(Self { clock, doors: Api::ALL.into_iter().map(|api| (api, door(api))).collect() })
    }

    /// Returns when a call may go; says whether it had to wait. Whoever stops waiting leaves the queue.
    pub async fn take(&self, api: Api, traffic: Traffic) -> bool {
        let Some(door) = self.doors.get(&api) else { return false };
        let came_at = self.clock.now();
        let place = Place { door, traffic, ticket: door.bucket().enter(traffic) };
        let mut waited = false;
        loop {
            let changed = door.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let turn = door.bucket().turn(place.traffic, place.ticket, self.clock.now());
            match turn {
                Turn::Goes => break,
                Turn::At(at) => tokio::select! {
                    biased;
                    () = &mut changed => {}
                    () = self.clock.sleep_until(at) => {}
                },
                // Whoever is before it says so when it goes or leaves.
                Turn::Behind => changed.await,
            }
            waited = true;
        }
        let mut bucket = door.bucket();
        bucket.counts.calls += 1;
        bucket.counts.waits += u64::from(waited);
        bucket.counts.waited_ms += self.clock.now().since(came_at);
        waited
    }

    /// AWS throttled a call: somebody else calls too, so that the half of work that goes on counts as empty.
    pub fn throttled(&self, api: Api) {
        let Some(door) = self.doors.get(&api) else { return };
        let mut bucket = door.bucket();
        bucket.refill(self.clock.now());
        bucket.level = bucket.level.min(bucket.kept);
        bucket.counts.throttles += 1;
    }

    /// What became of the calls of each API.
    pub fn counts(&self) -> BTreeMap<Api, Counts> {
        self.doors.iter().map(|(api, door)| (*api, door.bucket().counts)).collect()
    }
}

/// A place in the queue of an API; given up by dropping it.
struct Place<'a> {
    door: &'a Door,
    traffic: Traffic,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.door.bucket().leave(self.traffic, self.ticket);
        self.door.changed.notify_waiters();
    }
}

/// One call, in the bucket's unit: fine enough for a percentage of a call each millisecond.
const CALL: i64 = 100_000;

/// Calls that may pass over others in a row.
const IN_A_ROW_MAX: u32 = 3;

/// What a waiting call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It goes.
    Goes,
    /// It is the next, at that time at the earliest.
    At(UnixMs),
    /// Another is before it.
    Behind,
}

/// A token bucket with a queue for each kind of traffic.
#[derive(Debug)]
struct Bucket {
    /// Filled by so much each millisecond.
    per_ms: i64,
    burst: i64,
    /// Below this only undoing may take it.
    kept: i64,
    level: i64,
    at: UnixMs,
    /// Tickets, by kind and in their order.
    waiting: BTreeMap<Traffic, VecDeque<u64>>,
    last_ticket: u64,
    in_a_row: u32,
    counts: Counts,
}

impl Bucket {
    fn full(api: Api, percent: u32, at: UnixMs) -> Self {
        let (per_second, burst) = api.limits();
        let percent = i64::from(percent.max(1));
        let burst = (i64::from(burst) * percent * CALL / 100).max(CALL);
        Self {
            per_ms: i64::from(per_second) * percent * (CALL / 100_000),
            burst,
            kept: (burst / 2).min(burst - CALL),
            level: burst,
            at,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            in_a_row: 0,
            counts: Counts::default(),
        }
    }

    fn refill(&mut self, now: UnixMs) {
        let passed_ms = now.since(self.at).max(0);
        self.level = self.level.saturating_add(passed_ms.saturating_mul(self.per_ms)).min(self.burst);
        self.at = self.at.max(now);
    }

    fn enter(&mut self, traffic: Traffic) -> u64 {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.waiting.entry(traffic).or_default().push_back(ticket);
        ticket
    }

    fn leave(&mut self, traffic: Traffic, ticket: u64) {
        if let Some(queue) = self.waiting.get_mut(&traffic) {
            queue.retain(|waiting| *waiting != ticket);
        }
    }

    /// Whose turn it is: the most urgent, and now and then the one that came first of those that were passed over.
    fn first(&self) -> Option<u64> {
        let mut fronts = self.waiting.values().rev().filter_map(|queue| queue.front()).copied();
        let urgent = fronts.next()?;
        let passed_over = fronts.min().filter(|_| self.in_a_row >= IN_A_ROW_MAX);
        Some(passed_over.unwrap_or(urgent))
    }

    fn waits(&self, mut which: impl FnMut(Traffic) -> bool) -> bool {
        self.waiting.iter().any(|(traffic, queue)| which(*traffic) && !queue.is_empty())
    }

    fn turn(&mut self, traffic: Traffic, ticket: u64, now: UnixMs) -> Turn {
        self.refill(now);
        if self.first() != Some(ticket) {
            return Turn::Behind;
        }
        // Where undoing waits too, what was kept is what they share.
        let kept = if self.waits(|waiting| waiting == Traffic::Rollback) { 0 } else { self.kept };
        let missing = CALL + kept - self.level;
        if missing > 0 {
            return Turn::At(now.plus((missing + self.per_ms - 1) / self.per_ms));
        }
        self.level -= CALL;
        let passed_over = self.waits(|waiting| waiting < traffic);
        self.in_a_row = if passed_over { self.in_a_row + 1 } else { 0 };
        self.leave(traffic, ticket);
        Turn::Goes
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
