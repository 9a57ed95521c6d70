//! Instants at which a process of the development stack can be held, for crash tests: named
//! `<stage>.<intent|called|outcome>`, after an instant and not after a function (R24).
//!
//! A held process says so on stderr and does nothing more about that migration until it is killed; its heartbeat
//! goes on, like that of a process that hangs. Outside development there is nothing to hold (`Hold::none`).

use std::collections::BTreeSet;
use std::sync::Mutex;

/// Which instants hold.
#[derive(Debug, Default)]
pub struct Hold {
    at: Mutex<BTreeSet<String>>,
}

/// The three instants of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// The intent is durable, the call is not sent.
    Intent,
    /// The call was answered, nothing is durable yet.
    Called,
    /// The outcome is durable, nothing follows.
    Outcome,
}

impl Instant {
    /// As in a hold's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Called => "called",
            Self::Outcome => "outcome",
        }
    }
}

impl Hold {
    /// Nothing is held.
    pub fn none() -> Self {
        Self::default()
    }

    /// Holds at the named instants; says which names are none.
    pub fn at(names: &[String]) -> Result<Self, String> {
        let known = |name: &str| {
            name.split_once('.').is_some_and(|(stage, instant)| {
                volume_core::stage::Stage::parse(stage).is_some() && matches!(instant, "intent" | "called" | "outcome")
            })
        };
        let wrong: Vec<&str> = names.iter().map(String::as_str).filter(|n| !known(n)).collect();
        if wrong.is_empty() {
            Ok(Self { at: Mutex::new(names.iter().cloned().collect()) })
        } else {
            Err(format!("no such instant: {}; use <stage>.<intent|called|outcome>", wrong.join(", ")))
        }
    }

    /// Blocks for ever if this instant is held.
    pub async fn reached(&self, stage: volume_core::stage::Stage, instant: Instant) {
        let name = format!("{}.{}", stage.name(), instant.name());
        let held = self.at.lock().is_ok_and(|at| at.contains(&name));
        if held {
            // The line that a crash test waits for.
            tracing::warn!(instant = name, "holding at {name}");
            std::future::pending::<()>().await;
        }
    }
}
