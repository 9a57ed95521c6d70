//! Runs the machine's commands against the ports, by one `match`, and tells what came back in the core's words.
//!
//! It decides nothing: no retry, no agreement of reads, no meaning of an error beyond its class. Deadlines of single
//! calls are the adapters'. Where the facts of `plan` come from is `gather.rs`.

use crate::adapters::describe::Describer;
use crate::alerts::{Alert, Alerts};
use crate::gather::Target;
use crate::idle::Idle;
use crate::journal::Journal;
use crate::permits::Permits;
use crate::ports::agent::{Address, Agent, AgentError, Order, Scope as AgentScope, VolumeState};
use crate::ports::cloud::{
    ApiError, AttachmentState as Ec2Attachment, AutoScalingApi, Class, Ec2Api, InstanceState, LaunchRequest, Lifecycle,
    Snapshot, SnapshotRequest, SnapshotState as Ec2Snapshot, Tags, Volume,
    traffic::{self, Traffic},
};
use crate::ports::store::StoreError;
use crate::ports::volume_ops::{Operation, VolumeOps};
use std::collections::BTreeMap;
use std::sync::Arc;
use tiershift_common::clock::Clock;
use tiershift_core::event::Direction;
use tiershift_core::ids::{AnyGraphId, GroupName, InstanceId, VolumeId};
use tiershift_core::mutant::{self, Mutant};
use volume_core::effect::Answer;
use volume_core::effect::{
    AgentState, AgentVolume, Attachment, AttachmentState, Command, Done, Effect, Engine, GroupSeen, InstanceSeen,
    Observe, Probe, Purpose, Scope, Seen, SnapshotSeen, SnapshotState, Trouble,
};
use volume_core::fact::Spec;
use volume_core::item::Item;
use volume_core::keys;
use volume_core::stage::Stage;
use volume_core::state::Migration;

/// Tag of everything that a migration makes: its id.
pub const TAG_MIGRATION: &str = "volsvc:migration";
/// Tag: which step made it.
pub const TAG_STEP: &str = "volsvc:step";
/// Tag: the store's epoch.
pub const TAG_EPOCH: &str = "volsvc:epoch";

/// How late a call that moves a volume may begin, for whoever can tell: clocks that differ by seconds and a slow way
/// there are within it; a driver that was paused, or a call that is run again later, is not (F7, H17).
const BEGINS_WITHIN_MS: i64 = 30_000;

/// The ports, and what is needed to use them.
#[derive(Clone, Debug)]
pub struct World {
    /// EC2, for what changes something.
    pub ec2: Arc<dyn Ec2Api>,
    /// Who makes the calls that move a volume.
    pub ops: Arc<dyn VolumeOps>,
    /// Every read of AWS, batched over all migrations and plans (rule 11).
    pub describer: Describer,
    /// Auto Scaling, for what changes something.
    pub autoscaling: Arc<dyn AutoScalingApi>,
    /// The agents.
    pub agents: Arc<dyn Agent>,
    /// Who is called when AWS says something that no table knows.
    pub alerts: Arc<dyn Alerts>,
    /// The journal, for rows and locks.
    pub journal: Journal,
    /// Whose turn it is for a permit.
    pub permits: Arc<Permits>,
    /// Which instances look idle.
    pub idle: Arc<Idle>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where an agent is reached whose row names no address, with `{instance_id}`; none means port 8001 of its
    /// private address.
    pub agent_url_template: Option<String>,
    /// Name of the environment, for tags.
    pub environment: String,
}

