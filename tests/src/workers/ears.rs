//! What workers say in their logs, heard as they say it: who stands at an instant, and who has taken over what.
//!
//! Only times are taken from here; what happened is judged by `judge`.

use super::crew::Worker;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tiershift_core::ids::ChangeId;

/// Between two looks at the logs: what a measured time is too long at most.
const LISTEN_EVERY: Duration = Duration::from_millis(10);

/// Characters of a change's id.
const ID_CHARS: usize = 30;

/// A listener to all workers' logs.
#[derive(Debug, Default)]
pub struct Ears {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Logs by process id, with how far they were read.
    logs: BTreeMap<u32, (PathBuf, u64)>,
    /// Who has died: what is still found in its log says nothing of the living.
    dead: BTreeSet<u32>,
    /// Workers that stand at an instant.
    held: BTreeSet<u32>,
    /// Changes without a driver, and since when.
    orphans: BTreeMap<ChangeId, Instant>,
    /// From a death to the new driver's first word.
    takeovers: Vec<Duration>,
}

impl Ears {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to one more worker.
    pub fn to(&self, worker: &Worker) {
        self.heard().logs.insert(worker.pid, (worker.log_file.clone(), 0));
    }

    /// Listens until it is dropped.
    pub async fn listen(self: Arc<Self>) {
        loop {
            self.heard().take_in(Instant::now());
            tokio::time::sleep(LISTEN_EVERY).await;
        }
    }

    /// Whether a worker stands at its instant.
    pub fn is_held(&self, pid: u32) -> bool {
        self.heard().held.contains(&pid)
    }

    /// A worker has died at an instant.
    pub fn died(&self, pid: u32) {
        self.heard().dead.insert(pid);
    }

    /// These changes have no driver since then. One that had none already counts from here on.
    pub fn orphaned(&self, ids: impl IntoIterator<Item = ChangeId>, since: Instant) {
        self.heard().orphans.extend(ids.into_iter().map(|id| (id, since)));
    }

    /// Changes that still have no driver.
    pub fn orphans(&self) -> Vec<ChangeId> {
        self.heard().orphans.keys().cloned().collect()
    }

    /// The take-overs so far, in the order in which they were heard.
    pub fn takeovers(&self) -> Vec<Duration> {
        self.heard().takeovers.clone()
    }
}

impl Heard {
    fn take_in(&mut self, now: Instant) {
        let mut said = Vec::new();
        for (pid, (path, read)) in self.logs.iter_mut().filter(|(pid, _)| !self.dead.contains(pid)) {
            said.extend(news(path, read).lines().map(|line| (*pid, line.to_owned())));
        }
        for (pid, line) in said {
            if line.contains("holding at") {
                self.held.insert(pid);
            }
            if line.contains("loaded and observed")
                && let Some(id) = id_in(&line)
                && let Some(since) = self.orphans.remove(&id)
            {
                self.takeovers.push(now.duration_since(since));
            }
        }
    }
}

/// What is new in a log, whole lines only.
fn news(path: &PathBuf, read: &mut u64) -> String {
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(*read))?;
        file.read_to_end(&mut text)
    });
    let whole = if opened.is_ok() { text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { 0 };
    *read += whole as u64;
    String::from_utf8_lossy(&text[..whole]).into_owned()
}

fn id_in(line: &str) -> Option<ChangeId> {
    let at = line.find("chg_")?;
    ChangeId::parse(line.get(at..at + ID_CHARS)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const ID: &str = "chg_01M8E6N9C9VTFGXP8MGFQ226YG";

    #[test]
    fn a_takeover_is_heard_from_the_living_only_and_once() {
        let file = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(text.as_bytes()).expect("written");
            file
        };
        let word = format!("INFO volume_svc::driver: loaded and observed migration={ID} fence=2\n");
        let (dead, alive) = (file(&word), file(&format!("INFO x\n{word}{word}half a li")));
        let mut heard = Heard::default();
        heard.logs.insert(1, (dead.path().to_owned(), 0));
        heard.dead.insert(1);
        let since = Instant::now();
        let id = ChangeId::parse(ID).expect("an id");
        heard.orphans.insert(id.clone(), since);
        heard.take_in(since + Duration::from_secs(1));
        assert_eq!((heard.takeovers.len(), heard.orphans.len()), (0, 1), "its last words prove nothing");
        heard.logs.insert(2, (alive.path().to_owned(), 0));
        heard.take_in(since + Duration::from_secs(7));
        assert_eq!(heard.takeovers, [Duration::from_secs(7)]);
        assert!(heard.orphans.is_empty());
    }

    #[test]
    fn who_stands_at_an_instant_is_heard() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "WARN volume_svc::hold: holding at detach.called instant=\"detach.called\"\n")
            .expect("written");
        let mut heard = Heard::default();
        heard.logs.insert(3, (file.path().to_owned(), 0));
        heard.take_in(Instant::now());
        assert!(heard.held.contains(&3));
    }
}
