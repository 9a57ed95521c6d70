//! Which instances look idle, read once for all who ask within a second: a process with thousands of changes that need
//! a target would otherwise read the whole index once for each of them. And where each begins to look, so that they do
//! not all run for the same instance, of whom one wins.
//!
//! It is a list of hints, from an index. Whoever takes one reads its row, EC2 and its agent first (`gather.rs`), and
//! takes it by an append on the condition that nobody else has it.

use crate::journal::Journal;
use crate::ports::store::{StoreError, each_of_index};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tiershift_core::ids::{GraphId, GroupName, InstanceId, TierName, Zone};
use volume_core::item::{Index, Item};

/// How old a list may be: the index itself may be as late.
const FRESH_MS: i64 = 1_000;

/// An instance that looks idle.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hint {
    instance: InstanceId,
    zone: Option<Zone>,
    group: Option<GroupName>,
}

impl Hint {
    /// None is one that is visibly taken, or has no id.
    fn of(item: &Item) -> Option<Self> {
        if !is_free(item) {
            return None;
        }
        Some(Self {
            instance: InstanceId::parse(item.s("instance_id")?).ok()?,
            zone: item.s("availability_zone").and_then(|zone| Zone::parse(zone).ok()),
            group: item.s("cluster_group").and_then(|group| GroupName::parse(group).ok()),
        })
    }

    /// What its row does not say is not held against it: the row is read again.
    fn fits(&self, group: &GroupName, zone: &Zone) -> bool {
        self.zone.as_ref().is_none_or(|own| own == zone) && self.group.as_ref().is_none_or(|own| own == group)
    }
}

/// Whether an instance's row says that it is healthy, carries no graph, and belongs to no migration.
pub fn is_free(row: &Item) -> bool {
    row.s("status") == Some("healthy") && row.n("database_count").unwrap_or(0) == 0 && row.s("ts_migration").is_none()
}

/// By tier, with when each was read.
type Lists = BTreeMap<TierName, (UnixMs, Arc<[Hint]>)>;

/// The lists of a process, one a tier.
#[derive(Debug)]
pub struct Idle {
    journal: Journal,
    clock: Arc<dyn Clock>,
    /// Held while one is read, so that those who ask meanwhile wait for one answer.
    read: tokio::sync::Mutex<Lists>,
}

impl Idle {
    /// Nothing read yet.
    pub fn new(journal: Journal, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { journal, clock, read: tokio::sync::Mutex::default() })
    }

    /// Instances of a tier's group in a zone that look idle, in an order of the graph's own.
    pub async fn instances(
        &self,
        graph: &GraphId,
        tier: &TierName,
        group: &GroupName,
        zone: &Zone,
    ) -> Result<impl Iterator<Item = InstanceId> + Send + use<>, StoreError> {
        let hints = self.hints(tier).await?;
        let (group, zone) = (group.clone(), zone.clone());
        let order = from(hints.len(), graph);
        let fitting = order.map(move |at| hints[at].clone()).filter(move |hint| hint.fits(&group, &zone));
        Ok(fitting.map(|hint| hint.instance))
    }

    async fn hints(&self, tier: &TierName) -> Result<Arc<[Hint]>, StoreError> {
        let mut read = self.read.lock().await;
        if let Some((at, hints)) = read.get(tier)
            && self.clock.now().since(*at) < FRESH_MS
        {
            return Ok(Arc::clone(hints));
        }
        // As old as its first page.
        let at = self.clock.now();
        let hints = self.all(tier).await?;
        read.insert(tier.clone(), (at, Arc::clone(&hints)));
        Ok(hints)
    }

    async fn all(&self, tier: &TierName) -> Result<Arc<[Hint]>, StoreError> {
        let (store, index, mut hints) = (self.journal.store(), Index::InstanceByTierStatus, Vec::new());
        each_of_index(store.as_ref(), index, tier.as_str(), Some("healthy"), |item| hints.extend(Hint::of(item)))
            .await?;
        // An index has no order of its own among equals.
        hints.sort_by(|a: &Hint, b| a.instance.cmp(&b.instance));
        Ok(hints.into())
    }
}