/// Class of an AWS error in the machine's words.
fn trouble(error: &ApiError) -> Trouble {
    match &error.class {
        Class::Throttled => Trouble::Throttled,
        Class::NotFound(_) => Trouble::NotFound,
        Class::IncorrectState => Trouble::IncorrectState,
        Class::VolumeInUse => Trouble::InUse,
        Class::ZoneMismatch => Trouble::Zone,
        Class::DeviceInUse => Trouble::DeviceTaken,
        Class::SlotsFull => Trouble::SlotsFull,
        Class::NoCapacity => Trouble::NoCapacity,
        Class::InProgress => Trouble::InProgress,
        Class::SnapshotLimit => Trouble::SnapshotLimit,
        Class::Denied => Trouble::Denied,
        Class::TokenMismatch | Class::Permanent => Trouble::Permanent,
        // A human is told of it, and it is not sent for ever (rule 46).
        Class::UnknownCode => Trouble::Unlisted,
        Class::Unknown | Class::TooLate => Trouble::Unknown,
    }
}

fn agent_trouble(error: &AgentError) -> Trouble {
    match error {
        AgentError::Fenced => Trouble::Fenced,
        AgentError::Unauthorized => Trouble::Denied,
        AgentError::Unsupported => Trouble::Unsupported,
        AgentError::Refused { .. } | AgentError::NoAddress(_) => Trouble::Permanent,
        AgentError::Unknown(_) => Trouble::Unknown,
    }
}

fn store_trouble(error: &StoreError) -> Trouble {
    match error {
        StoreError::Throttled => Trouble::Throttled,
        StoreError::Unavailable(_) => Trouble::Unknown,
        StoreError::Invalid(_) => Trouble::Permanent,
    }
}

fn saw<T>(result: Result<T, Trouble>, seen: impl FnOnce(T) -> Seen) -> Seen {
    result.map_or_else(Seen::Nothing, seen)
}

impl World {
    /// Why a read failed, in the machine's words: with a code that no table knows it tells nothing, and is read again.
    pub(crate) fn trouble(&self, error: &ApiError) -> Trouble {
        match self.told(error) {
            Trouble::Unlisted => Trouble::Unknown,
            trouble => trouble,
        }
    }

    /// An AWS error in the machine's words; a human is called for a code that no table knows.
    fn told(&self, error: &ApiError) -> Trouble {
        if error.class == Class::UnknownCode {
            self.unknown_code(error.operation, &error.code);
        }
        trouble(error)
    }

    fn unknown_code(&self, call: &str, code: &str) {
        self.alerts.raise(Alert::unknown_code(call, code, self.clock.now()));
    }

    /// Logged once, where the answer is turned into a value.
    fn note(&self, effect: &Effect, error: &ApiError) -> Trouble {
        let class = self.told(error);
        tracing::warn!(effect = effect.name(), code = error.code, ?class, "an effect was not accepted");
        class
    }

    /// Runs one command of a migration; one that is on its way back goes first wherever calls wait, and one whose gate
    /// is closed goes before those that wait for theirs (rule 17).
    pub async fn run(&self, m: &Migration, command: &Command) -> Option<Answer> {
        let spec = m.spec.as_ref()?;
        let traffic = match m.direction {
            Direction::Undo => Traffic::Rollback,
            Direction::Forward if m.gate.is_some() => Traffic::Blocked,
            Direction::Forward | Direction::Settle => Traffic::Forward,
        };
        let answer = async {
            match command {
                Command::Effect { n, effect, token } => {
                    Answer::Effect { n: *n, result: self.effect(m, spec, effect, token).await }
                }
                Command::Observe(what) => Answer::Seen { what: what.clone(), seen: self.observe(m, spec, what).await },
            }
        };
        Some(traffic::on_behalf_of(traffic, answer).await)
    }

