//! The process's one clock port. Everything that waits or stamps asks it; nothing else reads a clock.
//!
//! In production it is the wall clock, advanced by CLOCK_BOOTTIME so that a suspended machine notices the time it
//! lost (H8) and a stepped wall clock never moves a deadline. In the development stack simulated time runs `speed`
//! times faster, and all processes of the stack share one origin, so they agree to the millisecond. In virtual
//! time it is tokio's paused clock.
//!
//! Scaled by it: cloud latencies, polls, gaps, access leases, step deadlines, soak, back-off. Never scaled, and so
//! not asked of it: worker leases and heartbeats, SDK, HTTP and gRPC time-outs, stream heartbeats (they use
//! `tokio::time` directly).

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Debug;
use std::time::{Duration, SystemTime};
use tiershift_core::UnixMs;

/// A source of time.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// Now, on this clock.
    fn now(&self) -> UnixMs;

    /// Returns once this clock shows `at` or later. Cancel-safe.
    async fn sleep_until(&self, at: UnixMs);

    /// How long `ms` of this clock take in real time, for hints to remote callers.
    fn real(&self, ms: i64) -> Duration;
}

/// Milliseconds since boot, counting suspend. One value for all processes of a machine.
pub fn boottime_ms() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Simulated or real time: `origin_ms + (boottime - boot_ms) * speed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scaled {
    /// What this clock showed at `boot_ms`.
    pub origin_ms: i64,
    /// CLOCK_BOOTTIME in milliseconds when it showed `origin_ms`.
    pub boot_ms: i64,
    /// 1 to 100; 1 is real time.
    pub speed: u32,
}

impl Scaled {
    /// The wall clock as of now, advanced by CLOCK_BOOTTIME from here on.
    pub fn wall() -> Self {
        let origin_ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        Self { origin_ms, boot_ms: boottime_ms(), speed: 1 }
    }
}

#[async_trait]
impl Clock for Scaled {
    fn now(&self) -> UnixMs {
        UnixMs(self.origin_ms + (boottime_ms() - self.boot_ms) * i64::from(self.speed))
    }

    async fn sleep_until(&self, at: UnixMs) {
        // A loop, because tokio's timer does not count suspend and may be early by a rounded millisecond.
        loop {
            let left_ms = at.0 - self.now().0;
            if left_ms <= 0 {
                return;
            }
            tokio::time::sleep(self.real(left_ms)).await;
        }
    }

    fn real(&self, ms: i64) -> Duration {
        let micros = u64::try_from(ms).unwrap_or(0).saturating_mul(1_000) / u64::from(self.speed.max(1));
        Duration::from_micros(micros)
    }
}

/// Virtual time: tokio's own clock, paused by the test runtime. Shows `origin_ms` when made.
#[derive(Clone, Copy, Debug)]
pub struct Virtual {
    origin_ms: i64,
    started: tokio::time::Instant,
}

impl Virtual {
    /// A clock that shows `origin_ms` now.
    pub fn starting_at(origin_ms: i64) -> Self {
        Self { origin_ms, started: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> UnixMs {
        let since = self.started.elapsed().as_millis();
        UnixMs(self.origin_ms + i64::try_from(since).unwrap_or(i64::MAX))
    }

    async fn sleep_until(&self, at: UnixMs) {
        let left_ms = u64::try_from(at.0 - self.now().0).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
    }

    fn real(&self, ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

/// Sleeps for `ms` of `clock`.
pub async fn sleep_ms(clock: &dyn Clock, ms: i64) {
    clock.sleep_until(clock.now().plus(ms)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_shows_its_origin_and_runs_speed_times_faster() {
        let boot_ms = boottime_ms();
        let clock = Scaled { origin_ms: 1_000_000, boot_ms: boot_ms - 500, speed: 20 };
        let before = boottime_ms();
        let shown = clock.now();
        let after = boottime_ms();
        let at = |boot: i64| UnixMs(1_000_000 + (boot - boot_ms + 500) * 20);
        assert!(at(before) <= shown && shown <= at(after), "{shown}");
        assert_eq!(clock.real(2_000), Duration::from_millis(100));
        assert_eq!(clock.real(-1), Duration::ZERO);
        let text = serde_json::to_string(&clock).expect("JSON");
        assert_eq!(serde_json::from_str::<Scaled>(&text).expect("it reads back"), clock);
    }

    #[tokio::test]
    async fn a_scaled_sleep_never_ends_early() {
        let clock = Scaled { speed: 100, ..Scaled::wall() };
        let until = clock.now().plus(1_000);
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_only_by_waiting() {
        let clock = Virtual::starting_at(5_000);
        assert_eq!(clock.now(), UnixMs(5_000));
        sleep_ms(&clock, 60_000).await;
        assert_eq!(clock.now(), UnixMs(65_000));
        clock.sleep_until(UnixMs(1)).await;
        assert_eq!(clock.now(), UnixMs(65_000), "the past is no wait");
        assert_eq!(clock.real(7), Duration::from_millis(7));
    }
}
