//! What a run comes to: percentiles, the three orders side by side, the targets, and where the time goes.

use super::history::{Ended, History};
use super::orders;
use serde_json::{Value, json};
use std::fmt::Write as _;
use tiershift_core::UnixMs;
use volume_core::stage::Stage;

/// Milliseconds in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sorted(Vec<i64>);

impl Sorted {
    fn of(mut values: Vec<i64>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The least value that so many percent of all do not exceed, in seconds; none of nothing.
    fn percentile_s(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map(|ms| seconds(*ms))
    }

    fn mean_s(&self) -> f64 {
        let count = i64::try_from(self.0.len()).unwrap_or(i64::MAX).max(1);
        seconds(self.0.iter().sum::<i64>() / count)
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations of a simulated day are exact in an f64")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// One way to move the volume, over the histories that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Order {
    blocked: Sorted,
    offline: Sorted,
    reads_closed: Sorted,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    seeds: usize,
    aborted: usize,
    otherwise: usize,
    ours: Order,
    predecessor: Order,
    limit: Order,
}

impl Report {
    /// Over all histories of a run.
    pub fn over(histories: &[History]) -> Self {
        let count = |ended: Ended| histories.iter().filter(|history| history.ended == ended).count();
        let drawn: Vec<_> = succeeded(histories).filter_map(|h| Some((h, h.draws.as_ref()?))).collect();
        let ours = |of: fn(&History) -> Option<i64>| Sorted::of(drawn.iter().filter_map(|(h, _)| of(h)).collect());
        let before: Vec<_> = drawn.iter().map(|(h, draws)| orders::predecessor(h.seed, draws)).collect();
        Self {
            seeds: histories.len(),
            aborted: count(Ended::Drain),
            otherwise: count(Ended::Otherwise),
            ours: Order {
                blocked: ours(History::blocked_ms),
                offline: ours(History::offline_ms),
                reads_closed: ours(History::reads_closed_ms),
            },
            predecessor: Order {
                blocked: Sorted::of(before.iter().map(|order| signed(order.blocked_ms)).collect()),
                offline: Sorted::of(before.iter().map(|order| signed(order.offline_ms)).collect()),
                reads_closed: Sorted::default(),
            },
            limit: Order {
                offline: Sorted::of(drawn.iter().map(|(_, draws)| signed(orders::limit_ms(draws))).collect()),
                ..Order::default()
            },
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not that many histories")]
    fn aborted_share(&self) -> f64 {
        self.aborted as f64 / self.seeds as f64
    }

    /// How many times as long the predecessor blocks writes.
    fn blocked_ratio(&self) -> Option<f64> {
        Some(self.predecessor.blocked.percentile_s(50)? / self.ours.blocked.percentile_s(50)?)
    }

    /// How near the time offline comes to the least possible; 1 would be it.
    fn offline_of_limit(&self) -> Option<f64> {
        Some(self.limit.offline.percentile_s(50)? / self.ours.offline.percentile_s(50)?)
    }

    /// The run as one object; seconds and ratios to three places.
    pub fn json(&self) -> Value {
        let (ours, before, limit) = (&self.ours, &self.predecessor, &self.limit);
        json!({
            "seeds": self.seeds,
            "succeeded": ours.blocked.0.len(),
            "ended_otherwise": self.otherwise,
            "ours": {
                "blocked_p50_s": rounded(ours.blocked.percentile_s(50)),
                "blocked_p99_s": rounded(ours.blocked.percentile_s(99)),
                "offline_p50_s": rounded(ours.offline.percentile_s(50)),
                "offline_p99_s": rounded(ours.offline.percentile_s(99)),
                "reads_closed_p50_s": rounded(ours.reads_closed.percentile_s(50)),
                "aborted_share": rounded(Some(self.aborted_share())),
            },
            "predecessor": {
                "blocked_p50_s": rounded(before.blocked.percentile_s(50)),
                "blocked_p99_s": rounded(before.blocked.percentile_s(99)),
                "offline_p50_s": rounded(before.offline.percentile_s(50)),
                "offline_p99_s": rounded(before.offline.percentile_s(99)),
            },
            "limit": {
                "offline_p50_s": rounded(limit.offline.percentile_s(50)),
                "offline_p99_s": rounded(limit.offline.percentile_s(99)),
            },
            "blocked_ratio": rounded(self.blocked_ratio()),
            "offline_of_limit": rounded(self.offline_of_limit()),
        })
    }

    /// The run for people, each number beside what it is to be.
    pub fn table(&self) -> String {
        let (ours, before, limit) = (&self.ours, &self.predecessor, &self.limit);
        let mut text = format!(
            "{} changes: {} succeeded, {} ended by the drain deadline, {} otherwise\n\n",
            self.seeds,
            ours.blocked.0.len(),
            self.aborted,
            self.otherwise
        );
        let mut row = |name: &str, cells: [String; 4]| {
            let [ours, target, before, limit] = cells;
            let _ = writeln!(text, "{name:<34} {ours:>10} {target:>10} {before:>12} {limit:>10}");
        };
        row("", ["ours", "target", "predecessor", "limit"].map(str::to_owned));
        let s =
            |sorted: &Sorted, percent| sorted.percentile_s(percent).map_or_else(String::new, |s| format!("{s:.1} s"));
        let none = String::new;
        let to = |text: &str| text.to_owned();
        row("writes blocked, p50", [s(&ours.blocked, 50), to("<= 47 s"), s(&before.blocked, 50), none()]);
        row("writes blocked, p99", [s(&ours.blocked, 99), to("<= 180 s"), s(&before.blocked, 99), none()]);
        row(
            "volume offline, p50",
            [s(&ours.offline, 50), to("<= 27 s"), s(&before.offline, 50), s(&limit.offline, 50)],
        );
        row("volume offline, p99", [s(&ours.offline, 99), none(), s(&before.offline, 99), s(&limit.offline, 99)]);
        row("reads closed, p50", [s(&ours.reads_closed, 50), to("<= 38 s"), none(), none()]);
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        let share = format!("{:.1} %", self.aborted_share() * 100.0);
        row("ended by the drain deadline", [share, to("<= 6 %"), none(), none()]);
        row("predecessor's blocked p50 : ours", [ratio(self.blocked_ratio()), to(">= 15"), none(), none()]);
        row("limit's offline p50 : ours", [ratio(self.offline_of_limit()), to(">= 0.85"), none(), none()]);
        text
    }
}

fn succeeded(histories: &[History]) -> impl Iterator<Item = &History> {
    histories.iter().filter(|history| history.ended == Ended::Succeeded)
}

fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 1_000.0).round() / 1_000.0))
}

