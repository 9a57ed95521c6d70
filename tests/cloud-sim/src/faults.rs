//! Named faults: what can be made to go wrong on purpose, how often and for how long.
//!
//! A fault is data; the module that it strikes asks [`Faults::strikes`] at the place where it matters. To add one: a
//! variant here, one question there, one row in `faults/catalogue.rs` (what people read of it). How they are switched is
//! in `faults/switch.rs`, those that strike whole calls are in `faults/calls.rs`. Random mishaps of the timing model are
//! in `timing.rs`.

mod calls;
pub mod catalogue;
mod switch;

use serde::{Deserialize, Serialize};

use crate::api::control::{ActiveFault, SetFault};

/// Something that can be made to go wrong. What has struck takes its course: switching a fault off ends only what the
/// variant says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// AttachVolume to any instance but the one that held the volume last is accepted and then falls back to no attachment,
    /// as with a key that cannot be used (docs/aws.md 1.8).
    AttachFails,
    /// AttachVolume stays `attaching` until the volume is detached.
    StuckAttach,
    /// DetachVolume of a volume that is mounted nowhere stays `detaching` for 20 min, then the volume is free.
    StuckDetach,
    /// DetachVolume of a volume that is mounted nowhere is `busy` after 12 s, as if it were; until DetachVolume is called
    /// again, at most 5 min.
    BusyDetach,
    /// Snapshots take ten times as long.
    SlowSnapshot,
    /// A snapshot ends in `error` when it would have been completed.
    FailedSnapshot,
    /// A snapshot stays `pending` for good; it counts among those under way.
    EndlessSnapshot,
    /// Describe calls show the state before the last change if that is less than 30 s old. Without a count every second
    /// one does, by lot.
    StaleReads,
    /// A Describe call that shows a change less than 30 s old is followed by one that shows the state before it, and so
    /// on in turns, for each volume and instance by itself.
    BackwardReads,
    /// No instance can be launched anywhere.
    NoCapacity,
    /// LaunchInstances launches in another zone of the group than the one asked for, and says so.
    WrongZone,
    /// A launched instance passes EC2's checks and its agent never answers.
    LaunchWithoutAgent,
    /// The host is dead: no agent, no engine; EC2 shows it `running` and `impaired`. Boots when cleared; a count means
    /// nothing. Its group leaves it alone.
    InstanceDead {
        /// The instance.
        instance_id: String,
    },
    /// The instance is terminated at once, as by an operator who asks EC2; its group replaces it. Nothing stays on.
    InstanceTerminated {
        /// The instance.
        instance_id: String,
    },
    /// Somebody else lowers the group's desired capacity by one, at once. The group ends a member that is not protected;
    /// if all are, only the number changes. Nothing stays on.
    ScaleIn {
        /// The group.
        group_name: String,
    },
    /// Somebody else raises the group's desired capacity by one, at once; the group launches in a zone of its own choice.
    /// Nothing stays on.
    ScaleOut {
        /// The group.
        group_name: String,
    },
    /// The group balances its zones, at once and once: it launches in the zone with the fewest members and ends the member
    /// of the fullest that `ScaleIn` would, whatever runs there; if all are protected it does nothing. A group that has
    /// `AZRebalance` suspended, as data groups have (rule 35), refuses. Nothing stays on.
    Rebalance {
        /// The group.
        group_name: String,
    },
    /// A lifecycle hook holds a launched instance in `Pending:Wait` for another 2 min after EC2 shows it running.
    LaunchHook,
    /// The agent gives no answer and does nothing that it is asked for; the host and the engine live on.
    AgentSilent {
        /// Whose; `None` = everybody's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance_id: Option<String>,
    },
    /// The agent does what it is asked for and answers after its client's time-out, which to the client is no answer.
    AgentSlow {
        /// Whose; `None` = everybody's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance_id: Option<String>,
    },
    /// The agent says `drained` though it shut no door.
    AgentSkipsDrain,
    /// The agent says that there are no connections though there are.
    AgentHidesConnections,
    /// The agent says `released` though it neither flushed nor unmounted; the kernel lets the device go.
    AgentSkipsUnmount,
    /// The agent says `released` and unmounted though the mount is still there: flushed, engine stopped, unmount failed
    /// unseen. A detach is then `busy`. Clearing it is somebody who unmounts by hand.
    AgentKeepsMount,
    /// The action is throttled.
    Throttle {
        /// Action name.
        api: String,
    },
    /// EC2's and Auto Scaling's own rates apply (docs/aws.md 2): a call that finds its bucket empty is throttled.
    RateLimits,
    /// The request never arrives.
    LostAnswerBefore {
        /// Action name.
        api: String,
    },
    /// The effect happens, the answer does not arrive.
    LostAnswerAfter {
        /// Action name.
        api: String,
    },
    /// The action is answered with HTTP 500 and did nothing.
    ServerErrorBefore {
        /// Action name.
        api: String,
    },
    /// The action took effect and is answered with HTTP 500.
    ServerErrorAfter {
        /// Action name.
        api: String,
    },
    /// A write of DynamoDB meets another one: `TransactionConflict`, nothing is written.
    Conflict {
        /// Which write; `None` = any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api: Option<String>,
    },
    /// Queries of DynamoDB's indexes do not show what was written less than so long ago while this fault is on. Real
    /// time, as everything of DynamoDB; a count counts queries.
    IndexLag {
        /// How long, real ms.
        lag_ms: u64,
    },
    /// The volume manager function is the old one: no operation id, no expected holder, no last moment, no `describe`.
    FunctionIsOld,
    /// The function does what it is asked for and ends in the middle: `FunctionError`.
    FunctionCrashes {
        /// The function's action: `detach_volume` and so on.
        action: String,
    },
    /// The function does what it is asked for and says `statusCode` 500.
    FunctionFails {
        /// The function's action: `detach_volume` and so on.
        action: String,
    },
    /// The call to the function gets no answer, and the function runs 20 s later.
    FunctionRunsLate {
        /// The function's action: `detach_volume` and so on.
        action: String,
    },
    /// The function runs once more a minute later, by itself.
    FunctionRunsTwice {
        /// The function's action: `detach_volume` and so on.
        action: String,
    },
}

