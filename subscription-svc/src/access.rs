//! May this graph be read or written now? Answered from memory, never from the database.
//!
//! In SQLite mode there is one subscription-svc process, and the transaction that changes a record updates this
//! replica before anyone is told that it committed: what is here is never behind an acknowledged gate. Over PostgreSQL others
//! may commit too: then a record is believed for a lease from the beginning of the last refresh that counts (`refresh`), of
//! the pace that the record had then. If the outcome of a transaction is not known, the replica distrusts itself until it has
//! loaded everything anew: writes fail closed, reads go on marked stale.
//!
//! Not here: the decision itself (`subscription_core::access`), and the replica protocol for holders elsewhere.

use crate::store::Refreshed;
use crate::store::rows::{Access, Leases, Revision};
use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};
use subscription_core::access::{Decision, Mode, Pace, decide};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{AnyGraphId, GraphId};
use tiershift_core::{Error, Kind, Reason, UnixMs};

/// Versions whose nonce is remembered, so that a caller's `min_revision` can be proved to be of this history (H1). A
/// caller sends one that it has just seen; a few thousand are minutes of the busiest store.
const REMEMBERED: usize = 4_096;

/// When a caller who is ahead of this replica should ask again, in milliseconds: a commit is on its way.
const RETRY_BEHIND_MS: u64 = 50;

/// When a caller should ask again while the replica is being loaded anew, in milliseconds.
const RETRY_STALE_MS: u64 = 250;

/// The replica.
#[derive(Debug, Default)]
pub struct Replica {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By the number that a graph id spells; only ever looked up, so that its order reaches nobody.
    records: HashMap<u64, Access>,
    revision: Revision,
    recent: BTreeMap<u64, i64>,
    leases: Leases,
    trusted: bool,
    /// Whether this process is one of several, and may believe its records only for a lease from a refresh that counts.
    leased: bool,
    /// When the last refresh that counts was begun; none since the records were loaded.
    counted: Option<UnixMs>,
    /// What that refresh had reached, which the next one must prove (H1). Loading the records does not change it: what is loaded
    /// may be of another history.
    departure: Option<Revision>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            records: HashMap::new(),
            revision: Revision { version: 0, nonce: 0 },
            recent: BTreeMap::new(),
            leases: crate::store::FIRST_LEASES,
            trusted: false,
            leased: false,
            counted: None,
            departure: None,
        }
    }
}

/// An answer with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The decision. Its milliseconds are of the clock port.
    pub decision: Decision,
    /// For how long the caller may keep it, in milliseconds of the clock port: 0 for this request only.
    pub keep_ms: i64,
    /// The revision it rests on.
    pub revision: Revision,
    /// The replica does not trust itself now.
    pub stale: bool,
}

/// A graph id is `kg` and 16 hex digits: exactly 64 bits.
fn number(id: &GraphId) -> u64 {
    u64::from_str_radix(&id.as_str()[2..], 16).unwrap_or(0)
}

impl Replica {
    /// Takes over everything.
    pub fn load(&self, revision: Revision, leases: Leases, all: Vec<Access>) {
        let records = all.into_iter().map(|access| (number(&access.graph), access)).collect();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let recent = BTreeMap::from([(revision.version, revision.nonce)]);
        let (leased, departure) = (inner.leased, inner.departure);
        *inner = Inner { records, revision, recent, leases, trusted: true, leased, counted: None, departure };
    }

