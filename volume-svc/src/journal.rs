//! The journal of migrations over the store: one append is one transaction of the head, its entries, the registry
//! rows that they change, and the permits.
//!
//! What an append means is `volume-core`'s; here is how it becomes durable exactly once: conditions on the head's
//! version and fence, a token, and a read of the head when an answer was lost (rule 9). Nobody else writes META or
//! EV items.

use crate::ports::store::{Refusal, Store, StoreError, TransactError, each_of_index};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tiershift_common::clock::Clock;
use tiershift_core::UnixMs;
use tiershift_core::event::ChangeEvent;
use tiershift_core::ids::{ChangeId, VolumeId, WorkerId};
use tiershift_core::mutant::{self, Mutant};
use volume_core::fact::{Entry, Fact, Spec};
use volume_core::item::{Cond, Index, Item, Key, Table, Write};
use volume_core::settings::Settings;
use volume_core::view::View;
use volume_core::{Append, keys, registry, token};

/// Shards of the index of live migrations: enough that a thousand of them do not meet on one key.
const SHARDS: u64 = 8;

/// Entries read at once; a whole migration has some sixty.
const PAGE: usize = 1_000;

/// How long one append goes on when the store does not say: then the driver loads anew and looks.
const APPEND_BUDGET: Duration = Duration::from_secs(20);

/// The head of a journal, without its entries.
#[derive(Clone, Debug)]
pub struct Head {
    /// The migration.
    pub id: ChangeId,
    /// Sequence of the last entry.
    pub version: u64,
    /// Sequence of the last public entry.
    pub public_seq: u64,
    /// The process that drives it.
    pub owner: WorkerId,
    /// The fence of its driver.
    pub fence: i64,
    /// Epoch of the store that accepted it.
    pub store_epoch: i64,
    /// What was asked for; none for a tombstone.
    pub spec: Option<Spec>,
    /// Who asked for it, or for the cancel that left a tombstone.
    pub requested_by: String,
    /// The glance.
    pub view: View,
    /// When it was accepted.
    pub created_at: UnixMs,
    /// When the last entry was written.
    pub updated_at: UnixMs,
    /// When it was committed.
    pub committed_at: Option<UnixMs>,
    /// When the target served.
    pub opened_at: Option<UnixMs>,
    /// When nothing was owed any more.
    pub done_at: Option<UnixMs>,
    /// When the volume went offline.
    pub offline_at: Option<UnixMs>,
}

/// A live migration as the index shows it: a hint, which may lag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The migration.
    pub id: ChangeId,
    /// Who drives it; none if that cannot be read.
    pub owner: Option<WorkerId>,
    /// Sequence of its last entry.
    pub version: u64,
}

/// Why an append was not made.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended: load again, and stop if the fence is not ours any more.
    #[error("the journal's head has moved")]
    HeadMoved,
    /// The journal is as it was; rows of the registries, locks or permits refused (H32).
    #[error("{} rows refused: {}", .0.len(), names(.0))]
    Rows(Vec<Key>),
    /// Not known, or not possible now.
    #[error("the store does not answer")]
    Unavailable(#[source] crate::ports::Source),
    /// A fault of ours.
    #[error("the append is not valid")]
    Invalid(#[source] crate::ports::Source),
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|k| k.pk.as_str()).collect::<Vec<_>>().join(", ")
}

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// An item is not what this build writes: an operator must look, nothing is guessed.
    #[error("the journal of {id} cannot be read: {why}")]
    Corrupt {
        /// The migration.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// The journal.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    settings: Settings,
    /// Makes every append's id its own, also when the same facts are appended again.
    nonce: Arc<AtomicU64>,
}

impl Journal {
    /// Over a store, on behalf of a process.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, worker: WorkerId, settings: Settings) -> Self {
        Self { store, clock, worker, settings, nonce: Arc::new(AtomicU64::new(0)) }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The process it appends for.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// The head, consistently.
    pub async fn head(&self, id: &ChangeId) -> Result<Option<Head>, ReadError> {
        self.store.get(&keys::meta(id)).await?.map(|item| read_head(id, &item)).transpose()
    }

