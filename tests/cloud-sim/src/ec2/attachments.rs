//! AttachVolume and DetachVolume, with everything that EC2 checks and everything that it does not (fences, for one).

use super::link::{DETACHING_UNTIL_BUSY_MS, Link, LinkState};
use super::volumes::attachment;
use crate::api::ApiError;
use crate::api::ec2::{AttachVolume, Attachment, DetachVolume};
use crate::faults::Fault;
use crate::ids::Kind;
use crate::sim::{Event, Sim};
use crate::timing::{Mishap, Op};

/// Attachments of an instance, root disk included: 28 slots of most Nitro types less one network interface (docs/aws.md 1.8).
pub const ATTACHMENTS_MAX: usize = 27;

/// Links that a volume keeps: enough for a read to go back, and for a person to see what happened.
const LINKS_KEPT: usize = 8;

/// Bounds of a detach that hangs by mishap though nothing holds the volume.
const STUCK_DETACH_MS: (u64, u64) = (600_000, 3_600_000);

/// How long one hangs under [`Fault::StuckDetach`]: twice as long as until a human is called (docs/aws.md, rule 23).
const STUCK_DETACH_FAULT_MS: u64 = 1_200_000;

/// The longest that a detach is `busy` under [`Fault::BusyDetach`].
const BUSY_DETACH_FAULT_MS: u64 = 300_000;

