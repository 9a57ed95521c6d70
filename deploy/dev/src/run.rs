//! `./x run`: the stack, seeded, until interrupted; its state in a folder, so that it goes on where it was.

use crate::cli::Run;
use crate::cloud::Cloud;
use crate::seed::{self, SeedError};
use crate::stack::{Options, Stack, StackError};
use cloud_sim::seed::Fleet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use tiershift_common::clock::{Clock as _, Scaled};
use tiershift_common::shutdown;

/// Speed of a stack that nobody chose one for: a change takes some ten seconds.
pub const SPEED: u32 = 20;

/// Where a folder keeps the address of its database, if it is not a file in it.
const DATABASE: &str = "database";

/// Why the stack does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A process.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The seed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The operating system.
    #[error("{0}")]
    Io(String, #[source] std::io::Error),
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// A process ended by itself.
    #[error("{0} has ended; its log is in the data folder")]
    Broken(&'static str),
}

/// The stack's clock, from the file that the simulated cloud keeps.
pub fn clock(path: &Path) -> Result<Scaled, RunError> {
    let name = format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| RunError::Io(name.clone(), e))?;
    serde_json::from_str(&text).map_err(|e| RunError::Io(name, e.into()))
}

/// Starts and seeds a stack.
pub async fn start(options: Options) -> Result<(Stack, Fleet), RunError> {
    let stack = Stack::start(options).await?;
    let fleet = plant(&stack).await?;
    Ok((stack, fleet))
}

/// Seeds a running stack; a second time changes nothing.
pub async fn plant(stack: &Stack) -> Result<Fleet, RunError> {
    let fleet = seed::fleet(&Cloud::at(&stack.cloud_url)).await?;
    let now = clock(&stack.clock_file)?.now();
    seed::plant(&stack.describe(), &fleet, now.0).await?;
    Ok(fleet)
}

/// The speed that a folder was begun with.
pub fn saved_speed(data: &Path) -> Option<u32> {
    clock(&data.join("clock.json")).ok().map(|c| c.speed)
}

/// Whether somebody answers at an address (`http://host:port`).
pub async fn answers(url: &str) -> bool {
    let Some(address) = url.strip_prefix("http://") else { return false };
    let connect = tokio::net::TcpStream::connect(address);
    matches!(tokio::time::timeout(std::time::Duration::from_secs(1), connect).await, Ok(Ok(_)))
}

/// Runs until interrupted.
pub async fn run(args: Run) -> Result<(), RunError> {
    let file = args.data.join("stack.json");
    if let Ok(Some(running)) = tierctl::stack::Stack::read(&file)
        && answers(&running.subscription_url).await
    {
        return Err(RunError::Usage(format!(
            "a stack runs in {} already ({})",
            args.data.display(),
            running.subscription_url
        )));
    }
    let saved = saved_speed(&args.data);
    if let (Some(saved), Some(asked)) = (saved, args.speed)
        && saved != asked
    {
        return Err(RunError::Usage(format!(
            "{} was begun at --speed {saved}; use that, or another folder",
            args.data.display()
        )));
    }
    let database = database(&args.data, args.database)?;
    let options = Options {
        data: args.data.clone(),
        database: database.clone(),
        speed: args.speed.or(saved).unwrap_or(SPEED),
        cors_origins: args.cors_origins,
        logs: args.data.join("logs"),
    };
    let stop = shutdown::on_signal().map_err(|e| RunError::Io("cannot listen for signals".to_owned(), e))?;
    eprintln!("starting the stack in {} ...", args.data.display());
    let (mut stack, fleet) = start(options).await?;
    // Not before it runs: a folder is not bound to an address with a slip in it.
    if let Some(url) = &database {
        keep_database(&args.data, url)?;
    }
    stack.describe().write(&file).map_err(|e| RunError::Io(format!("cannot write {}", file.display()), e))?;
    print!("{}", welcome(&stack, &fleet));
    let broken = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        name = stack.broken() => Some(name),
    };
    eprintln!("stopping the stack ...");
    // Nobody is to find it while it goes.
    let _gone = std::fs::remove_file(&file);
    stack.stop().await;
    broken.map_or(Ok(()), |name| Err(RunError::Broken(name)))
}

