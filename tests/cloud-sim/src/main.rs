//! The process: reads the command line, sets up log and signals, serves until it is told to stop.

use std::process::ExitCode;

use clap::Parser as _;
use cloud_sim::server::{self, Args, ServerError};
use tiershift_common::{shutdown, telemetry};

/// Bad configuration (sysexits EX_CONFIG).
const CONFIG: u8 = 78;

/// Could not start or go on (sysexits EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = telemetry::init(&args.telemetry, None) {
        eprintln!("cloud-sim: {error}");
        return ExitCode::from(CONFIG);
    }
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(ServerError::Config(faults)) => {
            for fault in faults {
                eprintln!("cloud-sim: {fault}");
            }
            ExitCode::from(CONFIG)
        }
        Err(error) => {
            eprintln!("cloud-sim: {}", with_causes(&error));
            ExitCode::from(if matches!(error, ServerError::Speed { .. }) { CONFIG } else { UNAVAILABLE })
        }
    }
}

async fn run(args: &Args) -> Result<(), ServerError> {
    let stop =
        shutdown::on_signal().map_err(|source| ServerError::Io { what: "set up the signals".to_owned(), source })?;
    let mut running = server::start(args.config()).await?;
    // For whoever started us on port 0.
    let line = serde_json::json!({
        "cloud_url": running.cloud_url,
        "dynamodb_url": running.dynamodb_url,
        "clock_file": running.clock_file,
        "speed": running.clock.speed,
        "pid": std::process::id(),
    });
    println!("{line}");
    let broken = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        error = running.broken() => Some(error),
    };
    match broken {
        None => running.stop().await,
        Some(error) => Err(error),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
