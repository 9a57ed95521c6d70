//! Volumes: making, growing, deleting and reading them. Attaching is in `attachments.rs`.

use serde::{Deserialize, Serialize};

use super::filter;
use super::link::{Link, LinkState};
use crate::api::ec2::{
    Attachment, CreateVolume, DeleteVolume, DescribeVolumes, DescribeVolumesModifications, ModifyVolume, Tags,
    Volume as Shown, VolumeModification, Volumes, VolumesModifications,
};
use crate::api::{ApiError, Done};
use crate::device::Device;
use crate::ids::Kind;
use crate::sim::Sim;
use crate::timing::Op;

/// Modifications of a volume within [`MODIFY_WINDOW_MS`] (docs/aws.md 0).
const MODIFICATIONS_MAX: usize = 4;

/// A rolling day.
const MODIFY_WINDOW_MS: u64 = 24 * 3_600_000;

/// `optimizing` of a full TiB (docs/aws.md 1.2).
const OPTIMIZE_TIB_MS: u64 = 6 * 3_600_000;

/// A change may be unseen again by a backward read for so long (docs/aws.md 12).
pub(crate) const BACKWARD_WINDOW_MS: u64 = 30_000;

const FILTERS: &[&str] = &[
    "volume-id",
    "attachment.instance-id",
    "attachment.device",
    "attachment.status",
    "attachment.delete-on-termination",
    "availability-zone",
    "status",
    "size",
    "snapshot-id",
    "volume-type",
    "encrypted",
    "tag",
];

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the API's own names")]
pub struct Volume {
    /// Zone name.
    pub zone: String,
    /// GiB, once the newest modification is through.
    pub size_gib: u32,
    /// E.g. `gp3`.
    pub volume_type: String,
    /// IOPS.
    pub iops: u32,
    /// MiB per second.
    pub throughput: u32,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// Snapshot that it was made from, or empty.
    pub snapshot_id: String,
    /// When it was made.
    pub created_ms: u64,
    /// When it is no more `creating`.
    pub available_ms: u64,
    /// When reads begin to show it.
    pub visible_ms: u64,
    /// When it was deleted.
    pub deleted_ms: Option<u64>,
    /// Root disk of an instance: cannot be detached.
    pub root: bool,
    /// Tags.
    pub tags: Tags,
    /// Newest attachments, oldest first. Only the last can be under way.
    pub links: Vec<Link>,
    /// What is on it.
    pub device: Device,
    /// Bytes flushed since the last snapshot.
    pub dirty_bytes: u64,
    /// Whether a snapshot of its lineage exists, so that the next one is incremental.
    pub snapshotted: bool,
    /// Instance that last had it attached, before the links that are kept.
    pub home: Option<String>,
    /// Modifications, oldest first.
    pub modifications: Vec<Modification>,
}

/// A modification of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    /// When it was requested.
    pub start_ms: u64,
    /// When the new size can be used.
    pub usable_ms: u64,
    /// When it is `completed`.
    pub end_ms: u64,
    /// GiB before.
    pub from_gib: u32,
    /// GiB wanted.
    pub to_gib: u32,
}

impl Volume {
    /// The attachment that is under way or stands at an instant.
    pub fn link(&self, at_ms: u64) -> Option<&Link> {
        self.links.last().filter(|link| link.gone_ms.is_none_or(|gone| gone > at_ms))
    }

    /// The same, to change it.
    pub fn link_mut(&mut self, at_ms: u64) -> Option<&mut Link> {
        self.links.last_mut().filter(|link| link.gone_ms.is_none_or(|gone| gone > at_ms))
    }

    /// The instance that last had the device in its hands.
    pub fn last_holder(&self, at_ms: u64) -> Option<&str> {
        let held = self.links.iter().rev().find(|link| link.attached_ms.is_some_and(|from| from <= at_ms));
        held.map(|link| link.instance_id.as_str()).or(self.home.as_deref())
    }

    /// Whether it is deleted at an instant.
    pub fn deleted(&self, at_ms: u64) -> bool {
        self.deleted_ms.is_some_and(|deleted| deleted <= at_ms)
    }

