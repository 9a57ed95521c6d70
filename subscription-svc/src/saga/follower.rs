//! Follows the migrations of all changes that have something to hear, each from its cursor, and applies every event
//! once: with its public event, what it owes and its audit, in one transaction.
//!
//! One task. A stream that breaks is opened again from the stored cursors; nothing is remembered here that a restart
//! would lose. Effects do not start here: they are owed, and delivered from the state at the head (H22).

use super::compare::lost;
use super::{BACKOFF_MAX_MS, Fault, STORE_PAUSE_MS, backoff_ms};
use crate::migrations::{FOLLOWED_MAX, Follow, Message, MigrationEvent};
use crate::service::Service;
use crate::store;
use crate::store::rows::TierChange;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use std::collections::BTreeSet;
use std::sync::Arc;
use subscription_core::change::{Event, Refusal, State};
use tiershift_core::ids::ChangeId;
use tiershift_core::{Error, Reason, UnixMs};
use tokio_util::sync::CancellationToken;

/// The metadata of an error that says which of the followed migrations it is about.
const MIGRATION_ID: &str = "migration_id";

/// What the streams bring: the followed group, for the end of one, and the message.
type Item = (Arc<BTreeSet<ChangeId>>, Option<Result<Message, Error>>);

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut streams: SelectAll<BoxStream<'static, Item>> = SelectAll::new();
    let mut followed: BTreeSet<ChangeId> = BTreeSet::new();
    let mut failures: u32 = 0;
    let mut reopen_at: Option<UnixMs> = Some(service.now());
    loop {
        if reopen_at.is_some_and(|at| at <= service.now()) {
            reopen_at = match open(&service, &mut streams, &mut followed).await {
                Ok(()) => None,
                Err(pause_ms) => Some(service.now().plus(pause_ms)),
            };
        }
        let until_reopen = async {
            match reopen_at {
                Some(at) => service.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = service.follow.notified() => reopen_at = reopen_at.or(Some(service.now())),
            () = until_reopen => {}
            Some((group, item)) = streams.next(), if !streams.is_empty() => {
                let goes_on = match item {
                    Some(item) => on_item(&service, item, &mut followed).await,
                    // The stream ended without a word: it was cut.
                    None => Err(Reopen::Soon),
                };
                match goes_on {
                    Ok(()) => failures = 0,
                    Err(reopen) => {
                        followed.retain(|id| !group.contains(id));
                        let pause_ms = match reopen {
                            Reopen::Now => 0,
                            Reopen::Soon => {
                                failures = failures.saturating_add(1);
                                backoff_ms(failures, service.ids.random())
                            }
                        };
                        reopen_at = Some(service.now().plus(pause_ms));
                        // What else this stream says would be applied out of turn.
                        streams = rest(streams, &group);
                    }
                }
            }
        }
    }
}

/// How soon the migrations of a stream that ended are followed again.
enum Reopen {
    Now,
    Soon,
}

/// Drops the streams of a group by opening all others anew: rare, and simpler than telling streams apart.
fn rest(
    streams: SelectAll<BoxStream<'static, Item>>,
    group: &Arc<BTreeSet<ChangeId>>,
) -> SelectAll<BoxStream<'static, Item>> {
    let group = Arc::clone(group);
    streams
        .into_iter()
        .map(move |stream| {
            let group = Arc::clone(&group);
            stream.take_while(move |(of, _)| std::future::ready(!Arc::ptr_eq(of, &group))).boxed()
        })
        .collect()
}

/// Opens streams for everything that is to be followed and is not yet. Err: when to try again, in milliseconds.
async fn open(
    service: &Arc<Service>,
    streams: &mut SelectAll<BoxStream<'static, Item>>,
    followed: &mut BTreeSet<ChangeId>,
) -> Result<(), i64> {
    let open = match service.store.open_changes().await {
        Ok(open) => open,
        Err(fault) => {
            tracing::warn!(error = &fault as &dyn std::error::Error, "cannot read which migrations to follow");
            return Err(STORE_PAUSE_MS);
        }
    };
    let new: Vec<TierChange> =
        open.into_iter().filter(|c| c.follows && !c.machine.held() && !followed.contains(&c.id) && !lost(c)).collect();
    for chunk in new.chunks(FOLLOWED_MAX) {
        let follow = |c: &TierChange| Follow { id: c.id.clone(), cursor: c.cursor.clone() };
        match service.migrations.watch(chunk.iter().map(follow).collect()).await {
            Ok(stream) => {
                let group: Arc<BTreeSet<ChangeId>> = Arc::new(chunk.iter().map(|c| c.id.clone()).collect());
                followed.extend(group.iter().cloned());
                let tag = Arc::clone(&group);
                let items = stream.map(move |item| (Arc::clone(&tag), Some(item)));
                let end = futures_util::stream::once(std::future::ready((group, None)));
                streams.push(items.chain(end).boxed());
            }
            Err(error) => {
                on_error(service, &error).await;
                return Err(BACKOFF_MAX_MS / 4);
            }
        }
    }
    Ok(())
}

