//! The model behind a lock, and the file that it is kept in.
//!
//! Calls are carried out one after another, at the time that the clock shows. One thread saves: after every call that
//! changes something, and every second for the clock. Several calls share a save, none of them is answered before a
//! save that has it. So a cloud that was killed has forgotten nothing that it told, but some lines of reads in its
//! ledger.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiershift_common::clock::{Clock as _, Scaled};
use tokio::sync::watch;

use super::clock::{SavedTime, replace};
use super::error::{ServerError, io};
use crate::Sim;
use crate::api::{Call, Reply};
use crate::seed::Fleet;

/// How often the clock is saved, real time; also how long a failed save waits.
const EVERY: Duration = Duration::from_secs(1);

/// Changes with the meaning of the file.
const FORMAT: u32 = 1;

/// What is in the file.
#[derive(Debug, Deserialize)]
pub(super) struct Saved {
    format: u32,
    /// What the clock showed.
    pub(super) time_ms: i64,
    /// Whether that was the end, in order.
    pub(super) stopped: bool,
    /// The clock's speed.
    pub(super) speed: u32,
    /// What was planted.
    pub(super) fleet: Fleet,
    /// The model.
    pub(super) cloud: Sim,
}

/// The same on its way out.
#[derive(Debug, Serialize)]
struct ToSave<'a> {
    format: u32,
    time_ms: i64,
    stopped: bool,
    speed: u32,
    fleet: &'a Fleet,
    cloud: &'a Sim,
}

impl Saved {
    /// What is in a file, if there is one.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, ServerError> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(format!("read {}", file.display()))(error)),
        };
        let unreadable = |source| ServerError::Unreadable { file: file.to_owned(), source };
        let saved: Self = serde_json::from_slice(&text).map_err(unreadable)?;
        if saved.format != FORMAT {
            let message = format!("format {} is not {FORMAT}", saved.format);
            return Err(unreadable(serde::de::Error::custom(message)));
        }
        Ok(Some(saved))
    }

    /// What the file says of the clock.
    pub(super) fn time(&self) -> SavedTime {
        SavedTime { time_ms: self.time_ms, stopped: self.stopped, speed: self.speed }
    }
}

/// How the saving ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a last save, marked as such.
    Stopped,
    /// At once, as if the process had been killed.
    Abandoned,
}

/// A call that was carried out.
#[derive(Debug)]
pub(super) struct Called {
    /// What the model says.
    pub(super) reply: Reply,
    /// When it was made.
    pub(super) at_ms: u64,
    /// The change to wait for before it is answered; 0 if nothing changed.
    change: u64,
}

/// The model, its clock and its file.
#[derive(Debug)]
pub(super) struct State {
    clock: Scaled,
    file: PathBuf,
    kept: Mutex<Kept>,
    changed: Condvar,
    saved: watch::Sender<u64>,
    /// Whether a fault that may strike DynamoDB was on after the last change: its calls do not wait for the lock
    /// otherwise.
    store_faults: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    cloud: Sim,
    fleet: Fleet,
    /// Counts calls that changed something.
    change: u64,
    end: Option<End>,
}

impl State {
    /// A state that is in its file from the beginning.
    pub(super) fn begin(clock: Scaled, file: PathBuf, cloud: Sim, fleet: Fleet) -> Result<Self, ServerError> {
        let store_faults = AtomicBool::new(cloud.has_store_faults());
        let state = Self {
            store_faults,
            clock,
            file,
            kept: Mutex::new(Kept { cloud, fleet, change: 0, end: None }),
            changed: Condvar::new(),
            saved: watch::Sender::new(0),
        };
        let text = state.text(&*state.lock()?, false)?;
        state.write(&text)?;
        Ok(state)
    }

    /// The stack's clock.
    pub(super) fn clock(&self) -> Scaled {
        self.clock
    }

