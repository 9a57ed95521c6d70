//! What the schema of the SQL adapters refuses, checked by hand: nothing is applied before all of a transaction's writes pass.

use super::State;
use crate::store::rows::{Subscription, TierChange};
use crate::store::{Constraint, Write};
use std::collections::BTreeMap;
use tiershift_core::ids::ChangeId;

impl State {
    /// The rules of the schema, over what would be there after these writes.
    pub(super) fn check(&self, writes: &[Write]) -> Result<(), Constraint> {
        let mut next_seq: BTreeMap<&str, u64> = BTreeMap::new();
        let mut known: Vec<&ChangeId> = Vec::new();
        for (n, write) in writes.iter().enumerate() {
            match write {
                Write::Subscription(new) if new.live => {
                    // What an earlier write of this transaction made of it counts.
                    let live = |s: &Subscription| {
                        let same = |w: &Write| match w {
                            Write::Subscription(earlier) if earlier.id == s.id => Some(earlier.live),
                            _ => None,
                        };
                        writes[..n].iter().rev().find_map(same).unwrap_or(s.live)
                    };
                    if self.subscriptions_of(&new.graph).any(|s| s.id != new.id && live(s)) {
                        return Err(Constraint::LiveSubscription);
                    }
                    if self.named_by_provider(new).is_some_and(|other| other != new.id) {
                        return Err(Constraint::Other);
                    }
                }
                Write::Change(new) => {
                    known.push(&new.id);
                    let active = |c: &TierChange| {
                        let same = |w: &Write| match w {
                            Write::Change(earlier) if earlier.id == c.id => Some(earlier.active()),
                            _ => None,
                        };
                        writes[..n].iter().rev().find_map(same).unwrap_or(c.active())
                    };
                    let mut others = self.changes_of(&new.graph).filter(|c| c.id != new.id);
                    if new.active() && others.any(|c| c.subscription == new.subscription && active(c)) {
                        return Err(Constraint::ActiveChange);
                    }
                }
                Write::Event(event) => {
                    let id = ChangeId::parse(event.change_id.clone()).map_err(|_| Constraint::EventSequence)?;
                    let stored = self.last_seq.get(&id).copied().unwrap_or(0);
                    let next = next_seq.entry(&event.change_id).or_insert(stored + 1);
                    if event.seq != *next || !(known.contains(&&id) || self.changes.contains_key(&id)) {
                        return Err(Constraint::EventSequence);
                    }
                    *next += 1;
                }
                Write::Payment(new) => {
                    let stored = self.payments.get(&(new.change.clone(), new.kind));
                    if stored.is_some_and(|stored| stored.bytes != new.bytes) {
                        return Err(Constraint::PaymentBytes);
                    }
                }
                Write::Request(new) if self.requests.contains_key(&new.key) => return Err(Constraint::Other),
                _ => {}
            }
        }
        Ok(())
    }
}
