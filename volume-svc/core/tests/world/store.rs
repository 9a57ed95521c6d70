//! The journal and the registries: one append is one transaction of entries, rows and permits, as
//! `volume_core::registry` describes them, interpreted by `Cond::holds`. Every transaction's shape is checked.

use super::fixture::{self, Setup};
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::event::Direction;
use tiershift_core::ids::WorkerId;
use volume_core::effect::PermitsSeen;
use volume_core::fact::Entry;
use volume_core::item::{Cond, Item, Key, Op, Table, Write};
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::Migration;
use volume_core::{Append, keys, registry};

/// Why nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The head has moved.
    Head,
    /// Rows refused.
    Rows(Vec<Key>),
}

/// Journal, registries, locks, permits.
#[derive(Clone, Debug)]
pub struct Store {
    pub items: BTreeMap<Key, Item>,
    /// The migration's journal.
    pub entries: Vec<Entry>,
    /// META's fence and owner.
    pub fence: i64,
    pub owner: Option<WorkerId>,
    /// Permits by name, with their holders.
    permits: BTreeMap<String, Vec<String>>,
    /// Where the limits of permits are.
    caps: Settings,
}

/// Attributes that conditions may name in the registries: ours.
const OURS: [&str; 3] = ["ts_state", "ts_migration", "ts_version"];

impl Store {
    pub fn new(setup: &Setup) -> Self {
        let mut items = BTreeMap::new();
        let source = fixture::source();
        let at =
            |item: Item| item.with("instance_id", source.as_str()).with("availability_zone", fixture::zone().as_str());
        items.insert(
            keys::graph_row(&fixture::graph()),
            at(Item::default()).with("status", "active").with("private_ip", "10.0.0.9"),
        );
        items.insert(
            keys::volume_row(&fixture::volume()),
            at(Item::default()).with("status", "attached").with("tier", fixture::source_tier().as_str()),
        );
        let instance = |group: &str, databases: i64| {
            Item::default().with("status", "healthy").with("database_count", databases).with("cluster_group", group)
        };
        items.insert(keys::instance_row(&source), instance(fixture::source_group().as_str(), 1));
        for idle in &setup.idle {
            items.insert(keys::instance_row(idle), instance(fixture::target_group().as_str(), 0));
        }
        Self {
            items,
            entries: Vec::new(),
            fence: 0,
            owner: None,
            permits: BTreeMap::new(),
            caps: setup.settings.clone(),
        }
    }

    /// A row, or an empty one.
    pub fn row(&self, key: &Key) -> Item {
        self.items.get(key).cloned().unwrap_or_default()
    }

    pub fn permits(&self) -> BTreeMap<String, Vec<String>> {
        self.permits.clone()
    }

    pub fn permits_seen(&self) -> PermitsSeen {
        self.permits.iter().map(|(name, holders)| (name.clone(), holders.len() as u64)).collect()
    }

    /// Others hold so many of each permit.
    pub fn hold_permits(&mut self, count: usize) {
        for name in registry::permit_names(&fixture::spec()) {
            let holders = self.permits.entry(name).or_default();
            holders.retain(|holder| !holder.starts_with("other"));
            holders.extend((0..count).map(|n| format!("other{n}")));
        }
    }

    /// The state that the journal tells.
    pub fn replay(&self) -> Migration {
        Migration::replay(&fixture::change(), &self.entries).expect("what was appended can be folded")
    }

    /// Whether the writes are, or are about to be, blocked.
    pub fn is_moving(&self) -> bool {
        !self.is_settling() && self.entries.iter().rev().any(|e| e.fact.name() == "target_ready")
    }

    /// Whether the migration waits for that gate.
    pub fn waits_at(&self, gate_id: u64) -> bool {
        let m = self.replay();
        m.stage == Stage::Gate
            && m.direction == Direction::Forward
            && m.stuck.is_none()
            && m.gate.is_some_and(|gate| gate.id == gate_id)
    }

    /// Whether the customer's part is over.
    pub fn is_settling(&self) -> bool {
        self.entries.iter().rev().any(|e| e.fact.name() == "opened" || e.fact.name() == "rolled_back")
    }

