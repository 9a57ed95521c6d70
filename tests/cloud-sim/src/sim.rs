//! The model as one value: what it holds, how a call is answered, how time passes.
//!
//! A call takes place when it is made, in the order of the calls; what it starts (attaching, booting) and what it reads
//! counts from its effect, which lies between the call and its answer. Time passes only by the `now_ms` of the calls, so
//! it can stand still, jump, and go on after a save. Everything due by then happens first, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::api::agent::Info;
use crate::api::control::Faults as FaultList;
use crate::api::ec2::Subnet;
use crate::api::{Answer, ApiError, Call, Lost, Reply, Request, Service, Typed};
use crate::asg::Group;
use crate::asg::launch::LaunchToken;
use crate::ec2::instances::Instance;
use crate::ec2::places::Zone;
use crate::ec2::snapshots::Snapshot;
use crate::ec2::volumes::{BACKWARD_WINDOW_MS, Volume, VolumeToken};
use crate::engine::Graph;
use crate::faults::{Fault, Faults};
use crate::lambda::Functions;
use crate::ledger::{Ledger, key_parameters};
use crate::rates::Rates;
use crate::sns::Topics;
use crate::timing::{Dice, Mishap, Op, Timing};

/// Code of the refusal that stands for "nobody listens there"; never reaches a caller.
pub const REFUSED: &str = "ConnectionRefused";

/// How the simulated cloud behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Median or drawn durations.
    pub timing: Timing,
    /// Whether things go wrong by themselves as often as the timing model says.
    pub mishaps: bool,
    /// Whether EC2 reads lag behind changes.
    pub read_lag: bool,
    /// Region of all zones.
    pub region: String,
    /// Account in ARNs.
    pub account_id: String,
    /// The key that agents expect in `X-API-Key`.
    pub agent_api_key: String,
    /// What is installed on instances, unless their group says otherwise.
    pub build: Info,
}

impl Default for Config {
    /// The dev stack: medians, nothing goes wrong by itself, reads lag.
    fn default() -> Self {
        Self {
            timing: Timing::Median,
            mishaps: false,
            read_lag: true,
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            agent_api_key: "dev-agent-key".to_owned(),
            build: Info { engine: "ladybug".to_owned(), version: "0.12.2".to_owned(), format: "39".to_owned() },
        }
    }
}

/// Something that happens by itself when its time has come. Whatever can be computed from instants at each read is not
/// here: an event is needed only where bytes or processes are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A device leaves a guest.
    DeviceGone { instance_id: String, volume_id: String },
    /// An agent gets through its job.
    AgentStep { instance_id: String, job: u64 },
    /// An agent is up after a power cut.
    HostUp { instance_id: String, boot: u64 },
    /// An engine writes out what it has in memory.
    Checkpoint { instance_id: String, opened_ms: u64 },
    /// A terminated member leaves its group's list.
    MemberGone { group_name: String, instance_id: String },
    /// A group compares desired with what it has.
    GroupCheck { group_name: String },
    /// The time of a fault may be over.
    FaultsOver,
    /// A function runs whose caller is gone.
    FunctionRuns { payload: serde_json::Value },
}

/// The simulated cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sim {
    pub(crate) config: Config,
    pub(crate) dice: Dice,
    pub(crate) now_ms: u64,
    pub(crate) due: BTreeMap<u64, VecDeque<Event>>,
    pub(crate) faults: Faults,
    #[serde(default)]
    pub(crate) rates: Rates,
    /// By volume or instance: the change that a read has shown, while reads go back in turns.
    #[serde(default)]
    pub(crate) shown_ms: BTreeMap<String, u64>,
    pub(crate) ledger: Ledger,
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) snapshots_by_volume: BTreeMap<String, BTreeSet<String>>,
    /// By `key=value`.
    #[serde(default)]
    pub(crate) snapshots_by_tag: BTreeMap<String, BTreeSet<String>>,
    pub(crate) graphs: BTreeMap<String, Graph>,
    pub(crate) volume_tokens: BTreeMap<String, VolumeToken>,
    pub(crate) launch_tokens: BTreeMap<String, LaunchToken>,
    pub(crate) addresses: u32,
    #[serde(default)]
    pub(crate) topics: Topics,
    #[serde(default)]
    pub(crate) functions: Functions,
}

