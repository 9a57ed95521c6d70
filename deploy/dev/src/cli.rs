//! The command line of the development stack.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The development stack: everything on one machine, nothing to install.
#[derive(Clone, Debug, Parser)]
#[command(name = "x", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Start the stack and keep it until interrupted; started again, it goes on where it was
    Run(Run),
    /// Change the tier of a graph and draw it
    #[command(after_help = "Exit status: 0 succeeded, 2 usage, 3 refused, 4 failed or canceled, 5 needs attention, \
        6 unreachable.\n\nExamples:\n  ./x demo\n  ./x demo --speed 40 --json\n  ./x demo --graph kg0123456789abcdef --to \
        ladybug-xlarge\n  ./x demo --fault attach_fails")]
    Demo(Demo),
}

/// How to keep the stack.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// Folder of everything that the stack keeps
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
    /// How much faster than the wall its clock runs, 1 to 100; belongs to the folder once chosen [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub speed: Option<u32>,
    /// PostgreSQL for subscription-svc, such as postgres://user@localhost/tiershift: an empty database, which belongs to
    /// the folder once chosen [default: a SQLite file in the folder]
    #[arg(long)]
    pub database: Option<String>,
    /// Origins whose pages may call by grpc-web (repeat for more)
    #[arg(long = "cors-origin")]
    pub cors_origins: Vec<String>,
    /// Accepted for symmetry with production: each service always is a process of its own
    #[arg(long)]
    pub split: bool,
}

/// What to demonstrate.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Folder whose running stack is used; without one the demo has a stack of its own, in a temporary folder
    #[arg(long, default_value = "data")]
    pub data: PathBuf,
    /// How much faster than the wall the demo's own stack runs, 1 to 100 [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub speed: Option<u32>,
    /// The graph [default: the next small graph of the seed]
    #[arg(long)]
    pub graph: Option<String>,
    /// The tier to change to
    #[arg(long, default_value = "ladybug-large")]
    pub to: String,
    /// One JSON object a line: events, then the summary
    #[arg(long)]
    pub json: bool,
    /// Something to go wrong (repeat for more): attach_fails, agent_skips_unmount, no_capacity, throttle:AttachVolume, ...
    #[arg(long)]
    pub fault: Vec<String>,
    /// Cancel the change when it reaches this stage (`safety_snapshot`, `drain_reads`, ...)
    #[arg(long)]
    pub cancel_at: Option<String>,
    /// Keep the logs of the demo's own stack in this folder
    #[arg(long)]
    pub logs: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_speed_out_of_range_is_a_usage_error() {
        for bad in ["0", "101", "fast"] {
            assert!(Cli::try_parse_from(["x", "demo", "--speed", bad]).is_err(), "{bad}");
        }
    }
}