    /// From here on others may change the records too: nothing is vouched for but for a lease from each refresh.
    pub fn share(&self) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).leased = true;
    }

    /// The revision that it is at.
    pub fn revision(&self) -> Revision {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// Where the next refresh begins, and what it must prove: what the last one reached; before the first, what was loaded.
    pub fn departure(&self) -> Revision {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.departure.unwrap_or(inner.revision)
    }

    /// The history is another one, and what follows from that is done: the next refresh begins where the records are loaded.
    pub fn depart_anew(&self) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).departure = None;
    }

    /// A refresh counts that was begun at an instant: its transaction is acknowledged, and it proved where it began from.
    pub fn refreshed(&self, begun: UnixMs, found: Refreshed) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for access in found.changed {
            inner.take_newer(access);
        }
        // What this process committed meanwhile may be beyond what the refresh saw.
        if found.revision.version >= inner.revision.version {
            inner.reach(found.revision);
        }
        inner.leases = found.leases;
        inner.departure = inner.departure.filter(|at| at.version > found.revision.version).or(Some(found.revision));
        inner.counted = inner.counted.max(Some(begun));
    }

    /// Takes over what one transaction changed, in commit order.
    /// Says whether this replica is at that revision now; if not, others have committed what only a refresh will bring.
    pub fn apply(&self, revision: Revision, changed: Vec<Access>) -> bool {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let first = changed.iter().map(|access| access.record.revision).min().unwrap_or(revision.version);
        for access in changed {
            inner.take_newer(access);
        }
        let next = !inner.leased || first <= inner.revision.version.saturating_add(1);
        if inner.recent.get(&revision.version).is_some_and(|nonce| *nonce != revision.nonce) {
            // The database went back in time, and what is here is of another history (H1): the next refresh will say so.
            inner.trusted = false;
        } else if next && revision.version >= inner.revision.version {
            inner.reach(revision);
        }
        next
    }

    /// Takes over a record that a transaction found in the store, if it is news: a process that is gone may have committed
    /// it after this one had loaded (H7).
    pub fn learn(&self, found: &Access) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).take_newer(found.clone());
    }

    /// Something may be committed that is not here: no write is allowed until the next load.
    pub fn distrust(&self) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).trusted = false;
    }

    /// Whether it answers for writes.
    pub fn trusted(&self) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).trusted
    }

    /// Decides about a graph or subgraph for a caller. What the caller may not see does not exist for it.
    pub fn check(
        &self,
        caller: &Caller,
        id: &AnyGraphId,
        mode: Mode,
        min_revision: Option<Revision>,
        now: UnixMs,
    ) -> Result<Answer, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(min) = min_revision {
            inner.reached(min)?;
        }
        let access = inner.records.get(&number(&id.parent()));
        let visible = access.filter(|a| a.record.shared_repository || caller.may_see(&a.org));
        let decision = decide(visible.map(|a| &a.record), mode, now);
        let pace = visible.map_or(Pace::Changing, |access| access.record.pace);
        let vouched_ms = inner.vouched_ms(pace, now);
        if decision.allowed && mode == Mode::Write && vouched_ms <= 0 {
            let text = "this replica cannot vouch for a write now; refuse the write and ask again";
            return Err(Error::new(Kind::Unavailable, Reason::LeaseExpired, text).retry_after_ms(RETRY_STALE_MS));
        }
        // A refusal is for this request only: what ends it can come at any moment, and asking again costs little.
        let keep_ms = match visible {
            Some(_) if decision.allowed => decision.valid_for_ms.map_or(vouched_ms, |ms| ms.min(vouched_ms)).max(0),
            Some(_) | None => 0,
        };
        Ok(Answer { decision, keep_ms, revision: inner.revision, stale: vouched_ms <= 0 })
    }
}

impl Inner {
    /// For how long a record of this pace may be believed from now on, in milliseconds; not above zero: not at all. One process
    /// that is alone always knows what is committed; one of several knew it when its last refresh began.
    fn vouched_ms(&self, pace: Pace, now: UnixMs) -> i64 {
        let lease_ms = match pace {
            Pace::Calm => self.leases.calm_ms,
            Pace::Changing => self.leases.changing_ms,
        };
        match (self.trusted, self.leased, self.counted) {
            (true, false, _) => lease_ms,
            (true, true, Some(begun)) => lease_ms.saturating_sub(now.since(begun)),
            (true, true, None) | (false, _, _) => 0,
        }
    }

    fn take_newer(&mut self, access: Access) {
        let held = self.records.get(&number(&access.graph)).map(|held| held.record.revision);
        if held.is_none_or(|revision| revision < access.record.revision) {
            self.records.insert(number(&access.graph), access);
        }
    }