    async fn effect(&self, m: &Migration, spec: &Spec, effect: &Effect, token: &str) -> Result<Done, Trouble> {
        let cloud = |result: Result<(), ApiError>| result.map(|()| Done::Accepted).map_err(|e| self.note(effect, &e));
        let agent =
            |result: Result<(), AgentError>| result.map(|()| Done::Accepted).map_err(|e| note_agent(effect, &e));
        let operation = Operation { id: token.to_owned(), not_after: self.clock.now().plus(BEGINS_WITHIN_MS) };
        match effect {
            Effect::Protect { group, instance } => {
                let ids = [instance.clone()];
                cloud(self.autoscaling.set_instance_protection(group, &ids, true).await)
            }
            Effect::Snapshot { purpose } => {
                let request = self.snapshot_request(spec, *purpose);
                let snapshot = self.ops.snapshot(&operation, &request).await.map_err(|e| self.note(effect, &e))?;
                Ok(Done::Snapshot(snapshot))
            }
            Effect::Launch { group, zone } => {
                let request =
                    LaunchRequest { group: group.clone(), client_token: token.to_owned(), zone: zone.clone() };
                let outcome = self.autoscaling.launch_instances(&request).await.map_err(|e| self.note(effect, &e))?;
                match outcome.faults.first() {
                    Some(fault) if outcome.instances.is_empty() => {
                        tracing::warn!(code = fault.code, "a launch gave no instance");
                        Err(match &fault.class {
                            Class::NoCapacity => Trouble::NoCapacity,
                            Class::UnknownCode => {
                                self.unknown_code("LaunchInstances", &fault.code);
                                Trouble::Unlisted
                            }
                            _ => Trouble::Unknown,
                        })
                    }
                    _ => Ok(Done::Launched(outcome.instances)),
                }
            }
            Effect::Terminate { instance, decrement, .. } => {
                cloud(self.autoscaling.terminate_instance_in_auto_scaling_group(instance, *decrement).await)
            }
            Effect::Detach { instance, device } => {
                cloud(self.ops.detach(&operation, &spec.volume, instance, device).await)
            }
            Effect::Attach { instance, device } => {
                cloud(self.ops.attach(&operation, &spec.volume, instance, device).await)
            }
            Effect::KeepOnTermination { instance, device } => {
                cloud(self.ec2.modify_instance_attribute(instance, device).await)
            }
            Effect::TagVolume { tier } => {
                let tags: Tags = [("Tier".to_owned(), tier.to_string())].into();
                cloud(self.ec2.create_tags(&[spec.volume.to_string()], &tags).await)
            }
            Effect::DeleteSnapshot { snapshot } => cloud(self.ec2.delete_snapshot(snapshot).await),
            Effect::Drain { instance, scope } => {
                let scope = match scope {
                    Scope::Writes => AgentScope::Writes,
                    Scope::All => AgentScope::All,
                };
                agent(self.agents.drain(&self.address(m, instance), &order(m, spec, instance), scope).await)
            }
            Effect::Resume { instance } => {
                agent(self.agents.resume(&self.address(m, instance), &order(m, spec, instance)).await)
            }
            Effect::Release { instance } => {
                agent(self.agents.release(&self.address(m, instance), &order(m, spec, instance)).await)
            }
            Effect::Adopt { instance } => {
                let uuid = m.fs_uuid.as_deref();
                agent(self.agents.adopt(&self.address(m, instance), &order(m, spec, instance), uuid).await)
            }
        }
    }

