//! Snapshots: the point in time is the call, `completed` comes later, and the first one of a volume is the slow one.

use serde::{Deserialize, Serialize};

use super::filter;
use crate::api::ec2::{
    CreateSnapshot, CreateTags, DeleteSnapshot, DescribeSnapshots, Snapshot as Shown, Snapshots, Tags,
};
use crate::api::{ApiError, Done};
use crate::device::{Device, GIB};
use crate::faults::Fault;
use crate::ids::Kind;
use crate::sim::Sim;
use crate::timing::{Mishap, Op};

/// Pending snapshots of one volume (docs/aws.md 1.3).
pub const PENDING_MAX: usize = 5;

/// How much longer a snapshot takes under [`Fault::SlowSnapshot`].
const SLOW_FACTOR: f64 = 10.0;

/// GiB that the first snapshot's duration in the timing table is for.
const FIRST_GIB: f64 = 50.0;

/// Least amount that a snapshot is charged for: even an unchanged volume takes 12 s.
const LEAST_GIB: f64 = 0.2;

/// Behind every instant that a simulation reaches.
const NEVER_MS: u64 = u64::MAX;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Volume that it was taken of.
    pub volume_id: String,
    /// The instant whose bytes it holds.
    pub start_ms: u64,
    /// When reads begin to show it.
    pub visible_ms: u64,
    /// When it stops being pending.
    pub end_ms: u64,
    /// Whether it then is in `error`.
    pub fails: bool,
    /// When its deletion takes effect; not before `end_ms`.
    pub deleted_ms: Option<u64>,
    /// Size of the volume.
    pub size_gib: u32,
    /// Free text.
    pub description: String,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// Tags.
    pub tags: Tags,
    /// The bytes.
    pub device: Device,
}

impl Snapshot {
    fn shown(&self, snapshot_id: &str, at_ms: u64) -> Shown {
        let (state, message) = match (at_ms < self.end_ms, self.fails) {
            (true, _) => ("pending", ""),
            (false, false) => ("completed", ""),
            (false, true) => ("error", "Client.InternalError: the snapshot could not be completed"),
        };
        let done = (at_ms.saturating_sub(self.start_ms) * 100 / (self.end_ms - self.start_ms).max(1)).min(100);
        Shown {
            snapshot_id: snapshot_id.to_owned(),
            volume_id: self.volume_id.clone(),
            state: state.to_owned(),
            state_message: message.to_owned(),
            progress: u32::try_from(done).unwrap_or(100),
            start_time_ms: self.start_ms,
            completion_time_ms: (state == "completed").then_some(self.end_ms),
            volume_size_gib: self.size_gib,
            description: self.description.clone(),
            encrypted: self.encrypted,
            tags: self.tags.clone(),
        }
    }

    fn exists(&self, at_ms: u64) -> bool {
        self.deleted_ms.is_none_or(|deleted| deleted > at_ms)
    }
}

impl Sim {
    pub(crate) fn create_snapshot(&mut self, at_ms: u64, request: &CreateSnapshot) -> Result<Shown, ApiError> {
        let volume_id = &request.volume_id;
        let volume = self.volume(at_ms, volume_id)?;
        if at_ms < volume.available_ms {
            return Err(ApiError::bad("IncorrectState", format!("{volume_id} is not available")));
        }
        // A deleted one that is still pending counts as well (docs/aws.md 1.3).
        let of_volume = self.snapshots_by_volume.get(volume_id).into_iter().flatten();
        let pending = of_volume.filter_map(|id| self.snapshots.get(id)).filter(|snapshot| snapshot.end_ms > at_ms);
        if pending.count() >= PENDING_MAX {
            return Err(ApiError::bad(
                "ConcurrentSnapshotLimitExceeded",
                format!("Maximum allowed in-progress snapshots for a single volume exceeded: {volume_id}"),
            ));
        }
        let (op, gib) = if volume.snapshotted {
            (Op::SnapshotIncremental, gib(volume.dirty_bytes).max(LEAST_GIB))
        } else {
            (Op::SnapshotFirst, gib(volume.device.used_bytes()).max(LEAST_GIB) / FIRST_GIB)
        };
        let mut snapshot = Snapshot {
            volume_id: volume_id.clone(),
            start_ms: at_ms,
            visible_ms: at_ms,
            end_ms: at_ms,
            fails: false,
            deleted_ms: None,
            size_gib: volume.size_gib,
            description: request.description.clone(),
            encrypted: volume.encrypted,
            tags: request.tags.clone(),
            device: volume.device.clone(),
        };
        let slow = if self.faults.strikes(&Fault::SlowSnapshot) { SLOW_FACTOR } else { 1.0 };
        snapshot.end_ms += self.dice.scaled_ms(op, gib * slow);
        snapshot.visible_ms += self.lag_ms();
        snapshot.fails = self.dice.mishap(Mishap::SnapshotError) || self.faults.strikes(&Fault::FailedSnapshot);
        if self.faults.strikes(&Fault::EndlessSnapshot) {
            snapshot.end_ms = NEVER_MS;
        }
        if let Some(volume) = self.volumes.get_mut(volume_id) {
            volume.snapshotted = true;
            volume.dirty_bytes = 0;
        }
        let snapshot_id = Kind::Snapshot.make(&mut self.dice);
        let answer = snapshot.shown(&snapshot_id, at_ms);
        self.snapshots_by_volume.entry(volume_id.clone()).or_default().insert(snapshot_id.clone());
        self.index_by_tag(&snapshot_id, &snapshot.tags);
        self.snapshots.insert(snapshot_id, snapshot);
        Ok(answer)
    }

