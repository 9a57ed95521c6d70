//! The process: reads the command line, sets up log and signals, runs the service.

use clap::Parser as _;
use std::process::ExitCode;
use tiershift_common::{shutdown, telemetry};
use volume_svc::app;
use volume_svc::config::Args;

/// Bad configuration (sysexits EX_CONFIG).
const CONFIG: u8 = 78;

/// Could not start or go on (sysexits EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = telemetry::init(&args.telemetry, None) {
        eprintln!("volume-svc: {error}");
        return ExitCode::from(CONFIG);
    }
    let app = match app::build(&args).await {
        Ok(app) => app,
        Err(app::StartError::Config(faults)) => {
            for fault in faults {
                eprintln!("volume-svc: {fault}");
            }
            return ExitCode::from(CONFIG);
        }
        Err(error) => return fail(&error),
    };
    let stop = match shutdown::on_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    // For whoever started us on port 0.
    println!("{}", serde_json::json!({ "listening": app.local_addr().to_string() }));
    match app.run(stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    eprintln!("volume-svc: {text}");
    ExitCode::from(UNAVAILABLE)
}
