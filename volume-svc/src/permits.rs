//! Whose turn it is for a permit (H31), among the migrations that wait in this process: the oldest change first, and
//! only as many as there is room for, so that a permit that comes free does not make thousands look at their graph and
//! their target for one to win. What is taken is read once for all who ask within half a second.
//!
//! It is a queue of hints. The permit itself is taken by the append that asks for the gate, on the condition that there
//! is one (`journal.rs`); another process has a queue of its own. How seldom somebody far back asks again is the
//! machine's to say (`stages/gate.rs` of the core).

use crate::journal::Journal;
use crate::ports::store::StoreError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tiershift_core::ids::ChangeId;
use volume_core::effect::PermitsSeen;
use volume_core::fact::Spec;
use volume_core::look_for_permit_every_ms;
use volume_core::registry;

/// How old an answer may be: half of what lies between two looks of one that is next.
const FRESH_MS: i64 = 500;

/// The least that is reckoned with between two looks of one that is next.
const ASKS_IN_LEAST_MS: i64 = 15_000;

/// Who holds which permit, as it was read last.
type Holders = BTreeMap<String, (UnixMs, Vec<String>)>;

/// The queues of a process.
#[derive(Debug)]
pub struct Permits {
    journal: Journal,
    clock: Arc<dyn Clock>,
    /// Held while it is read, so that those who ask meanwhile wait for one answer.
    read: tokio::sync::Mutex<Holders>,
    lines: Mutex<Lines>,
}

impl Permits {
    /// Empty queues over a journal.
    pub fn new(journal: Journal, clock: Arc<dyn Clock>) -> Arc<Self> {
        let lines = Mutex::new(Lines::new(journal.settings().retry_ms));
        Arc::new(Self { journal, clock, read: tokio::sync::Mutex::default(), lines })
    }

    /// How many permits of each name are held, or are due to a migration that is before this one.
    pub async fn seen(&self, spec: &Spec) -> Result<PermitsSeen, StoreError> {
        let [account, group] = registry::permit_names(spec);
        let mut read = self.read.lock().await;
        let account_held = self.held(&mut read, &account).await?;
        let group_held = self.held(&mut read, &group).await?;
        drop(read);
        let room = u64::from(self.journal.settings().permits_group).saturating_sub(group_held);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let [in_account, in_group] = lines.place(&spec.id, &group, room, self.clock.now());
        Ok(BTreeMap::from([(account, account_held + in_account), (group, group_held + in_group)]))
    }

    async fn held(&self, read: &mut Holders, name: &str) -> Result<u64, StoreError> {
        let now = self.clock.now();
        if let Some((at, holders)) = read.get(name)
            && now.since(*at) < FRESH_MS
        {
            return Ok(holders.len() as u64);
        }
        let holders = self.journal.permit_holders(name).await?;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.leave(&holders, now);
        let held = holders.len() as u64;
        read.insert(name.to_owned(), (self.clock.now(), holders));
        Ok(held)
    }
}

/// Who waits: for a group's permit, and, of those whose turn it is there, for the account's.
#[derive(Debug)]
struct Lines {
    account: Line,
    groups: BTreeMap<String, Line>,
    retry_ms: i64,
}

impl Lines {
    fn new(retry_ms: i64) -> Self {
        Self { account: Line::default(), groups: BTreeMap::new(), retry_ms }
    }

    /// How many are before a migration, for the account's permit and for its group's, which has so much room.
    fn place(&mut self, id: &ChangeId, group: &str, room: u64, now: UnixMs) -> [u64; 2] {
        let in_group = self.groups.entry(group.to_owned()).or_default().place(id, now, self.retry_ms);
        if in_group < room {
            return [self.account.place(id, now, self.retry_ms), in_group];
        }
        // One whose group is full does not stand in the way of other groups.
        self.account.leave(id.as_str());
        [0, in_group]
    }