    fn reach(&mut self, revision: Revision) {
        self.revision = revision;
        self.recent.insert(revision.version, revision.nonce);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_first();
        }
    }

    fn reached(&self, min: Revision) -> Result<(), Error> {
        let other_history = self.recent.get(&min.version).is_some_and(|nonce| *nonce != min.nonce);
        if min.version <= self.revision.version && !other_history {
            return Ok(());
        }
        let text = "this replica has not reached the revision asked for; ask again";
        Err(Error::new(Kind::Unavailable, Reason::RevisionNotReached, text).retry_after_ms(RETRY_BEHIND_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FIRST_LEASES;
    use subscription_core::access::{AccessRecord, Gate};
    use subscription_core::status::{GraphState, SubscriptionStatus};
    use tiershift_core::ids::{ChangeId, OrgId};

    const NOW: UnixMs = UnixMs(1_000);

    fn access(graph: &str, pace: Pace, gate: Gate) -> Access {
        Access {
            graph: GraphId::parse(graph).expect("well formed"),
            org: OrgId::parse("org_a").expect("well formed"),
            record: AccessRecord {
                revision: 1,
                graph: GraphState::Active,
                shared_repository: false,
                subscription: Some(SubscriptionStatus::Active),
                ends_at: None,
                gate,
                billing_off: false,
                pace,
            },
        }
    }

    const A: &str = "kg00000000000000aa";
    const B: &str = "kg00000000000000ab";

    fn loaded() -> Replica {
        let replica = Replica::default();
        let all = vec![access(A, Pace::Calm, Gate::Open), access(B, Pace::Changing, Gate::Open)];
        replica.load(Revision { version: 7, nonce: 70 }, FIRST_LEASES, all);
        replica
    }

    fn check(replica: &Replica, who: &str, graph: &str, mode: Mode, min: Option<(u64, i64)>) -> Result<Answer, Error> {
        let caller = Caller::parse_dev(who).expect("a caller");
        let id = AnyGraphId::parse(graph).expect("well formed");
        replica.check(&caller, &id, mode, min.map(|(version, nonce)| Revision { version, nonce }), NOW)
    }

    #[test]
    fn a_subgraph_is_decided_by_its_parent_and_a_stranger_sees_nothing() {
        let replica = loaded();
        for who in ["service:s", "u;operator", "u;org_a=member"] {
            assert!(check(&replica, who, &format!("{A}_sales"), Mode::Write, None).expect("answered").decision.allowed);
        }
        let foreign = check(&replica, "u;org_b=owner", A, Mode::Read, None).expect("answered");
        let missing = check(&replica, "u;org_b=owner", "kg00000000000000ff", Mode::Read, None).expect("answered");
        assert_eq!(foreign, missing, "D-71");
        assert_eq!(foreign.decision.reason, Some(Reason::GraphNotFound));
    }

    #[test]
    fn an_answer_is_kept_for_its_pace_and_a_refusal_not_at_all() {
        let replica = loaded();
        assert_eq!(check(&replica, "service:s", A, Mode::Write, None).expect("answered").keep_ms, 60_000);
        assert_eq!(check(&replica, "service:s", B, Mode::Write, None).expect("answered").keep_ms, 2_000);
        let change = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
        let mut closed = access(B, Pace::Changing, Gate::WritesBlocked(change));
        closed.record.revision = 8;
        replica.apply(Revision { version: 8, nonce: 80 }, vec![closed]);
        let refused = check(&replica, "service:s", B, Mode::Write, None).expect("answered");
        assert_eq!((refused.decision.allowed, refused.keep_ms, refused.revision.version), (false, 0, 8));
    }

    #[test]
    fn a_caller_gets_an_answer_at_least_as_new_as_it_has_seen() {
        let replica = loaded();
        assert!(check(&replica, "service:s", A, Mode::Write, Some((7, 70))).is_ok());
        assert!(check(&replica, "service:s", A, Mode::Write, Some((3, 1))).is_ok());
        for (version, nonce) in [(8, 80), (7, 71)] {
            let error = check(&replica, "service:s", A, Mode::Read, Some((version, nonce))).expect_err("behind");
            assert_eq!((error.kind, error.reason), (Kind::Unavailable, Reason::RevisionNotReached));
        }
    }

    fn found(revision: Revision, changed: Vec<Access>) -> Refreshed {
        Refreshed { proved: true, revision, leases: FIRST_LEASES, changed, feed: 0 }
    }

    #[test]
    fn one_of_several_believes_for_a_lease_from_each_refresh_and_by_its_pace() {
        let replica = loaded();
        replica.share();
        let write = |graph: &str| check(&replica, "service:s", graph, Mode::Write, None).map(|answer| answer.keep_ms);
        assert!(write(A).is_err() && write(B).is_err(), "loaded is not refreshed");
        let read = check(&replica, "service:s", A, Mode::Read, None).expect("answered");
        assert!(read.decision.allowed && read.stale && read.keep_ms == 0);
        let at = |before_ms: i64| NOW.plus(-before_ms);
        let here = Revision { version: 7, nonce: 70 };
        for (before_ms, calm, changing) in [(1_999, Some(58_001), Some(1)), (2_000, Some(58_000), None)] {
            let replica = loaded();
            replica.share();
            replica.refreshed(at(before_ms), found(here, vec![]));
            let keep = |graph: &str| check(&replica, "service:s", graph, Mode::Write, None).ok().map(|a| a.keep_ms);
            assert_eq!((keep(A), keep(B)), (calm, changing), "{before_ms}");
            // An older one that arrives later takes nothing away.
            replica.refreshed(at(59_000), found(here, vec![]));
            assert_eq!((keep(A), keep(B)), (calm, changing), "{before_ms}");
            replica.load(here, FIRST_LEASES, vec![access(A, Pace::Calm, Gate::Open)]);
            assert_eq!(keep(A), None, "what is loaded anew is vouched for by the next refresh only");
        }
    }

    #[test]
    fn a_commit_that_came_after_anothers_is_taken_and_does_not_pass_for_everything_before_it() {
        let replica = loaded();
        replica.share();
        replica.refreshed(NOW, found(Revision { version: 7, nonce: 70 }, vec![]));
        let at = |graph: &str, revision: u64, gate: Gate| {
            let mut access = access(graph, Pace::Changing, gate);
            access.record.revision = revision;
            access
        };
        let change = || ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
        // 8 is another process's, and closed B.
        let reached = replica.apply(Revision { version: 9, nonce: 90 }, vec![at(A, 9, Gate::WritesBlocked(change()))]);
        assert!(!reached && replica.revision().version == 7);
        let writes =
            |graph: &str| check(&replica, "service:s", graph, Mode::Write, None).expect("answered").decision.allowed;
        assert!(!writes(A) && writes(B), "one's own is known at once, the other's by the refresh");
        let newer = vec![at(B, 8, Gate::WritesBlocked(change())), at(A, 9, Gate::WritesBlocked(change()))];
        replica.refreshed(NOW, found(Revision { version: 9, nonce: 90 }, newer));
        assert!(!writes(A) && !writes(B) && replica.revision().version == 9);
        assert!(replica.apply(Revision { version: 10, nonce: 100 }, vec![at(B, 10, Gate::Open)]), "the next one");
        // A refresh that was asked before that commit brings nothing older back.
        replica
            .refreshed(NOW, found(Revision { version: 9, nonce: 90 }, vec![at(B, 8, Gate::WritesBlocked(change()))]));
        assert!(writes(B) && replica.revision().version == 10);
        // The same version again with another nonce: the history is another one.
        replica.apply(Revision { version: 10, nonce: 101 }, vec![at(A, 10, Gate::Open)]);
        assert!(!replica.trusted(), "H1");
    }

    #[test]
    fn without_trust_no_write_is_allowed_and_reads_are_marked() {
        let replica = loaded();
        replica.distrust();
        let error = check(&replica, "service:s", A, Mode::Write, None).expect_err("not vouched for");
        assert_eq!((error.kind, error.reason), (Kind::Unavailable, Reason::LeaseExpired));
        let read = check(&replica, "service:s", A, Mode::Read, None).expect("answered");
        assert!(read.decision.allowed && read.stale && read.keep_ms == 0);
        assert!(!Replica::default().trusted(), "an empty replica vouches for nothing");
    }
}
