//! The port of the scripted volume-svc: its calls, with the rules that the real one keeps.

use super::volume::Fake;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use subscription_svc::migrations::{
    Canceled, Follow, Message, Migrations, Plan, Position, Room, Spec, Start, Status, View,
};
use tiershift_common::clock::sleep_ms;
use tiershift_core::ids::{ChangeId, GraphId, TierName};
use tiershift_core::{Error, Kind, Reason};

fn not_found(id: &ChangeId) -> Error {
    Error::new(Kind::NotFound, Reason::MigrationNotFound, "no such migration").with("migration_id", id.as_str())
}

fn refused(reason: Reason) -> Error {
    Error::new(Kind::FailedPrecondition, reason, "refused by the script")
}

/// A handle that is the port, so that the script can play in tasks of its own.
#[derive(Clone, Debug)]
pub struct Port(pub Arc<Fake>);

#[async_trait]
impl Migrations for Port {
    async fn plan(&self, spec: &Spec) -> Result<Plan, Error> {
        self.0.called("plan").await?;
        let script = self.0.lock().scripts.get(&spec.graph).cloned().unwrap_or_default();
        let expected = subscription_svc::store::rows::Expected {
            write_block_ms: Some(15_000),
            offline_ms: Some(7_000),
            total_ms: Some(80_000),
        };
        Ok(Plan {
            usage_bytes: script.usage_bytes,
            zone: "us-east-1b".to_owned(),
            read_age_ms: 10,
            expected,
            violations: script.violations,
            not_checked: Vec::new(),
        })
    }

    async fn start(&self, start: &Start) -> Result<(), Error> {
        let lost = self.0.called("start").await?;
        let known = self.0.with(&start.id, |j| j.tombstone);
        let answer = match known {
            Some(true) => Err(refused(Reason::Tombstone)),
            Some(false) => Ok(()),
            None => {
                let journal = self.0.journal(start.spec.graph.clone());
                if let Some(reason) = journal.script.refuse_start {
                    Err(refused(reason))
                } else {
                    self.0.lock().journals.insert(start.id.clone(), journal);
                    tokio::spawn(Arc::clone(&self.0).play(start.id.clone()));
                    Ok(())
                }
            }
        };
        self.0.answer(answer, lost).await
    }

    async fn get(&self, id: &ChangeId) -> Result<View, Error> {
        let lost = self.0.called("get").await?;
        let view = self.0.with(id, |j| self.0.view(id, j)).ok_or_else(|| not_found(id));
        self.0.answer(view, lost).await
    }

    async fn live(&self) -> Result<Vec<View>, Error> {
        self.0.called("live").await?;
        let state = self.0.lock();
        Ok(state.journals.iter().filter(|(_, j)| !j.ended).map(|(id, j)| self.0.view(id, j)).collect())
    }

    async fn watch(&self, follows: Vec<Follow>) -> Result<BoxStream<'static, Result<Message, Error>>, Error> {
        self.0.called("watch").await?;
        let mut at: BTreeMap<ChangeId, usize> = BTreeMap::new();
        for follow in follows {
            if !self.0.lock().journals.contains_key(&follow.id) {
                return Err(not_found(&follow.id));
            }
            at.insert(follow.id, follow.cursor.map_or(0, |c| c.parse().expect("our own cursor")));
        }
        let fake = Arc::clone(&self.0);
        let moved = fake.moved.subscribe();
        let state = (fake, moved, at, BTreeSet::new(), None::<Message>);
        let stream = futures_util::stream::unfold(state, |(fake, mut moved, mut at, mut told, again)| async move {
            if let Some(message) = again {
                return Some((Ok(message), (fake, moved, at, told, None)));
            }
            loop {
                moved.borrow_and_update();
                if fake.lock().away {
                    return None;
                }
                let next = next_message(&fake, &mut at, &mut told);
                match next {
                    Some(Ok((message, doubled))) => {
                        let lag_ms = fake.lock().lag_ms;
                        if lag_ms > 0 {
                            sleep_ms(fake.clock.as_ref(), lag_ms).await;
                        }
                        let again = doubled.then(|| message.clone());
                        return Some((Ok(message), (fake, moved, at, told, again)));
                    }
                    Some(Err(error)) => return Some((Err(error), (fake, moved, at, told, None))),
                    None if moved.changed().await.is_err() => return None,
                    None => {}
                }
            }
        });
        Ok(stream.boxed())
    }

    async fn confirm(&self, id: &ChangeId, gate_id: u64, store_epoch: i64) -> Result<(), Error> {
        let lost = self.0.called("confirm").await?;
        assert_eq!(store_epoch, 1, "the epoch of the gate request is named (H19)");
        let answer = self.0.with(id, |j| {
            if j.confirmed && j.gate_id == gate_id {
                return Ok(());
            }
            if j.position != Position::AtGate || j.gate_id != gate_id || j.cancel {
                return Err(refused(Reason::GateMismatch));
            }
            j.confirmed = true;
            j.position = Position::PastGate;
            Ok(())
        });
        self.0.moved.send_modify(|n| *n += 1);
        let answer = answer.unwrap_or_else(|| Err(not_found(id)));
        if answer.is_ok() {
            let now = self.0.clock.now();
            self.0.lock().confirmed_at.entry(id.clone()).or_insert(now);
        }
        self.0.answer(answer, lost).await
    }

    async fn rooms(&self) -> Result<BTreeMap<TierName, Room>, Error> {
        self.0.called("rooms").await?;
        Ok(self.0.lock().rooms.clone())
    }

    async fn cancel(&self, id: &ChangeId, _: &str, _: &str) -> Result<Canceled, Error> {
        let lost = self.0.called("cancel").await?;
        let answer = self.0.with(id, |j| {
            if j.tombstone {
                return Ok(Canceled::Tombstone);
            }
            // Turning back, or ended at its source.
            if !j.back && (j.position >= Position::PastDetach || j.status == Status::Serves) {
                return Err(refused(Reason::TooLateToCancel));
            }
            j.cancel = true;
            Ok(Canceled::TurningBack)
        });
        let answer = answer.unwrap_or_else(|| {
            let graph = GraphId::parse("kg0000000000000000").expect("well formed");
            let mut journal = self.0.journal(graph);
            journal.tombstone = true;
            journal.ended = true;
            journal.status = Status::Tombstone;
            self.0.lock().journals.insert(id.clone(), journal);
            Ok(Canceled::Tombstone)
        });
        self.0.moved.send_modify(|n| *n += 1);
        self.0.answer(answer, lost).await
    }
}

type Next = Result<(Message, bool), Error>;

fn next_message(fake: &Fake, at: &mut BTreeMap<ChangeId, usize>, told: &mut BTreeSet<ChangeId>) -> Option<Next> {
    let state = fake.lock();
    for (id, seen) in at.iter_mut() {
        let Some(journal) = state.journals.get(id) else { return Some(Err(not_found(id))) };
        if let Some(event) = journal.events.get(*seen) {
            *seen += 1;
            let message = Message::Event { cursor: seen.to_string(), event: Box::new(event.clone()) };
            return Some(Ok((message, journal.script.doubled)));
        }
        if journal.ended && told.insert(id.clone()) {
            return Some(Ok((Message::Ended(id.clone()), false)));
        }
    }
    None
}
