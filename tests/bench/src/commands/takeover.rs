//! `bench takeover`: workers are killed under load at every instant of every step in turn. Real processes, real leases.
//!
//! The code is the test's (`tiershift_tests::workers::kills`); here is only how it is asked for and told.

use std::process::ExitCode;
use tiershift_tests::workers::kills::{Outcome, Plan, run as kill};

/// Options of `bench takeover`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// How many workers are killed
    #[arg(long, default_value_t = 50)]
    pub kills: usize,
    /// Seed of the order of the instants
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Workers that are about to die at the same time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub lanes: u8,
    /// Speed of the stack's clock; leases are real time
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub speed: u32,
    /// Print nothing but the last line
    #[arg(long)]
    pub json: bool,
}

/// Kills, and prints what came of it. The status is 1 if anything was stranded, doubled or broken.
pub fn run(args: &Args) -> ExitCode {
    let plan = Plan { kills: args.kills, seed: args.seed, lanes: args.lanes.into(), speed: args.speed };
    let tell: fn(&str) = if args.json { |_| {} } else { |line| eprintln!("{line}") };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(kill(plan, tell));
    for fault in outcome.stranded.iter().chain(&outcome.doubled).chain(&outcome.broken) {
        eprintln!("{fault}");
    }
    println!("{}", line(args, &outcome));
    let clean = outcome.stranded.is_empty() && outcome.doubled.is_empty() && outcome.broken.is_empty();
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(args: &Args, outcome: &Outcome) -> serde_json::Value {
    let ms = |percent| u64::try_from(outcome.takeover_ms(percent)).unwrap_or(u64::MAX);
    serde_json::json!({
        "bench": "takeover",
        "kills": outcome.kills,
        "seed": args.seed,
        "lanes": args.lanes,
        "speed": args.speed,
        "migrations": outcome.migrations,
        "takeovers": outcome.takeovers_ms.len(),
        "stranded": outcome.stranded.len(),
        "doubled": outcome.doubled.len(),
        "invariants_broken": outcome.broken.len(),
        "takeover_p50_ms": ms(50),
        "takeover_p99_ms": ms(99),
        "takeover_max_ms": ms(100),
    })
}
