//! Journal appends beside the same transactions without anything around them, in turns within one run.
//!
//! One life is measured append by append beside its bare twin, so that what else the machine does meets both; many lives in
//! rounds. What is measured of an append: the machine checks and places the facts, the journal builds the transaction, sends it and
//! learns what became of it, the machine takes it over. The world around is left out, so lives append as fast as they are
//! answered, or at a pace. What is measured of a bare transaction: the SDK's call with items that were built before, from a client of the
//! same kind, in tables of their own with the same rows. Permits are the one difference: bare ones check no other holders,
//! because that would tie the order of the lanes.

use super::life::{self, Appended, Life};
use super::tables::{Fault, Tables, Tap, register, settings};
use super::{percentile_ms, ratio};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::TransactWriteItem;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiershift_core::ids::ChangeId;
use tokio::task::JoinSet;
use volume_core::fact::Spec;
use volume_core::item::Write;
use volume_core::machine::Machine;
use volume_svc::adapters::aws::Attempts;
use volume_svc::journal::Journal;
use volume_svc::store::dynamodb::transact_items;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Appends a second of all lives together; none means as fast as they are answered.
    pub pace: Option<f64>,
    /// Lives at once.
    pub lanes: usize,
    /// How often all of them are lived, in turns with the bare ones.
    pub rounds: usize,
    /// Appends of each life that are made; more than it has means all.
    pub appends: usize,
    /// The number of the first life: no two may have the same.
    pub first: usize,
}

/// Whose journals these are: a name as long as a process's.
const WORKER: &str = "w-1-0123456789abcdef";

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
        if let (1, Some((number, own))) = (plan.lanes, lives.first()) {
            beside(tables, *number, own.clone(), (&mut appends, &mut bare)).await?;
        } else {
            let made = live(tables, lives, plan, &mut appends).await?;
            send(tables, made, plan, round, &mut bare).await?;
        }
    }
    let p50 = (percentile_ms(&mut appends.times, 50), percentile_ms(&mut bare.times, 50));
    let p99 = (percentile_ms(&mut appends.times, 99), percentile_ms(&mut bare.times, 99));
    let per_second = (appends.per_second(), bare.per_second());
    Ok(json!({
        "migrations": plan.lanes,
        "pace_per_s": plan.pace,
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

/// One life, each append followed by its bare twin.
async fn beside(
    tables: &Tables,
    number: usize,
    own: Life,
    (appends, bare): (&mut Measured, &mut Measured),
) -> Result<(), Fault> {
    let tap = Tap::new(tables.store(&tables.names));
    let mut living = Living::begin(Tables::journal(tap.clone(), WORKER)?, number, own)?;
    let client = tables.aws.dynamodb_client(Attempts::One);
    let mut n = 0;
    while let Some(took) = living.append().await? {
        appends.times.push(took);
        appends.wall += took;
        for writes in tap.made() {
            let items = transact_items(&tables.bare, writes.into_iter().map(alone).collect())?;
            n += 1;
            let took = transact(&client, format!("{number:016x}{n:016x}"), items).await?;
            bare.times.push(took);
            bare.wall += took;
        }
    }
    Ok(())
}

/// One transaction, as the SDK sends it.
async fn transact(client: &Client, token: String, items: Vec<TransactWriteItem>) -> Result<Duration, Fault> {
    let request = client.transact_write_items().client_request_token(token).set_transact_items(Some(items));
    let begun = Instant::now();
    request.send().await.map_err(|error| Fault::from(error.into_service_error()))?;
    Ok(begun.elapsed())
}

/// The n-th of a lane's turns; without a pace it is now.
async fn turn(plan: Plan, lane: usize, n: usize, begun: Instant) {
    let Some(pace) = plan.pace else { return };
    let place = u32::try_from(n * plan.lanes + lane).unwrap_or(u32::MAX);
    let due = begun + Duration::from_secs_f64(f64::from(place) / pace.max(1.0));
    tokio::time::sleep_until(due.into()).await;
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
    for (lane, (number, own)) in lives.into_iter().enumerate() {
        let tap = Tap::new(tables.store(&tables.names));
        let mut living = Living::begin(Tables::journal(tap.clone(), WORKER)?, number, own)?;
        lanes.spawn(async move {
            let mut times = Vec::new();
            for n in 0..plan.appends {
                turn(plan, lane, n, begun).await;
                match living.append().await? {
                    Some(took) => times.push(took),
                    None => break,
                }
            }
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

/// One life under way: the machine and the journal, without a world.
struct Living {
    journal: Journal,
    id: ChangeId,
    spec: Spec,
    appends: std::vec::IntoIter<Appended>,
    machine: Option<Machine>,
}

impl Living {
    fn begin(journal: Journal, number: usize, own: Life) -> Result<Self, Fault> {
        let (id, spec) = (life::id(number), own.spec()?.clone());
        Ok(Self { journal, id, spec, appends: own.appends.into_iter(), machine: None })
    }

    /// The next append, and what it took; none at the end.
    async fn append(&mut self) -> Result<Option<Duration>, Fault> {
        let Some((at, facts)) = self.appends.next() else { return Ok(None) };
        let begun = Instant::now();
        let append = match &self.machine {
            None => Machine::start(self.spec.clone(), self.journal.worker(), 1, &settings(), at)?,
            Some(machine) => machine.prepare(facts, at)?,
        };
        self.journal.append(&append, self.journal.worker(), 1).await?;
        match &mut self.machine {
            None => self.machine = Some(Machine::load(&self.id, &append.entries, settings(), at)?),
            Some(machine) => machine.committed(&append),
        }
        Ok(Some(begun.elapsed()))
    }
}

/// Sends the same transactions, as many lanes at once.
async fn send(
    tables: &Tables,
    made: Vec<Vec<Vec<Write>>>,
    plan: Plan,
    round: usize,
    measured: &mut Measured,
) -> Result<(), Fault> {
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
                turn(plan, lane, n, begun).await;
                let token = format!("{:08x}{lane:012x}{n:012x}", plan.first + round);
                times.push(transact(&client, token, items).await?);
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