impl Fault {
    /// The action that it strikes, if it strikes one.
    pub fn api(&self) -> Option<&str> {
        match self {
            Self::Throttle { api }
            | Self::LostAnswerBefore { api }
            | Self::LostAnswerAfter { api }
            | Self::ServerErrorBefore { api }
            | Self::ServerErrorAfter { api } => Some(api),
            Self::Conflict { api } => api.as_deref(),
            _ => None,
        }
    }

    /// The instance that it strikes, if it strikes one.
    pub fn instance_id(&self) -> Option<&str> {
        match self {
            Self::InstanceDead { instance_id } | Self::InstanceTerminated { instance_id } => Some(instance_id),
            Self::AgentSilent { instance_id } | Self::AgentSlow { instance_id } => instance_id.as_deref(),
            _ => None,
        }
    }

    /// The group that it strikes, if it strikes one.
    pub fn group_name(&self) -> Option<&str> {
        match self {
            Self::ScaleIn { group_name } | Self::ScaleOut { group_name } | Self::Rebalance { group_name } => {
                Some(group_name)
            }
            _ => None,
        }
    }

    /// Whether setting one replaces the other: the same fault of the same thing.
    fn same(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::IndexLag { .. }, Self::IndexLag { .. }))
    }
}

/// The faults that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    active: Vec<ActiveFault>,
}

impl Faults {
    /// Switches a fault on; if it is on, its count, chances and end are replaced. A count of 0 switches it off.
    pub(crate) fn set(&mut self, set: &SetFault, now_ms: u64) {
        self.active.retain(|active| !active.fault.same(&set.fault));
        if set.count != Some(0) {
            self.active.push(ActiveFault {
                fault: set.fault.clone(),
                count: set.count,
                skip: set.skip,
                until_ms: set.for_ms.map(|for_ms| now_ms.saturating_add(for_ms)),
            });
        }
    }

    /// Switches off what is meant, and says what that was.
    pub(crate) fn clear(&mut self, meant: impl Fn(&ActiveFault) -> bool) -> Vec<ActiveFault> {
        let (cleared, kept) = std::mem::take(&mut self.active).into_iter().partition(meant);
        self.active = kept;
        cleared
    }

    /// Whether the fault is on; does not use up its count.
    pub fn is_on(&self, fault: &Fault) -> bool {
        self.active.iter().any(|active| active.fault == *fault)
    }

    /// The count that is left of a fault that is on.
    pub fn remaining(&self, fault: &Fault) -> Option<Option<u32>> {
        self.active.iter().find(|active| active.fault == *fault).map(|active| active.count)
    }

    /// Whether the fault strikes now; uses up one of the chances that it lets pass, then one of its count.
    pub fn strikes(&mut self, fault: &Fault) -> bool {
        self.strike(|active| active == fault).is_some()
    }

    /// The same for the oldest fault that is meant.
    pub fn strike(&mut self, meant: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.active.iter().position(|active| meant(&active.fault))?;
        let active = &mut self.active[index];
        if active.skip > 0 {
            active.skip -= 1;
            return None;
        }
        let fault = active.fault.clone();
        if let Some(count) = &mut active.count {
            *count -= 1;
            if *count == 0 {
                self.active.remove(index);
            }
        }
        Some(fault)
    }

    /// The faults that are on, oldest first.
    pub fn list(&self) -> &[ActiveFault] {
        &self.active
    }
}
