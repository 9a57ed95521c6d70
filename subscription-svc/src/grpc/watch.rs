//! WatchTierChange: every event once, in order within its change, no gap, resumed by a cursor.
//!
//! One task a watcher. It takes events from the hub while it keeps up and from the store when it does not; a slow
//! reader parks its own task in a full channel and nobody else's. The cursor is a place in the feed over all changes,
//! which grows in commit order, together with the store's epoch (H19, H39).

use super::{Api, refused};
use crate::service::{Service, from_store};
use crate::store::{Feed, Published};
use crate::usecase::change_not_found;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::caller::Caller;
use tiershift_common::convert::event_to_proto;
use tiershift_common::fields::FieldsExt as _;
use tiershift_common::page::Scope;
use tiershift_common::status::Fault;
use tiershift_core::error::Fields;
use tiershift_core::event::Source;
use tiershift_core::ids::{ChangeId, OrgId};
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::common::v1 as common;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::watch_tier_change_response::Payload;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Without another message, a heartbeat after so long, in real time: below the contract's 15 s by the time that a
/// busy server may be late.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Events read from the store at a time.
const BATCH: u32 = 200;

/// Messages that wait for a reader: enough to keep the transport busy, few enough that a stalled one costs little.
const WAITING: usize = 16;

/// Most changes of one watch, as the contract has it.
const CHANGES_MAX: usize = 1_000;

/// A place in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Position {
    /// The store's epoch.
    epoch: i64,
    /// Everything up to this feed number was seen.
    feed: u64,
    /// For an organisation: changes whose first event is not above this one are not shown.
    base: u64,
}

/// Starts a watch.
pub async fn open(
    api: &Api,
    caller: &Caller,
    request: pb::WatchTierChangeRequest,
) -> Result<BoxStream<'static, Result<pb::WatchTierChangeResponse, Status>>, Status> {
    let service = &api.service;
    let selection = selection(request.selection).map_err(refused)?;
    let history = service.hub.history();
    let scope = match &selection {
        Selection::Changes(ids) => Scope::cursors("WatchTierChange", ids),
        Selection::Org(org) => Scope::cursors("WatchTierChange", org),
    };
    let given: Option<Position> = scope.position(&request.cursor).map_err(refused)?;
    authorise(service, caller, &selection).await?;
    let position = start(service, &selection, given).await?;
    let (sender, receiver) = mpsc::channel(WAITING);
    // Before the first read, so that nothing published after it is slept through.
    let head = service.hub.subscribe();
    let watcher = Watcher {
        service: Arc::clone(service),
        stop: api.stop.clone(),
        scope,
        selection,
        position,
        sender,
        head,
        history,
    };
    tokio::spawn(watcher.run());
    Ok(ReceiverStream::new(receiver).boxed())
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    Changes(BTreeSet<ChangeId>),
    Org(OrgId),
}

fn selection(given: Option<pb::watch_tier_change_request::Selection>) -> Result<Selection, Error> {
    use pb::watch_tier_change_request::Selection as S;
    let mut fields = Fields::new();
    match given {
        None => Err(Error::invalid_field("selection", "must be given")),
        Some(S::OrgId(org)) => {
            let org = fields.id("org_id", OrgId::parse(org));
            super::graph::all(fields, org.map(Selection::Org))
        }
        Some(S::Changes(changes)) => {
            if changes.change_ids.is_empty() {
                fields.fault("changes.change_ids", format!("must have 1 to {CHANGES_MAX} entries"));
            }
            let ids = fields.ids("changes.change_ids", &changes.change_ids, CHANGES_MAX, ChangeId::parse);
            let distinct: Option<BTreeSet<ChangeId>> = ids.map(|ids| ids.into_iter().collect());
            if distinct.as_ref().is_some_and(|d| d.len() < changes.change_ids.len()) {
                fields.fault("changes.change_ids", "must not name a change twice");
            }
            super::graph::all(fields, distinct.map(Selection::Changes))
        }
    }
}

async fn authorise(service: &Service, caller: &Caller, selection: &Selection) -> Result<(), Status> {
    match selection {
        Selection::Org(org) if caller.may_see(org) => Ok(()),
        Selection::Org(_) => {
            let text = "you have no role in this organisation";
            Err(refused(Error::new(Kind::PermissionDenied, Reason::PermissionDenied, text)))
        }
        Selection::Changes(ids) => {
            let ids: Vec<ChangeId> = ids.iter().cloned().collect();
            let found = service.store.changes_by_id(&ids).await.map_err(from_store).map_err(Fault::into_status)?;
            // All or none: one that is foreign reads as one that is not there (D-71).
            let seen: BTreeSet<&ChangeId> = found.iter().filter(|c| caller.may_see(&c.org)).map(|c| &c.id).collect();
            match ids.iter().find(|id| !seen.contains(id)) {
                Some(missing) => Err(refused(change_not_found().with("change_id", missing.as_str()))),
                None => Ok(()),
            }
        }
    }
}

async fn start(service: &Service, selection: &Selection, given: Option<Position>) -> Result<Position, Status> {
    let store = |fault| from_store(fault).into_status();
    let epoch = service.store.epoch().await.map_err(store)?;
    let Some(position) = given else {
        let base = match selection {
            Selection::Changes(_) => 0,
            Selection::Org(org) => service.store.feed_base(org).await.map_err(store)?,
        };
        return Ok(Position { epoch, feed: base, base });
    };
    let head = service.store.feed_head().await.map_err(store)?;
    if position.epoch == epoch && position.feed <= head {
        return Ok(position);
    }
    Err(refused(of_another_life()))
}

