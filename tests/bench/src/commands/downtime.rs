//! `bench downtime`: how long a change keeps its graph from being written, read and served, over drawn histories of the
//! timing model without faults, half of them with a first snapshot and half with an incremental one.
//!
//! Three orders on the same draws: ours, which is the real driver over the simulated cloud in virtual time
//! (`history.rs`), the predecessor's, and the least that physics allows (`orders.rs`). Percentiles are over the changes
//! that succeed; those that the drain deadline ends are counted apart. `report.rs` says what is printed.

mod history;
mod orders;
mod report;

use history::History;
use report::Report;
use std::process::ExitCode;
use std::thread;

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Histories, one for each seed from 1 on
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Threads; a history has one of them for itself
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// One JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Also where the time goes, stage by stage
    #[arg(long)]
    stages: bool,
}

/// Measures and prints.
pub fn run(args: &Args) -> ExitCode {
    let histories = histories(args.seeds, args.threads);
    if args.stages {
        print!("{}", report::stages(&histories));
    }
    let report = Report::over(&histories);
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    ExitCode::SUCCESS
}

/// The histories of seeds 1 to `seeds`, in that order, whatever the number of threads.
fn histories(seeds: u64, threads: u64) -> Vec<History> {
    let lane = |first: u64| (first..=seeds).step_by(usize::try_from(threads).unwrap_or(1)).map(History::of).collect();
    let mut all: Vec<History> = thread::scope(|scope| {
        let lanes: Vec<_> = (1..=threads).map(|first| scope.spawn(move || -> Vec<History> { lane(first) })).collect();
        // A history that panics is a broken run, not a result.
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    all.sort_by_key(|history| history.seed);
    all
}

#[cfg(test)]
mod tests;
