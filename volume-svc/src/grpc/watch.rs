//! `WatchMigration`: the public events of one or many migrations, each once and in order, resumed by cursor.
//!
//! The stream reads what the hub has of the journal, at the reader's own pace: a slow reader holds nothing but its
//! position, and is fed from there when it comes back. A wake-up that is lost costs a second, never an event.

use super::{convert, migrations::finish};
use crate::hub::Public;
use crate::journal::Head;
use crate::migrations::{Migrations, read_fault};
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::page::Scope;
use tiershift_common::status::Fault;
use tiershift_core::error::Fields;
use tiershift_core::ids::ChangeId;
use tiershift_core::{Error, Kind, Reason};
use tiershift_proto::common::v1 as common;
use tiershift_proto::volume::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use volume_core::fact::Fact;
use volume_core::stage::Stage;

/// Migrations that one stream may follow.
const POSITIONS_MAX: usize = 200;

/// Between two heartbeats of a quiet stream, in real time; the contract promises 15 s at most.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a quiet stream looks by itself: events that another process appended wake nobody here.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Messages between the reader and its connection. The rest waits in the journal.
const BUFFER: usize = 16;

/// Where a reader stands in one migration.
#[derive(Debug)]
pub struct Position {
    id: ChangeId,
    head: Head,
    /// Last public sequence that it has.
    seq: u64,
    /// Nothing more will follow.
    ended: bool,
    /// The reader was told so.
    told: bool,
}

/// A cursor's content: epoch and public sequence.
type Cursor = (i64, u64);

fn scope(id: &ChangeId) -> Scope {
    Scope::cursors("WatchMigration", &id.as_str())
}

/// Checks a request: ids, cursors, epochs. All malformed fields at once; nothing is streamed before all are good.
pub async fn positions(migrations: &Migrations, request: pb::WatchMigrationRequest) -> Result<Vec<Position>, Status> {
    let mut fields = Fields::new();
    let count = request.positions.len();
    if count == 0 || count > POSITIONS_MAX {
        fields.fault("positions", format!("must have 1 to {POSITIONS_MAX} entries"));
    }
    let mut wanted: Vec<(ChangeId, String)> = Vec::new();
    for (i, position) in request.positions.into_iter().enumerate().take(POSITIONS_MAX) {
        if let Some(id) = fields.id(&format!("positions[{i}].migration_id"), ChangeId::parse(position.migration_id)) {
            if wanted.iter().any(|(known, _)| *known == id) {
                fields.fault(format!("positions[{i}].migration_id"), "must not stand twice");
            }
            wanted.push((id, position.cursor));
        }
    }
    let wanted = finish(fields, Some(wanted))?;
    let mut positions = Vec::with_capacity(wanted.len());
    for (id, cursor) in wanted {
        let head = migrations.get(&id).await?;
        let cursor: Option<Cursor> = scope(&id).position(&cursor).map_err(|e| Status::from(Fault::from(e)))?;
        let (epoch, seq) = cursor.unwrap_or((head.store_epoch, 0));
        if epoch != head.store_epoch || seq > head.public_seq {
            let error = Error::new(
                Kind::OutOfRange,
                Reason::CursorOutOfRange,
                "the cursor is not of this journal; reconcile, then begin anew",
            );
            return Err(Fault::from(error.with("migration_id", id.as_str())).into());
        }
        positions.push(Position { id, head, seq, ended: false, told: false });
    }
    Ok(positions)
}

/// The stream.
pub fn follow(
    migrations: Migrations,
    positions: Vec<Position>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<pb::WatchMigrationResponse, Status>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let mut follower = Follower { migrations, positions, sender };
        // A reader that went away ends the task at its next message.
        let _gone = follower.run(stop).await;
    });
    ReceiverStream::new(receiver)
}

struct Follower {
    migrations: Migrations,
    positions: Vec<Position>,
    sender: mpsc::Sender<Result<pb::WatchMigrationResponse, Status>>,
}

/// The reader went away.
struct Gone;

impl Follower {
    async fn send(&self, id: &str, cursor: String, payload: pb::watch_migration_response::Payload) -> Result<(), Gone> {
        let message = pb::WatchMigrationResponse { migration_id: id.to_owned(), cursor, payload: Some(payload) };
        self.sender.send(Ok(message)).await.map_err(|_| Gone)
    }

