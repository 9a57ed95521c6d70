//! What people read of the faults: names, parameters, what a count means, one sentence each. For help texts, parsers and
//! `GET /sim/faults/catalogue`. What they do is said by the variants of [`Fault`] and done where they strike.

use serde::Serialize;

#[cfg(doc)]
use super::Fault;

/// A fault as it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The word for `fault` in requests.
    pub name: &'static str,
    /// What goes wrong, in one sentence.
    pub sentence: &'static str,
    /// How it strikes.
    pub strikes: Strikes,
    /// What else may or must be said.
    pub parameters: &'static [Parameter],
}

/// How a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strikes {
    /// Each time that there is a chance, as often as its count says.
    Chances,
    /// All the time; a count means nothing.
    Steadily,
    /// Once, when it is set; it is never on.
    Once,
}

/// A parameter of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name in requests.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it must be.
    pub kind: ParameterKind,
}

/// What a parameter must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// An action of EC2, Auto Scaling, the agents or DynamoDB, as its API spells it.
    Action,
    /// A write of DynamoDB that can meet another one.
    StoreWrite,
    /// An action of the volume manager function that moves volumes.
    FunctionAction,
    /// An instance that lives.
    Instance,
    /// A group that exists.
    Group,
    /// A number of milliseconds, at least 1.
    Milliseconds,
}

const fn entry(
    name: &'static str,
    strikes: Strikes,
    parameters: &'static [Parameter],
    sentence: &'static str,
) -> Entry {
    Entry { name, sentence, strikes, parameters }
}

const fn parameter(name: &'static str, kind: ParameterKind, required: bool) -> Parameter {
    Parameter { name, required, kind }
}

const NONE: &[Parameter] = &[];
const API: &[Parameter] = &[parameter("api", ParameterKind::Action, true)];
const STORE_WRITE: &[Parameter] = &[parameter("api", ParameterKind::StoreWrite, false)];
const INSTANCE: &[Parameter] = &[parameter("instance_id", ParameterKind::Instance, true)];
const ANY_INSTANCE: &[Parameter] = &[parameter("instance_id", ParameterKind::Instance, false)];
const GROUP: &[Parameter] = &[parameter("group_name", ParameterKind::Group, true)];
const FUNCTION: &[Parameter] = &[parameter("action", ParameterKind::FunctionAction, true)];
const LAG: &[Parameter] = &[parameter("lag_ms", ParameterKind::Milliseconds, true)];

use Strikes::{Chances, Once, Steadily};

/// Every fault, by what it strikes.
pub const CATALOGUE: &[Entry] = &[
    entry("attach_fails", Chances, NONE, "an attach to a new holder is accepted, then falls back to no attachment"),
    entry("stuck_attach", Chances, NONE, "an attach stays `attaching` until the volume is detached"),
    entry("stuck_detach", Chances, NONE, "a detach stays `detaching` for 20 min, then the volume is free"),
    entry("busy_detach", Chances, NONE, "a detach is `busy` though nothing is mounted, until it is asked for again"),
    entry("slow_snapshot", Chances, NONE, "a snapshot takes ten times as long"),
    entry("failed_snapshot", Chances, NONE, "a snapshot ends in `error`"),
    entry("endless_snapshot", Chances, NONE, "a snapshot stays `pending` for good"),
    entry("stale_reads", Chances, NONE, "reads show the state before a change that is less than 30 s old"),
    entry("backward_reads", Chances, NONE, "reads of a fresh change show it, then the state before it, in turns"),
    entry("no_capacity", Chances, NONE, "no instance can be launched anywhere"),
    entry("wrong_zone", Chances, NONE, "a launch lands in another zone of the group"),
    entry("launch_without_agent", Chances, NONE, "a launched instance runs and its agent never answers"),
    entry("instance_dead", Steadily, INSTANCE, "the host is dead, EC2 shows it running; it boots when cleared"),
    entry("instance_terminated", Once, INSTANCE, "the instance is terminated at once; its group replaces it"),
    entry("scale_in", Once, GROUP, "somebody else lowers the group's desired capacity by one"),
    entry("scale_out", Once, GROUP, "somebody else raises the group's desired capacity by one"),
    entry("rebalance", Once, GROUP, "the group launches in its emptiest zone and ends a member of its fullest"),
    entry("launch_hook", Chances, NONE, "a lifecycle hook keeps a launched instance out of service for 2 min"),
    entry("agent_silent", Chances, ANY_INSTANCE, "the agent answers nothing and does nothing; the host lives on"),
    entry("agent_slow", Chances, ANY_INSTANCE, "the agent does what it is asked for and answers too late"),
    entry("agent_skips_drain", Chances, NONE, "the agent says `drained` and shut no door"),
    entry("agent_hides_connections", Chances, NONE, "the agent says that there are no connections though there are"),
    entry("agent_skips_unmount", Chances, NONE, "the agent says `released`, flushed nothing, and data is lost"),
    entry(
        "agent_keeps_mount",
        Chances,
        NONE,
        "the agent says unmounted and is not; cleared, somebody unmounts by hand",
    ),
    entry("throttle", Chances, API, "the action is throttled"),
    entry("rate_limits", Chances, NONE, "EC2's and Auto Scaling's own rates apply"),
    entry("lost_answer_before", Chances, API, "the request never arrives"),
    entry("lost_answer_after", Chances, API, "the effect happens, the answer does not arrive"),
    entry("server_error_before", Chances, API, "the action is answered with HTTP 500 and did nothing"),
    entry("server_error_after", Chances, API, "the action took effect and is answered with HTTP 500"),
    entry(
        "function_is_old",
        Steadily,
        NONE,
        "the volume manager function is the predecessor's: no holder, no last moment",
    ),
    entry(
        "function_crashes",
        Chances,
        FUNCTION,
        "the function does what it is asked for and ends with `FunctionError`",
    ),
    entry("function_fails", Chances, FUNCTION, "the function does what it is asked for and says `statusCode` 500"),
    entry("function_runs_late", Chances, FUNCTION, "the call gets no answer, and the function runs 20 s later"),
    entry("function_runs_twice", Chances, FUNCTION, "the function runs once more a minute later, by itself"),
    entry("conflict", Chances, STORE_WRITE, "a write of DynamoDB meets another one: TransactionConflict"),
    entry("index_lag", Chances, LAG, "DynamoDB's indexes do not show writes younger than lag_ms (real time)"),
];

/// The fault of a name.
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}
