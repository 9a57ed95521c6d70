//! Instants at which a process of the development stack can be held, for crash tests: named
//! `<stage>.<intent|sending|called|outcome>`, after an instant and not after a function (R24).
//!
//! A held process says so on stderr and does nothing more about that migration until it is killed or who is held is
//! released (SIGUSR1); its heartbeat goes on, like that of a process that hangs. Each instant holds once. Outside
//! development there is nothing to hold (`Hold::none`).

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Mutex;
use tokio::sync::Notify;
use volume_core::stage::Stage;

/// Which instants hold.
#[derive(Debug, Default)]
pub struct Hold {
    at: Mutex<BTreeSet<String>>,
    released: Notify,
}

/// The four instants of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// The intent is durable, the call is not sent.
    Intent,
    /// The last look at the lease was taken, the call is about to leave.
    Sending,
    /// The call was answered, nothing is durable yet.
    Called,
    /// The outcome is durable, nothing follows.
    Outcome,
}

impl Instant {
    /// All of them, in the order in which a step meets them.
    pub const ALL: [Self; 4] = [Self::Intent, Self::Sending, Self::Called, Self::Outcome];

    /// As in a hold's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Sending => "sending",
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
                Stage::parse(stage).is_some() && Instant::ALL.iter().any(|known| known.name() == instant)
            })
        };
        let wrong: Vec<&str> = names.iter().map(String::as_str).filter(|n| !known(n)).collect();
        if wrong.is_empty() {
            Ok(Self { at: Mutex::new(names.iter().cloned().collect()), released: Notify::new() })
        } else {
            let words: Vec<&str> = Instant::ALL.iter().map(|i| i.name()).collect();
            Err(format!("no such instant: {}; use <stage>.<{}>", wrong.join(", "), words.join("|")))
        }
    }

    /// Lets whoever is held go on.
    pub fn release(&self) {
        self.released.notify_waiters();
    }

    /// If this instant is held: returns when it is released.
    pub async fn reached(&self, stage: Stage, instant: Instant) {
        let name = format!("{}.{}", stage.name(), instant.name());
        let held = self.at.lock().is_ok_and(|mut at| at.remove(&name));
        if held {
            let mut released = pin!(self.released.notified());
            // Before anybody can know of it.
            released.as_mut().enable();
            // The line that a crash test waits for.
            tracing::warn!(instant = name, "holding at {name}");
            released.await;
            tracing::warn!(instant = name, "released from {name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_instant_holds_until_it_is_released() {
        let hold = Hold::at(&["detach.sending".to_owned()]).expect("an instant");
        hold.reached(Stage::Detach, Instant::Called).await;
        hold.reached(Stage::Attach, Instant::Sending).await;
        let mut held = pin!(hold.reached(Stage::Detach, Instant::Sending));
        tokio::select! {
            biased;
            () = &mut held => panic!("it did not hold"),
            () = std::future::ready(()) => {}
        }
        hold.release();
        held.await;
        // Once: what is tried again goes through.
        hold.reached(Stage::Detach, Instant::Sending).await;
    }

    #[test]
    fn names_that_are_no_instants_are_told_all_at_once() {
        let names = ["detach.intent", "detach.before", "nowhere.called", "gate"].map(str::to_owned);
        let error = Hold::at(&names).expect_err("three are wrong");
        for wrong in &names[1..] {
            assert!(error.contains(wrong.as_str()), "{error}");
        }
        assert!(!error.contains("detach.intent"), "{error}");
    }
}