    /// The entries from a sequence on (1 is the first), consistently and in order.
    pub async fn entries(&self, id: &ChangeId, from: u64) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut next = from.max(1);
        loop {
            let items =
                self.store.query(Table::Journal, &keys::partition(id), Some(&keys::entry_sk(next)), PAGE).await?;
            let full = items.len() == PAGE;
            for item in items {
                // META sorts behind the entries of the same partition.
                if let Some(text) = item.s("entry") {
                    let entry: Entry = serde_json::from_str(text)
                        .map_err(|e| ReadError::Corrupt { id: id.to_string(), why: e.to_string() })?;
                    next = entry.seq + 1;
                    entries.push(entry);
                }
            }
            if !full {
                return Ok(entries);
            }
        }
    }

    /// Public events behind a public sequence.
    pub async fn public(&self, id: &ChangeId, after: u64) -> Result<Vec<(Entry, ChangeEvent)>, ReadError> {
        // A public sequence is never above the entry's own, so the read can begin there.
        let entries = self.entries(id, after + 1).await?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| {
                let event = entry.public.clone().filter(|p| p.seq > after)?;
                Some((entry, event))
            })
            .collect())
    }

    /// The store's epoch; 1 for a store that was never restored (H19).
    pub async fn epoch(&self) -> Result<i64, StoreError> {
        Ok(self.store.get(&keys::epoch()).await?.and_then(|item| item.n("epoch")).unwrap_or(1))
    }

    /// The fence that a volume's lock shows, if it was ever locked.
    pub async fn volume_fence(&self, volume: &VolumeId) -> Result<Option<i64>, StoreError> {
        Ok(self.store.get(&keys::volume_lock(volume)).await?.and_then(|item| item.n("fence")))
    }

    /// Live migrations by the index, each to be read by `head` before anything is done about it.
    pub async fn live(&self) -> Result<Vec<ChangeId>, StoreError> {
        Ok(self.hints().await?.into_iter().map(|hint| hint.id).collect())
    }

    /// Live migrations with what the index shows of them. It may miss one that has just begun, and show one that has
    /// just ended: whoever must not lose one asks again.
    pub async fn hints(&self) -> Result<Vec<Hint>, StoreError> {
        let shards = futures_util::future::try_join_all((0..SHARDS).map(|shard| self.hints_of(shard))).await?;
        Ok(shards.into_iter().flatten().collect())
    }

    async fn hints_of(&self, shard: u64) -> Result<Vec<Hint>, StoreError> {
        let (hash, mut hints) = (format!("A{shard}"), Vec::new());
        let hint = |item: &Item| {
            let owner = item.s("owner").and_then(|owner| WorkerId::parse(owner).ok());
            Some(Hint { id: id_of(item)?, owner, version: item.n("version").map_or(0, unsigned) })
        };
        each_of_index(self.store.as_ref(), Index::JournalActive, &hash, None, |item| hints.extend(hint(item))).await?;
        Ok(hints)
    }

    /// Appends entries and everything that goes with them. `owner` is who drives from here on.
    pub async fn append(&self, append: &Append, owner: &WorkerId, epoch: i64) -> Result<(), AppendError> {
        let id = &append.after.id;
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        let event_id = token::token(id, &format!("append/{}/{nonce}", self.worker), 1);
        let invalid = |why: String| AppendError::Invalid(why.into());
        let mut journal = vec![head_write(append, owner, epoch, &event_id, self.clock.now()).map_err(invalid)?];
        for entry in &append.entries {
            let text = serde_json::to_string(entry).map_err(|e| AppendError::Invalid(e.into()))?;
            journal.push(Write::create(keys::entry(id, entry.seq), Item::default().with("entry", text)));
        }
        if mutant::on(Mutant::DropFence) {
            for write in &mut journal {
                write.conds.clear();
            }
        }
        let heads = journal.len();
        let started = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let mut writes = journal.clone();
            writes.extend(self.rows(append).await?);
            let ordered: Vec<Key> = writes.iter().map(|w| w.key.clone()).collect();
            // Rows are read anew in each round, so each round is a transaction of its own with a token of its own;
            // what decides whether an earlier round was applied is the head.
            let round = self.nonce.fetch_add(1, Ordering::Relaxed);
            let round_token = token::token(id, &format!("append/{}/{round}", self.worker), 2);
            let unknown = match self.store.transact(&round_token, writes).await {
                Ok(()) => return Ok(()),
                Err(TransactError::Invalid(source)) => return Err(AppendError::Invalid(source)),
                Err(TransactError::Refused(refusals)) => {
                    if self.applied(id, &event_id).await? {
                        return Ok(());
                    }
                    return Err(self.judge(append, &refusals, &ordered, heads).await);
                }
                Err(TransactError::Conflict | TransactError::Throttled) => None,
                Err(TransactError::Unknown(source)) => {
                    if self.applied(id, &event_id).await? {
                        return Ok(());
                    }
                    Some(source)
                }
            };
            if started.elapsed() >= APPEND_BUDGET {
                let source = unknown.unwrap_or_else(|| "the transaction met others for too long".into());
                return Err(AppendError::Unavailable(source));
            }
            tokio::time::sleep(jitter(pause, &round_token)).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether an append with this id is the journal's newest.
    async fn applied(&self, id: &ChangeId, event_id: &str) -> Result<bool, AppendError> {
        match self.store.get(&keys::meta(id)).await {
            Ok(item) => Ok(item.as_ref().and_then(|i| i.s("last_event_id")) == Some(event_id)),
            Err(error) => Err(AppendError::Unavailable(error.into())),
        }
    }

    /// What a refusal means: the head decides first, because a store may name fewer items than refused (H32).
    async fn judge(&self, append: &Append, refusals: &[Refusal], keys_in_order: &[Key], heads: usize) -> AppendError {
        let head = match self.store.get(&keys::meta(&append.after.id)).await {
            Ok(head) => head,
            Err(error) => return AppendError::Unavailable(error.into()),
        };
        let moved = head.as_ref().map_or(0, |i| i.n("version").unwrap_or(0)) != number(append.before.seq)
            || head.as_ref().is_some_and(|i| i.n("fence") != Some(append.before.fence));
        if moved || refusals.iter().any(|r| r.write < heads) {
            return AppendError::HeadMoved;
        }
        AppendError::Rows(refusals.iter().filter_map(|r| keys_in_order.get(r.write).cloned()).collect())
    }

    /// Registry rows, locks and permits of an append.
    async fn rows(&self, append: &Append) -> Result<Vec<Write>, AppendError> {
        let Some(spec) = append.after.spec.as_ref() else { return Ok(Vec::new()) };
        let needs_fence = append.before.fence != append.after.fence;
        let fence = if needs_fence {
            self.volume_fence(&spec.volume).await.map_err(|e| AppendError::Unavailable(e.into()))?
        } else {
            None
        };
        // A fence only grows (F5): somebody was here since ours was chosen.
        if fence.is_some_and(|seen| seen >= append.after.fence) && needs_fence {
            return Err(AppendError::Rows(vec![keys::volume_lock(&spec.volume)]));
        }
        let mut writes = registry::writes(append, fence);
        if let Some(take) = registry::permits(append) {
            writes.extend(self.permits(append, spec, take));
        }
        Ok(writes)
    }

    /// Counted, and each holder in an attribute of its own, so that those who take or give at once do not have to have
    /// seen each other; only the limit is a condition. Whether ours is taken already is the head's to know, which the same
    /// transaction moves.
    fn permits(&self, append: &Append, spec: &Spec, take: bool) -> Vec<Write> {
        let mine = holder(append.after.id.as_str());
        let caps = [self.settings.permits_account, self.settings.permits_group];
        let write = |(name, cap): (&String, u32)| {
            let key = keys::permit(name);
            if take {
                let conds = vec![Cond::AbsentOrBelow("n".to_owned(), i64::from(cap))];
                Write::count(key, ("n", 1), Item::default().with(&mine, true), &[], conds)
            } else {
                Write::count(key, ("n", -1), Item::default(), &[&mine], Vec::new())
            }
        };
        registry::permit_names(spec).iter().zip(caps).map(write).collect()
    }

    /// Who holds permits of this name now.
    pub async fn permit_holders(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let item = self.store.get(&keys::permit(name)).await?;
        let held = item.iter().flat_map(|item| item.0.keys()).filter_map(|name| name.strip_prefix(HOLDER));
        Ok(held.map(str::to_owned).collect())
    }

    /// Deadlines and limits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// What the attribute of a permit's holder begins with.
const HOLDER: &str = "holder#";

/// The attribute of a permit's item that a migration holds it by.
pub fn holder(id: &str) -> String {
    format!("{HOLDER}{id}")
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Up to half as much again, so that two who met do not meet again. Drawn from the round's token, which nobody else
/// has: the same history always waits the same, and virtual time can be repeated.
fn jitter(pause: Duration, round_token: &str) -> Duration {
    let parts = u32::from_str_radix(round_token.get(..4).unwrap_or_default(), 16).unwrap_or(0);
    pause + pause * parts / (2 * 0x1_0000)
}

/// The shard of the live index that a migration is in.
fn shard(id: &ChangeId) -> String {
    let sum = id.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("A{}", sum % SHARDS)
}

fn id_of(item: &Item) -> Option<ChangeId> {
    ChangeId::parse(item.s("pk")?.strip_prefix("MIG#")?).ok()
}

/// The write of the head: creates it with the first append, else moves it on.
fn head_write(append: &Append, owner: &WorkerId, epoch: i64, event_id: &str, now: UnixMs) -> Result<Write, String> {
    let (before, after) = (&append.before, &append.after);
    let at = append.entries.last().map_or(now, |e| e.at);
    let json = |value: Result<String, serde_json::Error>| value.map_err(|e| e.to_string());
    let opt = |at: Option<UnixMs>| at.map(|t| t.0);
    let mut set = Item::default()
        .with("version", number(after.seq))
        .with("public_seq", number(after.public_seq))
        .with("owner", owner.as_str())
        .with("fence", after.fence)
        // The same with every append, but for the one by which a person moves it into another life of the store (H19).
        .with("store_epoch", epoch)
        .with("last_event_id", event_id)
        .with("updated_at", at.0)
        .with("view", json(serde_json::to_string(&View::of(after, at)))?)
        .with_opt("committed_at", opt(after.committed_at))
        .with_opt("opened_at", opt(after.opened_at))
        .with_opt("offline_at", opt(after.offline_at))
        .with_opt("done_at", opt(after.done_at));
    let mut remove: Vec<&str> = Vec::new();
    if after.done_at.is_none() {
        set = set.with("active_shard", shard(&after.id));
    } else {
        remove.push("active_shard");
    }
    let key = keys::meta(&after.id);
    if before.seq == 0 {
        let by = append.entries.iter().find_map(|e| match &e.fact {
            Fact::Started { spec } => Some(spec.requested_by.as_str()),
            Fact::Tombstone { by } => Some(by.as_str()),
            _ => None,
        });
        let mut item =
            set.with("created_at", after.started_at.0).with_opt("requested_by", by.filter(|text| !text.is_empty()));
        if let Some(spec) = &after.spec {
            item = item.with("graph_id", spec.graph.as_str()).with("spec", json(serde_json::to_string(spec))?);
        }
        return Ok(Write::create(key, item));
    }
    let mut conds = vec![Cond::eq("version", number(before.seq)), Cond::eq("fence", before.fence)];
    conds.retain(|_| !mutant::on(Mutant::DropFence));
    Ok(Write::update(key, set, &remove, conds))
}

fn read_head(id: &ChangeId, item: &Item) -> Result<Head, ReadError> {
    let corrupt = |why: &str| ReadError::Corrupt { id: id.to_string(), why: why.to_owned() };
    let n = |name: &str| item.n(name).ok_or_else(|| corrupt(name));
    let at = |name: &str| item.n(name).map(UnixMs);
    let spec = match item.s("spec") {
        Some(text) => Some(serde_json::from_str(text).map_err(|e| corrupt(&format!("spec: {e}")))?),
        None => None,
    };
    let view = item.s("view").ok_or_else(|| corrupt("view"))?;
    Ok(Head {
        id: id.clone(),
        version: unsigned(n("version")?),
        public_seq: unsigned(n("public_seq")?),
        owner: WorkerId::parse(item.s("owner").unwrap_or_default()).map_err(|e| corrupt(&e.to_string()))?,
        fence: n("fence")?,
        store_epoch: n("store_epoch")?,
        spec,
        requested_by: item.s("requested_by").unwrap_or_default().to_owned(),
        view: serde_json::from_str(view).map_err(|e| corrupt(&format!("view: {e}")))?,
        created_at: UnixMs(n("created_at")?),
        updated_at: UnixMs(n("updated_at")?),
        committed_at: at("committed_at"),
        opened_at: at("opened_at"),
        done_at: at("done_at"),
        offline_at: at("offline_at"),
    })
}

/// One page of a listing of heads.
pub fn heads_of(items: &[Item]) -> Vec<Head> {
    items
        .iter()
        .filter_map(|item| {
            let id = id_of(item)?;
            read_head(&id, item).inspect_err(|error| tracing::error!(%error, "unreadable head left out of a list")).ok()
        })
        .collect()
}