async fn on_item(
    service: &Arc<Service>,
    item: Result<Message, Error>,
    followed: &mut BTreeSet<ChangeId>,
) -> Result<(), Reopen> {
    match item {
        Ok(Message::Heartbeat) => Ok(()),
        Ok(Message::Event { cursor, event }) => match apply(service, &cursor, &event).await {
            Ok(()) => Ok(()),
            Err(fault) => {
                tracing::warn!(
                    change = event.event.change_id,
                    seq = event.event.seq,
                    error = &fault as &dyn std::error::Error,
                    "an event could not be applied; following anew"
                );
                Err(Reopen::Soon)
            }
        },
        Ok(Message::Ended(id)) => {
            followed.remove(&id);
            match settle(service, &id).await {
                Ok(()) => Ok(()),
                Err(fault) => {
                    tracing::warn!(change = %id, error = &fault as &dyn std::error::Error, "an end could not be stored");
                    Err(Reopen::Soon)
                }
            }
        }
        Ok(Message::ComeBack) => Err(Reopen::Now),
        Err(error) => {
            on_error(service, &error).await;
            Err(Reopen::Soon)
        }
    }
}

/// Applies one event, once.
async fn apply(service: &Arc<Service>, cursor: &str, event: &MigrationEvent) -> Result<(), Fault> {
    let id = ChangeId::parse(event.event.change_id.clone()).map_err(|_| Fault::Gone)?;
    let followed = service.turn(&id, |turn, _| turn.follow(cursor.to_owned(), event)).await;
    let (change, fresh) = match followed {
        Ok(done) => done,
        // After a restore nothing is applied until an operator has decided; the cursor stays where it was.
        Err(Fault::Refused(Refusal::Restored)) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    if fresh {
        let stage = match change.machine.state {
            State::Finalizing => "finalizing",
            State::Succeeded => "succeeded",
            State::Compensating => "compensating",
            _ => return Ok(()),
        };
        service.hold.reached(stage, "outcome").await;
    }
    Ok(())
}

/// Nothing more follows: settled, whether or not its event was among those heard.
async fn settle(service: &Arc<Service>, id: &ChangeId) -> Result<(), Fault> {
    let settled =
        service.turn(id, |turn, _| if turn.change.machine.settled { Ok(()) } else { turn.take(&Event::Settled) });
    match settled.await {
        Ok(_) | Err(Fault::Refused(_)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// An error of a stream: about one migration, or about volume-svc.
async fn on_error(service: &Arc<Service>, error: &Error) {
    let about = error.metadata.get(MIGRATION_ID).and_then(|id| ChangeId::parse(id.clone()).ok());
    let event = match (error.reason, about) {
        // Once acknowledged and now unknown: an alarm, and never a new start (H19 d).
        (Reason::MigrationNotFound, Some(id)) => {
            Some((id, Event::Contradicted { reason: Reason::MigrationNotFound, past_gate: false }))
        }
        // A cursor of another life of the journal (H19 b).
        (Reason::CursorOutOfRange, Some(id)) => Some((id, Event::Restored)),
        (reason, _) => {
            tracing::info!(reason = reason.as_str(), "the migrations cannot be followed now; trying again");
            None
        }
    };
    let Some((id, event)) = event else { return };
    tracing::error!(change = %id, reason = error.reason.as_str(), "the migration's history does not fit");
    if let Err(fault) = service.turn(&id, |turn, _| turn.take(&event)).await
        && !matches!(fault, Fault::Store(store::Fault::Away(_)))
    {
        tracing::error!(change = %id, error = &fault as &dyn std::error::Error, "and cannot be put before a person");
    }
}
