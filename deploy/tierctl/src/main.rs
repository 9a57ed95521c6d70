//! `tierctl`: reads its arguments, runs one command, says by its exit status how it ended.

use clap::Parser as _;
use std::process::ExitCode;
use tierctl::cli::Cli;
use tierctl::output::Output;
use tierctl::{commands, exit};

// One thread: a command line waits for one service at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::stdout(cli.json);
    let ended = match commands::run(cli, &mut output).await {
        Ok(exit) => exit,
        Err(fault) => exit::report(&fault, &mut output),
    };
    ExitCode::from(ended.code())
}
