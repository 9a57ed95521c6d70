//! `bench webhooks`: a flood of the provider's events over real HTTP, into a real database, applied by the real worker. Nothing
//! that was acknowledged may be missing; how long everything takes is told beside it.

use crate::saga::tables::Fault;
use crate::store::Kind;
use crate::webhooks::{self, Plan};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Options of `bench webhooks`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Events a second that the provider sends, whether or not they are taken
    #[arg(long, default_value_t = 5_000)]
    pub rate: u32,
    /// For how many seconds
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// Subscriptions that the events are about
    #[arg(long, default_value_t = 1_000)]
    pub subscriptions: u32,
    /// Milliseconds that the provider takes to answer a question
    #[arg(long, default_value_t = 50)]
    pub provider_ms: u64,
    /// Print nothing but the last line
    #[arg(long)]
    pub json: bool,
}

/// Measures, and prints.
pub fn run(args: &Args) -> ExitCode {
    super::told("webhooks", measure(args))
}

fn measure(args: &Args) -> Result<Value, Fault> {
    let plan = Plan {
        rate: args.rate,
        seconds: args.seconds,
        subscriptions: args.subscriptions,
        provider_ms: args.provider_ms,
    };
    let mut line = json!({ "bench": "webhooks", "rate": args.rate, "seconds": args.seconds });
    for kind in [Kind::Postgres, Kind::Sqlite] {
        let runtime = tokio::runtime::Runtime::new()?;
        let found = runtime.block_on(webhooks::measure(kind, plan))?;
        if !args.json {
            eprintln!("{}: {found}", kind.name());
        }
        line[kind.name()] = found;
    }
    Ok(line)
}