    /// What a read at an instant shows.
    pub fn shown(&self, volume_id: &str, zone_id: String, at_ms: u64) -> Shown {
        let attachments = self.shown_attachments(volume_id, at_ms);
        let state = if at_ms < self.available_ms {
            "creating"
        } else if attachments.is_empty() {
            "available"
        } else {
            "in-use"
        };
        let growing = self.modifications.last().filter(|modification| at_ms < modification.usable_ms);
        Shown {
            volume_id: volume_id.to_owned(),
            state: state.to_owned(),
            availability_zone: self.zone.clone(),
            availability_zone_id: zone_id,
            size_gib: growing.map_or(self.size_gib, |modification| modification.from_gib),
            volume_type: self.volume_type.clone(),
            iops: self.iops,
            throughput: self.throughput,
            encrypted: self.encrypted,
            snapshot_id: self.snapshot_id.clone(),
            create_time_ms: self.created_ms,
            attachments,
            tags: self.tags.clone(),
        }
    }

    /// The attachments that a read at an instant shows.
    pub fn shown_attachments(&self, volume_id: &str, at_ms: u64) -> Vec<Attachment> {
        let shown = |link: &Link| link.shown(at_ms).map(|state| attachment(volume_id, link, state));
        self.links.iter().filter_map(shown).collect()
    }
}

/// An attachment as the API states it.
pub(crate) fn attachment(volume_id: &str, link: &Link, state: LinkState) -> Attachment {
    Attachment {
        volume_id: volume_id.to_owned(),
        instance_id: link.instance_id.clone(),
        device: link.device.clone(),
        state: state.name().to_owned(),
        attach_time_ms: link.start_ms,
        delete_on_termination: link.delete_on_termination,
    }
}

/// The answer to a CreateVolume token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeToken {
    request: CreateVolume,
    volume_id: String,
}

impl Sim {
    pub(crate) fn create_volume(&mut self, at_ms: u64, request: &CreateVolume) -> Result<Shown, ApiError> {
        let token = request.client_token.clone();
        if let Some(known) = token.as_ref().and_then(|token| self.volume_tokens.get(token)) {
            if known.request != *request {
                return Err(ApiError::bad(
                    "IdempotentParameterMismatch",
                    "The client token was used with other parameters",
                ));
            }
            let volume_id = known.volume_id.clone();
            let volume = self.volume(at_ms, &volume_id)?;
            return Ok(volume.shown(&volume_id, self.zone_id(&volume.zone), at_ms));
        }
        if !self.has_zone(&request.availability_zone) {
            return Err(ApiError::bad(
                "InvalidZone.NotFound",
                format!("The zone '{}' does not exist.", request.availability_zone),
            ));
        }
        let (device, least_gib, encrypted) = match &request.snapshot_id {
            None => (Device::default(), 1, request.encrypted),
            Some(snapshot_id) => self.restorable(at_ms, snapshot_id)?,
        };
        let size_gib = match (request.size_gib, &request.snapshot_id) {
            (Some(size), _) => size,
            (None, Some(_)) => least_gib,
            (None, None) => {
                return Err(ApiError::bad("MissingParameter", "The request must contain the parameter size/snapshot"));
            }
        };
        if size_gib < least_gib {
            return Err(ApiError::bad(
                "InvalidParameterValue",
                format!("The size {size_gib} is below {least_gib} GiB"),
            ));
        }
        let volume_id = Kind::Volume.make(&mut self.dice);
        let volume = Volume {
            zone: request.availability_zone.clone(),
            size_gib,
            volume_type: request.volume_type.clone().unwrap_or_else(|| "gp2".to_owned()),
            iops: request.iops.unwrap_or(3_000),
            throughput: request.throughput.unwrap_or(125),
            encrypted: encrypted || request.encrypted,
            snapshot_id: request.snapshot_id.clone().unwrap_or_default(),
            created_ms: at_ms,
            available_ms: at_ms + self.dice.duration_ms(Op::VolumeCreate),
            visible_ms: at_ms + self.lag_ms(),
            deleted_ms: None,
            root: false,
            tags: request.tags.clone(),
            links: Vec::new(),
            device,
            dirty_bytes: 0,
            snapshotted: request.snapshot_id.is_some(),
            home: None,
            modifications: Vec::new(),
        };
        let answer = volume.shown(&volume_id, self.zone_id(&volume.zone), at_ms);
        self.volumes.insert(volume_id.clone(), volume);
        if let Some(token) = token {
            self.volume_tokens.insert(token, VolumeToken { request: request.clone(), volume_id });
        }
        Ok(answer)
    }

