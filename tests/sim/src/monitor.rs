//! Looks after every event: an answer of the cloud, a transaction of either store, a decision of a client. The first
//! broken rule ends the history. It also writes the history down, line by line.

use crate::invariants::cloud::Journals;
use crate::invariants::{Verdict, Violation, cloud, journal, rest, rows, subscription};
use cloud_sim::api::control::{EngineEvent, LedgerEntry, ReadEngineLog, ReadLedger};
use futures_util::FutureExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use subscription_svc::payments::sim::Sim as Provider;
use subscription_svc::store::memory::Memory as Subscriptions;
use subscription_svc::store::{Feed, Key as Subject, Loaded, Store as _};
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{ChangeId, GraphId, InstanceId, VolumeId};
use tiershift_tests::world::cloud::Cloud;
use tokio_util::sync::CancellationToken;
use volume_core::fact::{Entry, Fact};
use volume_core::item::{Item, Key, Table, Write};
use volume_core::keys;
use volume_svc::ports::store::Store as _;
use volume_svc::store::memory::Memory as Volumes;

/// Events that are read at once; no transaction publishes more.
const EVENTS_MAX: u32 = 1_000;

/// What is looked at.
pub struct Monitor {
    clock: Arc<dyn Clock>,
    started: UnixMs,
    soak_ms: i64,
    cloud: OnceLock<Arc<Cloud>>,
    volumes: Arc<Volumes>,
    subscriptions: Arc<Subscriptions>,
    provider: Arc<Provider>,
    inner: Mutex<Inner>,
    /// Cancelled when a rule is broken.
    pub broken: CancellationToken,
}

#[derive(Default)]
struct Inner {
    journals: Journals,
    cloud: cloud::Seen,
    subscription: subscription::Seen,
    ledger_seq: u64,
    engine_seq: u64,
    events: u64,
    /// Instances that were terminated by somebody else.
    lost: BTreeSet<String>,
    /// How often somebody raised a group's desired capacity.
    grown: BTreeMap<String, usize>,
    trace: Vec<String>,
    violation: Option<Violation>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Of a history that begins now.
    pub fn new(
        clock: Arc<dyn Clock>,
        soak_ms: i64,
        volumes: Arc<Volumes>,
        subscriptions: Arc<Subscriptions>,
        provider: Arc<Provider>,
    ) -> Arc<Self> {
        let started = clock.now();
        let (cloud, inner, broken) = (OnceLock::new(), Mutex::default(), CancellationToken::new());
        Arc::new(Self { clock, started, soak_ms, cloud, volumes, subscriptions, provider, inner, broken })
    }

