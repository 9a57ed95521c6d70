//! The commands, one file for each noun, and what they share.

pub mod access;
pub mod audit;
pub mod change;
pub mod graphs;
pub mod migrations;
pub mod sim;
pub mod subscription;
pub mod tiers;
pub mod webhook;

use crate::cli::{Cli, Command};
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::Output;
use std::sync::Arc;
use tiershift_common::clock::Scaled;
use tiershift_common::ids::Ids;

/// Rows asked for at once; lists are read to their end.
const PAGE: i32 = 500;

/// Runs one command and says how it ended.
pub async fn run(cli: Cli, output: &mut Output) -> Result<Exit, Fault> {
    let target = || Target::choose(&cli.target);
    match cli.command {
        Command::Graphs { command } => graphs::run(&target()?, command, output).await,
        Command::Subscription { command } => subscription::run(&target()?, command, output).await,
        Command::Audit { wanted } => audit::run(&target()?, wanted, output).await,
        Command::Webhook { command } => webhook::run(&target()?, command, output).await,
        Command::Tiers { room, graph } => tiers::run(&target()?, room, graph, output).await,
        Command::Tier { command } => change::run(&target()?, command, output).await,
        Command::Access { command } => access::run(&target()?, command, output).await,
        Command::Migrations { command } => migrations::run(&target()?, command, output).await,
        // The simulated cloud asks nobody who he is.
        Command::Sim { at, command } => sim::run(&at, &cli.target.stack, command, output).await,
    }
}

/// Reads pages until there are no more or so many rows are there. `page` is given how many rows are wanted, and where.
async fn paged<T, F>(limit: u32, mut page: impl FnMut(i32, String) -> F) -> Result<Vec<T>, Fault>
where
    F: Future<Output = Result<(Vec<T>, String), Fault>>,
{
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let (more, next) = page(i32::try_from(left).unwrap_or(PAGE).min(PAGE), token).await?;
        rows.extend(more);
        token = next;
        if token.is_empty() || rows.len() >= limit as usize {
            return Ok(rows);
        }
    }
}

/// The request id that was given, or a new one.
fn request_id(given: Option<String>) -> String {
    given.unwrap_or_else(|| Ids::new(Arc::new(Scaled::wall())).request().to_string())
}

/// What the contract says is always there, and is not: the server's fault.
fn absent(what: &str) -> Fault {
    use tiershift_core::{Error, Kind, Reason};
    Error::new(Kind::Internal, Reason::Internal, format!("the service answered without {what}")).into()
}
