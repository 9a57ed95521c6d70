//! Preflight: whether a graph's volume can be moved to another tier, decided from facts that the shell gathered.
//! All violations at once, and what could not be checked by name.
//!
//! One function for `PlanMigration`, for `StartMigration` and for the stage Preflight behind the locks: a plan
//! that says yes and a start that says no must differ in the facts only. Rules 30 and 31 of docs/aws.md.

use crate::effect::{AttachmentState, Engine};
use serde::{Deserialize, Serialize};
use tiershift_core::error::NotChecked;
use tiershift_core::ids::{ChangeId, GraphId, GroupName, InstanceId, TierName, VolumeId, Zone};
use tiershift_core::{Reason, UnixMs, Violation};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The graph to move.
    pub graph: GraphId,
    /// The tier that the caller believes it has; empty means whatever the registry says.
    pub source_tier: Option<TierName>,
    /// The tier to move to.
    pub target_tier: TierName,
    /// The target tier's group.
    pub target_group: GroupName,
    /// Most bytes that the target tier holds, inclusive; none means that the caller checks it.
    pub storage_limit_bytes: Option<i64>,
    /// The migration that asks, so that its own locks do not count against it.
    pub migration: Option<ChangeId>,
}

/// A row of the graph registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphFacts {
    /// Where the registry says it is served.
    pub instance: Option<InstanceId>,
    /// The predecessor's status word.
    pub status: String,
    /// A migration that the row names, if any.
    pub migration: Option<String>,
}

/// A row of the volume registry beside what EC2 says of the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFacts {
    /// The volume.
    pub id: VolumeId,
    /// Billing graphs on it by the registry, subgraphs left out, sorted.
    pub graphs: Vec<GraphId>,
    /// Its tier by the registry.
    pub tier: TierName,
    /// Where the registry says it is attached.
    pub instance: Option<InstanceId>,
    /// Who holds its lock: migration id, claim or maintenance.
    pub holder: Option<String>,
    /// Whether the holder is a migration that only settles.
    pub settling: bool,
    /// Its zone by EC2; none if EC2 does not know it.
    pub zone: Option<Zone>,
    /// Its attachments by EC2.
    pub attachments: Vec<AttachmentFacts>,
    /// A modification is running.
    pub modifying: bool,
    /// Snapshots of it that are pending.
    pub pending_snapshots: u32,
}

/// One attachment by EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentFacts {
    /// The instance.
    pub instance: InstanceId,
    /// The device.
    pub device: String,
    /// Fully attached.
    pub attached: bool,
}

impl AttachmentFacts {
    /// From what EC2 showed.
    pub fn of(seen: &crate::effect::Attachment) -> Self {
        Self {
            instance: seen.instance.clone(),
            device: seen.device.clone(),
            attached: seen.state == AttachmentState::Attached,
        }
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// Its name.
    pub name: GroupName,
    /// Members, in any state.
    pub members: i64,
    /// Largest.
    pub max: i64,
    /// Health check types: anything but EC2 would kill an instance whose engine is stopped (H34).
    pub health_checks: Vec<String>,
    /// Suspended processes.
    pub suspended: Vec<String>,
    /// It has several zones and moves members between them by itself (rule 35).
    pub rebalances: bool,
    /// An instance refresh is running.
    pub refreshing: bool,
    /// Zones of its subnets.
    pub zones: Vec<Zone>,
}

/// The source instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Which.
    pub instance: InstanceId,
    /// Its private address by EC2.
    pub private_ip: String,
    /// The agent's address, if it is not the usual port there.
    pub endpoint_url: Option<String>,
    /// EC2 says running.
    pub running: bool,
    /// Its group by Auto Scaling.
    pub group: Option<GroupFacts>,
    /// What the agent runs; none if it did not answer.
    pub engine: Option<Engine>,
    /// The agent speaks release and adopt; none if it did not answer.
    pub agent_supported: Option<bool>,
}

/// The function that makes the calls which move volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionFacts {
    /// Its name.
    pub name: String,
    /// What it lacks of the contract, in words for people; empty if it does all that a migration needs (H17).
    pub lacks: Vec<String>,
}

