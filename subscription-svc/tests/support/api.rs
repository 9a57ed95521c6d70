//! The API over a loopback server: store in memory, a scripted volume-svc in the same process, a fast clock.

use super::port::Port;
use super::seed;
use super::volume::Fake;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use subscription_svc::grpc::Api;
use subscription_svc::payments::Payments;
use subscription_svc::payments::book::Book;
use subscription_svc::payments::sim::Sim;
use subscription_svc::saga;
use subscription_svc::service::Service;
use subscription_svc::store::Store;
use subscription_svc::store::memory::Memory;
use tiershift_common::caller::{self, Caller};
use tiershift_common::client::{CallerChannel, channel_as};
use tiershift_common::clock::{Clock, Scaled};
use tiershift_common::ids::Ids;
use tiershift_common::server::{Builder, Config};
use tiershift_core::ids::GraphId;
use tiershift_proto::subscription::v1::access_service_client::AccessServiceClient;
use tiershift_proto::subscription::v1::graph_service_client::GraphServiceClient;
use tiershift_proto::subscription::v1::subscription_service_client::SubscriptionServiceClient;
use tiershift_proto::subscription::v1::tier_service_client::TierServiceClient;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer unless it hangs.
pub const BOUND: Duration = Duration::from_secs(30);

/// A running server.
pub struct Running {
    /// What is behind it.
    pub service: Arc<Service>,
    /// volume-svc.
    pub volume: Arc<Fake>,
    /// Its address.
    pub url: String,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// Starts one whose clock runs a hundred times as fast.
    pub async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Scaled { speed: 100, ..Scaled::wall() });
        let volume = Fake::new(Arc::clone(&clock));
        let sim: Arc<dyn Payments> = Arc::new(Sim::new(Arc::new(Book::in_memory()), BTreeMap::new()));
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let ids = Ids::new(Arc::clone(&clock));
        let service = Arc::new(Service::new(store, Arc::new(Port(Arc::clone(&volume))), sim, clock, ids));
        service.committer.reload().await.expect("loaded");
        let stop = CancellationToken::new();
        tokio::spawn(saga::run(Arc::clone(&service), stop.clone()));
        let listen = Config::on("127.0.0.1:0".parse().expect("an address"));
        let builder = Builder::new(listen, caller::Layer::dangerous_dev());
        let server = Api::new(Arc::clone(&service), stop.clone()).add_to(builder).bind().await.expect("bound");
        let url = format!("http://{}", server.local_addr());
        tokio::spawn(server.run(stop.clone()));
        Self { service, volume, url, stop }
    }

    fn channel(&self, who: &str) -> CallerChannel {
        channel_as(&self.url, &Caller::parse_dev(who).expect("a caller")).expect("an address")
    }

    /// TierService as somebody.
    pub fn tiers(&self, who: &str) -> TierServiceClient<CallerChannel> {
        TierServiceClient::new(self.channel(who))
    }

    /// GraphService as somebody.
    pub fn graphs(&self, who: &str) -> GraphServiceClient<CallerChannel> {
        GraphServiceClient::new(self.channel(who))
    }

    /// SubscriptionService as somebody.
    pub fn subscriptions(&self, who: &str) -> SubscriptionServiceClient<CallerChannel> {
        SubscriptionServiceClient::new(self.channel(who))
    }

    /// AccessService as somebody.
    pub fn access(&self, who: &str) -> AccessServiceClient<CallerChannel> {
        AccessServiceClient::new(self.channel(who))
    }

    /// The n-th graph of org_a with an active subscription.
    pub async fn graph(&self, n: u64, tier: &str) -> GraphId {
        seed::subscribed(&self.service, n, "org_a", tier).await
    }
}