    /// Appends, or says why not. `foreign`: rows that somebody else keeps.
    pub fn append(&mut self, append: &Append, worker: &WorkerId, foreign: &BTreeSet<String>) -> Result<(), Refused> {
        if append.before.seq != self.entries.len() as u64 || append.before.fence != self.fence {
            return Err(Refused::Head);
        }
        let spec = fixture::spec();
        let fence = self.row(&keys::volume_lock(&spec.volume)).n("fence");
        let writes = registry::writes(append, fence);
        shape(append, &writes);
        let refused: Vec<Key> = writes
            .iter()
            .filter(|write| {
                let item = self.items.get(&write.key);
                let must_exist = matches!(write.op, Op::Update { .. });
                let holds = (!must_exist || item.is_some()) && write.conds.iter().all(|cond| cond.holds(item));
                !holds || foreign.contains(&write.key.pk)
            })
            .map(|write| write.key.clone())
            .collect();
        if !refused.is_empty() {
            return Err(Refused::Rows(refused));
        }
        if registry::permits(append) == Some(true) {
            let caps = [self.caps.permits_account, self.caps.permits_group];
            let taken = self.permits_seen();
            let full = |(name, cap): &(&String, u32)| taken.get(*name).is_some_and(|n| *n >= u64::from(*cap));
            if let Some((name, _)) = registry::permit_names(&spec).iter().zip(caps).find(full) {
                return Err(Refused::Rows(vec![keys::permit(name)]));
            }
        }
        for write in writes {
            self.apply(write);
        }
        if let Some(take) = registry::permits(append) {
            for name in registry::permit_names(&spec) {
                let holders = self.permits.entry(name).or_default();
                holders.retain(|h| h != spec.id.as_str());
                if take {
                    holders.push(spec.id.to_string());
                }
            }
        }
        self.entries.extend(append.entries.iter().cloned());
        self.fence = append.after.fence;
        self.owner = Some(worker.clone());
        Ok(())
    }

    fn apply(&mut self, write: Write) {
        match write.op {
            Op::Put(item) => {
                self.items.insert(write.key, item);
            }
            Op::Update { set, remove } | Op::Upsert { set, remove } => {
                let item = self.items.entry(write.key).or_default();
                item.0.extend(set.0);
                for name in remove {
                    item.0.remove(&name);
                }
            }
            Op::Check => {}
            // Only the permits are, and the journal adds those.
            Op::Count { .. } => panic!("the rows of a fact are not counted: {:?}", write.key),
        }
    }
}

/// What holds of every transaction: one write an item, at most a hundred with the journal's own and the permits,
/// conditions over our own attributes only, nothing created by an update.
pub fn shape(append: &Append, writes: &[Write]) {
    let mut seen = BTreeSet::new();
    for write in writes {
        assert!(seen.insert(&write.key), "two writes to {:?}", write.key);
        let registry = matches!(write.key.table, Table::Graph | Table::Volume | Table::Instance);
        for cond in &write.conds {
            let (Cond::Eq(name, _)
            | Cond::Absent(name)
            | Cond::AbsentOrEq(name, _)
            | Cond::Below(name, _)
            | Cond::AbsentOrBelow(name, _)) = cond
            else {
                continue;
            };
            assert!(!registry || OURS.contains(&name.as_str()), "a condition on {name}, which is not ours");
        }
        assert!(write.key.table != Table::Journal, "the journal's items are the driver's");
        if matches!(write.op, Op::Put(_)) {
            panic!("a row is put only by its own RPC: {:?}", write.key);
        }
        assert!(!matches!(write.op, Op::Count { .. }), "only permits are counted: {:?}", write.key);
        if registry && matches!(write.op, Op::Upsert { .. }) {
            let of = |m: &Migration| [m.launched.clone(), m.home_launched.clone()];
            let known = of(&append.before).into_iter().chain(of(&append.after));
            let ours = known.flatten().any(|i| i.as_str() == write.key.pk);
            assert!(ours, "only the row of an instance that we launched may be created: {:?}", write.key);
        }
    }
    // META and two permits beside them.
    assert!(writes.len() + append.entries.len() + 3 <= 100, "more than DynamoDB takes");
}