/// Everything that the rules need, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// When the first of the reads was begun: a plan says how old it is.
    pub read_at: UnixMs,
    /// The graph's row.
    pub graph: Option<GraphFacts>,
    /// The volume that carries it.
    pub volume: Option<VolumeFacts>,
    /// The instance that holds the volume.
    pub source: Option<SourceFacts>,
    /// The target tier's group.
    pub target_group: Option<GroupFacts>,
    /// Idle instances of the target group in the volume's zone.
    pub idle: u32,
    /// Whether the target's instance type is offered in the zone; none if that was not asked or could not be read:
    /// then a launch tells, while nothing is blocked yet.
    pub type_offered: Option<bool>,
    /// Bytes of the graph with its subgraphs, from the engine; none if the agent did not answer.
    pub usage_bytes: Option<i64>,
    /// The volume manager function; none if EC2 is called without one.
    pub function: Option<FunctionFacts>,
    /// Checks whose reads failed: they are impossible, never clean.
    pub unreadable: Vec<Reason>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Broken rules, all of them.
    pub violations: Vec<Violation>,
    /// Rules that could not be checked.
    pub not_checked: Vec<NotChecked>,
}

impl Verdict {
    /// Whether the move may start.
    pub fn clean(&self) -> bool {
        self.violations.is_empty() && self.not_checked.is_empty()
    }

    fn add(&mut self, reason: Reason, field: &str, limit: Option<i64>, actual: Option<i64>, fix: impl Into<String>) {
        self.violations.push(Violation { reason, field: field.to_owned(), limit, actual, fix: fix.into() });
    }

    fn skip(&mut self, check: Reason, because: Reason) {
        self.not_checked.push(NotChecked { check, because });
    }
}

/// Most snapshots of one volume that may be pending when a migration starts: EC2 allows five, and the migration
/// begins two of its own (AWS: ConcurrentSnapshotLimitExceeded).
const PENDING_SNAPSHOTS_MAX: u32 = 3;

/// Applies every rule.
pub fn judge(ask: &Ask, facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for check in &facts.unreadable {
        verdict.skip(*check, Reason::Unavailable);
    }
    if facts.graph.is_none() && facts.unreadable.is_empty() {
        verdict.add(Reason::GraphNotFound, "graph_id", None, None, "register the graph first");
    }
    volume(ask, facts, &mut verdict);
    source(facts, &mut verdict);
    capacity(ask, facts, &mut verdict);
    storage(ask, facts, &mut verdict);
    function(facts, &mut verdict);
    verdict
}

/// H17: a function that detaches by volume id alone, or runs late, would take the volume from whoever serves it then.
fn function(facts: &Facts, verdict: &mut Verdict) {
    let Some(function) = facts.function.as_ref().filter(|f| !f.lacks.is_empty()) else { return };
    let fix =
        format!("deploy a volume manager function that fits: {} lacks {}", function.name, function.lacks.join(", "));
    verdict.add(Reason::LambdaUnsupported, "volume_function", None, None, fix);
}

fn volume(ask: &Ask, facts: &Facts, verdict: &mut Verdict) {
    let Some(volume) = &facts.volume else {
        if !facts.unreadable.is_empty() {
            verdict.skip(Reason::VolumeShared, Reason::Unavailable);
        } else if facts.graph.is_some() {
            verdict.add(Reason::VolumeNotFound, "graph.volume", None, None, "register the graph's volume first");
        } else {
            verdict.skip(Reason::VolumeShared, Reason::GraphNotFound);
        }
        return;
    };
    let others = volume.graphs.iter().filter(|g| **g != ask.graph).count();
    if others > 0 {
        let names: Vec<&str> = volume.graphs.iter().filter(|g| **g != ask.graph).map(GraphId::as_str).collect();
        verdict.add(
            Reason::VolumeShared,
            "volume.graphs",
            Some(1),
            i64::try_from(volume.graphs.len()).ok(),
            format!("move {} to a volume of its own first; it would move too", names.join(", ")),
        );
    }
    if volume.tier == ask.target_tier {
        verdict.add(
            Reason::SameTier,
            "target_tier",
            None,
            None,
            "choose another tier: the volume already has this one",
        );
    } else if ask.source_tier.as_ref().is_some_and(|t| *t != volume.tier) {
        let fix = format!("the registry says {}; reconcile the graph's tier first", volume.tier);
        verdict.add(Reason::TierMismatch, "source_tier", None, None, fix);
    }
    held(ask, facts, volume, verdict);
    if volume.modifying {
        verdict.add(Reason::VolumeModifying, "volume", None, None, "wait until the volume's modification is completed");
    }
    if volume.pending_snapshots > PENDING_SNAPSHOTS_MAX {
        verdict.add(
            Reason::SnapshotsPending,
            "volume.snapshots",
            Some(i64::from(PENDING_SNAPSHOTS_MAX)),
            Some(i64::from(volume.pending_snapshots)),
            "wait until older snapshots are completed",
        );
    }
    registry_agrees(facts, volume, verdict);
}

