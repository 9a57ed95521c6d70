//! `bench saga`: what the journal adds to a bare transaction, what a process pays for a migration, and what migrations ask
//! of EC2. Ratios and counts of one run; embedded DynamoDB, so that milliseconds say more of it than of us.

use crate::saga::tables::{Fault, Tables};
use crate::saga::{appends, crowd, describes, life::Life};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Options of `bench saga`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// The largest crowd whose Describe calls are counted, in virtual time
    #[arg(long, default_value_t = 10_000)]
    pub crowd: usize,
    /// Migrations that one process takes over at once, in real time
    #[arg(long, default_value_t = 1_000)]
    pub parked: usize,
    /// Print nothing but the last line
    #[arg(long)]
    pub json: bool,
}

/// Appends of each life when a thousand are lived at once: at that pace it takes a while.
const SHORT: usize = 4;

/// Measures, and prints.
pub fn run(args: &Args) -> ExitCode {
    super::told("saga", measure(args))
}

fn measure(args: &Args) -> Result<Value, Fault> {
    let tell = |what: &str, found: &Value| {
        if !args.json {
            eprintln!("{what}: {found}");
        }
    };
    let life = Life::record()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (measured, parked) = runtime.block_on(async {
        let tables = Tables::begin().await?;
        let plan = appends::Plan { pace: None, lanes: 1, rounds: 1, appends: usize::MAX, first: 1 };
        // What is first is slower: it pays for connections and for empty caches, and counts for nothing.
        appends::measure(&tables, &life, plan).await?;
        let mut measured = Vec::new();
        for plan in [
            appends::Plan { rounds: 8, first: 1_000, ..plan },
            appends::Plan { lanes: 64, rounds: 2, first: 10_000, ..plan },
        ] {
            measured.push(appends::measure(&tables, &life, plan).await?);
            tell("appends", &measured[measured.len() - 1]);
        }
        // A thousand at half of what the store can do: nobody runs a store at its limit.
        let pace = measured[1]["bare_per_s"].as_f64().map(|rate| rate / 2.0);
        let plan = appends::Plan { pace, lanes: 1_000, rounds: 1, appends: SHORT, first: 20_000 };
        measured.push(appends::measure(&tables, &life, plan).await?);
        tell("appends", &measured[2]);
        drop(tables);
        // On tables of its own: the lives above were left where they stood, and would be taken over too.
        let parked = crowd::measure(&Tables::begin().await?, &life, args.parked).await?;
        tell("one process", &parked);
        Ok::<_, Fault>((measured, parked))
    })?;
    let mut counted = Vec::new();
    let smaller = [10, 100, 1_000].into_iter().filter(|count| *count < args.crowd);
    for count in smaller.chain([args.crowd]) {
        let found = describes::measure(count, &tell)?;
        tell("describes", &found);
        counted.push(found);
    }
    Ok(json!({
        "bench": "saga",
        "store": "embedded DynamoDB",
        "appends_of_a_life": life.appends.len(),
        "appends": measured,
        "one_process": parked,
        "describes": counted,
    }))
}