    /// Carries a call out now.
    pub(super) fn call(&self, call: Call) -> Result<Called, ServerError> {
        let changes = changes(&call);
        self.with(|kept, now_ms| {
            let reply = kept.cloud.call(now_ms, call);
            if changes {
                self.store_faults.store(kept.cloud.has_store_faults(), Ordering::Release);
                kept.change += 1;
                self.changed.notify_one();
            }
            Called { reply, at_ms: kept.cloud.now_ms(), change: if changes { kept.change } else { 0 } }
        })
    }

    /// Looks at the model as it is now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Sim) -> T) -> Result<T, ServerError> {
        self.with(|kept, now_ms| {
            kept.cloud.advance(now_ms);
            look(&kept.cloud)
        })
    }

    /// Asks for the faults of DynamoDB, if there may be any. That uses up counts, which are saved with the next change.
    pub(super) fn store_faults<T>(&self, ask: impl FnOnce(&mut Sim) -> Option<T>) -> Result<Option<T>, ServerError> {
        if !self.store_faults.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.with(|kept, now_ms| {
            kept.cloud.advance(now_ms);
            ask(&mut kept.cloud)
        })
    }

    /// What was planted.
    pub(super) fn fleet(&self) -> Result<Fleet, ServerError> {
        self.with(|kept, _| kept.fleet.clone())
    }

    /// Returns when a call may be answered: its latency is over and what it changed is saved.
    pub(super) async fn answerable(&self, called: &Called) -> Result<(), ServerError> {
        let at_ms = called.at_ms.saturating_add(called.reply.latency_ms);
        self.clock.sleep_until(tiershift_core::UnixMs(i64::try_from(at_ms).unwrap_or(i64::MAX))).await;
        let mut saved = self.saved.subscribe();
        saved.wait_for(|saved| *saved >= called.change).await.map(drop).map_err(|_| ServerError::Broken)
    }

    /// Saves until the end; for a thread of its own.
    pub(super) fn keep(&self) -> Result<(), ServerError> {
        let mut saved = 0;
        loop {
            let (text, change, end) = {
                let waiting = |kept: &mut Kept| kept.change == saved && kept.end.is_none();
                let kept = self.changed.wait_timeout_while(self.lock()?, EVERY, waiting);
                let (kept, _) = kept.map_err(|_| ServerError::Broken)?;
                if kept.end == Some(End::Abandoned) {
                    return Ok(());
                }
                (self.text(&kept, kept.end.is_some())?, kept.change, kept.end)
            };
            match self.write(&text) {
                Ok(()) => {
                    saved = change;
                    self.saved.send_replace(change);
                }
                Err(error) if end.is_some() => return Err(error),
                // Nobody is answered meanwhile.
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the state is not saved, trying again");
                    std::thread::sleep(EVERY);
                }
            }
            if end.is_some() {
                return Ok(());
            }
        }
    }

    /// Ends the saving; calls are refused from now on. The first end counts.
    pub(super) fn end(&self, end: End) {
        if let Ok(mut kept) = self.lock() {
            kept.end.get_or_insert(end);
            self.changed.notify_one();
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept, u64) -> T) -> Result<T, ServerError> {
        let mut kept = self.lock()?;
        if kept.end.is_some() {
            return Err(ServerError::Broken);
        }
        let now_ms = u64::try_from(self.clock.now().0).unwrap_or(0);
        Ok(act(&mut kept, now_ms))
    }

    /// A lock that a panic has poisoned stays shut: what the call had done by then is nobody's state.
    fn lock(&self) -> Result<MutexGuard<'_, Kept>, ServerError> {
        self.kept.lock().map_err(|_| ServerError::Broken)
    }

    fn text(&self, kept: &Kept, stopped: bool) -> Result<Vec<u8>, ServerError> {
        let to_save = ToSave {
            format: FORMAT,
            time_ms: self.clock.now().0,
            stopped,
            speed: self.clock.speed,
            fleet: &kept.fleet,
            cloud: &kept.cloud,
        };
        serde_json::to_vec(&to_save).map_err(ServerError::Unwritable)
    }

    fn write(&self, text: &[u8]) -> Result<(), ServerError> {
        replace(&self.file, text).map_err(io(format!("write {}", self.file.display())))
    }
}

