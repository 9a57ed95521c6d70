//! Journal appends beside the same transactions without anything around them, in turns within one run.
//!
//! What is measured of an append: the machine checks and places the facts, the journal builds the transaction, sends it and
//! learns what became of it, the machine takes it over. The world around is left out, so lanes append as fast as they are
//! answered. What is measured of a bare transaction: the SDK's call with items that were built before, from a client of the
//! same kind, in tables of their own with the same rows. Permits are the one difference: bare ones check no other holders,
//! because that would tie the order of the lanes.

use super::life::{self, Life};
use super::tables::{Fault, Tables, Tap, register, settings};
use super::{percentile_ms, ratio};
use aws_sdk_dynamodb::types::TransactWriteItem;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use volume_core::item::Write;
use volume_core::machine::Machine;
use volume_svc::adapters::aws::Attempts;
use volume_svc::journal::Journal;
use volume_svc::store::dynamodb::transact_items;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Lives at once.
    pub lanes: usize,
    /// How often all of them are lived, in turns with the bare ones.
    pub rounds: usize,
    /// Appends of each life that are made; more than it has means all.
    pub appends: usize,
    /// The number of the first life: no two may have the same.
    pub first: usize,
}

/// Times of one kind.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    wall: Duration,
}

impl Measured {
    fn per_second(&self) -> f64 {
        let count = u32::try_from(self.times.len()).map_or(f64::MAX, f64::from);
        ratio(count, self.wall.as_secs_f64())
    }
}

/// Measures, and gives the numbers.
pub async fn measure(tables: &Tables, life: &Life, plan: Plan) -> Result<Value, Fault> {
    let (mut appends, mut bare) = (Measured::default(), Measured::default());
    for round in 0..plan.rounds {
        let mut lives = Vec::with_capacity(plan.lanes);
        for lane in 0..plan.lanes {
            let own = life.of(plan.first + round * plan.lanes + lane)?;
            register(&tables.store(&tables.names), &own).await?;
            register(&tables.store(&tables.bare), &own).await?;
            lives.push((plan.first + round * plan.lanes + lane, own));
        }
        let made = live(tables, lives, plan, &mut appends).await?;
        send(tables, made, plan.first + round, &mut bare).await?;
    }
    let p50 = (percentile_ms(&mut appends.times, 50), percentile_ms(&mut bare.times, 50));
    let p99 = (percentile_ms(&mut appends.times, 99), percentile_ms(&mut bare.times, 99));
    let per_second = (appends.per_second(), bare.per_second());
    Ok(json!({
        "migrations": plan.lanes,
        "appends": appends.times.len(),
        "append_p50_ms": p50.0,
        "append_p99_ms": p99.0,
        "appends_per_s": per_second.0,
        "bare_p50_ms": p50.1,
        "bare_p99_ms": p99.1,
        "bare_per_s": per_second.1,
        "p50_ratio": ratio(p50.0, p50.1),
        "throughput_ratio": ratio(per_second.0, per_second.1),
    }))
}

/// Lives all lives at once, and gives the transactions that they made.
async fn live(
    tables: &Tables,
    lives: Vec<(usize, Life)>,
    plan: Plan,
    measured: &mut Measured,
) -> Result<Vec<Vec<Vec<Write>>>, Fault> {
    let mut lanes = JoinSet::new();
    let begun = Instant::now();
    for (number, own) in lives {
        let tap = Tap::new(tables.store(&tables.names));
        let journal = Tables::journal(tap.clone(), "w-1-0123456789abcdef")?;
        lanes.spawn(async move {
            let times = one(&journal, number, own, plan.appends).await?;
            Ok::<_, Fault>((times, tap.made()))
        });
    }
    let mut made = Vec::new();
    while let Some(ended) = lanes.join_next().await {
        let (times, transactions) = ended??;
        measured.times.extend(times);
        made.push(transactions);
    }
    measured.wall += begun.elapsed();
    Ok(made)
}

/// One life: the machine and the journal, without a world.
async fn one(journal: &Journal, number: usize, own: Life, most: usize) -> Result<Vec<Duration>, Fault> {
    let (id, spec) = (life::id(number), own.spec()?.clone());
    let mut times = Vec::new();
    let mut machine: Option<Machine> = None;
    for (at, facts) in own.appends.into_iter().take(most) {
        let begun = Instant::now();
        let append = match &machine {
            None => Machine::start(spec.clone(), journal.worker(), 1, &settings(), at)?,
            Some(machine) => machine.prepare(facts, at)?,
        };
        journal.append(&append, journal.worker(), 1).await?;
        match &mut machine {
            None => machine = Some(Machine::load(&id, &append.entries, settings(), at)?),
            Some(machine) => machine.committed(&append),
        }
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Sends the same transactions, as many lanes at once.
async fn send(tables: &Tables, made: Vec<Vec<Vec<Write>>>, round: usize, measured: &mut Measured) -> Result<(), Fault> {
    let client = Arc::new(tables.aws.dynamodb_client(Attempts::One));
    let mut built: Vec<Vec<Vec<TransactWriteItem>>> = Vec::with_capacity(made.len());
    for transactions in made {
        let items = transactions.into_iter().map(|writes| {
            let writes = writes.into_iter().map(alone).collect();
            transact_items(&tables.bare, writes)
        });
        built.push(items.collect::<Result<_, _>>()?);
    }
    let mut lanes = JoinSet::new();
    let begun = Instant::now();
    for (lane, transactions) in built.into_iter().enumerate() {
        let client = Arc::clone(&client);
        lanes.spawn(async move {
            let mut times = Vec::with_capacity(transactions.len());
            for (n, items) in transactions.into_iter().enumerate() {
                // As long as a journal's.
                let token = format!("{round:08x}{lane:012x}{n:012x}");
                let request = client.transact_write_items().client_request_token(token).set_transact_items(Some(items));
                let begun = Instant::now();
                request.send().await.map_err(|error| Fault::from(error.into_service_error()))?;
                times.push(begun.elapsed());
            }
            Ok::<_, Fault>(times)
        });
    }
    while let Some(ended) = lanes.join_next().await {
        measured.times.extend(ended??);
    }
    measured.wall += begun.elapsed();
    Ok(())
}

/// A permit's write that looks at nobody else's.
fn alone(mut write: Write) -> Write {
    if write.key.pk.starts_with("PERMIT#") {
        write.conds.clear();
    }
    write
}
