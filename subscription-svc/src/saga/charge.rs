//! The money of a change: forward before the gate, back after a rollback (H21, H23, H28).
//!
//! Before anything is sent, everything is checked again in the transaction that stores the request's bytes; a request
//! that is stored may have been sent, so it is made definite before anything else is decided.

use super::deliver::put_off;
use super::turn::{definite, payment_of};
use super::{Fault, delivered};
use crate::payments::Unprepared;
use crate::payments::policy::{Known, resolve};
use crate::service::Service;
use crate::store::Loaded;
use crate::store::rows::{Owed, PaymentKind, PaymentOutcome, PaymentRequest, Subscription, TierChange};
use crate::usecase::facts::{price_changed, terms};
use subscription_core::change::{Back, Event, Refusal};
use tiershift_core::mutant::{self, Mutant};
use tiershift_core::{Reason, Violation};

/// For how much longer the migration must wait at its gate for the charge to begin, in milliseconds: the charge's
/// budget and what closing the gate needs (H22).
const GATE_LEFT_MS: i64 = 120_000;

/// While the migration is seen not to wait at its gate, how often to look.
const LOOK_MS: i64 = 1_000;

/// Takes the money, or finds out what became of it.
pub async fn charge(service: &Service, owed: &Owed, loaded: &Loaded) -> Result<(), Fault> {
    let change = loaded.change.as_ref().ok_or(Fault::Gone)?;
    let request = match payment_of(loaded, PaymentKind::Forward) {
        Some(stored) => stored.clone(),
        None => match prepare(service, owed, loaded, change).await? {
            Some(request) => request,
            None => return Ok(()),
        },
    };
    let again = mutant::on(Mutant::ChargeAgain) && owed.attempts > 0;
    let request = if again { PaymentRequest { kind: PaymentKind::BackPrice, ..request } } else { request };
    service.hold.reached("charging", "intent").await;
    let known = outcome(service, &request).await;
    service.hold.reached("charging", "called").await;
    let due_cents = change.quote.due_cents;
    let attempts = owed.attempts.saturating_add(1);
    let at = service.next_try(owed.attempts);
    let (event, stored) = told(&known, request);
    let event = match event {
        Told::Done => Event::ChargeTaken,
        Told::Refused(reason) => Event::ChargeRefused { reason },
        Told::Unknown => Event::ChargeUnknown,
    };
    let stored_outcome = service.turn(&change.id, |turn, _| {
        turn.payment(stored);
        turn.again(attempts, at);
        if event == Event::ChargeTaken {
            turn.charged(due_cents);
        }
        delivered(turn, owed, &event)
    });
    stored_outcome.await?;
    service.hold.reached("charging", "outcome").await;
    Ok(())
}

/// Prepares the bytes, then checks everything again and stores them, in one transaction. None: it must not be sent
/// (now, or ever).
async fn prepare(
    service: &Service,
    owed: &Owed,
    loaded: &Loaded,
    change: &TierChange,
) -> Result<Option<PaymentRequest>, Fault> {
    let Some(gate_id) = change.machine.gate_id else { return Err(Fault::Refused(Refusal::Unwanted)) };
    let Some(prepared_for) = &loaded.subscription else { return Err(Fault::Refused(Refusal::Unwanted)) };
    // The provider is asked outside of the transaction, and before the look at the gate: it may take seconds.
    let bytes = match service.payments.prepare(PaymentKind::Forward, change, prepared_for).await {
        Ok(bytes) => bytes,
        Err(Unprepared::Refused { reason }) => {
            refused(service, owed, change, &Event::ChargeWithheld { reason }).await?;
            return Ok(None);
        }
        Err(Unprepared::Unknown) => {
            unprepared(service, owed).await?;
            return Ok(None);
        }
    };
    match service.migrations.get(&change.id).await {
        Ok(view) if view.waits_at(gate_id, GATE_LEFT_MS) => {}
        // History, not the head (H22): the follower is about to tell.
        Ok(_) => {
            service.later(owed, service.now().plus(LOOK_MS), owed.attempts).await?;
            return Ok(None);
        }
        Err(error) => {
            put_off(service, owed, &error).await?;
            return Ok(None);
        }
    }
    let now = service.now();
    let prepared = service.turn(&change.id, |turn, loaded| {
        let (Some(graph), Some(subscription)) = (&loaded.graph, &loaded.subscription) else {
            return Err(Refusal::Unwanted);
        };
        if !turn.change.machine.wants(&owed.effect) {
            return Err(Refusal::Unwanted);
        }
        let mut report = service.check_again(loaded, graph, &turn.change);
        if let Some(fault) = price_fault(service, &turn.change, loaded) {
            report.add(fault);
        }
        if let Some(reason) = report.first_reason() {
            turn.violations(report.violations);
            delivered(turn, owed, &Event::ChargeWithheld { reason })?;
            return Ok(Checked::Withheld);
        }
        if !same_at_provider(subscription, prepared_for) {
            return Ok(Checked::Stale);
        }
        let request = stored_request(&turn.change, PaymentKind::Forward, bytes, now);
        turn.payment(request.clone());
        Ok(Checked::Stored(Box::new(request)))
    });
    match prepared.await?.1 {
        Checked::Withheld => Ok(None),
        Checked::Stale => {
            service.later(owed, service.now().plus(LOOK_MS), owed.attempts).await?;
            Ok(None)
        }
        Checked::Stored(request) => Ok(Some(*request)),
    }
}