/// Nobody else has the volume's lock or its graph's row. Our own do not count.
fn held(ask: &Ask, facts: &Facts, volume: &VolumeFacts, verdict: &mut Verdict) {
    let other = |holder: &&String| ask.migration.as_ref().is_none_or(|m| m.as_str() != holder.as_str());
    let of_row = || facts.graph.as_ref().and_then(|g| g.migration.as_ref());
    if let Some(holder) = volume.holder.as_ref().filter(other) {
        let (reason, fix) = if volume.settling {
            (Reason::Settling, format!("wait until {holder} has settled"))
        } else {
            (Reason::ChangeActive, format!("wait for {holder} or cancel it"))
        };
        verdict.add(reason, "volume.lock", None, None, fix);
    } else if let Some(holder) = of_row().filter(other) {
        let fix = format!("the graph's row names {holder}, which holds no lock; run SyncRegistry");
        verdict.add(Reason::RegistryMismatch, "graph.migration", None, None, fix);
    }
}

/// EC2 agrees with the registries about where the volume is; a difference is never resolved by guessing (D-33).
fn registry_agrees(facts: &Facts, volume: &VolumeFacts, verdict: &mut Verdict) {
    let mut mismatch = |what: &str, fix: String| verdict.add(Reason::RegistryMismatch, what, None, None, fix);
    if volume.zone.is_none() && facts.unreadable.is_empty() {
        mismatch("volume", "EC2 does not know the volume; run SyncRegistry".to_owned());
        return;
    }
    match volume.attachments.as_slice() {
        [one] if one.attached => {
            if volume.instance.as_ref() != Some(&one.instance) {
                mismatch("volume.instance", format!("EC2 says {}; run SyncRegistry", one.instance));
            }
            let row = facts.graph.as_ref().and_then(|g| g.instance.as_ref());
            if facts.graph.is_some() && row != Some(&one.instance) {
                mismatch("graph.instance", format!("EC2 says {}; run SyncRegistry", one.instance));
            }
        }
        [] if facts.unreadable.is_empty() => mismatch("volume.instance", "the volume is attached nowhere".to_owned()),
        [] => {}
        [_] => mismatch("volume.instance", "the attachment is changing; try again when it is settled".to_owned()),
        _ => mismatch("volume.instance", "the volume is attached more than once; call an operator".to_owned()),
    }
}

fn source(facts: &Facts, verdict: &mut Verdict) {
    let Some(source) = &facts.source else {
        verdict.skip(Reason::AgentUnsupported, Reason::VolumeNotFound);
        return;
    };
    if !source.running {
        verdict.add(
            Reason::SourceLost,
            "source",
            None,
            None,
            "the source instance is not running; wait for its replacement",
        );
        return;
    }
    match &source.group {
        Some(group) => group_ready(group, "source.group", verdict),
        None => verdict.add(
            Reason::GroupNotReady,
            "source.group",
            None,
            None,
            "the source is in no group; call an operator",
        ),
    }
    match (source.agent_supported, &source.engine) {
        (Some(false), _) => {
            verdict.add(
                Reason::AgentUnsupported,
                "source.agent",
                None,
                None,
                "upgrade the source's agent: no release or adopt",
            );
        }
        (Some(true), Some(_)) => {}
        _ => verdict.add(
            Reason::AgentUnreachable,
            "source.agent",
            None,
            None,
            "the source's agent does not answer; try again",
        ),
    }
}

