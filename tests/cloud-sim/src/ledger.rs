//! What was asked of the model and what the engines did: two bounded logs that tests read and nothing decides on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;

use serde::{Deserialize, Serialize, Serializer};

use crate::api::control::{EngineEvent, EngineLogEntry, EngineLogPage, LedgerEntry, LedgerPage};
use crate::api::{Call, Lost};
use crate::timing::Drawn;

/// Entries kept in memory, per log.
pub const KEPT: usize = 100_000;

/// Entries kept in a saved state, per log: a file is written often, and a history of a day would make it slow.
pub const KEPT_SAVED: usize = 1_000;

/// The newest entries of something that is numbered 1, 2, 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Log<T> {
    last_seq: u64,
    #[serde(serialize_with = "newest", bound(serialize = "T: Serialize"))]
    entries: VecDeque<T>,
}

impl<T: Clone> Log<T> {
    fn push(&mut self, make: impl FnOnce(u64) -> T) {
        self.last_seq += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(make(self.last_seq));
    }

    fn oldest_seq(&self) -> u64 {
        if self.entries.is_empty() { 0 } else { self.last_seq + 1 - self.entries.len() as u64 }
    }

    fn read(&self, after_seq: u64, limit: usize) -> Vec<T> {
        let skip = usize::try_from((after_seq + 1).saturating_sub(self.oldest_seq())).unwrap_or(usize::MAX);
        let limit = if limit == 0 { usize::MAX } else { limit };
        self.entries.iter().skip(skip).take(limit).cloned().collect()
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { last_seq: 0, entries: VecDeque::new() }
    }
}

/// Both logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    calls: Log<LedgerEntry>,
    engines: Log<EngineLogEntry>,
}

impl Ledger {
    /// Notes an API call with its outcome and what was drawn for it.
    pub fn call(
        &mut self,
        at_ms: u64,
        call: &Call,
        parameters: BTreeMap<String, String>,
        outcome: &str,
        lost: Option<Lost>,
        drew: Vec<Drawn>,
    ) {
        self.calls.push(|seq| LedgerEntry {
            seq,
            at_ms,
            service: call.service(),
            action: call.action().to_owned(),
            parameters,
            outcome: outcome.to_owned(),
            lost,
            drew,
        });
    }

    /// Notes what an engine did.
    pub fn engine(&mut self, at_ms: u64, instance_id: &str, volume_id: &str, event: EngineEvent) {
        self.engines.push(|seq| EngineLogEntry {
            seq,
            at_ms,
            instance_id: instance_id.to_owned(),
            volume_id: volume_id.to_owned(),
            event,
        });
    }

    /// API calls after a sequence number.
    pub fn calls(&self, after_seq: u64, limit: usize) -> LedgerPage {
        LedgerPage { entries: self.calls.read(after_seq, limit), oldest_seq: self.calls.oldest_seq() }
    }

    /// Engine events after a sequence number.
    pub fn engines(&self, after_seq: u64, limit: usize) -> EngineLogPage {
        EngineLogPage { entries: self.engines.read(after_seq, limit), oldest_seq: self.engines.oldest_seq() }
    }
}

/// What goes into a file.
fn newest<T: Serialize, S: Serializer>(entries: &VecDeque<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.iter().skip(entries.len().saturating_sub(KEPT_SAVED)))
}

