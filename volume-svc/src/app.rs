//! The one place that names ports and their implementations: builds the service, serves it, shuts it down.

use crate::adapters::agent::HttpAgent;
use crate::adapters::aws::sns::Topic;
use crate::adapters::aws::{Attempts, Aws, Identity, Settings as AwsSettings};
use crate::adapters::budget::Budget;
use crate::adapters::budgeted::Budgeted;
use crate::adapters::describe::Describer;
use crate::adapters::direct::Direct;
use crate::alerts::{Alerts, Desk, Log};
use crate::capacity::Capacity;
use crate::config::{Args, VolumeOps};
use crate::driver::Drivers;
use crate::grpc::{Fleet, MigrationHandlers, Volumes};
use crate::hold::Hold;
use crate::hub::Hub;
use crate::idle::Idle;
use crate::journal::Journal;
use crate::lease::Lease;
use crate::migrations::Migrations;
use crate::permits::Permits;
use crate::ports::cloud::{AutoScalingApi, Ec2Api};
use crate::ports::store::Store;
use crate::ports::volume_ops;
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
use tiershift_core::catalogue;
use tiershift_core::ids::WorkerId;
use tiershift_proto::volume::v1::fleet_service_server::FleetServiceServer;
use tiershift_proto::volume::v1::migration_service_server::MigrationServiceServer;
use tiershift_proto::volume::v1::volume_service_server::VolumeServiceServer;
use tokio::signal::unix::{SignalKind, signal};
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
    /// Holds could not be made releasable.
    #[error("SIGUSR1 cannot be listened for")]
    Signal(#[source] std::io::Error),
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
    /// None without a topic: then alerts are in the log only.
    desk: Option<Arc<Desk>>,
    /// Ends the watches, then the server.
    watches: CancellationToken,
}

fn clock(args: &Args) -> Result<Scaled, StartError> {
    let Some(path) = &args.clock_file else { return Ok(Scaled::wall()) };
    let fault = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Clock(path.clone(), error);
    let text = std::fs::read_to_string(path).map_err(|e| fault(e.into()))?;
    serde_json::from_str(&text).map_err(|e| fault(e.into()))
}

fn settings(args: &Args) -> Result<Settings, StartError> {
    let Some(path) = &args.settings else { return Ok(Settings::default()) };
    let fault = |why: &dyn std::fmt::Display| StartError::Config(vec![format!("--settings {}: {why}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|e| fault(&e))?;
    serde_json::from_str(&text).map_err(|e| fault(&e))
}

/// Held instants, let go by SIGUSR1. Without any, the signal keeps its own meaning.
fn hold(args: &Args) -> Result<Arc<Hold>, StartError> {
    let hold = Arc::new(Hold::at(&args.hold).map_err(|e| StartError::Config(vec![e]))?);
    if !args.hold.is_empty() {
        let mut told = signal(SignalKind::user_defined1()).map_err(StartError::Signal)?;
        let held = Arc::clone(&hold);
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                held.release();
            }
        });
    }
    Ok(hold)
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
    let mut settings = settings(args)?;
    let catalogue = catalogue::text::read_files(&args.catalogue, |file| std::fs::read_to_string(file))
        .map_err(|all| StartError::Config(all.0.iter().map(|fault| format!("--catalogue: {fault}")).collect()))?;
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
    let (ec2, autoscaling): (Arc<dyn Ec2Api>, Arc<dyn AutoScalingApi>) =
        (Arc::new(aws.ec2()), Arc::new(aws.autoscaling()));
    let budget = Budget::new(Arc::clone(&clock), args.call_budget_percent);
    let describer = Describer::start(&ec2, &autoscaling, &budget, &clock, DESCRIBE_WINDOW_MS);
    let ec2: Arc<dyn Ec2Api> = Arc::new(Budgeted::new(&ec2, &budget));
    let ops: Arc<dyn volume_ops::VolumeOps> = match args.volume_ops {
        VolumeOps::Ec2 => Arc::new(Direct::over(Arc::clone(&ec2))),
        VolumeOps::Lambda => {
            let limit = Duration::from_secs(args.volume_function_timeout_s);
            settings.late_call_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
            let function = args.volume_function_name.as_deref().unwrap_or_default();
            Arc::new(aws.lambda(function, limit).map_err(|e| StartError::Config(e.0))?)
        }
    };
    let store: Arc<dyn Store> = Arc::new(aws.dynamodb(names));
    let me = worker_id()?;
    let journal = Journal::new(Arc::clone(&store), Arc::clone(&clock), me.clone(), settings.clone());
    let topic = args.alerts_topic_arn.as_deref().map(Topic::parse).transpose();
    let topic = topic.map_err(|e| StartError::Config(vec![format!("--alerts-topic-arn {e}")]))?;
    let desk = topic.map(|topic| Desk::start(Arc::new(aws.sns(topic, &args.environment)), Arc::clone(&store)));
    let alerts: Arc<dyn Alerts> = match &desk {
        Some(desk) => desk.clone(),
        None => Arc::new(Log::default()),
    };
    let key = args.agent_api_key.clone().unwrap_or_else(|| DEV_AGENT_KEY.to_owned());
    let agents = HttpAgent::new(&key).map_err(|e| StartError::Config(vec![format!("--agent-api-key: {e}")]))?;
    let world = World {
        describer,
        ec2,
        ops,
        autoscaling: Arc::new(Budgeted::new(&autoscaling, &budget)),
        agents: Arc::new(agents),
        alerts: Arc::clone(&alerts),
        journal: journal.clone(),
        permits: Permits::new(journal.clone(), Arc::clone(&clock)),
        idle: Idle::new(journal.clone(), Arc::clone(&clock)),
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
        hold: hold(args)?,
        alerts,
    };
    let worker = Worker::new(Arc::new(drivers));
    let catalogue = Arc::new(catalogue);
    let capacity =
        Capacity { world: world.clone(), catalogue: Arc::clone(&catalogue), environment: args.environment.clone() };
    let migrations = Migrations {
        journal: journal.clone(),
        world,
        clock: Arc::clone(&clock),
        settings,
        hub,
        worker: Arc::clone(&worker),
        catalogue,
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
        .add(FleetServiceServer::new(Fleet { registry, capacity }))
        .bind()
        .await?;
    Ok(App { server, worker, lease, store, me, desk, watches })
}

impl App {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Serves until `stop`, then shuts down in phases, each with its deadline.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        let Self { server, worker, lease, store, me, desk, watches } = self;
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
        let quiet = CancellationToken::new();
        let stopped = quiet.clone();
        let late = shutdown::Plan::new()
            .then("drivers", Duration::from_secs(20), async move {
                drivers_stop.cancel();
                let _ended = driving.await;
                stopped.cancel();
            })
            .then("alerts", Duration::from_secs(5), async move {
                if let Some(desk) = desk {
                    desk.finish().await;
                }
            })
            // Last of all, and only once no driver is in a call: until then nobody may think this process dead. One that
            // was left behind in a call takes the lease with it, which runs out by itself.
            .then("lease", Duration::from_secs(3), async move {
                if quiet.is_cancelled() {
                    lease_stop.cancel();
                    let _ended = heartbeat.await;
                } else {
                    heartbeat.abort();
                }
            })
            .run()
            .await;
        if !late.is_empty() {
            tracing::warn!(?late, "shut down without waiting for everything");
        }
        Ok(())
    }
}