fn group_ready(group: &GroupFacts, field: &str, verdict: &mut Verdict) {
    if group.health_checks.iter().any(|h| h != "EC2") {
        let fix = format!(
            "set the health check of {} to EC2 only: another would end an instance whose engine is stopped",
            group.name
        );
        verdict.add(Reason::HealthCheckType, field, None, None, fix);
    }
    let blocked: Vec<&str> =
        group.suspended.iter().map(String::as_str).filter(|p| matches!(*p, "Launch" | "Terminate")).collect();
    if !blocked.is_empty() {
        let fix = format!("resume {} of {}", blocked.join(" and "), group.name);
        verdict.add(Reason::GroupNotReady, field, None, None, fix);
    }
    if group.rebalances {
        let fix = format!("suspend AZRebalance of {}: to balance zones it ends instances that hold data", group.name);
        verdict.add(Reason::GroupNotReady, field, None, None, fix);
    }
    if group.refreshing {
        verdict.add(
            Reason::GroupNotReady,
            field,
            None,
            None,
            format!("wait until the refresh of {} is over", group.name),
        );
    }
}

fn capacity(ask: &Ask, facts: &Facts, verdict: &mut Verdict) {
    let Some(group) = &facts.target_group else {
        let fix = format!("group {} does not exist", ask.target_group);
        if facts.unreadable.is_empty() {
            verdict.add(Reason::GroupNotReady, "target.group", None, None, fix);
        } else {
            verdict.skip(Reason::GroupNotReady, Reason::Unavailable);
        }
        return;
    };
    group_ready(group, "target.group", verdict);
    let Some(zone) = facts.volume.as_ref().and_then(|v| v.zone.as_ref()) else {
        verdict.skip(Reason::NoCapacity, Reason::VolumeNotFound);
        return;
    };
    // Idle instances count first: at its largest size a group may still have one to give (rule 31).
    if facts.idle > 0 {
        return;
    }
    match no_launch(group, zone, facts.type_offered) {
        Some(reason @ Reason::NoRoomInZone) => {
            let fix = format!("{} has no subnet in {zone}, which the volume cannot leave", group.name);
            verdict.add(reason, "target.group", None, None, fix);
        }
        Some(reason @ Reason::NoCapacity) => {
            let fix = format!("{} has no idle instance in {zone} and is at its largest size; raise it", group.name);
            verdict.add(reason, "target.group", Some(group.max), Some(group.members), fix);
        }
        Some(reason) => {
            let fix = format!("the instance type of {} is not offered in {zone}", group.name);
            verdict.add(reason, "target.group", None, None, fix);
        }
        None => {}
    }
}

/// Why a group cannot have one more instance launched in a zone: NO_ROOM_IN_ZONE, NO_CAPACITY or
/// INSTANCE_TYPE_NOT_OFFERED. `type_offered`: whether its type is offered there, if that is known.
pub fn no_launch(group: &GroupFacts, zone: &Zone, type_offered: Option<bool>) -> Option<Reason> {
    if !group.zones.contains(zone) {
        Some(Reason::NoRoomInZone)
    } else if group.members >= group.max {
        Some(Reason::NoCapacity)
    } else {
        (type_offered == Some(false)).then_some(Reason::InstanceTypeNotOffered)
    }
}

fn storage(ask: &Ask, facts: &Facts, verdict: &mut Verdict) {
    let Some(limit) = ask.storage_limit_bytes else { return };
    match facts.usage_bytes {
        Some(used) if used > limit => {
            let fix = format!("delete {} MiB or choose a larger tier", ((used - limit) >> 20).max(1));
            verdict.add(Reason::StorageExceedsLimit, "graph.storage_bytes", Some(limit), Some(used), fix);
        }
        Some(_) => {}
        // Unknown is never "fine".
        None => verdict.skip(Reason::StorageExceedsLimit, Reason::UsageUnknown),
    }
}
