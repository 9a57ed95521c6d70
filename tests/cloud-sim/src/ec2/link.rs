//! One attachment of a volume to an instance, from the request to its end, as instants.
//!
//! The same record answers two questions: what *is* at an instant (checks of changing calls, the guest), and what a read
//! *shows* then, which lags. A volume keeps its newest links, so that a read can also show the past.

use serde::{Deserialize, Serialize};

/// Attached or detaching for so long, a mounted volume is shown as `busy` (docs/aws.md 1.1).
pub const DETACHING_UNTIL_BUSY_MS: u64 = 12_000;

/// Where an attachment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// Requested, not there yet.
    Attaching,
    /// The guest has the device.
    Attached,
    /// A detach was requested.
    Detaching,
    /// A detach was requested and waits for an unmount.
    Busy,
}

impl LinkState {
    /// AWS's word on the volume.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Busy => "busy",
        }
    }

    /// AWS's word in an instance's block device map, which has no `busy`.
    pub const fn instance_name(self) -> &'static str {
        match self {
            Self::Busy => "detaching",
            other => other.name(),
        }
    }
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The instance.
    pub instance_id: String,
    /// Device name as requested.
    pub device: String,
    /// Whether the volume dies with the instance.
    pub delete_on_termination: bool,
    /// When it was requested.
    pub start_ms: u64,
    /// When the guest gets the device; `None` = never (stuck, or refused by the key service).
    pub attached_ms: Option<u64>,
    /// When a detach was requested.
    pub detach_ms: Option<u64>,
    /// Set while a detach waits for an unmount: from here on it is `busy`.
    pub busy_ms: Option<u64>,
    /// When it ends; `None` = not under way.
    pub gone_ms: Option<u64>,
    /// Lag of reads behind start and attached.
    pub attach_lag_ms: u64,
    /// Lag of reads behind detach, busy and gone.
    pub detach_lag_ms: u64,
    /// Further lag of the instance's block device map.
    pub instance_lag_ms: u64,
    /// From here on reads show the next link and must not show this one as well (rule 15, docs/aws.md).
    pub hidden_from_ms: Option<u64>,
}

impl Link {
    /// What is true at an instant; `None` = no attachment.
    pub fn state(&self, at_ms: u64) -> Option<LinkState> {
        self.state_with(at_ms, 0, 0)
    }

    /// What a read of the volume shows.
    pub fn shown(&self, at_ms: u64) -> Option<LinkState> {
        if self.hidden_from_ms.is_some_and(|from| from <= at_ms) {
            return None;
        }
        self.state_with(at_ms, self.attach_lag_ms, self.detach_lag_ms)
    }

    /// What a read of the instance shows.
    pub fn shown_on_instance(&self, at_ms: u64) -> Option<LinkState> {
        let behind_ms = self.instance_lag_ms;
        self.state_with(at_ms, self.attach_lag_ms + behind_ms, self.detach_lag_ms + behind_ms)
    }

    /// Whether the guest has the device at an instant: from attached to gone, a waiting detach notwithstanding.
    pub fn in_guest(&self, at_ms: u64) -> bool {
        self.attached_ms.is_some_and(|from| from <= at_ms) && self.state(at_ms).is_some()
    }

    /// The newest instant up to `at_ms` at which a read of the volume began to show something else.
    pub fn last_shown_change(&self, at_ms: u64) -> Option<u64> {
        let early = [Some(self.start_ms), self.attached_ms].map(|at| at.map(|at| at + self.attach_lag_ms));
        let late = [self.detach_ms, self.busy_ms, self.gone_ms].map(|at| at.map(|at| at + self.detach_lag_ms));
        let all = early.into_iter().chain(late).chain([self.hidden_from_ms]);
        all.flatten().filter(|change| *change <= at_ms).max()
    }

    fn state_with(&self, at_ms: u64, attach_lag_ms: u64, detach_lag_ms: u64) -> Option<LinkState> {
        let since = |instant: Option<u64>, lag: u64| instant.is_some_and(|instant| instant + lag <= at_ms);
        if !since(Some(self.start_ms), attach_lag_ms) || since(self.gone_ms, detach_lag_ms) {
            None
        } else if since(self.busy_ms, detach_lag_ms) {
            Some(LinkState::Busy)
        } else if since(self.detach_ms, detach_lag_ms) {
            Some(LinkState::Detaching)
        } else if since(self.attached_ms, attach_lag_ms) {
            Some(LinkState::Attached)
        } else {
            Some(LinkState::Attaching)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            instance_id: "i-1".into(),
            device: "/dev/sdf".into(),
            delete_on_termination: false,
            start_ms: 1_000,
            attached_ms: Some(3_000),
            detach_ms: Some(10_000),
            busy_ms: None,
            gone_ms: Some(12_000),
            attach_lag_ms: 300,
            detach_lag_ms: 500,
            instance_lag_ms: 100,
            hidden_from_ms: None,
        }
    }

    #[test]
    fn a_link_goes_through_its_states() {
        let link = link();
        let states: Vec<_> = [999, 1_000, 2_999, 3_000, 9_999, 10_000, 11_999, 12_000].map(|at| link.state(at)).into();
        let (a, b, c) = (Some(LinkState::Attaching), Some(LinkState::Attached), Some(LinkState::Detaching));
        assert_eq!(states, [None, a, a, b, b, c, c, None]);
        assert!(!link.in_guest(2_999) && link.in_guest(3_000) && link.in_guest(11_999) && !link.in_guest(12_000));
    }

    #[test]
    fn reads_lag_and_the_instance_lags_more() {
        let link = link();
        assert_eq!(link.shown(1_299), None);
        assert_eq!(link.shown(12_499), Some(LinkState::Detaching));
        assert_eq!(link.shown(12_500), None);
        assert_eq!(link.shown_on_instance(12_599), Some(LinkState::Detaching));
        assert_eq!(link.shown_on_instance(12_600), None);
    }

    #[test]
    fn busy_lasts_until_the_detach_goes_on() {
        let mut link = link();
        (link.busy_ms, link.gone_ms) = (Some(10_000 + DETACHING_UNTIL_BUSY_MS), None);
        assert_eq!(link.state(21_999), Some(LinkState::Detaching));
        assert_eq!(link.state(4_000_000), Some(LinkState::Busy));
        assert_eq!(LinkState::Busy.instance_name(), "detaching");
        assert_eq!(link.last_shown_change(4_000_000), Some(22_500));
        assert_eq!(link.last_shown_change(22_499), Some(10_500));
    }
}