/// A stretch of the blocked window, and how much of it was drawn: a lease, a drain, a detach.
struct Stretch {
    name: &'static str,
    took_ms: i64,
    drawn_ms: u64,
}

fn stretches(history: &History) -> Option<Vec<Stretch>> {
    let (closed, reopened) = history.gate?;
    let draws = history.draws?;
    let stage = |stage: Stage| history.entered.get(&stage).copied();
    let drain_ms = draws.drain_ms / 2;
    let lease_ms = u64::try_from(tiershift_tests::world::access::LEASE_MS).unwrap_or(0);
    let marks: [(&str, Option<UnixMs>, u64); 11] = [
        ("lease", Some(closed), lease_ms),
        ("drain_writes", history.confirmed_at, drain_ms),
        ("drain_reads", stage(Stage::DrainReads), drain_ms),
        ("release", stage(Stage::Release), draws.stop_ms),
        ("final_snapshot", stage(Stage::FinalSnapshot), draws.snapshot_call_ms),
        ("detach", stage(Stage::Detach), draws.detach.whole_ms()),
        ("attach", stage(Stage::Attach), draws.attach.whole_ms()),
        ("adopt", stage(Stage::Adopt), draws.mount_ms + draws.open_ms),
        ("commit", stage(Stage::Commit), 0),
        ("open", history.committed_at, 0),
        ("reopening", history.opened_at, 0),
    ];
    let ends = marks.iter().skip(1).map(|(_, at, _)| *at).chain([Some(reopened)]);
    let stretch = |((name, from, drawn_ms), to): (&(&'static str, Option<UnixMs>, u64), Option<UnixMs>)| {
        Some(Stretch { name, took_ms: to?.since((*from)?), drawn_ms: *drawn_ms })
    };
    marks.iter().zip(ends).map(stretch).collect()
}

/// Where the time of the blocked window goes, over the histories that succeeded. Means add up, percentiles do not.
pub fn stages(histories: &[History]) -> String {
    let all: Vec<Vec<Stretch>> = succeeded(histories).filter_map(stretches).collect();
    let mut text = format!("{:<16} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "", "p50", "p99", "mean", "drawn", "over it");
    let Some(first) = all.first() else { return text };
    let mut line = |name: &str, took: Vec<i64>, drawn: Vec<i64>| {
        let (took, drawn) = (Sorted::of(took), Sorted::of(drawn));
        let percentile = |percent| took.percentile_s(percent).unwrap_or_default();
        let (mean, base) = (took.mean_s(), drawn.mean_s());
        let (p50, p99, over) = (percentile(50), percentile(99), mean - base);
        let _ = writeln!(text, "{name:<16} {p50:>9.2} {p99:>9.2} {mean:>9.2} {base:>9.2} {over:>9.2}");
    };
    for (place, stretch) in first.iter().enumerate() {
        let took = all.iter().map(|stretches| stretches[place].took_ms).collect();
        let drawn = all.iter().map(|stretches| signed(stretches[place].drawn_ms)).collect();
        line(stretch.name, took, drawn);
    }
    let total = |of: fn(&Stretch) -> i64| all.iter().map(|stretches| stretches.iter().map(of).sum()).collect();
    line("blocked", total(|stretch| stretch.took_ms), total(|stretch| signed(stretch.drawn_ms)));
    text.push('\n');
    text
}
