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
use crate::service::Service;
use crate::store::inbox::Inbox;
use crate::store::postgres::{self, Postgres, news};
use crate::store::sqlite::Sqlite;
use crate::store::{self, Store, sqlite};
use crate::webhooks::receive;
use crate::webhooks::signature::Secret;
use crate::work::{self, Among};
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
    among: Among,
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
        let (store, inbox, among) = open(&config.database).await?;
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
        if matches!(among, Among::Several { .. }) {
            // What is committed is not always this process's, and its database may be another one tomorrow.
            service.share();
        }
        // Where nobody receives any none is applied, and a replay would be a promise that nobody keeps. Another process over the
        // same database may receive them.
        let received = config.webhooks.is_some() || service.shared;
        service.inbox = received.then(|| Arc::clone(&inbox));
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
        Ok(Self { service, store, among, server, watches, webhooks })
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
        let Self { service, store, among, server, watches, webhooks } = self;
        let (work_stop, server_stop, webhooks_stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        // To the end of this, so that what is answered until then is vouched for.
        let refresh_stop = CancellationToken::new();
        let _ends_with_this = refresh_stop.clone().drop_guard();
        if let Among::Several { url, process, .. } = &among {
            let refreshing = refresh::run(Arc::clone(&service), process.clone(), refresh_stop.clone());
            tokio::spawn(refreshing);
            tokio::spawn(news::hear(url.clone(), Arc::clone(&service), refresh_stop));
        }
        let inbox = service.inbox.clone();
        let receiving = tokio::spawn(receive(webhooks, Arc::clone(&service), webhooks_stop.clone()));
        let working = tokio::spawn(work::run(among, service, inbox, work_stop.clone()));
        let health = server.health();
        let mut serving = tokio::spawn(server.run(server_stop.clone()));
        health.serving().await;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = &mut serving => {
                work_stop.cancel();
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
                note(receiving).await;
            })
            .then("work", Duration::from_secs(3), async move {
                work_stop.cancel();
                note(working).await;
            })
            .then("store", Duration::from_secs(3), async move { store.close().await });
        plan.run().await;
        Ok(())
    }
}

/// Receives webhooks, until `stop`.
async fn receive(webhooks: Option<Webhooks>, service: Arc<Service>, stop: CancellationToken) {
    let Some(Webhooks { listener, secrets, inbox }) = webhooks else { return };
    let (clock, arrived) = (Arc::clone(&service.clock), Arc::clone(&service.arrived));
    let (routes, collector) = receive::endpoint(secrets, clock, inbox, arrived, receive::QUEUE_MAX, stop.clone());
    tokio::join!(receive::serve(listener, routes, stop), collector);
}

/// What [`open`] gives: the store, the same as an inbox, and who else may serve it.
type Opened = (Arc<dyn Store>, Arc<dyn Inbox>, Among);

/// Opens the database.
async fn open(database: &Database) -> Result<Opened, Fault> {
    match database {
        Database::Sqlite(path) => {
            let store = Arc::new(Sqlite::open(path).await?);
            Ok((Arc::clone(&store) as Arc<dyn Store>, store, Among::Alone))
        }
        Database::Postgres { url, migrate, failover, .. } => {
            let store = Arc::new(Postgres::open(url, *migrate, *failover).await?);
            // Processes in containers share their numbers, and restarts their hosts.
            let process = format!("process {} ({:016x})", std::process::id(), rand::random::<u64>());
            Ok((
                Arc::clone(&store) as Arc<dyn Store>,
                store,
                Among::Several { url: url.clone(), process, failover: *failover },
            ))
        }
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