    pub(crate) fn delete_snapshot(&mut self, at_ms: u64, request: &DeleteSnapshot) -> Result<Done, ApiError> {
        Kind::Snapshot.check(&request.snapshot_id)?;
        let found = self.snapshots.get_mut(&request.snapshot_id).filter(|snapshot| snapshot.exists(at_ms));
        let snapshot = found.ok_or_else(|| Kind::Snapshot.not_found(&[&request.snapshot_id]))?;
        snapshot.deleted_ms.get_or_insert(snapshot.end_ms.max(at_ms));
        Ok(Done {})
    }

    pub(crate) fn describe_snapshots(
        &mut self,
        at_ms: u64,
        request: &DescribeSnapshots,
    ) -> Result<Snapshots, ApiError> {
        filter::check(
            &request.filters,
            &["snapshot-id", "volume-id", "status", "volume-size", "description", "encrypted", "tag"],
        )?;
        filter::ids_or_pages(&request.snapshot_ids, &request.paging)?;
        let seen =
            |id: &str| self.snapshots.get(id).filter(|snapshot| snapshot.visible_ms <= at_ms && snapshot.exists(at_ms));
        for id in &request.snapshot_ids {
            Kind::Snapshot.check(id)?;
        }
        let missing: Vec<&str> =
            request.snapshot_ids.iter().map(String::as_str).filter(|id| seen(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(Kind::Snapshot.not_found(&missing));
        }
        let mut candidates: Vec<&String> = if !request.snapshot_ids.is_empty() {
            request.snapshot_ids.iter().collect()
        } else if let Some(volumes) = filter::exact(&request.filters, "volume-id") {
            volumes.iter().filter_map(|id| self.snapshots_by_volume.get(id)).flatten().collect()
        } else if let Some(tags) = filter::exact_tags(&request.filters) {
            tags.filter_map(|tag| self.snapshots_by_tag.get(&tag)).flatten().collect()
        } else {
            self.snapshots.keys().collect()
        };
        candidates.sort_unstable();
        candidates.dedup();
        let mut found = Vec::new();
        for id in candidates {
            let Some(shown) = seen(id).map(|snapshot| snapshot.shown(id, at_ms)) else { continue };
            let field = |name: &str| match name {
                "snapshot-id" => vec![shown.snapshot_id.clone()],
                "volume-id" => vec![shown.volume_id.clone()],
                "status" => vec![shown.state.clone()],
                "volume-size" => vec![shown.volume_size_gib.to_string()],
                "description" => vec![shown.description.clone()],
                _ => vec![shown.encrypted.to_string()],
            };
            if filter::matches(&request.filters, &shown.tags, field) {
                found.push((id.clone(), shown));
            }
        }
        let (snapshots, next_token) = filter::page(found, &request.paging)?;
        Ok(Snapshots { snapshots, next_token })
    }

    /// The bytes, size and encryption that a volume made from a snapshot gets.
    pub(crate) fn restorable(&self, at_ms: u64, snapshot_id: &str) -> Result<(Device, u32, bool), ApiError> {
        Kind::Snapshot.check(snapshot_id)?;
        let found = self.snapshots.get(snapshot_id).filter(|snapshot| snapshot.exists(at_ms));
        let snapshot = found.ok_or_else(|| Kind::Snapshot.not_found(&[snapshot_id]))?;
        if snapshot.end_ms > at_ms || snapshot.fails {
            return Err(ApiError::bad("IncorrectState", format!("Snapshot is in invalid state: {snapshot_id}")));
        }
        Ok((snapshot.device.clone(), snapshot.size_gib, snapshot.encrypted))
    }

    /// Tags anything that can be tagged, all or nothing.
    pub(crate) fn create_tags(&mut self, at_ms: u64, request: &CreateTags) -> Result<Done, ApiError> {
        for id in &request.resource_ids {
            match resource(id) {
                Some(Kind::Volume) => self.volume(at_ms, id).map(|_| ())?,
                Some(Kind::Instance) => self.instance(at_ms, id).map(|_| ())?,
                Some(Kind::Snapshot) if self.snapshots.get(id).is_some_and(|snapshot| snapshot.exists(at_ms)) => {}
                Some(Kind::Snapshot) => return Err(Kind::Snapshot.not_found(&[id])),
                _ => return Err(ApiError::bad("InvalidID", format!("The ID '{id}' is not valid"))),
            }
        }
        for id in &request.resource_ids {
            let tags = match resource(id) {
                Some(Kind::Volume) => self.volumes.get_mut(id).map(|volume| &mut volume.tags),
                Some(Kind::Instance) => self.instances.get_mut(id).map(|instance| &mut instance.tags),
                _ => self.snapshots.get_mut(id).map(|snapshot| &mut snapshot.tags),
            };
            if let Some(tags) = tags {
                tags.extend(request.tags.clone());
            }
            if resource(id) == Some(Kind::Snapshot) {
                self.index_by_tag(id, &request.tags);
            }
        }
        Ok(Done {})
    }

    /// What a tag said before stays in the index, which is for finding; what is found is then looked at.
    fn index_by_tag(&mut self, snapshot_id: &str, tags: &Tags) {
        for (key, value) in tags {
            let ids = self.snapshots_by_tag.entry(filter::tag(key, value)).or_default();
            ids.insert(snapshot_id.to_owned());
        }
    }
}

fn resource(id: &str) -> Option<Kind> {
    [Kind::Volume, Kind::Instance, Kind::Snapshot].into_iter().find(|kind| id.starts_with(kind.prefix()))
}

#[expect(clippy::cast_precision_loss, reason = "a duration needs no more than 53 bits of a byte count")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}