    async fn run(&mut self, stop: CancellationToken) -> Result<(), Gone> {
        use common::WatchEndKind as Kind;
        use pb::watch_migration_response::Payload;
        let mut wakes: Vec<_> = self.positions.iter().map(|p| self.migrations.hub.subscribe(&p.id)).collect();
        let mut quiet_since = tokio::time::Instant::now();
        loop {
            let mut sent = false;
            for (index, wake) in wakes.iter_mut().enumerate() {
                // Marked before the read, so that what comes during it wakes again.
                wake.mark_unchanged();
                match self.advance(index).await {
                    Ok(more) => sent |= more,
                    Err(Ended::Gone) => return Err(Gone),
                    Err(Ended::Status(status)) => {
                        return self.sender.send(Err(*status)).await.map_err(|_| Gone);
                    }
                }
            }
            if self.positions.iter().all(|p| p.ended) {
                let end = common::WatchEnd { kind: Kind::Terminal.into(), retry_after_ms: 0 };
                return self.send("", String::new(), Payload::End(end)).await;
            }
            if sent {
                quiet_since = tokio::time::Instant::now();
            } else if quiet_since.elapsed() >= HEARTBEAT {
                quiet_since = tokio::time::Instant::now();
                let beat = common::WatchHeartbeat { server_unix_ms: self.migrations.clock.now().0 };
                self.send("", String::new(), Payload::Heartbeat(beat)).await?;
            }
            let any = futures_util::future::select_all(wakes.iter_mut().map(|w| Box::pin(w.changed())));
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let end = common::WatchEnd { kind: Kind::ComeBack.into(), retry_after_ms: 1_000 };
                    return self.send("", String::new(), Payload::End(end)).await;
                }
                () = self.sender.closed() => return Err(Gone),
                _ = any => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Sends what a migration has behind the reader's position; whether there was anything.
    async fn advance(&mut self, index: usize) -> Result<bool, Ended> {
        use pb::watch_migration_response::Payload;
        let position = &self.positions[index];
        if position.ended {
            return Ok(false);
        }
        let status = |fault: Fault| Ended::Status(Box::new(Status::from(fault)));
        let journal = &self.migrations.journal;
        let id = position.id.clone();
        let events: Vec<Arc<Public>> =
            self.migrations.hub.events(journal, &id, position.seq).await.map_err(|e| status(read_fault(e)))?;
        let epoch = position.head.store_epoch;
        let scope = scope(&id);
        for public in &events {
            let offline_ms = self.offline_ms(index, public);
            let event = convert::event(self.positions[index].head.spec.as_ref(), epoch, public, offline_ms);
            let cursor = scope.token(&(epoch, public.event.seq));
            self.send(id.as_str(), cursor, Payload::Event(event)).await.map_err(|Gone| Ended::Gone)?;
            self.positions[index].seq = public.event.seq;
            let last = matches!(public.entry.fact, Fact::Done | Fact::Tombstone { .. });
            self.positions[index].ended |= last;
        }
        // A reader that comes back behind the last event is told the end too.
        let position = &mut self.positions[index];
        position.ended |= position.head.done_at.is_some() && position.seq >= position.head.public_seq;
        if position.ended && !position.told {
            position.told = true;
            let end = common::WatchEnd { kind: common::WatchEndKind::Terminal.into(), retry_after_ms: 0 };
            let cursor = scope.token(&(epoch, position.seq));
            self.send(id.as_str(), cursor, Payload::End(end)).await.map_err(|Gone| Ended::Gone)?;
            return Ok(true);
        }
        Ok(!events.is_empty())
    }

    /// Milliseconds from the first release to this event; the head read at the start may be older than the release.
    fn offline_ms(&mut self, index: usize, public: &Public) -> i64 {
        let position = &mut self.positions[index];
        if matches!(public.entry.fact, Fact::Entered { stage: Stage::Release }) && position.head.offline_at.is_none() {
            position.head.offline_at = Some(public.entry.at);
        }
        position.head.offline_at.map_or(0, |at| public.entry.at.since(at))
    }
}

enum Ended {
    Gone,
    Status(Box<Status>),
}
