//! `sim`: plays histories by seed and says what they came to. A failure names its seed, the broken invariant and the
//! shortest trace that was found.

use clap::Parser;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tiershift_core::mutant::Mutant;
use tiershift_sim::history::{Outcome, play};
use tiershift_sim::plan::Plan;
use tiershift_sim::report::Report;
use tiershift_sim::shrink::shrink;

/// Plays whole histories of both services in virtual time, with crashes and faults, and checks every invariant after every
/// event.
#[derive(Debug, Parser)]
#[command(name = "sim", after_help = "Exit status: 0 no invariant was broken, 1 one was, 2 wrong usage.")]
struct Args {
    /// How many histories, from seed --from on.
    #[arg(long, default_value_t = 200, conflicts_with = "seed")]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// One history, with its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// One object on the last line, for programs.
    #[arg(long)]
    json: bool,
    /// Histories that are played at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Plays with a deliberate bug, to see that it is found; `list` names them.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mutant = match args.mutant.as_deref() {
        None => None,
        Some("list") => {
            for mutant in Mutant::ALL {
                println!("{:<28} {}", mutant.name(), mutant.about());
            }
            return ExitCode::SUCCESS;
        }
        Some(name) => {
            let Some(mutant) = Mutant::parse(name) else {
                eprintln!("no mutant '{name}'; --mutant list names them");
                return ExitCode::from(2);
            };
            Some(mutant)
        }
    };
    let failed = match args.seed {
        Some(seed) => one(seed, mutant, args.json),
        None => many(&args, mutant),
    };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn one(seed: u64, mutant: Option<Mutant>, json: bool) -> bool {
    let plan = Plan::of(seed);
    println!("{plan}");
    let outcome = play(&plan, mutant);
    for line in &outcome.trace {
        println!("{line}");
    }
    let mut report = Report::default();
    report.add(&outcome);
    print(&report, json);
    outcome.violation.is_some()
}

fn many(args: &Args, mutant: Option<Mutant>) -> bool {
    let next = AtomicU64::new(args.from);
    let end = args.from + args.seeds;
    let (report, failed) = (Mutex::new(Report::default()), Mutex::new(Vec::<(u64, Outcome)>::new()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // With a mutant the first history that finds it is enough.
                    let found = mutant.is_some() && failed.lock().is_ok_and(|f| !f.is_empty());
                    if seed >= end || found {
                        break;
                    }
                    let outcome = play(&Plan::of(seed), mutant);
                    if !outcome.left_stuck.is_empty() {
                        eprintln!("seed {seed}: left stuck: {:?}", outcome.left_stuck);
                    }
                    if let Ok(mut report) = report.lock() {
                        report.add(&outcome);
                    }
                    if let Some(violation) = &outcome.violation {
                        eprintln!("seed {seed}: {violation}");
                        if let Ok(mut failed) = failed.lock() {
                            failed.push((seed, outcome));
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, outcome)) = failed.into_iter().next() {
        let (plan, shortest) = shrink(&Plan::of(seed), outcome, mutant);
        eprintln!("the shortest history found of seed {seed}:\n{plan}");
        for line in &shortest.trace {
            eprintln!("{line}");
        }
    }
    let report = report.into_inner().unwrap_or_default();
    print(&report, args.json);
    report.violations > 0
}

fn print(report: &Report, json: bool) {
    match serde_json::to_string(report) {
        Ok(line) if json => println!("{line}"),
        _ => println!(
            "{} histories, {} events, {} crashes, {} faults: {} committed, {} rolled back, {} stuck ({} for good), {} refused; {} violations",
            report.seeds,
            report.events,
            report.crashes,
            report.faults,
            report.committed,
            report.rolled_back,
            report.stuck,
            report.left_stuck,
            report.refused,
            report.violations
        ),
    }
}
