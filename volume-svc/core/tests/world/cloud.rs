//! EC2 and Auto Scaling as far as one migration meets them: one volume with its attachments and their past, a few
//! instances in two groups, snapshots. Refusals are EC2's, in the words of the port.

use super::fixture::{self, Durations, Setup};
use std::collections::BTreeMap;
use tiershift_core::ids::{GroupName, InstanceId, SnapshotId, Zone};
use volume_core::effect::{Attachment, AttachmentState, Done, Purpose, SnapshotState, Trouble};

/// The volume and what is on it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Writes that are on the disk.
    pub disk: Vec<u64>,
    /// Writes that are in the engine's log only: the next engine that opens the volume recovers them.
    pub log: Vec<u64>,
    /// The file system's uuid.
    pub fs_uuid: String,
    /// Now.
    pub attachments: Vec<Attachment>,
    /// As they were, with the time from which on: for stale reads.
    pub past: Vec<(i64, Vec<Attachment>)>,
    /// The tier tag.
    pub tier_tag: String,
}

/// How far an instance's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Booting,
    Running,
    Ending,
    Ended,
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    pub life: Life,
    pub group: GroupName,
    pub in_service: bool,
    pub protected: bool,
    pub ip: String,
    /// It ended while its group wanted as many as before: the group starts another, outside this world.
    pub replaced: bool,
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub purpose: Purpose,
    pub started: i64,
    pub ends: i64,
    pub state: SnapshotState,
    /// What it would restore.
    pub image: Vec<u64>,
    pub deleted: bool,
    /// Taken by somebody else, without our tag.
    pub foreign: bool,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    pub desired: i64,
    pub min: i64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub volume: Volume,
    pub instances: BTreeMap<InstanceId, Instance>,
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    pub groups: BTreeMap<GroupName, Group>,
    /// Launches by token.
    pub launches: BTreeMap<String, InstanceId>,
}

impl Volume {
    /// It would die with its instance.
    pub fn flag_for_deletion(&mut self) {
        for here in &mut self.attachments {
            here.delete_on_termination = true;
        }
        self.past = vec![(0, self.attachments.clone())];
    }
}

impl Cloud {
    /// Every pending snapshot ends in error.
    pub fn fail_snapshots(&mut self) {
        for snapshot in self.snapshots.values_mut().filter(|s| s.state == SnapshotState::Pending) {
            snapshot.state = SnapshotState::Error;
        }
    }

    pub fn new(setup: &Setup) -> Self {
        let here = Attachment {
            instance: fixture::source(),
            device: fixture::DEVICE.to_owned(),
            state: AttachmentState::Attached,
            delete_on_termination: false,
        };
        let member = |group: GroupName, n: usize| Instance {
            life: Life::Running,
            group,
            in_service: true,
            protected: false,
            ip: format!("10.0.0.{n}"),
            replaced: false,
        };
        let mut instances = BTreeMap::from([(fixture::source(), member(fixture::source_group(), 9))]);
        for (n, idle) in setup.idle.iter().enumerate() {
            instances.insert(idle.clone(), member(fixture::target_group(), 20 + n));
        }
        let size = |group: &GroupName| instances.values().filter(|i| i.group == *group).count();
        let group = |name: GroupName, min| {
            let desired = i64::try_from(size(&name)).expect("few");
            (name, Group { desired, min })
        };
        let groups = BTreeMap::from([
            group(fixture::source_group(), setup.source_min),
            group(fixture::target_group(), setup.target_min),
        ]);
        Self {
            volume: Volume {
                disk: Vec::new(),
                log: Vec::new(),
                fs_uuid: fixture::FS_UUID.to_owned(),
                past: vec![(0, vec![here.clone()])],
                attachments: vec![here],
                tier_tag: fixture::source_tier().to_string(),
            },
            groups,
            instances,
            snapshots: BTreeMap::new(),
            launches: BTreeMap::new(),
        }
    }

