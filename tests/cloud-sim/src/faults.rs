//! Named faults: what can be made to go wrong on purpose, and how often.
//!
//! A fault is data; the module that it strikes asks [`Faults::strikes`] at the place where it matters. To add one: a variant
//! here, one question there, one row in [`Fault::catalogue`]. Random mishaps of the timing model are in `timing.rs`.

use serde::{Deserialize, Serialize};

use crate::api::control::SetFault;

/// Something that can be made to go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// AttachVolume to any instance but the one that held the volume last is accepted and then falls back to no attachment,
    /// as with a key that cannot be used (docs/aws.md 1.8).
    AttachFails,
    /// The agent says `released` though it neither flushed nor unmounted; the kernel lets the device go.
    AgentSkipsUnmount,
    /// No instance can be launched anywhere.
    NoCapacity,
    /// The action is throttled.
    Throttle {
        /// Action name.
        api: String,
    },
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
    /// Snapshots take ten times as long.
    SlowSnapshot,
    /// AttachVolume stays `attaching` until the volume is detached.
    StuckAttach,
    /// The host is dead: no agent, no engine; EC2 shows it `running` and `impaired`. Boots when cleared; a count means
    /// nothing. Its group leaves it alone.
    InstanceDead {
        /// The instance.
        instance_id: String,
    },
    /// Describe calls show the state before the last change if that is less than 30 s old. Without a count every second
    /// one does, by lot.
    StaleReads,
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
    /// Every fault by name, with the name of its parameter if it has one. For help texts and parsers.
    pub fn catalogue() -> &'static [(&'static str, Option<&'static str>)] {
        &[
            ("attach_fails", None),
            ("agent_skips_unmount", None),
            ("no_capacity", None),
            ("throttle", Some("api")),
            ("lost_answer_before", Some("api")),
            ("lost_answer_after", Some("api")),
            ("slow_snapshot", None),
            ("stuck_attach", None),
            ("instance_dead", Some("instance_id")),
            ("stale_reads", None),
            ("function_is_old", None),
            ("function_crashes", Some("action")),
            ("function_fails", Some("action")),
            ("function_runs_late", Some("action")),
            ("function_runs_twice", Some("action")),
        ]
    }
}

/// The faults that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    active: Vec<SetFault>,
}

impl Faults {
    /// Switches a fault on; if it is on, its count is replaced. A count of 0 switches it off.
    pub fn set(&mut self, fault: Fault, count: Option<u32>) {
        self.clear(&fault);
        if count != Some(0) {
            self.active.push(SetFault { fault, count });
        }
    }

    /// Switches a fault off. False if it was not on.
    pub fn clear(&mut self, fault: &Fault) -> bool {
        let before = self.active.len();
        self.active.retain(|active| active.fault != *fault);
        self.active.len() != before
    }

    /// Whether the fault is on; does not use up its count.
    pub fn is_on(&self, fault: &Fault) -> bool {
        self.active.iter().any(|active| active.fault == *fault)
    }

    /// The count that is left of a fault that is on.
    pub fn remaining(&self, fault: &Fault) -> Option<Option<u32>> {
        self.active.iter().find(|active| active.fault == *fault).map(|active| active.count)
    }

    /// Whether the fault strikes now; uses up one of its count.
    pub fn strikes(&mut self, fault: &Fault) -> bool {
        let Some(index) = self.active.iter().position(|active| active.fault == *fault) else {
            return false;
        };
        if let Some(count) = &mut self.active[index].count {
            *count -= 1;
            if *count == 0 {
                self.active.remove(index);
            }
        }
        true
    }

    /// The faults that are on, oldest first.
    pub fn list(&self) -> &[SetFault] {
        &self.active
    }
}
