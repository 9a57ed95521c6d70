//! Entry point: options, log, service, signals. What is put together is in `app`.

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;
use subscription_svc::app::App;
use subscription_svc::config::Options;
use subscription_svc::store::postgres::failover;
use tiershift_common::{shutdown, telemetry};

/// sysexits: the command line was wrong.
const EX_USAGE: u8 = 64;
/// sysexits: something needed is not to be had.
const EX_UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(fault) = telemetry::init(&options.telemetry, Some(Box::new(failover::listener()))) {
        return fail(EX_USAGE, &fault);
    }
    let config = match options.check() {
        Ok(config) => config,
        Err(faults) => return fail(EX_USAGE, &faults),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EX_UNAVAILABLE, &error),
    };
    runtime.block_on(async {
        let stop = match shutdown::on_signal() {
            Ok(stop) => stop,
            Err(error) => return fail(EX_UNAVAILABLE, &error),
        };
        let app = match App::start(config).await {
            Ok(app) => app,
            Err(fault) => return fail(EX_UNAVAILABLE, &fault),
        };
        // One line for whoever started it; everything else goes to stderr.
        let mut line = serde_json::json!({ "listening": app.local_addr().to_string() });
        if let Some(webhooks) = app.webhook_addr() {
            line["webhooks"] = webhooks.to_string().into();
        }
        if let Err(error) = writeln!(std::io::stdout(), "{line}") {
            tracing::warn!(%error, "nobody reads where this listens");
        }
        match app.run(stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fail(EX_UNAVAILABLE, &fault),
        }
    })
}

/// Says why on stderr, with all that lies below it.
fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(next) = below {
        text.push_str(": ");
        text.push_str(&next.to_string());
        below = next.source();
    }
    // Nobody may be there to read it; the exit code tells too.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