    fn remember(&mut self, now: i64) {
        self.volume.past.push((now, self.volume.attachments.clone()));
    }

    /// What a read that is `lag` behind shows.
    pub fn attachments_at(&self, at: i64) -> Vec<Attachment> {
        self.volume.past.iter().rev().find(|(from, _)| *from <= at).map(|(_, list)| list.clone()).unwrap_or_default()
    }

    /// Whether the volume is a block device of that instance.
    pub fn is_attached(&self, instance: &InstanceId) -> bool {
        self.volume
            .attachments
            .iter()
            .any(|a| a.instance == *instance && !matches!(a.state, AttachmentState::Attaching))
    }

    fn find(&mut self, instance: &InstanceId, device: &str) -> Option<&mut Attachment> {
        self.volume.attachments.iter_mut().find(|a| a.instance == *instance && a.device == device)
    }

    pub fn protect(&mut self, instance: &InstanceId) -> Result<Done, Trouble> {
        let seen = self.instances.get_mut(instance).filter(|i| i.life != Life::Ended).ok_or(Trouble::NotFound)?;
        if !seen.in_service {
            return Err(Trouble::IncorrectState);
        }
        seen.protected = true;
        Ok(Done::Accepted)
    }

    pub fn snapshot(&mut self, now: i64, purpose: Purpose, durations: &Durations) -> (SnapshotId, i64) {
        let id = fixture::snapshot(self.snapshots.len() + 1);
        let ms = if purpose == Purpose::Safety { durations.safety } else { durations.last };
        let snapshot = Snapshot {
            purpose,
            started: now,
            ends: now + ms,
            state: SnapshotState::Pending,
            image: self.volume.disk.iter().chain(&self.volume.log).copied().collect(),
            deleted: false,
            foreign: false,
        };
        self.snapshots.insert(id.clone(), snapshot);
        (id, ms)
    }

    pub fn snapshot_completed(&mut self, id: &SnapshotId) {
        if let Some(snapshot) = self.snapshots.get_mut(id)
            && snapshot.state == SnapshotState::Pending
        {
            snapshot.state = SnapshotState::Completed;
        }
    }

    pub fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<Done, Trouble> {
        let snapshot = self.snapshots.get_mut(id).filter(|s| !s.deleted).ok_or(Trouble::NotFound)?;
        snapshot.deleted = true;
        Ok(Done::Accepted)
    }

    /// The instance, and whether it is a new one.
    pub fn launch(&mut self, group: &GroupName, zone: &Zone, token: &str) -> Result<(InstanceId, bool), Trouble> {
        if *zone != fixture::zone() {
            return Err(Trouble::Zone);
        }
        if let Some(id) = self.launches.get(token) {
            return Ok((id.clone(), false));
        }
        let n = self.launches.len() + 1;
        let id = fixture::launched(n);
        self.launches.insert(token.to_owned(), id.clone());
        let instance = Instance {
            life: Life::Booting,
            group: group.clone(),
            in_service: false,
            protected: false,
            ip: format!("10.0.1.{n}"),
            replaced: false,
        };
        self.instances.insert(id.clone(), instance);
        self.groups.get_mut(group).expect("it exists").desired += 1;
        Ok((id, true))
    }

    /// Whether it came up at all.
    pub fn booted(&mut self, instance: &InstanceId) -> bool {
        let Some(seen) = self.instances.get_mut(instance).filter(|i| i.life == Life::Booting) else { return false };
        seen.life = Life::Running;
        seen.in_service = true;
        true
    }

    pub fn terminate(&mut self, instance: &InstanceId, decrement: bool) -> Result<(), Trouble> {
        let seen = self.instances.get_mut(instance).ok_or(Trouble::NotFound)?;
        if matches!(seen.life, Life::Ending | Life::Ended) {
            return Err(Trouble::IncorrectState);
        }
        let group = self.groups.get_mut(&seen.group).expect("it exists");
        if decrement {
            if group.desired <= group.min {
                return Err(Trouble::IncorrectState);
            }
            group.desired -= 1;
        } else {
            seen.replaced = true;
        }
        seen.life = Life::Ending;
        seen.in_service = false;
        Ok(())
    }