    /// Looks at this cloud after every call from here on; what was before does not count.
    pub fn watch(self: &Arc<Self>, cloud: &Arc<Cloud>) {
        let first = self.cloud.set(Arc::clone(cloud)).is_ok();
        assert!(first, "one cloud is watched");
        {
            let mut inner = self.lock();
            inner.ledger_seq = cloud.ledger().last().map_or(0, |entry| entry.seq);
        }
        self.called();
        let me = Arc::downgrade(self);
        cloud.after_each(move || {
            if let Some(me) = me.upgrade() {
                me.called();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cloud(&self) -> &Arc<Cloud> {
        self.cloud.get().expect("a cloud is watched before anything happens")
    }

    /// Writes a line of the history.
    pub fn tell(&self, what: impl fmt::Display) {
        let line = format!("{:>9} {what}", self.clock.now().since(self.started));
        self.lock().trace.push(line);
    }

    fn judge(&self, verdict: Verdict) {
        let Err(violation) = verdict else { return };
        self.tell(format_args!("BROKEN {violation}"));
        self.lock().violation.get_or_insert(violation);
        self.broken.cancel();
    }

    /// The first broken rule.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// The history so far.
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    /// Events that were looked at.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// Somebody else terminates an instance now.
    pub fn lost(&self, instance_id: &str) {
        self.tell(format_args!("somebody terminates {instance_id}"));
        self.lock().lost.insert(instance_id.to_owned());
    }

    /// Somebody raises a group's desired capacity by one now.
    pub fn grown(&self, group_name: &str) {
        self.tell(format_args!("somebody raises the desired capacity of {group_name}"));
        *self.lock().grown.entry(group_name.to_owned()).or_default() += 1;
    }

    /// The newest targets of migrations that are not done.
    pub fn targets(&self) -> Vec<String> {
        self.journals(|journals| {
            let live = journals.values().filter(|journal| !journal.done);
            live.filter_map(|journal| journal.target.as_ref()).map(ToString::to_string).collect()
        })
    }

    /// Asks something of the journals.
    pub fn journals<T>(&self, look: impl FnOnce(&Journals) -> T) -> T {
        look(&self.lock().journals)
    }

    /// A call was made.
    fn called(&self) {
        let cloud = self.cloud();
        let (after, engines_after) = {
            let inner = self.lock();
            (inner.ledger_seq, inner.engine_seq)
        };
        let calls = cloud.at_once(ReadLedger { after_seq: after, ..ReadLedger::default() }).entries;
        let deeds = cloud.at_once(ReadEngineLog { after_seq: engines_after, ..ReadEngineLog::default() }).entries;
        for call in calls {
            let verdict = {
                let mut inner = self.lock();
                let inner = &mut *inner;
                inner.ledger_seq = call.seq;
                if !changes(&call) {
                    continue;
                }
                inner.events += 1;
                cloud.truth(|sim| inner.cloud.call(&call, &inner.journals, sim))
            };
            self.tell(line_of(&call));
            self.judge(verdict);
        }
        for deed in deeds {
            let verdict = {
                let mut inner = self.lock();
                let inner = &mut *inner;
                inner.engine_seq = deed.seq;
                inner.events += 1;
                inner.cloud.deed(&deed, &inner.journals, &inner.lost)
            };
            if !matches!(deed.event, EngineEvent::Write { .. }) {
                self.tell(format_args!("engine  {} {} {:?}", deed.instance_id, deed.volume_id, deed.event));
            }
            self.judge(verdict);
        }
    }

    /// Which of the rows of a transaction are there, before it is applied.
    pub fn rows_before(&self, writes: &[Write]) -> BTreeSet<Key> {
        let registry = |write: &&Write| matches!(write.key.table, Table::Graph | Table::Volume | Table::Instance);
        writes.iter().filter(registry).map(|write| write.key.clone()).filter(|key| self.row(key).is_some()).collect()
    }

    /// An item of volume-svc's store, at once.
    fn row(&self, key: &Key) -> Option<Item> {
        let read = self.volumes.get(key).now_or_never().expect("memory does not wait");
        read.expect("memory answers")
    }

    /// A transaction of volume-svc's store was applied.
    pub fn journalled(&self, writes: &[Write], before: &BTreeSet<Key>) {
        for write in writes {
            let verdict = self.cloud().truth(|sim| rows::written(write, before.contains(&write.key), sim));
            self.judge(verdict);
        }
        for write in writes.iter().filter(|write| write.key.table == Table::Journal) {
            let Some(text) = written_entry(write) else { continue };
            let Ok(entry) = serde_json::from_str::<Entry>(text) else { continue };
            let id = write.key.pk.strip_prefix("MIG#").and_then(|id| ChangeId::parse(id).ok());
            let id = id.expect("a journal's key names its migration");
            let (verdict, starts) = {
                let mut inner = self.lock();
                let inner = &mut *inner;
                inner.events += 1;
                let starts = i08_one_live_migration(&inner.journals, &entry);
                let journal = inner.journals.entry(id.clone()).or_default();
                (self.cloud().truth(|sim| journal.take(&entry, self.soak_ms, sim)), starts)
            };
            self.tell(format_args!("journal {} #{} {}", short(&id), entry.seq, told(&entry.fact)));
            self.judge(verdict.and(starts));
        }
    }

    /// Everything of one graph or change of the other service, as it is.
    fn loaded(&self, key: &Subject) -> Loaded {
        let read = self.subscriptions.read(key).now_or_never().expect("memory does not wait");
        read.expect("memory answers")
    }

    fn events_of(&self, change: &ChangeId) -> Vec<ChangeEvent> {
        let newest = self.lock().subscription.newest(change);
        let feed = Feed::Changes(vec![change.clone()]);
        let read = self.subscriptions.events(&feed, 0, EVENTS_MAX).now_or_never().expect("memory does not wait");
        let all = read.expect("memory answers").into_iter().map(|published| published.event);
        all.filter(|event| event.seq > newest).collect()
    }

    /// A transaction of subscription-svc's store was applied.
    pub fn committed(&self, key: &Subject) {
        let loaded = self.loaded(key);
        let events = loaded.change.as_ref().map(|change| self.events_of(&change.id)).unwrap_or_default();
        let (revision, _, _) =
            self.subscriptions.access().now_or_never().expect("memory does not wait").expect("memory answers");
        let verdict = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            inner.events += 1;
            let first = inner.subscription.commit(&loaded, &events, self.provider.book(), &inner.journals);
            first.and(inner.subscription.revision(revision.version))
        };
        for event in &events {
            let id = ChangeId::parse(event.change_id.clone()).expect("an event names its change");
            let Some(machine) = loaded.change.as_ref().map(|change| &change.machine) else { continue };
            self.tell(format_args!("change  {} #{} {:?} {}", short(&id), event.seq, machine.state, event.message));
        }
        self.judge(verdict);
    }

    /// A client decided that it may write.
    pub fn admitted(&self, graph: &GraphId, at: UnixMs) {
        let verdict = subscription::i02_no_write_behind_the_gate(graph, at, &self.lock().journals);
        self.judge(verdict);
    }

    /// Everything is over: what must be at rest. Graphs of changes that only a person can end are left out.
    pub fn at_rest(&self, graphs: &BTreeMap<GraphId, VolumeId>) {
        let verdict = self.rest(graphs);
        self.judge(verdict);
    }

    fn rest(&self, graphs: &BTreeMap<GraphId, VolumeId>) -> Verdict {
        let cloud = self.cloud();
        let (over, stuck, lost) = {
            let inner = self.lock();
            rest::i09_everything_ends(&inner.journals)?;
            let over = |stuck: bool| {
                let wanted = inner.journals.iter().filter(move |(_, journal)| journal.done != stuck);
                wanted.map(|(id, _)| id.to_string()).collect::<BTreeSet<String>>()
            };
            (over(false), over(true), inner.lost.clone())
        };
        let mut all = Vec::new();
        for table in [Table::Locks, Table::Graph, Table::Volume, Table::Instance] {
            let page =
                self.volumes.scan(table, None, EVENTS_MAX as usize).now_or_never().expect("memory does not wait");
            all.extend(page.expect("memory answers").items.into_iter().map(|row| (table, row)));
        }
        rest::i08_nothing_is_held(&all, &over)?;
        // A group replaces a lost member in its own time, and who boots then registers itself, which nobody plays here.
        if stuck.is_empty() && lost.is_empty() {
            let of_use = |row: &Item| matches!(row.s("status"), Some("healthy" | "initializing"));
            let known = all.iter().filter(|(table, row)| *table == Table::Instance && of_use(row));
            let known = known.filter_map(|(_, row)| row.s("instance_id").map(str::to_owned)).collect();
            let grown = self.lock().grown.clone();
            rest::i10_groups_are_whole(cloud, &known, &grown)?;
        }
        for (id, volume) in graphs {
            let torn_off = self.lock().cloud.torn_off.get(id.as_str()).copied().unwrap_or(0);
            rest::i13_writes_are_there(cloud, id, torn_off)?;
            let loaded = self.loaded(&Subject::graph(id.clone()));
            let Some(change) = loaded.change.as_ref().filter(|change| !stuck.contains(change.id.as_str())) else {
                continue;
            };
            let ended = change.machine.state.ended();
            crate::invariants::holds("9", ended, || format!("{} has not ended: {:?}", change.id, change.machine))?;
            let graph_row = self.row(&keys::graph_row(id));
            let instance = graph_row.as_ref().and_then(|row| InstanceId::parse(row.s("instance_id")?).ok());
            let graph = rest::Graph {
                loaded: &loaded,
                volume_row: self.row(&keys::volume_row(volume)),
                instance_row: instance.and_then(|instance| self.row(&keys::instance_row(&instance))),
                row: graph_row,
            };
            rest::i05_money_and_tier_agree(&graph)?;
            // Its replacement would claim the volume; the locks are free for it.
            let named = graph.row.as_ref().and_then(|row| row.s("instance_id"));
            if named.is_some_and(|instance| lost.contains(instance)) {
                continue;
            }
            rest::i05_the_registry_is_true(cloud, id, &graph, volume.as_str())?;
        }
        Ok(())
    }
}

/// 8: one live migration per graph and per volume; one that settles counts.
fn i08_one_live_migration(journals: &Journals, entry: &Entry) -> Verdict {
    let Fact::Started { spec } = &entry.fact else { return Ok(()) };
    let same = |j: &&journal::Journal| {
        !j.done && j.spec.as_ref().is_some_and(|s| s.graph == spec.graph || s.volume == spec.volume)
    };
    let other = journals.values().find(same).and_then(|j| j.spec.as_ref()).map(|s| s.id.clone());
    crate::invariants::holds("8", other.is_none(), || format!("{} starts beside {other:?}", spec.id))
}

/// The text of a journal's entry, if the write is one.
fn written_entry(write: &Write) -> Option<&str> {
    use volume_core::item::Op;
    match &write.op {
        Op::Put(item) | Op::Update { set: item, .. } | Op::Upsert { set: item, .. } => item.s("entry"),
        Op::Count { .. } | Op::Check => None,
    }
}

fn changes(call: &LedgerEntry) -> bool {
    let reads = ["AgentHealth", "AgentInfo", "AgentVolume", "AgentConnections", "AgentUsage", "AgentProbe"];
    !call.action.starts_with("Describe") && !reads.contains(&call.action.as_str())
}

fn line_of(call: &LedgerEntry) -> String {
    let of = ["instance_id", "instance_ids", "device", "scope", "snapshot_id", "availability_zones", "fence"];
    let named: Vec<&str> = of.iter().filter_map(|name| call.parameters.get(*name)).map(String::as_str).collect();
    let lost = call.lost.map(|lost| format!(" (lost: {lost:?})")).unwrap_or_default();
    format!("cloud   {} {} -> {}{lost}", call.action, named.join(" "), call.outcome)
}

/// The end of an id, enough to tell two apart.
fn short(id: &ChangeId) -> &str {
    let text = id.as_str();
    text.get(text.len().saturating_sub(6)..).unwrap_or(text)
}

/// A fact in one line.
fn told(fact: &Fact) -> String {
    match fact {
        Fact::Intent { n, effect, fence, .. } => format!("intent {n} {effect:?} fence {fence}"),
        Fact::Outcome { n, outcome } => format!("outcome {n} {outcome:?}"),
        Fact::Started { spec } => format!("started {} {} to {}", spec.graph, spec.source.instance, spec.target_tier),
        Fact::Entered { stage } => format!("entered {stage}"),
        Fact::UndoBegun { reason, detail, .. } => format!("undo_begun {reason} {detail}"),
        Fact::Stuck { reason, detail } => format!("stuck {reason} {detail}"),
        Fact::TakenOver { worker, fence } => format!("taken_over {worker} fence {fence}"),
        Fact::Resumed { action, .. } => format!("resumed {action:?}"),
        other => other.name().to_owned(),
    }
}