/// Each of so many once, from a place of the graph's own on. Another build may choose another place: it is for spread
/// only.
fn from(count: usize, graph: &GraphId) -> impl Iterator<Item = usize> + Send + use<> {
    let mut hasher = DefaultHasher::new();
    graph.as_str().hash(&mut hasher);
    let modulus = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    let first = usize::try_from(hasher.finish() % modulus).unwrap_or(0);
    (first..count).chain(0..first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;
    use std::collections::BTreeSet;
    use tiershift_common::clock::{Virtual, sleep_ms};
    use tiershift_core::ids::WorkerId;
    use volume_core::item::Write;
    use volume_core::keys;
    use volume_core::settings::Settings;

    struct Fleet {
        journal: Journal,
        clock: Arc<dyn Clock>,
        idle: Arc<Idle>,
    }

    impl Fleet {
        fn new() -> Self {
            let clock: Arc<dyn Clock> = Arc::new(Virtual::starting_at(0));
            let worker = WorkerId::parse("w-1").unwrap();
            let journal = Journal::new(Arc::new(Memory::new()), Arc::clone(&clock), worker, Settings::default());
            Self { idle: Idle::new(journal.clone(), Arc::clone(&clock)), journal, clock }
        }

        async fn add(&self, n: u32, graphs: i64, zone: &str) {
            let id = instance(n);
            let row = Item::default()
                .with("instance_id", id.as_str())
                .with("cluster_tier", "ladybug-large")
                .with("cluster_group", "writers")
                .with("status", "healthy")
                .with("availability_zone", zone)
                .with("database_count", graphs);
            let write = Write::create(keys::instance_row(&id), row);
            self.journal.store().transact(&format!("row-{n}"), vec![write]).await.unwrap();
        }

        async fn looks_at(&self, graph: u32) -> Vec<InstanceId> {
            let graph = GraphId::parse(format!("kg{graph:016x}")).unwrap();
            let tier = TierName::parse("ladybug-large").unwrap();
            let (group, zone) = (GroupName::parse("writers").unwrap(), Zone::parse("us-east-1b").unwrap());
            self.idle.instances(&graph, &tier, &group, &zone).await.unwrap().collect()
        }
    }

    fn instance(n: u32) -> InstanceId {
        InstanceId::parse(format!("i-{n:017x}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_idle_instance_is_found_behind_thousands_that_carry_graphs() {
        let fleet = Fleet::new();
        for n in 0..2_500 {
            fleet.add(n, 1, "us-east-1b").await;
        }
        fleet.add(2_500, 0, "us-east-1b").await;
        fleet.add(2_501, 0, "us-east-1a").await;
        assert_eq!(fleet.looks_at(1).await, [instance(2_500)]);
    }

    #[tokio::test(start_paused = true)]
    async fn graphs_begin_at_places_of_their_own_and_come_round() {
        let fleet = Fleet::new();
        for n in 0..100 {
            fleet.add(n, 0, "us-east-1b").await;
        }
        let all: BTreeSet<_> = (0..100).map(instance).collect();
        let mut first: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for graph in 0..100 {
            let order = fleet.looks_at(graph).await;
            assert_eq!((order.len(), order.iter().cloned().collect::<BTreeSet<_>>()), (100, all.clone()));
            assert_eq!(order, fleet.looks_at(graph).await);
            *first.entry(order[0].clone()).or_default() += 1;
        }
        // A hundred throws at a hundred places leave a third of them empty, and six in one place are rare.
        assert!(first.len() > 50 && first.values().all(|graphs| *graphs < 8), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_read_once_a_second() {
        let fleet = Fleet::new();
        assert!(fleet.looks_at(1).await.is_empty());
        fleet.add(1, 0, "us-east-1b").await;
        sleep_ms(&*fleet.clock, FRESH_MS - 1).await;
        assert!(fleet.looks_at(2).await.is_empty(), "the answer of a moment ago serves");
        sleep_ms(&*fleet.clock, 1).await;
        assert_eq!(fleet.looks_at(2).await, [instance(1)]);
    }
}