    /// EC2 is through with an instance: its attachments go.
    pub fn ended(&mut self, now: i64, instance: &InstanceId) {
        if let Some(seen) = self.instances.get_mut(instance) {
            seen.life = Life::Ended;
        }
        self.volume.attachments.retain(|a| a.instance != *instance);
        self.remember(now);
    }

    pub fn attach(&mut self, now: i64, instance: &InstanceId, device: &str) -> Result<(), Trouble> {
        match self.instances.get(instance).map(|i| i.life) {
            None | Some(Life::Ended) => return Err(Trouble::NotFound),
            Some(Life::Booting | Life::Ending) => return Err(Trouble::IncorrectState),
            Some(Life::Running) => {}
        }
        if !self.volume.attachments.is_empty() {
            return Err(Trouble::InUse);
        }
        self.volume.attachments.push(Attachment {
            instance: instance.clone(),
            device: device.to_owned(),
            state: AttachmentState::Attaching,
            delete_on_termination: false,
        });
        self.remember(now);
        Ok(())
    }

    pub fn attached(&mut self, now: i64, instance: &InstanceId, device: &str) {
        if let Some(here) = self.find(instance, device)
            && here.state == AttachmentState::Attaching
        {
            here.state = AttachmentState::Attached;
            self.remember(now);
        }
    }

    pub fn fell_back(&mut self, now: i64, instance: &InstanceId, device: &str) {
        self.volume.attachments.retain(|a| a.instance != *instance || a.device != device);
        self.remember(now);
    }

    pub fn detach(&mut self, now: i64, instance: &InstanceId, device: &str) -> Result<(), Trouble> {
        if self.volume.attachments.is_empty() {
            return Err(Trouble::IncorrectState);
        }
        // Another instance or another device: EC2 refuses (F1 rests on it).
        let here = self.find(instance, device).ok_or(Trouble::NotFound)?;
        here.state = AttachmentState::Detaching;
        self.remember(now);
        Ok(())
    }

    pub fn detached(&mut self, now: i64, instance: &InstanceId, device: &str, mounted: bool) {
        let Some(here) = self.find(instance, device) else { return };
        if here.state == AttachmentState::Attached {
            return;
        }
        if mounted {
            here.state = AttachmentState::Busy;
        } else {
            self.volume.attachments.retain(|a| a.instance != *instance);
        }
        self.remember(now);
    }

    /// What was busy there leaves.
    pub fn unmounted(&mut self, now: i64, instance: &InstanceId) {
        let before = self.volume.attachments.len();
        self.volume.attachments.retain(|a| a.instance != *instance || a.state != AttachmentState::Busy);
        if before != self.volume.attachments.len() {
            self.remember(now);
        }
    }

    /// An operator detaches the volume by hand.
    pub fn free(&mut self, now: i64) {
        self.volume.attachments.clear();
        self.remember(now);
    }

    /// An operator attaches the volume by hand.
    pub fn put(&mut self, instance: &InstanceId, device: &str) {
        self.volume.attachments = vec![Attachment {
            instance: instance.clone(),
            device: device.to_owned(),
            state: AttachmentState::Attached,
            delete_on_termination: false,
        }];
        let now = self.volume.past.last().map_or(0, |(at, _)| *at);
        self.remember(now);
    }

    pub fn keep(&mut self, instance: &InstanceId, device: &str) -> Result<Done, Trouble> {
        let here = self.find(instance, device).ok_or(Trouble::NotFound)?;
        here.delete_on_termination = false;
        let now = self.volume.past.last().map_or(0, |(at, _)| *at);
        self.remember(now);
        Ok(Done::Accepted)
    }
}
