//! A small cloud to test on, and short words for long requests.

use cloud_sim::api::agent::{
    Address, AgentAdopt, AgentDrain, AgentProbe, AgentRelease, AgentResume, AgentState, AgentVolume, Command,
    DrainScope, VolumeStatus,
};
use cloud_sim::api::autoscaling::LaunchInstances;
use cloud_sim::api::control::{AuditWrites, ClearFault, SetFault, WriteAudit};
use cloud_sim::api::ec2::{AttachVolume, DescribeVolumes, DetachVolume, Filter, Tags, Volume};
use cloud_sim::api::engine::{EngineRead, EngineWrite};
use cloud_sim::api::{Call, Lost, Request};
use cloud_sim::faults::Fault;
use cloud_sim::fleet::{GraphSpec, GroupSpec, VolumeSpec};
use cloud_sim::{Config, Sim};

pub const ZONE_A: &str = "us-east-1a";
pub const ZONE_B: &str = "us-east-1b";
pub const STANDARD: &str = "standard-asg";
pub const LARGE: &str = "large-asg";
pub const GRAPH: &str = "kg0000000000000001";
pub const MIGRATION: &str = "chg_1";

/// Latency of calls with `Timing::Median`.
pub const DESCRIBE_MS: u64 = 150;
pub const MUTATE_MS: u64 = 400;
/// Lag of reads with `Timing::Median`.
pub const LAG_MS: u64 = 300;

