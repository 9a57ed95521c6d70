//! The border: gRPC handlers that convert, take the caller, run one command and convert back.
//!
//! Nothing is decided here. A mutation runs in a task of its own, so that a client that goes away cannot stop it
//! between its COMMIT and what must follow (see `commit`).

mod access;
mod convert;
mod graph;
mod subscription;
mod tier;
mod watch;
mod webhook;

use crate::service::{Outcome, Service};
use std::future::Future;
use std::sync::Arc;
use tiershift_common::status::{Fault, to_status};
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::subscription::v1::access_service_server::AccessServiceServer;
use tiershift_proto::subscription::v1::graph_service_server::GraphServiceServer;
use tiershift_proto::subscription::v1::subscription_service_server::SubscriptionServiceServer;
use tiershift_proto::subscription::v1::tier_service_server::TierServiceServer;
use tiershift_proto::subscription::v1::webhook_service_server::WebhookServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// All five services.
#[derive(Clone)]
pub struct Api {
    service: Arc<Service>,
    /// Ends watches with "come back".
    stop: CancellationToken,
}

impl Api {
    /// Over the shared service.
    pub fn new(service: Arc<Service>, stop: CancellationToken) -> Self {
        Self { service, stop }
    }

    /// Adds the services to a server.
    #[must_use]
    pub fn add_to(self, builder: tiershift_common::server::Builder) -> tiershift_common::server::Builder {
        builder
            .add(GraphServiceServer::new(self.clone()))
            .add(SubscriptionServiceServer::new(self.clone()))
            .add(TierServiceServer::new(self.clone()))
            .add(WebhookServiceServer::new(self.clone()))
            .add(AccessServiceServer::new(self))
    }

    /// Runs a mutation to its end, whether or not its caller still waits.
    async fn run<T, F>(&self, command: impl FnOnce(Arc<Service>) -> F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        match tokio::spawn(command(Arc::clone(&self.service))).await {
            Ok(outcome) => outcome.map_err(Fault::into_status),
            Err(broken) => Err(Fault::internal(broken).into_status()),
        }
    }
}

/// An error of the request itself.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn refused(error: Error) -> Status {
    to_status(&error)
}

/// An RPC of the contract that is not built.
fn not_built(rpc: &str) -> Status {
    let text = format!("{rpc} is not built yet");
    to_status(&Error::new(Kind::Unimplemented, Reason::NotImplemented, text))
}