    async fn observe(&self, m: &Migration, spec: &Spec, what: &Observe) -> Seen {
        match what {
            Observe::Facts => {
                let ask = volume_core::preflight_ask(spec);
                Seen::Facts(Box::new(self.gather(&ask, None).await))
            }
            Observe::Snapshots { purpose } => self.snapshots(spec, Some(*purpose)).await,
            Observe::AllSnapshots => self.snapshots(spec, None).await,
            Observe::Candidates => {
                let (graph, tier) = (&spec.graph, &spec.target_tier);
                let target = Target { graph, tier, group: &spec.target_group, zone: &spec.zone };
                saw(self.candidates(target, &|instance| m.is_done_with(instance)).await, Seen::Candidates)
            }
            Observe::Instance { instance } => saw(self.instance(m, instance).await, Seen::Instance),
            Observe::Volume => saw(self.attachments(&spec.volume).await, Seen::Volume),
            Observe::AgentVolume { instance } => {
                let status = self.agents.volume(&self.address(m, instance)).await.map_err(|e| agent_trouble(&e));
                saw(status, |v| Seen::AgentVolume(agent_volume(&spec.volume, v)))
            }
            Observe::Writers { instance } => {
                let count = self.agents.connections(&self.address(m, instance)).await.map_err(|e| agent_trouble(&e));
                saw(count, |c| Seen::Count(i64::try_from(c.active_writes).unwrap_or(i64::MAX)))
            }
            Observe::Connections { instance } => {
                let count = self.agents.connections(&self.address(m, instance)).await.map_err(|e| agent_trouble(&e));
                saw(count, |c| Seen::Count(i64::try_from(c.active_connections).unwrap_or(i64::MAX)))
            }
            Observe::Probe { instance } => {
                if mutant::on(Mutant::OpenDoorEarly) && m.stage == Stage::Adopt && !m.is_source(instance) {
                    let _opened = self.agents.resume(&self.address(m, instance), &order(m, spec, instance)).await;
                }
                let graph = AnyGraphId::from(spec.graph.clone());
                let probe = self.agents.probe(&self.address(m, instance), &graph).await.map_err(|e| agent_trouble(&e));
                saw(probe, |p| {
                    Seen::Probe(Probe {
                        nodes: i64::try_from(p.nodes).unwrap_or(i64::MAX),
                        relationships: i64::try_from(p.relationships).unwrap_or(i64::MAX),
                        checksum: p.checksum,
                    })
                })
            }
            Observe::Usage { instance } => {
                let usage = self.agents.usage(&self.address(m, instance)).await.map_err(|e| agent_trouble(&e));
                saw(usage, |u| Seen::Usage(bytes_of(&u.graphs, spec.graph.as_str())))
            }
            Observe::Group { group } => saw(self.group_size(group).await, Seen::Group),
            Observe::Permits => saw(self.permits.seen(spec).await.map_err(|e| store_trouble(&e)), Seen::Permits),
        }
    }

