//! A crowd of migrations that wait at their gates and lose their process: one real process of volume-svc takes them all
//! over. Measured from outside: how long that takes, and what each costs in memory.
//!
//! The lost process is played by this one: it writes the journals and beats until it "dies". The cloud knows nothing of
//! their instances; that they are gone is believed after 30 s of looking (rule 14), and everything is measured by then.

use super::life::{self, Life};
use super::tables::{Fault, Tables, register, settings};
use super::{percentile_ms, ratio};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiershift_core::UnixMs;
use tiershift_core::ids::WorkerId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use volume_core::fact::Fact;
use volume_core::machine::Machine;
use volume_svc::journal::Journal;
use volume_svc::lease::Lease;

/// Journals written at once.
const LANES: usize = 16;

/// How long everything may take.
const BOUND: Duration = Duration::from_mins(3);

/// Between two looks at the process's log.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The name of the process that dies.
const LOST: &str = "w-1-00000000000000aa";

/// Takes `count` migrations over, on tables that hold nothing else.
pub async fn measure(tables: &Tables, life: &Life, count: usize) -> Result<Value, Fault> {
    let settings_file = tempfile::NamedTempFile::new()?;
    std::fs::write(settings_file.path(), serde_json::to_string(&settings())?)?;
    let log = tempfile::NamedTempFile::new()?;
    let path = settings_file.path().display().to_string();
    let args = ["--settings", &path];
    let (child, _) = tables.stack.another_volume(&tables.stack.cloud_url, log.path(), &args).await?;
    let pid = child.id().ok_or("the process has ended")?;

    let store = Arc::new(tables.store(&tables.names));
    let journal = Tables::journal(store.clone(), LOST)?;
    let beating = tokio::spawn(Lease::new().keep(store, WorkerId::parse(LOST)?, CancellationToken::new()));
    park(tables, &journal, life, count).await?;
    // The process has seen them all, alive: what it costs to know of them is paid.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before_kib = resident_kib(pid)?;
    match loaded(log.path())? {
        0 => {}
        early => return Err(format!("{early} were taken over from a process that lives").into()),
    }
    beating.abort();
    let died = Instant::now();
    let mut times = taken_over(log.path(), count, died).await?;
    let all_ms = percentile_ms(&mut times, 100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after_kib = resident_kib(pid)?;
    drop(child);
    Ok(json!({
        "migrations": count,
        "takeover_first_ms": percentile_ms(&mut times, 0),
        "takeover_p50_ms": percentile_ms(&mut times, 50),
        "takeover_last_ms": all_ms,
        "resident_before_kib": before_kib,
        "resident_after_kib": after_kib,
        "kib_per_migration": ratio(f64::from(after_kib) - f64::from(before_kib), f64::from(u32::try_from(count)?)),
    }))
}

/// Writes journals that wait at their gates.
async fn park(tables: &Tables, journal: &Journal, life: &Life, count: usize) -> Result<(), Fault> {
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (journal, life, store) = (journal.clone(), life.clone(), tables.store(&tables.names));
        lanes.spawn(async move {
            for number in (lane..count).step_by(LANES).map(|n| n + 1) {
                let own = life.of(number)?;
                register(&store, &own).await?;
                wait_at_the_gate(&journal, number, own).await?;
            }
            Ok::<_, Fault>(())
        });
    }
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    Ok(())
}

/// Everything up to the request of the gate, in two appends.
async fn wait_at_the_gate(journal: &Journal, number: usize, own: Life) -> Result<(), Fault> {
    let spec = own.spec()?.clone();
    let mut rest = Vec::new();
    for mut fact in own.appends.into_iter().skip(1).flat_map(|(_, facts)| facts) {
        let last = matches!(fact, Fact::GateRequested { .. });
        if let Fact::GateRequested { deadline_at, .. } = &mut fact {
            *deadline_at = UnixMs(i64::MAX / 2);
        }
        if !matches!(fact, Fact::Progress { .. }) {
            rest.push(fact);
        }
        if last {
            break;
        }
    }
    let (id, now) = (life::id(number), UnixMs(1_795_000_000_000));
    let append = Machine::start(spec, journal.worker(), 1, &settings(), now)?;
    journal.append(&append, journal.worker(), 1).await?;
    let machine = Machine::load(&id, &append.entries, settings(), now)?;
    let append = machine.prepare(rest, now)?;
    journal.append(&append, journal.worker(), 1).await?;
    Ok(())
}

/// When each was loaded and observed by its new driver, counted from the death.
async fn taken_over(log: &Path, count: usize, died: Instant) -> Result<Vec<Duration>, Fault> {
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let said = loaded(log)?;
        times.resize(said.min(count).max(times.len()), died.elapsed());
        if died.elapsed() > BOUND {
            return Err(format!("{said} of {count} were taken over within {BOUND:?}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(times)
}

/// Migrations that the process has loaded and observed, by its log.
fn loaded(log: &Path) -> Result<usize, Fault> {
    Ok(std::fs::read_to_string(log)?.matches("loaded and observed").count())
}

/// Resident memory of a process, by the kernel.
fn resident_kib(pid: u32) -> Result<u32, Fault> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel does not say")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