impl Sim {
    pub(crate) fn attach_volume(&mut self, at_ms: u64, request: &AttachVolume) -> Result<Attachment, ApiError> {
        let (volume_id, instance_id, device) = (&request.volume_id, &request.instance_id, &request.device);
        self.check_attach(at_ms, request)?;

        let lag_ms = self.lag_ms();
        let fails = self.volume(at_ms, volume_id)?.last_holder(at_ms).is_some_and(|holder| holder != instance_id)
            && self.faults.strikes(&Fault::AttachFails);
        let stuck = !fails && (self.faults.strikes(&Fault::StuckAttach) || self.dice.mishap(Mishap::StuckAttach));
        let arrives_ms = at_ms + self.dice.duration_ms(Op::Attach);
        let link = Link {
            instance_id: instance_id.clone(),
            device: device.clone(),
            delete_on_termination: false,
            start_ms: at_ms,
            attached_ms: (!fails && !stuck).then_some(arrives_ms),
            detach_ms: None,
            busy_ms: None,
            gone_ms: fails.then_some(arrives_ms),
            attach_lag_ms: lag_ms,
            detach_lag_ms: lag_ms,
            instance_lag_ms: self.instance_lag_ms(),
            hidden_from_ms: None,
        };
        let answer = attachment(volume_id, &link, LinkState::Attaching);
        let volume = self.volume_mut(at_ms, volume_id)?;
        volume.home = volume.last_holder(at_ms).map(str::to_owned);
        for old in &mut volume.links {
            // A read must never show two attachments, however the lags fall.
            old.hidden_from_ms.get_or_insert(at_ms + lag_ms);
        }
        if volume.links.len() == LINKS_KEPT {
            volume.links.remove(0);
        }
        volume.links.push(link);
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.touched.insert(volume_id.clone());
        }
        Ok(answer)
    }

    fn check_attach(&self, at_ms: u64, request: &AttachVolume) -> Result<(), ApiError> {
        let (volume_id, instance_id, device) = (&request.volume_id, &request.instance_id, &request.device);
        let letter = device.strip_prefix("/dev/sd").or_else(|| device.strip_prefix("/dev/xvd")).unwrap_or_default();
        if !(letter.len() == 1 && letter.bytes().all(|byte| matches!(byte, b'b'..=b'z'))) {
            return Err(ApiError::bad(
                "InvalidParameterValue",
                format!("Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."),
            ));
        }
        let volume = self.volume(at_ms, volume_id)?;
        let instance = self.instance(at_ms, instance_id)?;
        if at_ms < volume.available_ms {
            return Err(ApiError::bad("IncorrectState", format!("{volume_id} is not 'available'.")));
        }
        if volume.link(at_ms).is_some() {
            return Err(ApiError::bad("VolumeInUse", format!("{volume_id} is already attached to an instance")));
        }
        if instance.state(at_ms).name() != "running" {
            return Err(ApiError::bad("IncorrectState", format!("Instance '{instance_id}' is not 'running'.")));
        }
        if volume.zone != instance.zone {
            return Err(ApiError::bad(
                "InvalidVolume.ZoneMismatch",
                format!("The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'"),
            ));
        }
        let taken: Vec<&str> = instance
            .touched
            .iter()
            .filter_map(|id| self.volumes.get(id)?.link(at_ms))
            .filter(|link| link.instance_id == *instance_id)
            .map(|link| link.device.as_str())
            .collect();
        if taken.contains(&device.as_str()) {
            return Err(ApiError::bad(
                "InvalidParameterValue",
                format!("Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"),
            ));
        }
        if taken.len() >= ATTACHMENTS_MAX {
            return Err(ApiError::bad(
                "AttachmentLimitExceeded",
                format!("The maximum number of attachments of instance '{instance_id}' has been reached"),
            ));
        }
        Ok(())
    }

    pub(crate) fn detach_volume(&mut self, at_ms: u64, request: &DetachVolume) -> Result<Attachment, ApiError> {
        let volume_id = &request.volume_id;
        let volume = self.volume(at_ms, volume_id)?;
        let Some(link) = volume.link(at_ms) else {
            return Err(ApiError::bad("IncorrectState", format!("Volume '{volume_id}' is in the 'available' state.")));
        };
        let wrong_instance = request.instance_id.as_ref().is_some_and(|id| *id != link.instance_id);
        let wrong_device = request.device.as_ref().is_some_and(|device| *device != link.device);
        if let Some(instance_id) = &request.instance_id {
            Kind::Instance.check(instance_id)?;
        }
        if wrong_instance || wrong_device {
            return Err(ApiError::bad(
                "InvalidAttachment.NotFound",
                format!(
                    "The volume '{volume_id}' is not attached to instance '{}' as device '{}'.",
                    request.instance_id.as_deref().unwrap_or("any"),
                    request.device.as_deref().unwrap_or("any"),
                ),
            ));
        }
        if volume.root {
            return Err(ApiError::bad(
                "OperationNotPermitted",
                format!("{volume_id} is the root device of an instance"),
            ));
        }
        let instance_id = link.instance_id.clone();
        let state = link.state(at_ms).unwrap_or(LinkState::Attaching);
        let detaching = matches!(state, LinkState::Detaching | LinkState::Busy);
        // A detach that was busy without a mount: the next one ends that.
        let freed = detaching && link.busy_ms.is_some() && link.gone_ms.is_some();
        if freed {
            self.end_detach(at_ms, volume_id);
        } else if request.force {
            self.start_detach(at_ms, volume_id, false);
        } else if !detaching {
            let mounted = self.mounted_on(&instance_id, volume_id);
            self.start_detach(at_ms, volume_id, mounted);
            if !mounted && state == LinkState::Attached && self.faults.strikes(&Fault::BusyDetach) {
                self.hold_detach(at_ms, volume_id);
            }
        }
        let volume = self.volume(at_ms, volume_id)?;
        let link = volume.link(at_ms).ok_or_else(|| Kind::Volume.not_found(&[volume_id]))?;
        let state = link.state(at_ms).unwrap_or(LinkState::Detaching);
        Ok(attachment(volume_id, link, state))
    }

    /// Starts a detach: through after a while, or waiting for an unmount.
    fn start_detach(&mut self, at_ms: u64, volume_id: &str, mounted: bool) {
        let lag_ms = self.lag_ms();
        let gone_ms = (!mounted).then(|| at_ms + self.detach_duration_ms());
        let Some(link) = self.volumes.get_mut(volume_id).and_then(|volume| volume.link_mut(at_ms)) else { return };
        link.detach_ms.get_or_insert(at_ms);
        link.detach_lag_ms = lag_ms;
        link.attached_ms = link.attached_ms.filter(|attached| *attached <= at_ms);
        link.busy_ms = mounted.then_some(at_ms + DETACHING_UNTIL_BUSY_MS);
        if link.gone_ms.is_some() {
            return;
        }
        link.gone_ms = gone_ms;
        if let Some(gone_ms) = gone_ms {
            let instance_id = link.instance_id.clone();
            self.queue(gone_ms, Event::DeviceGone { instance_id, volume_id: volume_id.to_owned() });
        }
    }

    /// Lets a detach go on that was waiting for this unmount.
    pub(crate) fn unmounted(&mut self, at_ms: u64, volume_id: &str) {
        let waiting = self.volumes.get(volume_id).and_then(|volume| volume.link(at_ms));
        if waiting.is_some_and(|link| link.detach_ms.is_some() && link.gone_ms.is_none()) {
            self.start_detach(at_ms, volume_id, false);
        }
    }

    /// Lets a detach be busy though nothing is mounted.
    fn hold_detach(&mut self, at_ms: u64, volume_id: &str) {
        let gone_ms = at_ms + BUSY_DETACH_FAULT_MS;
        let Some(link) = self.volumes.get_mut(volume_id).and_then(|volume| volume.link_mut(at_ms)) else { return };
        link.busy_ms = Some(at_ms + DETACHING_UNTIL_BUSY_MS);
        link.gone_ms = Some(gone_ms);
        let instance_id = link.instance_id.clone();
        self.queue(gone_ms, Event::DeviceGone { instance_id, volume_id: volume_id.to_owned() });
    }

    /// Brings a detach that was held to its end.
    fn end_detach(&mut self, at_ms: u64, volume_id: &str) {
        let gone_ms = at_ms + self.dice.duration_ms(Op::Detach);
        let Some(link) = self.volumes.get_mut(volume_id).and_then(|volume| volume.link_mut(at_ms)) else { return };
        link.busy_ms = None;
        link.gone_ms = link.gone_ms.map(|gone| gone.min(gone_ms));
        let instance_id = link.instance_id.clone();
        self.queue(gone_ms, Event::DeviceGone { instance_id, volume_id: volume_id.to_owned() });
    }

    fn detach_duration_ms(&mut self) -> u64 {
        if self.faults.strikes(&Fault::StuckDetach) {
            STUCK_DETACH_FAULT_MS
        } else if self.dice.mishap(Mishap::StuckDetach) {
            self.dice.between(STUCK_DETACH_MS.0, STUCK_DETACH_MS.1)
        } else {
            self.dice.duration_ms(Op::Detach)
        }
    }
}
