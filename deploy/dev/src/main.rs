//! The process behind `./x run` and `./x demo`.

use clap::Parser as _;
use std::error::Error as _;
use std::process::ExitCode;
use tierctl::exit::Exit;
use tiershift_dev::cli::{Cli, Command};
use tiershift_dev::run::RunError;
use tiershift_dev::{demo, run};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Run(args) => run::run(args).await.map(|()| Exit::Succeeded),
        Command::Demo(args) => demo::run(args).await,
    };
    match ended {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("error: {text}");
            ExitCode::from(if matches!(error, RunError::Usage(_)) { Exit::Usage } else { Exit::Failed }.code())
        }
    }
}