/// What the transaction before the first send found.
enum Checked {
    /// A fault that ends the change.
    Withheld,
    /// The bytes are for a subscription of another name.
    Stale,
    /// Nothing; the request is stored.
    Stored(Box<PaymentRequest>),
}

/// Whether what was prepared for one is for the other too.
fn same_at_provider(a: &Subscription, b: &Subscription) -> bool {
    a.id == b.id && a.provider_subscription_id == b.provider_subscription_id && a.interval == b.interval
}

/// The provider would not do it: nothing was sent, and nothing is.
async fn refused(service: &Service, owed: &Owed, change: &TierChange, event: &Event) -> Result<(), Fault> {
    let told = service.turn(&change.id, |turn, _| {
        if !turn.change.machine.wants(&owed.effect) {
            return Err(Refusal::Unwanted);
        }
        delivered(turn, owed, event)
    });
    told.await.map(|_| ())
}

/// The provider does not say what must be known before anything is stored: again later.
async fn unprepared(service: &Service, owed: &Owed) -> Result<(), Fault> {
    tracing::info!(change = %owed.change, effect = owed.effect.kind(), attempts = owed.attempts,
        "the provider does not answer; trying again");
    let at = service.next_try(owed.attempts);
    service.later(owed, at, owed.attempts.saturating_add(1)).await
}

/// The price is computed again from what is there now, for the accepted instant: any difference is a changed price.
fn price_fault(service: &Service, change: &TierChange, loaded: &Loaded) -> Option<Violation> {
    let present = terms(loaded.subscription.as_ref()?, service.catalogue.get(&change.to_tier)?);
    let accepted = &change.quote.terms;
    (present != *accepted).then(|| price_changed("price", accepted.price_after_cents, present.price_after_cents))
}

/// Restores the price, or gives the money back.
pub async fn give_back(
    service: &Service,
    owed: &Owed,
    loaded: &Loaded,
    kind: PaymentKind,
    back: Back,
) -> Result<(), Fault> {
    let change = loaded.change.as_ref().ok_or(Fault::Gone)?;
    let stage = match back {
        Back::Price => "reverting",
        Back::Money => "refunding",
    };
    let request = if let Some(stored) = payment_of(loaded, kind) {
        stored.clone()
    } else {
        let subscription = loaded.subscription.as_ref().ok_or(Fault::Gone)?;
        let bytes = match service.payments.prepare(kind, change, subscription).await {
            Ok(bytes) => bytes,
            Err(Unprepared::Refused { reason }) => {
                return refused(service, owed, change, &Event::BackRefused { back, reason }).await;
            }
            Err(Unprepared::Unknown) => return unprepared(service, owed).await,
        };
        let request = stored_request(change, kind, bytes, service.now());
        let row = request.clone();
        let store = service.turn(&change.id, |turn, _| {
            turn.payment(row);
            Ok(())
        });
        store.await?;
        request
    };
    service.hold.reached(stage, "intent").await;
    let known = outcome(service, &request).await;
    service.hold.reached(stage, "called").await;
    let attempts = owed.attempts.saturating_add(1);
    let at = service.next_try(owed.attempts);
    let (event, stored) = told(&known, request);
    let event = match event {
        Told::Done => Event::BackDone { back },
        Told::Refused(reason) => Event::BackRefused { back, reason },
        Told::Unknown => Event::BackUnknown { back },
    };
    let stored_outcome = service.turn(&change.id, |turn, _| {
        turn.payment(stored);
        turn.again(attempts, at);
        if event == (Event::BackDone { back: Back::Money }) {
            turn.returned(turn.change.measured.charged_cents);
        }
        delivered(turn, owed, &event)
    });
    stored_outcome.await?;
    service.hold.reached(stage, "outcome").await;
    Ok(())
}

/// What came of a try.
enum Told {
    Done,
    Refused(Reason),
    Unknown,
}

async fn outcome(service: &Service, request: &PaymentRequest) -> Known {
    match request.outcome {
        // Definite before, and the event with it was lost: told again.
        PaymentOutcome::Taken => Known::Taken { reference: request.reference.clone() },
        PaymentOutcome::Refused => Known::Refused { reason: Reason::PaymentDeclined },
        PaymentOutcome::Unknown | PaymentOutcome::Poisoned => {
            resolve(service.payments.as_ref(), request, service.now()).await
        }
    }
}

fn told(known: &Known, request: PaymentRequest) -> (Told, PaymentRequest) {
    let (told, outcome, reference) = match known {
        Known::Taken { reference } => (Told::Done, PaymentOutcome::Taken, reference.clone()),
        Known::Refused { reason } => (Told::Refused(*reason), PaymentOutcome::Refused, String::new()),
        Known::Unknown { poisoned } => {
            let poisoned = *poisoned && request.outcome == PaymentOutcome::Unknown;
            let outcome = if poisoned { PaymentOutcome::Poisoned } else { request.outcome };
            (Told::Unknown, outcome, request.reference.clone())
        }
    };
    debug_assert!(!definite(request.outcome) || outcome == request.outcome, "a definite outcome never changes");
    (told, PaymentRequest { outcome, reference, ..request })
}

fn stored_request(
    change: &TierChange,
    kind: PaymentKind,
    bytes: String,
    now: tiershift_core::UnixMs,
) -> PaymentRequest {
    PaymentRequest {
        change: change.id.clone(),
        kind,
        bytes,
        stored: now,
        outcome: PaymentOutcome::Unknown,
        reference: String::new(),
    }
}