    /// Who holds a permit waits no more, and neither does who has not asked when it should have.
    fn leave(&mut self, holders: &[String], now: UnixMs) {
        for line in self.groups.values_mut().chain([&mut self.account]) {
            for holder in holders {
                line.leave(holder);
            }
            line.0.retain(|(_, gone_at)| now < *gone_at);
        }
    }
}

/// Who waits for one thing, in the order of their ids, which is that of their acceptance, and when each is gone unless it
/// asks again: it was canceled, or is driven elsewhere.
#[derive(Debug, Default)]
struct Line(Vec<(ChangeId, UnixMs)>);

impl Line {
    /// How many are before one, which asks now.
    fn place(&mut self, id: &ChangeId, now: UnixMs, retry_ms: i64) -> u64 {
        let found = self.0.binary_search_by(|(waiting, _)| waiting.cmp(id));
        let index = found.unwrap_or_else(|index| {
            self.0.insert(index, (id.clone(), now));
            index
        });
        // Twice as long as it should take to ask again, and at least what a busy process may need for it.
        let asks_in_ms = look_for_permit_every_ms(retry_ms, index as u64);
        self.0[index].1 = now.plus(2 * asks_in_ms.max(ASKS_IN_LEAST_MS));
        index as u64
    }

    fn leave(&mut self, id: &str) {
        if let Ok(index) = self.0.binary_search_by(|(waiting, _)| waiting.as_str().cmp(id)) {
            self.0.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ChangeId {
        ChangeId::parse(format!("chg_{n:026}")).unwrap()
    }

    fn at(s: i64) -> UnixMs {
        UnixMs(s * 1_000)
    }

    #[test]
    fn the_oldest_change_is_first_whoever_asks_first() {
        let mut lines = Lines::new(1_000);
        for n in [3, 1, 2] {
            lines.place(&id(n), "standard", 1, at(0));
        }
        let asked = [1, 2, 3].map(|n| lines.place(&id(n), "standard", 1, at(1))[1]);
        assert_eq!(asked, [0, 1, 2]);
    }

    #[test]
    fn a_full_group_does_not_stand_in_the_way_of_another() {
        let mut lines = Lines::new(1_000);
        for n in 0..100 {
            lines.place(&id(n), "full", 0, at(0));
        }
        assert_eq!(lines.place(&id(100), "open", 4, at(0)), [0, 0]);
        assert_eq!(lines.place(&id(101), "open", 4, at(0)), [1, 1]);
        // It fills up while 101 waits: the account's place is the next one's.
        assert_eq!(lines.place(&id(101), "open", 1, at(1)), [0, 1]);
        assert_eq!(lines.place(&id(102), "other", 4, at(1)), [1, 0]);
    }

    #[test]
    fn who_holds_one_and_who_has_gone_are_not_waited_for() {
        let mut lines = Lines::new(1_000);
        for n in 0..3 {
            lines.place(&id(n), "standard", 4, at(0));
        }
        assert_eq!(lines.place(&id(9), "standard", 4, at(1)), [3, 3]);
        lines.leave(&[id(0).to_string(), "somebody else's".to_owned()], at(1));
        assert_eq!(lines.place(&id(9), "standard", 4, at(2)), [2, 2]);
        // 1 asks on; 2 was canceled.
        lines.place(&id(1), "standard", 4, at(29));
        lines.leave(&[], at(30));
        assert_eq!(lines.place(&id(9), "standard", 4, at(30)), [1, 1]);
    }

    #[test]
    fn who_is_far_back_keeps_its_place_for_as_long_as_it_asks_seldom() {
        let mut lines = Lines::new(1_000);
        for n in 0..2_000 {
            lines.place(&id(n), "standard", 4, at(0));
        }
        // The first half asks on, and then has its permits.
        for n in 0..1_000 {
            lines.place(&id(n), "standard", 4, at(290));
        }
        lines.leave(&[], at(300));
        assert_eq!(lines.place(&id(1_999), "standard", 4, at(300)), [0, 1_999], "all may still ask");
        lines.leave(&[], at(601));
        assert_eq!(lines.place(&id(1_999), "standard", 4, at(601))[1], 377, "who is gone is waited for no more");
    }
}