/// A cloud with one graph on `source`, and `target` idle in the same zone.
#[derive(Debug, Clone)]
pub struct World {
    pub sim: Sim,
    pub now: u64,
    pub source: String,
    pub target: String,
    pub volume: String,
    pub uuid: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default(), 1)
    }

    pub fn with(config: Config, seed: u64) -> Self {
        let mut sim = Sim::new(config, seed);
        let now = 1_000_000;
        sim.advance(now);
        for (zone, id) in [(ZONE_A, "use1-az1"), (ZONE_B, "use1-az2")] {
            sim.add_zone(zone, id, &["m7g.medium", "m7g.large"]);
        }
        for (name, instance_type) in [(STANDARD, "m7g.medium"), (LARGE, "m7g.large")] {
            sim.add_group(GroupSpec {
                name: name.into(),
                instance_type: instance_type.into(),
                zones: vec![ZONE_A.into(), ZONE_B.into()],
                max_size: 5,
                tags: Tags::new(),
                build: None,
            })
            .unwrap();
        }
        let source = sim.add_instance(STANDARD, ZONE_A).unwrap();
        let target = sim.add_instance(LARGE, ZONE_A).unwrap();
        let volume = sim
            .add_volume(VolumeSpec {
                zone: ZONE_A.into(),
                size_gib: 20,
                tags: Tags::new(),
                snapshotted: false,
                dirty_bytes: 0,
            })
            .unwrap();
        let graph =
            GraphSpec { nodes: 10, relationships: 20, bytes: 5 << 30, readers: 4, writers: 2, ..GraphSpec::default() };
        sim.add_graph(&volume, GRAPH, graph).unwrap();
        sim.serve(&source, &volume, "/dev/sdf").unwrap();
        let uuid = sim.fs_uuid(&volume).unwrap();
        Self { sim, now, source, target, volume, uuid }
    }

    /// The answer; time goes on to when it arrives.
    pub fn ok<R: Request>(&mut self, request: R) -> R::Answer {
        let reply = self.sim.ask(self.now, request);
        self.now += reply.latency_ms;
        assert_eq!(reply.lost, None);
        reply.answer.unwrap()
    }

    /// The code of the refusal.
    pub fn err<R: Request>(&mut self, request: R) -> String {
        let reply = self.sim.ask(self.now, request);
        self.now += reply.latency_ms;
        assert_eq!(reply.lost, None);
        reply.answer.err().expect("a refusal").code
    }

    /// How a call that must get no answer was lost.
    pub fn lost(&mut self, call: Call) -> Lost {
        let reply = self.sim.call(self.now, call);
        self.now += reply.latency_ms;
        reply.lost.expect("no answer")
    }

    pub fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.sim.advance(self.now);
    }

    pub fn fault(&mut self, fault: Fault, count: Option<u32>) {
        self.ok(SetFault::new(fault, count));
    }

    pub fn clear(&mut self, fault: Fault) {
        self.ok(ClearFault { fault });
    }

    pub fn attach(&self, instance: &str, device: &str) -> AttachVolume {
        AttachVolume { volume_id: self.volume.clone(), instance_id: instance.into(), device: device.into() }
    }

    pub fn detach(&self, instance: &str, device: &str) -> DetachVolume {
        DetachVolume {
            volume_id: self.volume.clone(),
            instance_id: Some(instance.into()),
            device: Some(device.into()),
            force: false,
        }
    }

    /// The volume as a read shows it now; takes no time.
    pub fn see(&mut self) -> Volume {
        let filters = vec![Filter::new("volume-id", [self.volume.clone()])];
        let request = DescribeVolumes { filters, ..DescribeVolumes::default() };
        // Reads show the instant of their effect, half of the latency after the call.
        self.sim.ask(self.now - DESCRIBE_MS / 2, request).answer.unwrap().volumes.remove(0)
    }

    /// State of the only attachment that a read shows now, or `none`.
    pub fn attachment(&mut self) -> String {
        let volume = self.see();
        assert!(volume.attachments.len() <= 1);
        volume.attachments.first().map_or_else(|| "none".to_owned(), |attachment| attachment.state.clone())
    }

    pub fn to(&self, instance: &str) -> Address {
        Address { instance_id: instance.into(), api_key: Some("dev-agent-key".into()) }
    }

    pub fn command(&self, instance: &str, fence: u64) -> Command {
        Command { migration_id: MIGRATION.into(), fence, volume_id: self.volume.clone(), instance_id: instance.into() }
    }

    pub fn drain(&self, instance: &str, fence: u64, scope: DrainScope) -> AgentDrain {
        AgentDrain { to: self.to(instance), command: self.command(instance, fence), scope }
    }

    pub fn resume(&self, instance: &str, fence: u64) -> AgentResume {
        AgentResume { to: self.to(instance), command: self.command(instance, fence) }
    }

    pub fn release(&self, instance: &str, fence: u64) -> AgentRelease {
        AgentRelease { to: self.to(instance), command: self.command(instance, fence) }
    }

    pub fn adopt(&self, instance: &str, fence: u64) -> AgentAdopt {
        AgentAdopt { to: self.to(instance), command: self.command(instance, fence), fs_uuid: Some(self.uuid.clone()) }
    }

    pub fn status(&mut self, instance: &str) -> VolumeStatus {
        let to = self.to(instance);
        self.ok(AgentVolume { to })
    }

    pub fn probe(&self, instance: &str) -> AgentProbe {
        AgentProbe { to: self.to(instance), graph_id: GRAPH.into() }
    }

    pub fn write(&self, instance: &str, write_id: u64) -> EngineWrite {
        EngineWrite { instance_id: instance.into(), graph_id: GRAPH.into(), write_id }
    }

    pub fn read(&self, instance: &str, write_id: u64) -> EngineRead {
        EngineRead { instance_id: instance.into(), graph_id: GRAPH.into(), write_id }
    }

    pub fn audit(&mut self) -> WriteAudit {
        self.ok(AuditWrites { graph_id: GRAPH.into() })
    }

    pub fn launch(&self, group: &str, zone: &str, token: &str) -> LaunchInstances {
        LaunchInstances {
            group_name: group.into(),
            client_token: token.into(),
            requested_capacity: 1,
            availability_zones: vec![zone.into()],
            subnet_ids: Vec::new(),
            retry_strategy: None,
        }
    }

    /// Waits until the agent is in a state, at most five minutes.
    pub fn until(&mut self, instance: &str, state: AgentState) {
        for _ in 0..3_000 {
            if self.status(instance).state == state {
                return;
            }
            self.wait(100);
        }
        panic!("{instance} is still {:?}", self.status(instance));
    }

    /// Stops the source's clients and engine, cleanly.
    pub fn release_source(&mut self, fence: u64) {
        let source = self.source.clone();
        self.ok(self.drain(&source, fence, DrainScope::Writes));
        self.ok(self.drain(&source, fence, DrainScope::All));
        self.ok(self.release(&source, fence));
        self.until(&source, AgentState::Released);
    }

    /// Waits until reads show an attachment state, at most five minutes.
    pub fn until_attachment(&mut self, state: &str) {
        for _ in 0..3_000 {
            if self.attachment() == state {
                return;
            }
            self.wait(100);
        }
        panic!("the attachment is still {}", self.attachment());
    }
}
