//! `bench store`: what it costs to accept a change, beside a bare commit of one row to the same database in the same run,
//! and how long lists and single reads take among many subscriptions. PostgreSQL and SQLite, each alone on the machine.

use crate::saga::tables::Fault;
use crate::store::{self, Kind};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Options of `bench store`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Changes to accept on each database
    #[arg(long, default_value_t = 1_000)]
    pub changes: u64,
    /// Subscriptions among which lists and single ones are read
    #[arg(long, default_value_t = 1_000_000)]
    pub subscriptions: u64,
    /// Print nothing but the last line
    #[arg(long)]
    pub json: bool,
}

/// Measures, and prints.
pub fn run(args: &Args) -> ExitCode {
    super::told("store", measure(args))
}

fn measure(args: &Args) -> Result<Value, Fault> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut line = json!({ "bench": "store" });
    for kind in [Kind::Postgres, Kind::Sqlite] {
        let found = runtime.block_on(store::measure(kind, args.changes, args.subscriptions))?;
        if !args.json {
            eprintln!("{}: {found}", kind.name());
        }
        line[kind.name()] = found;
    }
    Ok(line)
}
