//! One file a command. Each has `Args` and `run`, which prints and gives the exit status.

pub mod downtime;
pub mod saga;
pub mod store;
pub mod takeover;
pub mod webhooks;

use crate::saga::tables::Fault;
use serde_json::Value;
use std::process::ExitCode;

/// Prints the last line, or why there is none.
fn told(bench: &str, measured: Result<Value, Fault>) -> ExitCode {
    match measured {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("bench {bench}: {text}");
            ExitCode::FAILURE
        }
    }
}