/// Whether a call changes more than the ledger and the counts of faults.
fn changes(call: &Call) -> bool {
    let reads = call.action().starts_with("Describe")
        || matches!(
            call,
            Call::AgentHealth(_)
                | Call::AgentInfo(_)
                | Call::AgentVolume(_)
                | Call::AgentConnections(_)
                | Call::AgentUsage(_)
                | Call::AgentProbe(_)
                | Call::EngineRead(_)
                | Call::ListFaults(_)
                | Call::ReadLedger(_)
                | Call::ReadEngineLog(_)
                | Call::AuditWrites(_)
                | Call::ReadPublished(_)
        );
    !reads
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use tempfile::TempDir;
    use tiershift_common::clock::boottime_ms;

    use super::*;
    use crate::api::Answer;
    use crate::api::ec2::{CreateVolume, DescribeVolumes};
    use crate::{Config, seed};

    fn state(folder: &TempDir) -> Arc<State> {
        let clock = Scaled { origin_ms: 1_000_000, boot_ms: boottime_ms(), speed: 100 };
        let mut sim = Sim::new(Config::default(), 1);
        sim.advance(1_000_000);
        let fleet = seed::plant(&mut sim).unwrap();
        Arc::new(State::begin(clock, folder.path().join("cloud.json"), sim, fleet).unwrap())
    }

    fn saved(folder: &TempDir) -> Saved {
        Saved::read(&folder.path().join("cloud.json")).unwrap().unwrap()
    }

    fn create() -> Call {
        let zone = seed::ZONE_A.to_owned();
        Call::CreateVolume(CreateVolume { availability_zone: zone, size_gib: Some(1), ..CreateVolume::default() })
    }

    /// Whether a call may be answered right now, once its latency is over.
    async fn answerable_now(state: &State, called: &Called) -> bool {
        let over = i64::try_from(called.at_ms + called.reply.latency_ms).unwrap();
        state.clock.sleep_until(tiershift_core::UnixMs(over)).await;
        tokio::select! {
            biased;
            answered = state.answerable(called) => answered.is_ok(),
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_change_is_in_the_file_before_it_is_answered() {
        let folder = TempDir::new().unwrap();
        let state = state(&folder);
        let read = state.call(Call::DescribeVolumes(DescribeVolumes::default())).unwrap();
        assert!(answerable_now(&state, &read).await, "a read waits for no save");
        let called = state.call(create()).unwrap();
        // Nobody saves yet.
        assert!(!answerable_now(&state, &called).await);
        assert_eq!(saved(&folder).cloud.now_ms(), 1_000_000, "as it began");
        let keeping = Arc::clone(&state);
        let keeper = thread::spawn(move || keeping.keep());
        state.answerable(&called).await.unwrap();
        let file = saved(&folder);
        assert!(!file.stopped);
        let Ok(Answer::CreateVolume(made)) = called.reply.answer else { panic!("{:?}", called.reply) };
        let text = serde_json::to_string(&file.cloud.save().unwrap()).unwrap();
        assert!(text.contains(&made.volume_id));
        state.end(End::Stopped);
        keeper.join().unwrap().unwrap();
        assert!(saved(&folder).stopped);
        assert!(matches!(state.call(create()), Err(ServerError::Broken)), "it has ended");
    }

    #[tokio::test]
    async fn what_is_abandoned_stays_as_it_was_saved() {
        let folder = TempDir::new().unwrap();
        let state = state(&folder);
        state.call(create()).unwrap();
        state.end(End::Abandoned);
        state.end(End::Stopped);
        state.keep().unwrap();
        let file = saved(&folder);
        assert_eq!((file.cloud.now_ms(), file.stopped), (1_000_000, false));
    }

    #[test]
    fn a_file_of_another_format_is_not_read() {
        let folder = TempDir::new().unwrap();
        drop(state(&folder));
        let path = folder.path().join("cloud.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
        assert!(matches!(Saved::read(&path), Err(ServerError::Unreadable { .. })));
        fs::remove_file(&path).unwrap();
        assert!(Saved::read(&path).unwrap().is_none());
    }
}
