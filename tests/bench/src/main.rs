//! `./x bench`: measures ratios and counts, each within one run, and prints them; the last line is one JSON object.
//!
//! No test asserts a time: what is measured depends on the machine, what is compared was measured beside it. One file a
//! command in `commands`.

mod commands;
mod figures;
mod saga;
mod store;
mod webhooks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures what the design promises, as ratios and counts of one run; the last line is one JSON object.
#[derive(Debug, Parser)]
#[command(name = "x bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// How long writes are blocked and the volume is offline, over drawn histories in virtual time
    Downtime(commands::downtime::Args),
    /// Kill workers under load, and see how soon others go on and what it cost
    Takeover(commands::takeover::Args),
    /// Journal appends beside bare transactions, and what a migration costs a process
    Saga(commands::saga::Args),
    /// Accept changes beside bare commits, and read lists of a million subscriptions, on PostgreSQL and SQLite
    Store(commands::store::Args),
    /// Flood the webhook endpoint over HTTP, and see that nothing is lost and how soon all is applied
    Webhooks(commands::webhooks::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Downtime(args) => commands::downtime::run(&args),
        Command::Takeover(args) => commands::takeover::run(&args),
        Command::Saga(args) => commands::saga::run(&args),
        Command::Store(args) => commands::store::run(&args),
        Command::Webhooks(args) => commands::webhooks::run(&args),
    }
}