    pub(crate) fn delete_volume(&mut self, at_ms: u64, request: &DeleteVolume) -> Result<Done, ApiError> {
        let volume_id = &request.volume_id;
        let volume = self.volume_mut(at_ms, volume_id)?;
        if let Some(link) = volume.link(at_ms) {
            return Err(ApiError::bad(
                "VolumeInUse",
                format!("Volume {volume_id} is currently attached to {}", link.instance_id),
            ));
        }
        volume.deleted_ms = Some(at_ms);
        Ok(Done {})
    }

    pub(crate) fn modify_volume(&mut self, at_ms: u64, request: &ModifyVolume) -> Result<VolumeModification, ApiError> {
        let usable_ms = at_ms + self.dice.duration_ms(Op::Modify);
        let volume_id = &request.volume_id;
        let volume = self.volume_mut(at_ms, volume_id)?;
        let to_gib = request.size_gib.unwrap_or(volume.size_gib);
        if to_gib < volume.size_gib {
            return Err(ApiError::bad("InvalidParameterValue", "New size cannot be smaller than existing size"));
        }
        if volume.modifications.last().is_some_and(|modification| modification.end_ms > at_ms) {
            return Err(ApiError::bad(
                "IncorrectModificationState",
                format!("You have reached the maximum modification rate for volume {volume_id}: one is under way"),
            ));
        }
        let day_ago = at_ms.saturating_sub(MODIFY_WINDOW_MS);
        if volume.modifications.iter().filter(|modification| modification.start_ms > day_ago).count()
            >= MODIFICATIONS_MAX
        {
            return Err(ApiError::bad(
                "VolumeModificationRateExceeded",
                format!("You have reached the maximum modification rate per volume limit: {volume_id}"),
            ));
        }
        let end_ms = usable_ms + OPTIMIZE_TIB_MS * u64::from(to_gib) / 1_024;
        let modification = Modification { start_ms: at_ms, usable_ms, end_ms, from_gib: volume.size_gib, to_gib };
        volume.size_gib = to_gib;
        volume.iops = request.iops.unwrap_or(volume.iops);
        volume.throughput = request.throughput.unwrap_or(volume.throughput);
        let answer = shown_modification(volume_id, &modification, at_ms);
        volume.modifications.push(modification);
        Ok(answer)
    }

    pub(crate) fn describe_volumes(&mut self, at_ms: u64, request: &DescribeVolumes) -> Result<Volumes, ApiError> {
        filter::check(&request.filters, FILTERS)?;
        filter::ids_or_pages(&request.volume_ids, &request.paging)?;
        for volume_id in &request.volume_ids {
            Kind::Volume.check(volume_id)?;
        }
        let missing: Vec<&str> = request
            .volume_ids
            .iter()
            .map(String::as_str)
            .filter(|id| self.volumes.get(*id).is_none_or(|volume| volume.visible_ms > at_ms || volume.deleted(at_ms)))
            .collect();
        if !missing.is_empty() {
            return Err(Kind::Volume.not_found(&missing));
        }
        let mut found = Vec::new();
        for volume_id in self.candidates(request) {
            let read_ms = self.volume_read_ms(&volume_id, at_ms);
            let Some(volume) = self.volumes.get(&volume_id) else { continue };
            if volume.visible_ms > at_ms || volume.deleted(at_ms) {
                continue;
            }
            let shown = volume.shown(&volume_id, self.zone_id(&volume.zone), read_ms);
            if filter::matches(&request.filters, &shown.tags, |name| field(&shown, name)) {
                found.push((volume_id, shown));
            }
        }
        let (volumes, next_token) = filter::page(found, &request.paging)?;
        Ok(Volumes { volumes, next_token })
    }

    pub(crate) fn describe_volumes_modifications(
        &mut self,
        at_ms: u64,
        request: &DescribeVolumesModifications,
    ) -> Result<VolumesModifications, ApiError> {
        filter::check(&request.filters, &["volume-id", "modification-state"])?;
        filter::ids_or_pages(&request.volume_ids, &request.paging)?;
        for volume_id in &request.volume_ids {
            if self.volume(at_ms, volume_id)?.modifications.is_empty() {
                return Err(ApiError::bad(
                    "InvalidVolumeModification.NotFound",
                    format!("Modification for volume '{volume_id}' does not exist."),
                ));
            }
        }
        let mut found = Vec::new();
        for (volume_id, volume) in &self.volumes {
            let asked = request.volume_ids.is_empty() || request.volume_ids.contains(volume_id);
            let Some(modification) = volume.modifications.last().filter(|_| asked && !volume.deleted(at_ms)) else {
                continue;
            };
            let shown = shown_modification(volume_id, modification, at_ms);
            let field = |name: &str| match name {
                "volume-id" => vec![volume_id.clone()],
                _ => vec![shown.modification_state.clone()],
            };
            if filter::matches(&request.filters, &Tags::new(), field) {
                found.push((volume_id.clone(), shown));
            }
        }
        let (modifications, next_token) = filter::page(found, &request.paging)?;
        Ok(VolumesModifications { modifications, next_token })
    }