/// Why a saved state cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("the saved state of the simulated cloud is not readable")]
pub struct LoadError(#[from] serde_json::Error);

impl Sim {
    /// An empty cloud. `fleet.rs` fills it, `seed.rs` fills it for the dev stack.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, config.timing, config.mishaps),
            config,
            now_ms: 0,
            due: BTreeMap::new(),
            faults: Faults::default(),
            rates: Rates::default(),
            shown_ms: BTreeMap::new(),
            ledger: Ledger::default(),
            zones: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            snapshots_by_volume: BTreeMap::new(),
            snapshots_by_tag: BTreeMap::new(),
            graphs: BTreeMap::new(),
            volume_tokens: BTreeMap::new(),
            launch_tokens: BTreeMap::new(),
            // 10.0.1.0 and on.
            addresses: 255,
            topics: Topics::default(),
            functions: Functions::default(),
        }
    }

    /// The state as a value for a file: everything but the older entries of the two logs.
    pub fn save(&self) -> Result<serde_json::Value, LoadError> {
        Ok(serde_json::to_value(self)?)
    }

    /// A state that was saved.
    pub fn load(saved: serde_json::Value) -> Result<Self, LoadError> {
        Ok(serde_json::from_value(saved)?)
    }

    /// How this cloud behaves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The latest time that a call told.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Answers a call made at `now_ms`. A time before the latest one counts as the latest one.
    #[expect(clippy::needless_pass_by_value, reason = "a request is handed over, as on a wire")]
    pub fn call(&mut self, now_ms: u64, call: Call) -> Reply {
        self.advance(now_ms);
        if call.service() == Service::Control {
            return Reply {
                answer: self.dispatch(self.now_ms, self.now_ms, &call),
                effect_ms: 0,
                latency_ms: 0,
                lost: None,
            };
        }
        let fate = self.fate(&call);
        let least_ms = fate.map_or(0, |fate| fate.least_ms);
        let latency_ms = self.dice.duration_ms(latency(&call)).max(least_ms);
        // Agents and engines act as soon as they are asked; AWS's front doors take half of their time on the way in.
        let effect_ms = if front_door(call.service()) { latency_ms / 2 } else { 0 };
        let fate = fate.map(|fate| fate.lost);
        let answer = match fate {
            Some(Lost::Before) => Err(ApiError::new("RequestLost", "the request did not arrive", 503)),
            _ => match self.turned_away(&call) {
                Some(refusal) => Err(refusal),
                None => self
                    .dispatch(self.now_ms + effect_ms, self.now_ms + latency_ms, &call)
                    .and_then(|answer| self.spoilt(&call).map_or(Ok(answer), Err)),
            },
        };
        let refused = answer.as_ref().is_err_and(|error| error.code == REFUSED);
        let lost = if refused { Some(Lost::Refused) } else { fate };
        if call.service() != Service::Engine {
            let outcome = answer.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
            let drew = self.dice.take_noted();
            self.ledger.call(self.now_ms, &call, key_parameters(&call), outcome, lost, drew);
        }
        Reply { answer, effect_ms, latency_ms, lost }
    }

    /// The same with the answer's own type.
    #[expect(clippy::expect_used, reason = "`dispatch` answers each call by the variant of the same name")]
    pub fn ask<R: Request>(&mut self, now_ms: u64, request: R) -> Typed<R::Answer> {
        let Reply { answer, effect_ms, latency_ms, lost } = self.call(now_ms, request.into_call());
        let answer = answer.map(|answer| R::from_answer(answer).expect("an answer of the call's own kind"));
        Typed { answer, effect_ms, latency_ms, lost }
    }

    /// Lets time pass: all that is due by `now_ms` happens, in order.
    pub fn advance(&mut self, now_ms: u64) {
        while let Some(mut next) = self.due.first_entry() {
            let at_ms = *next.key();
            if at_ms > now_ms {
                break;
            }
            let event = next.get_mut().pop_front();
            if next.get().is_empty() {
                next.remove();
            }
            self.now_ms = self.now_ms.max(at_ms);
            match event {
                None => {}
                Some(Event::DeviceGone { instance_id, volume_id }) => self.device_gone(&instance_id, &volume_id),
                Some(Event::AgentStep { instance_id, job }) => self.agent_step(&instance_id, job),
                Some(Event::HostUp { instance_id, boot }) => self.host_up(&instance_id, boot),
                Some(Event::Checkpoint { instance_id, opened_ms }) => self.checkpoint(&instance_id, opened_ms),
                Some(Event::MemberGone { group_name, instance_id }) => self.member_gone(&group_name, &instance_id),
                Some(Event::GroupCheck { group_name }) => self.group_check(&group_name),
                Some(Event::FaultsOver) => self.faults_over(),
                Some(Event::FunctionRuns { payload }) => drop(self.run_function(at_ms, &payload, true)),
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(crate) fn queue(&mut self, at_ms: u64, event: Event) {
        self.due.entry(at_ms).or_default().push_back(event);
    }

    /// How far reads of a change made now will lag.
    pub(crate) fn lag_ms(&mut self) -> u64 {
        if self.config.read_lag { self.dice.duration_ms(Op::ReadLag) } else { 0 }
    }

    /// How much further the instance's view lags; nothing while everything is a median.
    pub(crate) fn instance_lag_ms(&mut self) -> u64 {
        if self.config.timing == Timing::Drawn { self.lag_ms() } else { 0 }
    }

    /// The instant that a read of a volume or an instance shows: now, or just before its last change.
    pub(crate) fn read_instant_ms(&mut self, id: &str, change_ms: Option<u64>, at_ms: u64) -> u64 {
        let Some(change_ms) = change_ms.filter(|change_ms| at_ms - change_ms < BACKWARD_WINDOW_MS) else {
            return at_ms;
        };
        if self.reads_back(id, change_ms) { change_ms.saturating_sub(1) } else { at_ms }
    }

    /// Whether a read of something that has just changed goes back in time.
    fn reads_back(&mut self, id: &str, change_ms: u64) -> bool {
        if self.faults.is_on(&Fault::BackwardReads) {
            // Back from what was shown: before that it would only be late.
            if self.shown_ms.get(id) != Some(&change_ms) {
                self.shown_ms.insert(id.to_owned(), change_ms);
                return false;
            }
            let back = self.faults.strikes(&Fault::BackwardReads);
            if back {
                self.shown_ms.remove(id);
            }
            return back;
        }
        match self.faults.remaining(&Fault::StaleReads) {
            Some(count) => self.faults.strikes(&Fault::StaleReads) && (count.is_some() || self.dice.coin()),
            None => self.dice.mishap(Mishap::BackwardRead),
        }
    }

    /// Carries a call out. `at_ms` is its effect, `answered_ms` its end.
    pub(crate) fn dispatch(&mut self, at_ms: u64, answered_ms: u64, call: &Call) -> Result<Answer, ApiError> {
        Ok(match call {
            Call::CreateVolume(r) => Answer::CreateVolume(self.create_volume(at_ms, r)?),
            Call::DeleteVolume(r) => Answer::DeleteVolume(self.delete_volume(at_ms, r)?),
            Call::ModifyVolume(r) => Answer::ModifyVolume(self.modify_volume(at_ms, r)?),
            Call::DescribeVolumes(r) => Answer::DescribeVolumes(self.describe_volumes(at_ms, r)?),
            Call::DescribeVolumesModifications(r) => {
                Answer::DescribeVolumesModifications(self.describe_volumes_modifications(at_ms, r)?)
            }
            Call::AttachVolume(r) => Answer::AttachVolume(self.attach_volume(at_ms, r)?),
            Call::DetachVolume(r) => Answer::DetachVolume(self.detach_volume(at_ms, r)?),
            Call::CreateSnapshot(r) => Answer::CreateSnapshot(self.create_snapshot(at_ms, r)?),
            Call::DeleteSnapshot(r) => Answer::DeleteSnapshot(self.delete_snapshot(at_ms, r)?),
            Call::DescribeSnapshots(r) => Answer::DescribeSnapshots(self.describe_snapshots(at_ms, r)?),
            Call::CreateTags(r) => Answer::CreateTags(self.create_tags(at_ms, r)?),
            Call::DescribeInstances(r) => Answer::DescribeInstances(self.describe_instances(at_ms, r)?),
            Call::DescribeInstanceStatus(r) => Answer::DescribeInstanceStatus(self.describe_instance_status(at_ms, r)?),
            Call::ModifyInstanceAttribute(r) => {
                Answer::ModifyInstanceAttribute(self.modify_instance_attribute(at_ms, r)?)
            }
            Call::TerminateInstances(r) => Answer::TerminateInstances(self.terminate_instances(at_ms, r)?),
            Call::DescribeInstanceTypeOfferings(r) => {
                Answer::DescribeInstanceTypeOfferings(self.describe_instance_type_offerings(r)?)
            }
            Call::DescribeSubnets(r) => Answer::DescribeSubnets(self.describe_subnets(r)?),
            Call::DescribeAutoScalingGroups(r) => Answer::DescribeAutoScalingGroups(self.describe_groups(at_ms, r)?),
            Call::DescribeAutoScalingInstances(r) => {
                Answer::DescribeAutoScalingInstances(self.describe_group_instances(at_ms, r)?)
            }
            Call::DescribeScalingActivities(r) => {
                Answer::DescribeScalingActivities(self.describe_activities(at_ms, r)?)
            }
            Call::DescribeInstanceRefreshes(r) => Answer::DescribeInstanceRefreshes(self.describe_refreshes(r)?),
            Call::LaunchInstances(r) => Answer::LaunchInstances(self.launch_instances(at_ms, answered_ms, r)?),
            Call::SetInstanceProtection(r) => Answer::SetInstanceProtection(self.set_protection(at_ms, r)?),
            Call::TerminateInstanceInAutoScalingGroup(r) => {
                Answer::TerminateInstanceInAutoScalingGroup(self.terminate_member(at_ms, r)?)
            }
            Call::Invoke(r) => Answer::Invoke(self.invoke(at_ms, r)?),
            Call::Publish(r) => Answer::Publish(self.publish(at_ms, r)?),
            Call::AgentHealth(r) => Answer::AgentHealth(self.agent_health(&r.to)?),
            Call::AgentInfo(r) => Answer::AgentInfo(self.agent_info(&r.to)?),
            Call::AgentVolume(r) => Answer::AgentVolume(self.agent_volume(&r.to)?),
            Call::AgentConnections(r) => Answer::AgentConnections(self.agent_connections(&r.to)?),
            Call::AgentUsage(r) => Answer::AgentUsage(self.agent_usage(&r.to)?),
            Call::AgentProbe(r) => Answer::AgentProbe(self.agent_probe(r)?),
            Call::AgentDrain(r) => Answer::AgentDrain(self.agent_drain(r)?),
            Call::AgentResume(r) => Answer::AgentResume(self.agent_resume(r)?),
            Call::AgentRelease(r) => Answer::AgentRelease(self.agent_release(r)?),
            Call::AgentAdopt(r) => Answer::AgentAdopt(self.agent_adopt(r)?),
            Call::EngineWrite(r) => Answer::EngineWrite(self.engine_write(r)?),
            Call::EngineRead(r) => Answer::EngineRead(self.engine_read(r)?),
            Call::SetFault(r) => Answer::SetFault(self.set_fault(r)?),
            Call::ClearFault(r) => Answer::ClearFault(self.clear_fault(&r.fault)),
            Call::ClearFaults(r) => Answer::ClearFaults(self.clear_faults(r)),
            Call::ListFaults(_) => Answer::ListFaults(FaultList { faults: self.faults.list().to_vec() }),
            Call::ReadLedger(r) => Answer::ReadLedger(self.ledger.calls(r.after_seq, r.limit)),
            Call::ReadEngineLog(r) => Answer::ReadEngineLog(self.ledger.engines(r.after_seq, r.limit)),
            Call::AuditWrites(r) => Answer::AuditWrites(self.audit_writes(r)?),
            Call::ReadPublished(r) => Answer::ReadPublished(self.read_published(*r)),
            Call::SetLoad(r) => Answer::SetLoad(self.set_load(r)?),
            Call::RebootInstance(r) => Answer::RebootInstance(self.reboot_instance(r)?),
            Call::EditGroup(r) => Answer::EditGroup(self.edit_group(r)?),
        })
    }
}

/// The refusal of an address where nobody listens.
pub(crate) fn refused() -> ApiError {
    ApiError::new(REFUSED, "connection refused", 503)
}

/// AWS's services, whose front doors take half of a call's time on the way in.
fn front_door(service: Service) -> bool {
    matches!(service, Service::Ec2 | Service::Autoscaling | Service::Lambda | Service::Sns)
}

/// Which latency a call has.
pub(crate) fn latency(call: &Call) -> Op {
    match call.service() {
        Service::Agent => Op::AgentCall,
        Service::Engine | Service::Control => Op::EngineCall,
        Service::Ec2 | Service::Autoscaling | Service::Lambda | Service::Sns => match call {
            Call::CreateSnapshot(_) => Op::SnapshotCall,
            Call::LaunchInstances(_) => Op::LaunchCall,
            _ if call.action().starts_with("Describe") => Op::DescribeCall,
            _ => Op::MutateCall,
        },
    }
}
