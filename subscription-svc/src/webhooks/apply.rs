//! Makes something of stored events: asks the provider what is so, and applies that to the subscription.
//!
//! All events of one subscription that were received before a question are answered by it, read or not. What the provider says is applied only to the row
//! that was read before it was asked: if that changed meanwhile, it is asked again, so that an older state never overwrites
//! a newer one. While a tier change runs, dates are applied at once and the rest waits for its end, or for an hour (H24).
//! An event about a subscription that nobody knows is kept and tried again for days; then an operator must look.

use crate::lifecycle::Fault;
use crate::lifecycle::turn::Turn;
use crate::pace::{self, Found, STORE_PAUSE_MS};
use crate::payments::{Billing, Fetched, Snapshot};
use crate::service::Service;
use crate::store::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use crate::store::rows::{STRIPE, Subscription, TellKind};
use crate::store::{self, Key, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use subscription_core::lifecycle::Refusal;
use subscription_core::provider;
use tiershift_core::UnixMs;
use tiershift_core::ids::SubscriptionId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Events read at once.
const BATCH: u32 = 1_000;

/// Subscriptions worked on at once: some questions to the provider are always on their way.
const AT_ONCE: usize = 16;

/// First wait after a question without an answer, or without a subscription, in milliseconds; doubled each time.
const BACKOFF_FIRST_MS: i64 = 1_000;

/// Longest wait.
const BACKOFF_MAX_MS: i64 = 3_600_000;

/// Where an event nobody can make anything of becomes a dead letter: as long as Stripe itself would go on sending it.
const DEAD_AFTER_MS: i64 = 3 * 24 * 3_600_000;

/// While a tier change runs, how often to look whether it has ended, in milliseconds.
const DEFERRED_MS: i64 = 10_000;

/// For how long a change may defer what the provider says (H24).
const DEFERRED_MAX_MS: i64 = 3_600_000;

/// How often the provider is asked anew because the row changed meanwhile, before others get their turn.
const ASKED_MAX: u32 = 3;

/// What became of the events of one subscription.
struct Verdict {
    state: WebhookState,
    attempts: u32,
    not_before: UnixMs,
    note: String,
}

/// Runs until `stop`.
pub async fn run(service: Arc<Service>, inbox: Arc<dyn Inbox>, arrived: Arc<Notify>, stop: CancellationToken) {
    pace::rounds(&service, &arrived, &stop, || turn(&service, inbox.as_ref())).await;
}

/// Everything that is due now; gives back when there will be more.
pub async fn turn(service: &Service, inbox: &dyn Inbox) -> Result<Option<UnixMs>, store::Fault> {
    let (due, next) = inbox.due(service.now(), BATCH).await?;
    let more = due.len() >= BATCH as usize;
    let mut groups: BTreeMap<String, Vec<WebhookEvent>> = BTreeMap::new();
    for event in due {
        groups.entry(event.subject.clone()).or_default().push(event);
    }
    let found = Found { due: groups.into_iter().collect(), more, next };
    let again = pace::work(service, found, AT_ONCE, |(subject, events)| async move {
        let done = apply(service, inbox, &subject, &events).await;
        done.inspect_err(|fault| {
            tracing::warn!(subject, error = fault as &dyn std::error::Error, "webhooks were not applied");
        })
        .is_err()
    });
    Ok(again.await)
}

async fn apply(service: &Service, inbox: &dyn Inbox, subject: &str, events: &[WebhookEvent]) -> Result<(), Fault> {
    if let Some(verdict) = ask(service, inbox, subject, events).await? {
        inbox.mark(&mark(events, &verdict)).await?;
    }
    Ok(())
}

/// What became of the events; none if it was written with what they did.
async fn ask(
    service: &Service,
    inbox: &dyn Inbox,
    subject: &str,
    events: &[WebhookEvent],
) -> Result<Option<Verdict>, Fault> {
    let Some(subscription) = find(service, subject, events).await? else {
        return Ok(Some(later(service, events, "no subscription of this name is known here")));
    };
    let deferred = deferred(service, &subscription, events);
    if deferred && events.iter().all(|event| event.attempts > 0) {
        return Ok(Some(wait_for_the_change(service, events)));
    }
    let mut before = subscription;
    for _ in 0..ASKED_MAX {
        // Before the question: what was received until here is answered by it.
        let answered = (subject.to_owned(), inbox.head().await?);
        let snapshot = match service.payments.fetch(subject).await {
            Fetched::Snapshot(snapshot) => snapshot,
            Fetched::Unknown => return Ok(Some(later(service, events, "the provider does not answer"))),
            Fetched::Gone => {
                return Ok(Some(later(service, events, "the provider knows no such subscription")));
            }
            Fetched::NotKept => {
                let note = "the payment provider in use keeps no subscriptions";
                return Ok(Some(verdict(service, WebhookState::Ignored, note)));
            }
        };
        match commit(service, &before, answered, &snapshot, events).await? {
            None => return Ok(None),
            Some(now) => before = now,
        }
    }
    // Somebody writes it again and again: their turn first.
    let at = service.now().plus(STORE_PAUSE_MS);
    Ok(Some(Verdict { not_before: at, ..later(service, events, "the subscription is busy") }))
}

/// The subscription that the events are about: by the provider's name for it, else by ours, if it has no other yet.
async fn find(service: &Service, subject: &str, events: &[WebhookEvent]) -> Result<Option<Subscription>, Fault> {
    if let Some(known) = service.store.subscription_of_provider(STRIPE, subject).await? {
        return Ok(Some(known));
    }
    let ours = events.iter().find_map(|event| SubscriptionId::parse(event.ours.clone()).ok());
    let Some(ours) = ours else { return Ok(None) };
    let found = service.store.subscription(&ours).await?;
    Ok(found.filter(|s| s.provider == STRIPE && s.provider_subscription_id.is_empty()))
}

/// Whether a tier change that runs puts off everything but dates.
fn deferred(service: &Service, subscription: &Subscription, events: &[WebhookEvent]) -> bool {
    let oldest = events.iter().map(|event| event.received).min().unwrap_or_default();
    subscription.active_change.is_some() && service.now().since(oldest) < DEFERRED_MAX_MS
}

/// Applies what the provider says and marks the events, in one transaction. Gives back the row as it is now, if it is not
/// the one that was there before the provider was asked.
async fn commit(
    service: &Service,
    before: &Subscription,
    answered: (String, u64),
    snapshot: &Snapshot,
    events: &[WebhookEvent],
) -> Result<Option<Subscription>, Fault> {
    let now = service.now();
    let key = Key::graph(before.graph.clone());
    let done = service.committer.transact(&key, |loaded| {
        let mut turn = Turn::begin(loaded, &service.ids, now).ok_or(Fault::Gone)?;
        if turn.subscription.id != before.id {
            // Another one counts for the graph: this one is over, and nothing brings it back.
            let note = "the subscription is over";
            return Ok((vec![Write::Webhooks(mark(events, &verdict(service, WebhookState::Applied, note)))], None));
        }
        if turn.subscription != *before {
            return Ok((Vec::new(), Some(turn.subscription)));
        }
        turn.subscription.provider_subscription_id.clone_from(&answered.0);
        let deferred = deferred(service, before, events);
        // What the provider has not been told yet, it cannot know.
        let untold = before.told.iter().any(|told| told.kind != TellKind::Invoice);
        let life = turn.subscription.life();
        let news = if deferred || untold {
            provider::dates(&life, &snapshot.books())
        } else {
            provider::events(&life, &snapshot.books(), now)
        };
        if life.over && snapshot.status != Billing::Ended {
            tracing::error!(subscription = %before.id, billing = snapshot.status.as_str(),
                "the provider goes on with a subscription that is over here: end it there");
        }
        for event in news {
            match turn.take(event) {
                Ok(_) => {}
                Err(refusal @ (Refusal::From(_) | Refusal::Over | Refusal::EmptyPeriod)) => {
                    tracing::warn!(subscription = %before.id, %refusal, ?event, "the provider says what cannot be");
                }
            }
        }
        let verdict = if deferred {
            wait_for_the_change(service, events)
        } else if untold {
            Verdict {
                not_before: now.plus(STORE_PAUSE_MS),
                ..later(service, events, "the provider is still to be told")
            }
        } else {
            verdict(service, WebhookState::Applied, "")
        };
        if before.active_change.is_none() && snapshot.price_cents != turn.subscription.price_cents {
            tracing::error!(subscription = %before.id, provider_cents = snapshot.price_cents,
                our_cents = turn.subscription.price_cents, "the provider has another price than we");
        }
        let mut writes = turn.finish();
        let answered = Some(answered).filter(|_| verdict.state == WebhookState::Applied);
        writes.push(Write::Webhooks(WebhookMark { answered, ..mark(events, &verdict) }));
        Ok::<_, Fault>((writes, None))
    });
    done.await?
}

fn mark(events: &[WebhookEvent], verdict: &Verdict) -> WebhookMark {
    WebhookMark {
        ids: events.iter().map(|event| event.id.clone()).collect(),
        answered: None,
        state: verdict.state,
        attempts: verdict.attempts,
        not_before: verdict.not_before,
        note: verdict.note.clone(),
    }
}

fn verdict(service: &Service, state: WebhookState, note: &str) -> Verdict {
    Verdict { state, attempts: 0, not_before: service.now(), note: note.to_owned() }
}

/// Again after a while; a dead letter after days.
fn later(service: &Service, events: &[WebhookEvent], note: &str) -> Verdict {
    let now = service.now();
    let attempts = events.iter().map(|event| event.attempts).max().unwrap_or(0);
    let newest = events.iter().map(|event| event.received).max().unwrap_or(now);
    if now.since(newest) >= DEAD_AFTER_MS {
        tracing::error!(
            events = events.len(),
            subject = events.first().map(|e| e.subject.as_str()),
            note,
            "webhooks are dead letters: an operator must look"
        );
        return verdict(service, WebhookState::Dead, note);
    }
    let wait_ms = pace::doubled_ms(attempts, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
    Verdict {
        state: WebhookState::Pending,
        attempts: attempts.saturating_add(1),
        not_before: now.plus(wait_ms),
        note: note.to_owned(),
    }
}

fn wait_for_the_change(service: &Service, events: &[WebhookEvent]) -> Verdict {
    let at = service.now().plus(DEFERRED_MS);
    Verdict { not_before: at, attempts: 1, ..later(service, events, "deferred: the tier is being changed") }
}