    /// A volume that exists, for a call that names it.
    pub(crate) fn volume(&self, at_ms: u64, volume_id: &str) -> Result<&Volume, ApiError> {
        Kind::Volume.check(volume_id)?;
        let found = self.volumes.get(volume_id).filter(|volume| !volume.deleted(at_ms));
        found.ok_or_else(|| Kind::Volume.not_found(&[volume_id]))
    }

    /// The same, to change it.
    pub(crate) fn volume_mut(&mut self, at_ms: u64, volume_id: &str) -> Result<&mut Volume, ApiError> {
        Kind::Volume.check(volume_id)?;
        let found = self.volumes.get_mut(volume_id).filter(|volume| !volume.deleted(at_ms));
        found.ok_or_else(|| Kind::Volume.not_found(&[volume_id]))
    }

    /// Ids that the call may mean: looked up where ids or exact filters name them, else all.
    fn candidates(&self, request: &DescribeVolumes) -> Vec<String> {
        let mut ids: Vec<String> = if !request.volume_ids.is_empty() {
            request.volume_ids.clone()
        } else if let Some(ids) = filter::exact(&request.filters, "volume-id") {
            ids.to_vec()
        } else if let Some(instances) = filter::exact(&request.filters, "attachment.instance-id") {
            let held = instances.iter().filter_map(|id| self.instances.get(id));
            held.flat_map(|instance| instance.touched.iter().cloned()).collect()
        } else {
            return self.volumes.keys().cloned().collect();
        };
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The instant that a read of a volume shows: now, or just before its last change.
    fn volume_read_ms(&mut self, volume_id: &str, at_ms: u64) -> u64 {
        let Some(volume) = self.volumes.get(volume_id) else { return at_ms };
        let change = volume.links.iter().filter_map(|link| link.last_shown_change(at_ms)).max();
        self.read_instant_ms(volume_id, change, at_ms)
    }
}

fn field(volume: &Shown, name: &str) -> Vec<String> {
    let of_attachments = |get: fn(&Attachment) -> String| volume.attachments.iter().map(get).collect();
    match name {
        "volume-id" => vec![volume.volume_id.clone()],
        "attachment.instance-id" => of_attachments(|attachment| attachment.instance_id.clone()),
        "attachment.device" => of_attachments(|attachment| attachment.device.clone()),
        "attachment.status" => of_attachments(|attachment| attachment.state.clone()),
        "attachment.delete-on-termination" => of_attachments(|attachment| attachment.delete_on_termination.to_string()),
        "availability-zone" => vec![volume.availability_zone.clone()],
        "status" => vec![volume.state.clone()],
        "size" => vec![volume.size_gib.to_string()],
        "snapshot-id" => vec![volume.snapshot_id.clone()],
        "volume-type" => vec![volume.volume_type.clone()],
        "encrypted" => vec![volume.encrypted.to_string()],
        _ => Vec::new(),
    }
}

fn shown_modification(volume_id: &str, modification: &Modification, at_ms: u64) -> VolumeModification {
    let (state, progress) = if at_ms >= modification.end_ms {
        ("completed", 100)
    } else if at_ms >= modification.usable_ms {
        let done = (at_ms - modification.usable_ms) * 100 / (modification.end_ms - modification.usable_ms).max(1);
        ("optimizing", u32::try_from(done).unwrap_or(99))
    } else {
        ("modifying", 0)
    };
    VolumeModification {
        volume_id: volume_id.to_owned(),
        modification_state: state.to_owned(),
        original_size_gib: modification.from_gib,
        target_size_gib: modification.to_gib,
        progress,
        start_time_ms: modification.start_ms,
        end_time_ms: (at_ms >= modification.end_ms).then_some(modification.end_ms),
    }
}
