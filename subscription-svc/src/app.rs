//! Puts the service together: the only place that names ports and adapters.

use crate::config::{self, Config, Database};
use crate::grpc::Api;
use crate::migrations::grpc::{VolumeService, caller};
use crate::payments::Payments;
use crate::payments::book::{self, Book};
use crate::payments::manual::Manual;
use crate::payments::sim::Sim;
use crate::payments::stripe::Stripe;
use crate::refresh;
use crate::saga;
use crate::service::Service;
use crate::store::inbox::Inbox;
use crate::store::postgres::Postgres;
use crate::store::postgres::tenure::{PREDECESSOR, Tenure};
use crate::store::sqlite::Sqlite;
use crate::store::{self, Store, postgres, sqlite};
use crate::webhooks::signature::Secret;
use crate::webhooks::{apply, prune, receive};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::Clock;
use tiershift_common::ids::Ids;
use tiershift_common::{caller as callers, client, server, shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why the service cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file.
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenFault),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenFault),
    /// PostgreSQL went away, or took no write for seconds: everything is to be loaded anew.
    #[error("the database was lost; start this process again, as a supervisor does")]
    Lost(#[source] postgres::Lost),
    /// The database, once open.
    #[error("the database cannot be read")]
    Store(#[from] store::Fault),
    /// The book of payments.
    #[error(transparent)]
    Book(#[from] book::Fault),
    /// The host has no certificates to check Stripe's with.
    #[error("this machine has no root certificates to check Stripe's with; install them (ca-certificates)")]
    Certificates(#[source] std::io::Error),
    /// volume-svc's address.
    #[error(transparent)]
    VolumeUrl(#[from] client::BadUrl),
    /// The server.
    #[error(transparent)]
    Server(#[from] server::Fault),
}

/// A service that holds its port and has loaded its state, and does not answer yet.
pub struct App {
    service: Arc<Service>,
    store: Arc<dyn Store>,
    tenure: Option<Tenure>,
    server: server::Server,
    watches: CancellationToken,
    webhooks: Option<Webhooks>,
}

/// The webhook endpoint with its port.
struct Webhooks {
    listener: TcpListener,
    secrets: Vec<Secret>,
    inbox: Arc<dyn Inbox>,
}

impl App {
    /// Opens everything and takes the port.
    pub async fn start(config: Config) -> Result<Self, Fault> {
        let clock: Arc<dyn Clock> = Arc::new(config.clock);
        let (store, inbox, tenure) = open(&config.database).await?;
        let book = || Book::open(&config.payments_book).map(Arc::new);
        let payments: Arc<dyn Payments> = match config.payments {
            config::Payments::Sim(behaviours) => Arc::new(Sim::new(book()?, behaviours)),
            config::Payments::Manual => Arc::new(Manual::new(book()?)),
            config::Payments::Stripe(stripe) => {
                Arc::new(Stripe::connect(&stripe.url, stripe.key).map_err(Fault::Certificates)?)
            }
        };
        let channel = client::channel_as(&config.volume_url, &caller())?;
        let migrations = Arc::new(VolumeService::new(channel, Arc::clone(&clock)));
        let ids = Ids::new(Arc::clone(&clock));
        let mut service = Service::new(Arc::clone(&store), migrations, payments, clock, ids);
        service.catalogue = config.catalogue;
        service.flags = config.flags;
        service.hold_at(config.hold);
        if tenure.is_some() {
            // Over PostgreSQL what is committed is not always this process's, and its database may be another one tomorrow.
            service.replica.share();
        }
        // Who receives none applies none: a replay would be a promise that nobody keeps.
        service.inbox = config.webhooks.as_ref().map(|_| Arc::clone(&inbox));
        let service = Arc::new(service);
        service.committer.reload().await?;
        let watches = CancellationToken::new();
        let callers = if config.dev { callers::Layer::dangerous_dev() } else { callers::Layer::production() };
        let listen = server::Config { cors_origins: config.cors_origins, ..server::Config::on(config.listen) };
        let api = Api::new(Arc::clone(&service), watches.clone());
        let server = api.add_to(server::Builder::new(listen, callers)).bind().await?;
        tracing::info!(environment = config.environment, dev = config.dev, database = %config.database,
            volume_url = config.volume_url, address = %server.local_addr(), "subscription-svc starts");
        let webhooks = match config.webhooks {
            None => None,
            Some(webhooks) => {
                let bound = TcpListener::bind(webhooks.listen).await;
                let listener = bound.map_err(|error| server::Fault::Bind(webhooks.listen, error))?;
                Some(Webhooks { listener, secrets: webhooks.secrets, inbox })
            }
        };
        Ok(Self { service, store, tenure, server, watches, webhooks })
    }

    /// Where webhooks are received.
    pub fn webhook_addr(&self) -> Option<SocketAddr> {
        self.webhooks.as_ref().and_then(|webhooks| webhooks.listener.local_addr().ok())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Serves until `stop`, then ends in phases.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Fault> {
        let Self { service, store, tenure, server, watches, webhooks } = self;
        let (saga_stop, server_stop) = (CancellationToken::new(), CancellationToken::new());
        let webhooks_stop = CancellationToken::new();
        let webhooks = tokio::spawn(receive(webhooks, Arc::clone(&service), webhooks_stop.clone()));
        let refresh_stop = CancellationToken::new();
        let _ends_with_this = refresh_stop.clone().drop_guard();
        if tenure.is_some() {
            let name = format!("process {}", std::process::id());
            tokio::spawn(refresh::run(Arc::clone(&service), name, refresh_stop));
        }
        let saga = tokio::spawn(saga::run(service, saga_stop.clone()));
        let health = server.health();
        let mut serving = tokio::spawn(server.run(server_stop.clone()));
        health.serving().await;
        let tenure_end = CancellationToken::new();
        let mut tenure = tenure.map(|tenure| tokio::spawn(tenure.keep(tenure_end.clone())));
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            lost = lost(&mut tenure) => {
                // At once: what it answers from memory is no longer known to be true.
                saga_stop.cancel();
                server_stop.cancel();
                webhooks_stop.cancel();
                return Err(Fault::Lost(lost));
            }
            ended = &mut serving => {
                saga_stop.cancel();
                webhooks_stop.cancel();
                return ended.map_err(broken).and_then(|ended| ended.map(|_| ())).map_err(Fault::Server);
            }
        }
        let plan = shutdown::Plan::new()
            .then("health", Duration::from_secs(1), async move { health.not_serving().await })
            .then("watches", Duration::from_secs(1), async move { watches.cancel() })
            .then("calls", Duration::from_secs(12), async move {
                server_stop.cancel();
                note(serving).await;
            })
            .then("webhooks", Duration::from_secs(8), async move {
                webhooks_stop.cancel();
                note(webhooks).await;
            })
            .then("sagas", Duration::from_secs(3), async move {
                saga_stop.cancel();
                note(saga).await;
            })
            .then("store", Duration::from_secs(3), async move { store.close().await });
        plan.run().await;
        // Last, so that a successor finds everything written.
        tenure_end.cancel();
        if let Some(tenure) = tenure {
            note(tenure).await;
        }
        Ok(())
    }
}

/// Receives webhooks and makes something of them, until `stop`.
async fn receive(webhooks: Option<Webhooks>, service: Arc<Service>, stop: CancellationToken) {
    let Some(Webhooks { listener, secrets, inbox }) = webhooks else { return };
    let arrived = Arc::clone(&service.arrived);
    let clock = Arc::clone(&service.clock);
    let (routes, collector) =
        receive::endpoint(secrets, clock, Arc::clone(&inbox), Arc::clone(&arrived), receive::QUEUE_MAX, stop.clone());
    let serving = receive::serve(listener, routes, stop.clone());
    let pruning = prune::run(Arc::clone(&service), Arc::clone(&inbox), stop.clone());
    tokio::join!(serving, collector, pruning, apply::run(service, inbox, arrived, stop));
}

/// What [`open`] gives: the store, the same as an inbox, and who serves it.
type Opened = (Arc<dyn Store>, Arc<dyn Inbox>, Option<Tenure>);

/// Opens the database, and sees to it that no other process serves it.
async fn open(database: &Database) -> Result<Opened, Fault> {
    match database {
        Database::Sqlite(path) => {
            let store = Arc::new(Sqlite::open(path).await?);
            Ok((Arc::clone(&store) as Arc<dyn Store>, store, None))
        }
        Database::Postgres { url, migrate, .. } => {
            let store = Arc::new(Postgres::open(url, *migrate).await?);
            let tenure = Tenure::take(url, &format!("process {}", std::process::id()), PREDECESSOR).await?;
            Ok((Arc::clone(&store) as Arc<dyn Store>, store, Some(tenure)))
        }
    }
}

/// When the tenure is lost; never where there is none, or when it was given back.
async fn lost(tenure: &mut Option<JoinHandle<Option<postgres::Lost>>>) -> postgres::Lost {
    match tenure {
        Some(keeping) => match keeping.await {
            Ok(Some(lost)) => lost,
            Ok(None) => std::future::pending().await,
            Err(broken) => postgres::Lost(Box::new(broken)),
        },
        None => std::future::pending().await,
    }
}

/// A task's end matters only if it broke.
async fn note<T>(task: JoinHandle<T>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task broke");
    }
}

fn broken(error: tokio::task::JoinError) -> server::Fault {
    tracing::error!(%error, "the server's task broke");
    server::Fault::Bind(SocketAddr::from(([0, 0, 0, 0], 0)), std::io::Error::other(error))
}
