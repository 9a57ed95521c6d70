//! The one place that names ports and their implementations: builds the service, serves it, shuts it down.

use crate::adapters::agent::HttpAgent;
use crate::adapters::aws::{Attempts, Aws, Identity, Settings as AwsSettings};
use crate::adapters::budget::Budget;
use crate::adapters::budgeted::Budgeted;
use crate::adapters::describe::Describer;
use crate::alerts;
use crate::config::Args;
use crate::driver::Drivers;
use crate::grpc::{Fleet, MigrationHandlers, Volumes};
use crate::hold::Hold;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::lease::Lease;
use crate::migrations::Migrations;
use crate::ports::cloud::{AutoScalingApi, Ec2Api};
use crate::ports::store::Store;
use crate::registry::Registry;
use crate::store::dynamodb::{Names, tables};
use crate::worker::Worker;
use crate::world::World;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::{Clock, Scaled};
use tiershift_common::server::{self, Builder};
use tiershift_common::{caller, shutdown};
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::WorkerId;
use tiershift_proto::volume::v1::fleet_service_server::FleetServiceServer;
use tiershift_proto::volume::v1::migration_service_server::MigrationServiceServer;
use tiershift_proto::volume::v1::volume_service_server::VolumeServiceServer;
use tokio_util::sync::CancellationToken;
use volume_core::settings::Settings;

/// How long polled reads are collected, in milliseconds of the clock. Shorter than the describer's default: inside
/// the blocked window every read waits for it.
const DESCRIBE_WINDOW_MS: i64 = 50;