/// The database that a folder was begun with, or is to begin with: the two belong together, for each knows of the other's
/// changes.
fn database(data: &Path, asked: Option<String>) -> Result<Option<String>, RunError> {
    let file = data.join(DATABASE);
    let kept = match std::fs::read_to_string(&file) {
        Ok(kept) => Some(kept),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(RunError::Io(format!("cannot read {}", file.display()), error)),
    };
    let begun = data.join("clock.json").exists();
    match (kept, asked) {
        (Some(kept), Some(asked)) if kept != asked => {
            Err(RunError::Usage(format!("{} was begun with another --database; use another folder", data.display())))
        }
        (None, Some(_)) if begun => Err(RunError::Usage(format!(
            "{} was begun with its own file for a database; use another folder with --database",
            data.display()
        ))),
        (kept, asked) => Ok(kept.or(asked)),
    }
}

/// Keeps the address for the next start, where only the owner of the folder reads it: it may hold a password.
fn keep_database(data: &Path, url: &str) -> Result<(), RunError> {
    let file = data.join(DATABASE);
    let fault = |e| RunError::Io(format!("cannot write {}", file.display()), e);
    let mut options = std::fs::OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&file).map_err(fault)?;
    written.write_all(url.as_bytes()).map_err(fault)
}

/// Addresses, graphs and what to try.
fn welcome(stack: &Stack, fleet: &Fleet) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let width = fleet.graphs.iter().map(|g| g.name.len()).max().unwrap_or(0);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\ntiershift runs. gRPC, grpc-web, reflection and health on the same ports:");
    let _ = writeln!(text, "  subscription-svc  {}", stack.subscription_url);
    let _ = writeln!(text, "  volume-svc        {}", stack.volume_url);
    let _ = writeln!(text, "  simulated cloud   {}  (EC2, Auto Scaling, agents)", stack.cloud_url);
    let _ = writeln!(text, "  DynamoDB          {}", stack.dynamodb_url);
    let _ = writeln!(text, "  clock             {} times real time\n\ngraphs:", stack.describe().speed);
    for graph in &fleet.graphs {
        let _ = writeln!(text, "  {}  {:width$}  {:17} {}", graph.graph_id, graph.name, graph.tier, graph.story);
    }
    let first = fleet.graphs.first().map_or("GRAPH", |g| g.graph_id.as_str());
    let _ = writeln!(text, "\ntry, in another terminal:");
    let _ = writeln!(text, "  ./x tierctl tiers");
    let _ = writeln!(text, "  ./x tierctl tier preview {first} ladybug-large");
    let _ = writeln!(text, "  ./x tierctl tier change {first} ladybug-large --watch");
    let _ = writeln!(text, "  ./x demo");
    let _ = writeln!(text, "  ./x tierctl sim faults                                what can go wrong here");
    let _ = writeln!(text, "  ./x tierctl sim fault set stuck_detach --count 1      ... with the next change");
    let _ = writeln!(text, "\nCtrl-C stops it; `./x run` goes on where it was.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_its_database_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let asked = |url: Option<&str>| database(data, url.map(str::to_owned));
        assert_eq!(asked(None).unwrap(), None);
        assert_eq!(asked(Some("postgres://a/b")).unwrap().as_deref(), Some("postgres://a/b"), "nothing is begun yet");
        std::fs::write(data.join("clock.json"), "{}").unwrap();
        assert!(matches!(asked(Some("postgres://a/b")), Err(RunError::Usage(_))), "begun with its own file");
        keep_database(data, "postgres://a/b").unwrap();
        assert_eq!(asked(None).unwrap().as_deref(), Some("postgres://a/b"), "remembered");
        assert_eq!(asked(Some("postgres://a/b")).unwrap().as_deref(), Some("postgres://a/b"));
        assert!(matches!(asked(Some("postgres://c/d")), Err(RunError::Usage(_))), "another one");
        std::fs::remove_file(data.join(DATABASE)).unwrap();
        std::fs::create_dir(data.join(DATABASE)).unwrap();
        assert!(matches!(asked(None), Err(RunError::Io(..))), "not readable is not absent");
    }
}
