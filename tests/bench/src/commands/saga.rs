//! `bench saga`: not there yet; it says so and fails.

use std::process::ExitCode;

/// Options of `bench saga`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Print nothing but the last line
    #[arg(long)]
    pub json: bool,
}

/// Measures.
pub fn run(args: &Args) -> ExitCode {
    let error = serde_json::json!({ "bench": "saga", "error": "not built yet" });
    if args.json {
        println!("{error}");
    } else {
        eprintln!("bench saga is not built yet");
    }
    ExitCode::FAILURE
}