fn of_another_life() -> Error {
    let text = "the cursor is of another life of the store; read the changes, then watch without a cursor";
    Error::new(Kind::OutOfRange, Reason::CursorOutOfRange, text)
}

struct Watcher {
    service: Arc<Service>,
    stop: CancellationToken,
    scope: Scope,
    selection: Selection,
    position: Position,
    sender: mpsc::Sender<Result<pb::WatchTierChangeResponse, Status>>,
    head: watch::Receiver<u64>,
    /// The hub's history when it was opened.
    history: u64,
}

/// The reader is gone.
struct Gone;

impl Watcher {
    async fn run(mut self) {
        if let Err(fault) = self.follow().await
            && let Some(status) = fault
        {
            // Nobody may be there any more to hear it.
            let _ = self.sender.send(Err(status)).await;
        }
    }

    /// Ok: it ended in order. Err: with a status, or because nobody reads.
    async fn follow(&mut self) -> Result<(), Option<Status>> {
        let mut unfinished = self.unfinished().await?;
        // What had ended before the first read is all there: after one pass over the events it is done with.
        let mut first = true;
        loop {
            self.head.borrow_and_update();
            if self.service.hub.history() != self.history {
                // What was seen may not have happened, and what comes may have its numbers.
                return Err(Some(refused(of_another_life())));
            }
            self.catch_up(&mut unfinished).await?;
            if let Some(open) = &mut unfinished {
                if first {
                    open.remaining.retain(|id| !open.ended.contains(id));
                }
                if open.remaining.is_empty() {
                    return self.end(common::WatchEndKind::Terminal).await.map_err(|Gone| None);
                }
            }
            first = false;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    return self.end(common::WatchEndKind::ComeBack).await.map_err(|Gone| None);
                }
                () = self.sender.closed() => return Err(None),
                changed = self.head.changed() => {
                    // The hub lives as long as the service that this holds.
                    if changed.is_err() { return Ok(()); }
                }
                () = tokio::time::sleep(HEARTBEAT) => {
                    let beat = common::WatchHeartbeat { server_unix_ms: self.service.now().0 };
                    self.send(Payload::Heartbeat(beat)).await.map_err(|Gone| None)?;
                }
            }
        }
    }

    /// The changes that have not been told to their end; none when watching an organisation, which has none.
    async fn unfinished(&self) -> Result<Option<Unfinished>, Option<Status>> {
        let Selection::Changes(ids) = &self.selection else { return Ok(None) };
        let list: Vec<ChangeId> = ids.iter().cloned().collect();
        let found = self.service.store.changes_by_id(&list).await;
        let found = found.map_err(|fault| Some(from_store(fault).into_status()))?;
        let ended = found.into_iter().filter(|c| !c.active()).map(|c| c.id).collect();
        Ok(Some(Unfinished { remaining: ids.clone(), ended }))
    }

    /// Sends everything that is there.
    async fn catch_up(&mut self, unfinished: &mut Option<Unfinished>) -> Result<(), Option<Status>> {
        loop {
            if let Some(fresh) = self.service.hub.since(self.position.feed) {
                for published in fresh {
                    if self.selects(&published) {
                        self.tell(&published, unfinished).await?;
                    }
                    self.position.feed = published.feed;
                }
                return Ok(());
            }
            let feed = match &self.selection {
                Selection::Changes(ids) => Feed::Changes(ids.iter().cloned().collect()),
                Selection::Org(org) => Feed::Org(org.clone(), self.position.base),
            };
            let stored = self.service.store.events(&feed, self.position.feed, BATCH).await;
            let stored = stored.map_err(|fault| Some(from_store(fault).into_status()))?;
            let all = stored.len() < BATCH as usize;
            for published in &stored {
                self.tell(published, unfinished).await?;
            }
            if all {
                return Ok(());
            }
        }
    }

    /// Whether an event of the hub is watched. For an organisation the hub cannot say when a change began; but what is
    /// fresh and was not shown from its first event on is a change that was running before the base: none is, because
    /// the base lies below every change that ran.
    fn selects(&self, published: &Published) -> bool {
        match &self.selection {
            Selection::Org(org) => &published.org == org,
            Selection::Changes(ids) => {
                ChangeId::parse(published.event.change_id.clone()).is_ok_and(|id| ids.contains(&id))
            }
        }
    }

    async fn tell(&mut self, published: &Published, unfinished: &mut Option<Unfinished>) -> Result<(), Option<Status>> {
        self.position.feed = published.feed;
        self.send(Payload::Event(event_to_proto(&published.event))).await.map_err(|Gone| None)?;
        let event = &published.event;
        let last =
            event.source == Source::Subscription && matches!(event.stage.as_str(), "succeeded" | "failed" | "canceled");
        if let (true, Some(open)) = (last, unfinished)
            && let Ok(id) = ChangeId::parse(event.change_id.clone())
        {
            open.remaining.remove(&id);
        }
        Ok(())
    }

    async fn end(&self, kind: common::WatchEndKind) -> Result<(), Gone> {
        self.send(Payload::End(common::WatchEnd { kind: kind.into(), retry_after_ms: 0 })).await
    }

    async fn send(&self, payload: Payload) -> Result<(), Gone> {
        let cursor = self.scope.token(&self.position);
        let message = pb::WatchTierChangeResponse { cursor, payload: Some(payload) };
        self.sender.send(Ok(message)).await.map_err(|_| Gone)
    }
}

/// What must still be told before a watch of named changes ends.
struct Unfinished {
    /// Not told to their end.
    remaining: BTreeSet<ChangeId>,
    /// Those that had ended before the watch began.
    ended: BTreeSet<ChangeId>,
}