    fn snapshot_request(&self, spec: &Spec, purpose: Purpose) -> SnapshotRequest {
        let name = match purpose {
            Purpose::Safety => format!("upgrade-{}-{}-to-{}", spec.graph, spec.source_tier, spec.target_tier),
            Purpose::Final => format!("pre-detach-{}", spec.volume),
        };
        let kind = match purpose {
            Purpose::Safety => "tier_upgrade",
            Purpose::Final => "pre_detach",
        };
        let tags: Tags = [
            (TAG_MIGRATION, spec.id.as_str()),
            (TAG_STEP, purpose.name()),
            (TAG_EPOCH, &spec.store_epoch.to_string()),
            ("Name", &name),
            ("Environment", &self.environment),
            ("Type", kind),
            ("GraphId", spec.graph.as_str()),
            ("VolumeId", spec.volume.as_str()),
            ("UpgradeFrom", spec.source_tier.as_str()),
            ("UpgradeTo", spec.target_tier.as_str()),
            ("Databases", &format!("[\"{}\"]", spec.graph)),
            // Deleted by the migration or by clean-up; clean-up skips what a running migration owns (H18).
            ("AutoDelete", "true"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        SnapshotRequest { volume_id: spec.volume.clone(), description: name.clone(), tags }
    }

    /// Ours for a purpose, or all of the volume.
    async fn snapshots(&self, spec: &Spec, purpose: Option<Purpose>) -> Seen {
        let found = match purpose {
            Some(_) => self.describer.tagged_snapshots(TAG_MIGRATION, spec.id.as_str()).await,
            None => self.describer.snapshots(&spec.volume).await,
        };
        let found = found.map_err(|e| self.trouble(&e));
        let of_step = |s: &Snapshot| {
            s.volume_id.as_ref() == Some(&spec.volume)
                && purpose.is_none_or(|purpose| s.tags.get(TAG_STEP).is_some_and(|t| t == purpose.name()))
        };
        saw(found, |list| {
            let mut seen: Vec<SnapshotSeen> = list
                .into_iter()
                .filter(of_step)
                .map(|s| SnapshotSeen {
                    id: s.snapshot_id,
                    state: match s.state {
                        Ec2Snapshot::Pending => SnapshotState::Pending,
                        Ec2Snapshot::Completed => SnapshotState::Completed,
                        Ec2Snapshot::Error => SnapshotState::Error,
                        _ => SnapshotState::Other,
                    },
                    started_ms: s.started_at.map_or(0, |t| t.0),
                    percent: s.progress_percent.map_or(0, u32::from),
                })
                .collect();
            seen.sort_by_key(|s| (s.started_ms, s.id.clone()));
            Seen::Snapshots(seen)
        })
    }

    /// The volume's attachments: the only truth about where it is (rule 13).
    async fn attachments(&self, id: &VolumeId) -> Result<Option<Vec<Attachment>>, Trouble> {
        let volume = self.describer.volume(id).await.map_err(|e| self.trouble(&e))?;
        Ok(volume.map(|v| attachments_of(&v)))
    }

    /// One instance in EC2, in its group and by its agent.
    pub(crate) async fn instance(&self, m: &Migration, id: &InstanceId) -> Result<InstanceSeen, Trouble> {
        let address = self.address(m, id);
        self.instance_at(id, &address).await
    }

    pub(crate) async fn instance_at(&self, id: &InstanceId, address: &Address) -> Result<InstanceSeen, Trouble> {
        let (instance, member, volumes) = tokio::join!(
            biased;
            self.describer.instance(id),
            self.describer.member(id),
            self.describer.attached(id),
        );
        let instance = instance.map_err(|e| self.trouble(&e))?;
        let member = member.map_err(|e| self.trouble(&e))?;
        let volumes = volumes.map_err(|e| self.trouble(&e))?;
        let running = instance.as_ref().is_some_and(|i| i.state == InstanceState::Running);
        let root = instance.as_ref().and_then(|i| i.root_device.clone());
        let data = volumes.iter().flat_map(|v| &v.attachments).filter(|a| {
            a.instance_id.as_ref() == Some(id) && root.as_ref() != Some(&a.device) && a.state != Ec2Attachment::Detached
        });
        let data_volumes = u32::try_from(data.count()).unwrap_or(u32::MAX);
        // An instance that is not running has no agent to ask.
        let engine = if running { self.engine(address).await.ok() } else { None };
        Ok(InstanceSeen {
            running,
            terminated: instance.as_ref().is_none_or(|i| i.state == InstanceState::Terminated),
            in_service: member.as_ref().is_some_and(|m| m.lifecycle == Lifecycle::InService),
            protected: member.as_ref().is_some_and(|m| m.protected),
            group: member.map(|m| m.group),
            zone: instance.as_ref().map(|i| i.zone.clone()),
            private_ip: instance.and_then(|i| i.private_ip),
            data_volumes,
            engine,
        })
    }

    /// What an agent runs; it must be healthy to be asked.
    pub(crate) async fn engine(&self, address: &Address) -> Result<Engine, Trouble> {
        let health = self.agents.health(address).await.map_err(|e| agent_trouble(&e))?;
        if !health.is_healthy() {
            return Err(Trouble::IncorrectState);
        }
        let info = self.agents.info(address).await.map_err(|e| agent_trouble(&e))?;
        Ok(Engine { engine: info.engine, version: info.version, format: info.format })
    }

    async fn group_size(&self, name: &GroupName) -> Result<GroupSeen, Trouble> {
        let group = self.describer.group(name).await.map_err(|e| self.trouble(&e))?.ok_or(Trouble::NotFound)?;
        Ok(GroupSeen { desired: group.desired, min: group.min, max: group.max })
    }

    /// Where an instance's agent is: by the migration's own record of it, else by the configured template.
    fn address(&self, m: &Migration, id: &InstanceId) -> Address {
        let spec = m.spec.as_ref();
        let known = spec
            .map(|s| &s.source)
            .into_iter()
            .chain(&m.home)
            .chain(m.target.iter())
            .chain(m.dropped.iter().map(|(p, _)| p))
            .find(|p| p.instance == *id);
        match known {
            Some(party) => self.address_of(id, party.endpoint_url.as_deref(), Some(&party.private_ip)),
            None => self.address_of(id, None, None),
        }
    }

    /// The agent's address from a row's attributes.
    pub fn address_of(&self, id: &InstanceId, endpoint_url: Option<&str>, private_ip: Option<&str>) -> Address {
        let template = self.agent_url_template.as_ref().map(|t| t.replace("{instance_id}", id.as_str()));
        Address {
            endpoint_url: endpoint_url.map(str::to_owned).or(template),
            private_ip: private_ip.map(str::to_owned),
        }
    }

    /// An instance's registry row, consistently.
    pub(crate) async fn row(&self, id: &InstanceId) -> Result<Option<Item>, Trouble> {
        self.journal.store().get(&keys::instance_row(id)).await.map_err(|e| store_trouble(&e))
    }

    /// For `gather.rs`.
    pub(crate) fn store_trouble(error: &StoreError) -> Trouble {
        store_trouble(error)
    }
}

fn order(m: &Migration, spec: &Spec, instance: &InstanceId) -> Order {
    Order {
        migration_id: spec.id.clone(),
        fence: m.fence,
        volume_id: spec.volume.clone(),
        instance_id: instance.clone(),
    }
}

fn note_agent(effect: &Effect, error: &AgentError) -> Trouble {
    let class = agent_trouble(error);
    tracing::warn!(effect = effect.name(), %error, ?class, "an agent did not accept a command");
    class
}

/// Bytes of a graph with its subgraphs.
pub(crate) fn bytes_of(graphs: &BTreeMap<String, u64>, graph: &str) -> i64 {
    let mine = graphs
        .iter()
        .filter(|(id, _)| id.as_str() == graph || id.strip_prefix(graph).is_some_and(|rest| rest.starts_with('_')));
    i64::try_from(mine.map(|(_, bytes)| *bytes).sum::<u64>()).unwrap_or(i64::MAX)
}

pub(crate) fn attachments_of(volume: &Volume) -> Vec<Attachment> {
    volume
        .attachments
        .iter()
        .filter(|a| a.state != Ec2Attachment::Detached)
        .filter_map(|a| {
            Some(Attachment {
                instance: a.instance_id.clone()?,
                device: a.device.clone(),
                state: match a.state {
                    Ec2Attachment::Attaching => AttachmentState::Attaching,
                    Ec2Attachment::Attached => AttachmentState::Attached,
                    Ec2Attachment::Detaching => AttachmentState::Detaching,
                    Ec2Attachment::Busy => AttachmentState::Busy,
                    _ => AttachmentState::Other,
                },
                delete_on_termination: a.delete_on_termination,
            })
        })
        .collect()
}

fn agent_volume(volume: &VolumeId, status: crate::ports::agent::VolumeStatus) -> AgentVolume {
    let sees_volume = status.sees(volume);
    AgentVolume {
        sees_volume,
        mounted: status.mounted,
        fs_uuid: status.fs_uuid,
        state: match status.state {
            VolumeState::Serving => AgentState::Serving,
            VolumeState::Drained => AgentState::Drained,
            VolumeState::Releasing => AgentState::Releasing,
            VolumeState::Released => AgentState::Released,
            VolumeState::Adopting => AgentState::Adopting,
            VolumeState::Adopted => AgentState::Adopted,
            VolumeState::Failed => AgentState::Failed,
            VolumeState::Other(_) => AgentState::Other,
        },
        holders: status.holders,
        error: status.error,
    }
}