/// The agents' key in the development stack.
const DEV_AGENT_KEY: &str = "dev-agent-key";

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command line is wrong: every fault.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The clock's file cannot be read.
    #[error("the clock file {0} cannot be read")]
    Clock(std::path::PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The tables could not be made.
    #[error("the tables could not be made")]
    Tables(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server could not be set up.
    #[error(transparent)]
    Server(#[from] server::Fault),
}

/// A service that holds its port.
#[derive(Debug)]
pub struct App {
    server: server::Server,
    worker: Arc<Worker>,
    lease: Arc<Lease>,
    store: Arc<dyn Store>,
    me: WorkerId,
    /// Ends the watches, then the server.
    watches: CancellationToken,
}

fn clock(args: &Args) -> Result<Scaled, StartError> {
    let Some(path) = &args.clock_file else { return Ok(Scaled::wall()) };
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Clock(path.clone(), error);
    let text = std::fs::read_to_string(path).map_err(|e| fault(e.into()))?;
    serde_json::from_str(&text).map_err(|e| fault(e.into()))
}

/// A name that no other process has, new at each start: a restart is another worker, whose fence must be its own.
fn worker_id() -> Result<WorkerId, StartError> {
    let name = format!("w-{}-{:016x}", std::process::id(), rand::random::<u64>());
    WorkerId::parse(name).map_err(|e| StartError::Config(vec![e.to_string()]))
}

/// Puts the service together and takes its port.
pub async fn build(args: &Args) -> Result<App, StartError> {
    let faults = args.faults();
    if !faults.is_empty() {
        return Err(StartError::Config(faults));
    }
    let clock: Arc<dyn Clock> = Arc::new(clock(args)?);
    let settings = Settings::default();
    let aws = Aws::load(&AwsSettings {
        region: args.region.clone(),
        endpoint_url: args.aws_endpoint_url.clone(),
        dynamodb_endpoint_url: args.dynamodb_endpoint_url.clone(),
        identity: if args.dev { Identity::Dev } else { Identity::Chain },
    })
    .await
    .map_err(|e| StartError::Config(e.0))?;
    let names = Names::new(&args.table_prefix, &args.environment);
    if args.create_tables {
        let client = aws.dynamodb_client(Attempts::Several);
        tables::create(&client, &names).await.map_err(|e| StartError::Tables(e.into()))?;
    }
    let store: Arc<dyn Store> = Arc::new(aws.dynamodb(names));
    let me = worker_id()?;
    let journal = Journal::new(Arc::clone(&store), Arc::clone(&clock), me.clone(), settings.clone());
    let (ec2, autoscaling): (Arc<dyn Ec2Api>, Arc<dyn AutoScalingApi>) =
        (Arc::new(aws.ec2()), Arc::new(aws.autoscaling()));
    let budget = Budget::new(Arc::clone(&clock), args.call_budget_percent);
    let key = args.agent_api_key.clone().unwrap_or_else(|| DEV_AGENT_KEY.to_owned());
    let agents = HttpAgent::new(&key).map_err(|e| StartError::Config(vec![format!("--agent-api-key: {e}")]))?;
    let world = World {
        describer: Describer::start(&ec2, &autoscaling, &budget, &clock, DESCRIBE_WINDOW_MS),
        ec2: Arc::new(Budgeted::new(&ec2, &budget)),
        autoscaling: Arc::new(Budgeted::new(&autoscaling, &budget)),
        agents: Arc::new(agents),
        journal: journal.clone(),
        clock: Arc::clone(&clock),
        agent_url_template: args.agent_url_template.clone(),
        environment: args.environment.clone(),
    };
    let hub = Hub::new();
    let lease = Lease::new();
    let drivers = Drivers {
        journal: journal.clone(),
        world: world.clone(),
        clock: Arc::clone(&clock),
        settings: settings.clone(),
        hub: Arc::clone(&hub),
        lease: Arc::clone(&lease),
        hold: Arc::new(Hold::at(&args.hold).map_err(|e| StartError::Config(vec![e]))?),
        alerts: Arc::new(alerts::Log),
    };
    let worker = Worker::new(Arc::new(drivers));
    let migrations = Migrations {
        journal: journal.clone(),
        world,
        clock: Arc::clone(&clock),
        settings,
        hub,
        worker: Arc::clone(&worker),
        catalogue: Arc::new(Catalogue::default()),
        environment: args.environment.clone(),
    };
    let registry = Registry { journal, clock };
    let watches = CancellationToken::new();
    let callers = if args.dev { caller::Layer::dangerous_dev() } else { caller::Layer::production() };
    let mut config = server::Config::on(args.listen);
    config.cors_origins.clone_from(&args.cors_origins);
    let server = Builder::new(config, callers)
        .add(MigrationServiceServer::new(MigrationHandlers { migrations, stop: watches.clone() }))
        .add(VolumeServiceServer::new(Volumes { registry: registry.clone() }))
        .add(FleetServiceServer::new(Fleet { registry }))
        .bind()
        .await?;
    Ok(App { server, worker, lease, store, me, watches })
}

impl App {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Serves until `stop`, then shuts down in phases, each with its deadline.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        let Self { server, worker, lease, store, me, watches } = self;
        let health = server.health();
        let drivers_stop = CancellationToken::new();
        let lease_stop = CancellationToken::new();
        let heartbeat = tokio::spawn(lease.keep(store, me, lease_stop.clone()));
        let driving = tokio::spawn(worker.run(drivers_stop.clone()));
        health.serving().await;
        let watched = watches.clone();
        let ending = stop.clone();
        tokio::spawn(async move {
            ending.cancelled().await;
            watched.cancel();
        });
        server.run(stop).await?;
        let late = shutdown::Plan::new()
            .then("drivers", Duration::from_secs(20), async move {
                drivers_stop.cancel();
                let _ended = driving.await;
            })
            // Last of all: while a driver may still be in a call, nobody may think this process dead.
            .then("lease", Duration::from_secs(3), async move {
                lease_stop.cancel();
                let _ended = heartbeat.await;
            })
            .run()
            .await;
        if !late.is_empty() {
            tracing::warn!(?late, "shut down without waiting for everything");
        }
        Ok(())
    }
}