/// The parameters that tell what a call was about.
pub fn key_parameters(call: &Call) -> BTreeMap<String, String> {
    let mut keys = Keys(BTreeMap::new());
    match call {
        Call::CreateVolume(r) => keys
            .one("availability_zone", &r.availability_zone)
            .option("client_token", r.client_token.as_ref())
            .option("snapshot_id", r.snapshot_id.as_ref())
            .tags(&r.tags),
        Call::DeleteVolume(r) => keys.one("volume_id", &r.volume_id),
        Call::ModifyVolume(r) => keys.one("volume_id", &r.volume_id).option("size_gib", r.size_gib),
        Call::DescribeVolumes(r) => keys.list("volume_ids", &r.volume_ids).filters(&r.filters),
        Call::DescribeVolumesModifications(r) => keys.list("volume_ids", &r.volume_ids).filters(&r.filters),
        Call::AttachVolume(r) => {
            keys.one("volume_id", &r.volume_id).one("instance_id", &r.instance_id).one("device", &r.device)
        }
        Call::DetachVolume(r) => keys
            .one("volume_id", &r.volume_id)
            .option("instance_id", r.instance_id.as_ref())
            .option("device", r.device.as_ref())
            .one("force", r.force),
        Call::CreateSnapshot(r) => keys.one("volume_id", &r.volume_id).tags(&r.tags),
        Call::DeleteSnapshot(r) => keys.one("snapshot_id", &r.snapshot_id),
        Call::DescribeSnapshots(r) => keys.list("snapshot_ids", &r.snapshot_ids).filters(&r.filters),
        Call::CreateTags(r) => keys.list("resource_ids", &r.resource_ids).tags(&r.tags),
        Call::DescribeInstances(r) => keys.list("instance_ids", &r.instance_ids).filters(&r.filters),
        Call::DescribeInstanceStatus(r) => keys.list("instance_ids", &r.instance_ids).filters(&r.filters),
        Call::ModifyInstanceAttribute(r) => keys.one("instance_id", &r.instance_id),
        Call::TerminateInstances(r) => keys.list("instance_ids", &r.instance_ids),
        Call::DescribeInstanceTypeOfferings(r) => keys.filters(&r.filters),
        Call::DescribeSubnets(r) => keys.list("subnet_ids", &r.subnet_ids).filters(&r.filters),
        Call::DescribeAutoScalingGroups(r) => keys.list("names", &r.names),
        Call::DescribeAutoScalingInstances(r) => keys.list("instance_ids", &r.instance_ids),
        Call::DescribeScalingActivities(r) => keys.option("group_name", r.group_name.as_ref()),
        Call::DescribeInstanceRefreshes(r) => keys.one("group_name", &r.group_name),
        Call::LaunchInstances(r) => keys
            .one("group_name", &r.group_name)
            .one("client_token", &r.client_token)
            .list("availability_zones", &r.availability_zones)
            .list("subnet_ids", &r.subnet_ids),
        Call::SetInstanceProtection(r) => keys
            .one("group_name", &r.group_name)
            .list("instance_ids", &r.instance_ids)
            .one("protected_from_scale_in", r.protected_from_scale_in),
        Call::TerminateInstanceInAutoScalingGroup(r) => keys
            .one("instance_id", &r.instance_id)
            .one("should_decrement_desired_capacity", r.should_decrement_desired_capacity),
        Call::Invoke(r) => keys
            .one("function_name", &r.function_name)
            .option("action", r.payload["action"].as_str())
            .option("operation_id", r.payload["operation_id"].as_str())
            .option("volume_id", r.payload["volume_id"].as_str()),
        Call::Publish(r) => {
            keys.one("topic_arn", &r.topic_arn).option("subject", r.subject.as_ref()).attributes(&r.attributes)
        }
        Call::AgentHealth(r) => keys.one("instance_id", &r.to.instance_id),
        Call::AgentInfo(r) => keys.one("instance_id", &r.to.instance_id),
        Call::AgentVolume(r) => keys.one("instance_id", &r.to.instance_id),
        Call::AgentConnections(r) => keys.one("instance_id", &r.to.instance_id),
        Call::AgentUsage(r) => keys.one("instance_id", &r.to.instance_id),
        Call::AgentProbe(r) => keys.one("instance_id", &r.to.instance_id).one("graph_id", &r.graph_id),
        Call::AgentDrain(r) => keys.command(&r.to, &r.command).one("scope", format!("{:?}", r.scope).to_lowercase()),
        Call::AgentResume(r) => keys.command(&r.to, &r.command),
        Call::AgentRelease(r) => keys.command(&r.to, &r.command),
        Call::AgentAdopt(r) => keys.command(&r.to, &r.command).option("fs_uuid", r.fs_uuid.as_ref()),
        Call::EngineWrite(_)
        | Call::EngineRead(_)
        | Call::SetFault(_)
        | Call::ClearFault(_)
        | Call::ClearFaults(_)
        | Call::ListFaults(_)
        | Call::ReadLedger(_)
        | Call::ReadEngineLog(_)
        | Call::AuditWrites(_)
        | Call::ReadPublished(_)
        | Call::SetLoad(_)
        | Call::RebootInstance(_)
        | Call::EditGroup(_) => &mut keys,
    };
    keys.0
}

/// Parameters under construction.
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn one(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.0.insert(name.to_owned(), format!("{value}"));
        self
    }

    fn option(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.one(name, value);
        }
        self
    }

    /// The first three values; a batch of 200 ids would drown everything else.
    fn list(&mut self, name: &str, values: &[String]) -> &mut Self {
        if values.is_empty() {
            return self;
        }
        let mut text = values.iter().take(3).cloned().collect::<Vec<_>>().join(",");
        if values.len() > 3 {
            text = format!("{text},... {} in all", values.len());
        }
        self.one(name, text)
    }

    fn filters(&mut self, filters: &[crate::api::ec2::Filter]) -> &mut Self {
        for filter in filters {
            self.list(&format!("filter:{}", filter.name), &filter.values);
        }
        self
    }

    fn tags(&mut self, tags: &BTreeMap<String, String>) -> &mut Self {
        for (key, value) in tags {
            self.one(&format!("tag:{key}"), value);
        }
        self
    }

    fn attributes(&mut self, attributes: &BTreeMap<String, String>) -> &mut Self {
        for (key, value) in attributes {
            self.one(&format!("attribute:{key}"), value);
        }
        self
    }

    fn command(&mut self, to: &crate::api::agent::Address, command: &crate::api::agent::Command) -> &mut Self {
        self.one("instance_id", &to.instance_id)
            .one("migration_id", &command.migration_id)
            .one("fence", command.fence)
            .one("volume_id", &command.volume_id)
    }
}
