//! `Agent` over the simulated agents. Answers cross as the JSON of the contract, read by the port's own types, so that
//! a field that one side writes and the other does not read is found here too.

use super::classes::agent as failed;
use super::face::Face;
use async_trait::async_trait;
use cloud_sim::api::agent as sim;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiershift_core::ids::AnyGraphId;
use volume_svc::ports::agent::{
    Address, Agent, AgentError, Connections, Health, Info, Order, Probe, Scope, Usage, VolumeStatus,
};

/// What agents are asked with in the simulated cloud.
const KEY: &str = "dev-agent-key";

/// The agent behind an address: the last part of its URL is its instance.
fn to(at: &Address) -> Result<sim::Address, AgentError> {
    let url = at.base_url().ok_or_else(|| AgentError::NoAddress("the instance has no address".into()))?;
    let instance_id = url.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(sim::Address { instance_id, api_key: Some(KEY.to_owned()) })
}

fn command(order: &Order) -> sim::Command {
    sim::Command {
        migration_id: order.migration_id.to_string(),
        fence: u64::try_from(order.fence).expect("a fence is positive"),
        volume_id: order.volume_id.to_string(),
        instance_id: order.instance_id.to_string(),
    }
}

fn wire<T: DeserializeOwned>(answer: impl Serialize) -> Result<T, AgentError> {
    let json = serde_json::to_value(answer).map_err(|e| AgentError::Unknown(e.into()))?;
    serde_json::from_value(json).map_err(|e| AgentError::Unknown(e.into()))
}

#[async_trait]
impl Agent for Face {
    async fn health(&self, at: &Address) -> Result<Health, AgentError> {
        wire(self.cloud.ask(sim::AgentHealth { to: to(at)? }).await.map_err(failed)?)
    }

    async fn drain(&self, at: &Address, order: &Order, scope: Scope) -> Result<(), AgentError> {
        let scope = match scope {
            Scope::Writes => sim::DrainScope::Writes,
            Scope::All => sim::DrainScope::All,
        };
        let request = sim::AgentDrain { to: to(at)?, command: command(order), scope };
        self.change(request).await.map(drop).map_err(failed)
    }

    async fn connections(&self, at: &Address) -> Result<Connections, AgentError> {
        wire(self.cloud.ask(sim::AgentConnections { to: to(at)? }).await.map_err(failed)?)
    }

    async fn resume(&self, at: &Address, order: &Order) -> Result<(), AgentError> {
        let request = sim::AgentResume { to: to(at)?, command: command(order) };
        self.change(request).await.map(drop).map_err(failed)
    }

    async fn release(&self, at: &Address, order: &Order) -> Result<(), AgentError> {
        let request = sim::AgentRelease { to: to(at)?, command: command(order) };
        self.change(request).await.map(drop).map_err(failed)
    }

    async fn adopt(&self, at: &Address, order: &Order, fs_uuid: Option<&str>) -> Result<(), AgentError> {
        let fs_uuid = fs_uuid.map(str::to_owned);
        let request = sim::AgentAdopt { to: to(at)?, command: command(order), fs_uuid };
        self.change(request).await.map(drop).map_err(failed)
    }

    async fn volume(&self, at: &Address) -> Result<VolumeStatus, AgentError> {
        wire(self.cloud.ask(sim::AgentVolume { to: to(at)? }).await.map_err(failed)?)
    }

    async fn probe(&self, at: &Address, graph: &AnyGraphId) -> Result<Probe, AgentError> {
        let request = sim::AgentProbe { to: to(at)?, graph_id: graph.to_string() };
        wire(self.cloud.ask(request).await.map_err(failed)?)
    }

    async fn usage(&self, at: &Address) -> Result<Usage, AgentError> {
        wire(self.cloud.ask(sim::AgentUsage { to: to(at)? }).await.map_err(failed)?)
    }

    async fn info(&self, at: &Address) -> Result<Info, AgentError> {
        wire(self.cloud.ask(sim::AgentInfo { to: to(at)? }).await.map_err(failed)?)
    }
}
