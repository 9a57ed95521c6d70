//! CancelSubscription, ResumeSubscription and CorrectSubscription: what people do to the life of a subscription.
//!
//! Owners cancel and resume; corrections are the operators', with a written reason. What ends a subscription at once is
//! refused while its tier changes (H28), and so is every correction.

use super::repeat::Repeat;
use super::{owner_only, subscription_not_found};
use crate::lifecycle::turn::Turn;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::{AuditKind, Subscription, TellKind};
use crate::store::{Key, Loaded, Write};
use serde::Serialize;
use std::collections::BTreeMap;
use subscription_core::lifecycle::{End, Event, Refusal};
use subscription_core::status::SubscriptionStatus as Status;
use tiershift_common::caller::Caller;
use tiershift_core::ids::{RequestId, SubscriptionId};
use tiershift_core::{Error, Kind, Reason};

/// A cancellation.
#[derive(Clone, Debug, Serialize)]
pub struct CancelSubscription {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// Which.
    pub subscription: SubscriptionId,
    /// When it ends.
    pub end: End,
    /// Why, for the audit; empty: not said.
    pub note: String,
}

/// What an operator corrects. At least one of them.
#[derive(Clone, Debug, Serialize)]
pub struct CorrectSubscription {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// Which.
    pub subscription: SubscriptionId,
    /// The status it shall have; none: as it is.
    pub status: Option<Status>,
    /// What this customer pays for one interval from the next period on, in cents and currency; none: as it is.
    pub price: Option<(i64, String)>,
    /// Credits granted each month from then on; none: as they are.
    pub monthly_credits: Option<i64>,
    /// Why: 1 to 1,000 characters.
    pub reason: String,
}

impl Service {
    /// Ends a subscription, now or with its paid period.
    pub async fn cancel_subscription(&self, caller: &Caller, request: CancelSubscription) -> Outcome<Subscription> {
        let repeat = Repeat::of(caller, request.request.clone(), "CancelSubscription", &request);
        self.command(caller, &request.subscription, &repeat, |turn, loaded| {
            owner_only(caller, &turn.subscription.org)?;
            // Also with a period that is over, and is renewed only when the tier has changed: it would end at once.
            if request.end == End::Now || turn.subscription.period_end <= self.now() {
                self.not_changing(loaded)?;
            }
            let before = turn.subscription.life();
            turn.take(Event::Canceled(request.end)).map_err(|refusal| not_possible(refusal, Reason::WrongState))?;
            if turn.subscription.life() != before {
                turn.remark("note", &request.note);
                turn.tell(match request.end {
                    End::Now => TellKind::CancelNow,
                    End::PeriodEnd => TellKind::CancelAtPeriodEnd,
                });
            }
            Ok(())
        })
        .await
    }

    /// Takes a cancellation back before its end, or ends a pause.
    pub async fn resume_subscription(
        &self,
        caller: &Caller,
        request: RequestId,
        id: &SubscriptionId,
    ) -> Outcome<Subscription> {
        let repeat = Repeat::of(caller, request, "ResumeSubscription", id);
        self.command(caller, id, &repeat, |turn, _| {
            owner_only(caller, &turn.subscription.org)?;
            if turn.take(Event::Resumed).map_err(|refusal| not_possible(refusal, Reason::NotResumable))? {
                turn.tell(TellKind::Resume);
            }
            Ok(())
        })
        .await
    }

    /// Corrects a subscription by hand.
    pub async fn correct_subscription(&self, caller: &Caller, request: CorrectSubscription) -> Outcome<Subscription> {
        if !caller.is_operator() {
            let text = "only operators may correct a subscription";
            return Err(Error::new(Kind::PermissionDenied, Reason::OperatorOnly, text).into());
        }
        let repeat = Repeat::of(caller, request.request.clone(), "CorrectSubscription", &request);
        self.command(caller, &request.subscription, &repeat, |turn, loaded| {
            self.not_changing(loaded)?;
            let detail = correct(turn, &request)?;
            turn.note(AuditKind::SubscriptionCorrected, "an operator corrected the subscription", detail);
            turn.remark("reason", &request.reason);
            Ok(())
        })
        .await
    }

    /// One command about one subscription: its repeat is itself, a stranger's does not exist.
    async fn command(
        &self,
        caller: &Caller,
        id: &SubscriptionId,
        repeat: &Repeat,
        act: impl FnOnce(&mut Turn<'_>, &Loaded) -> Result<(), Error> + Send,
    ) -> Outcome<Subscription> {
        let known = self.get_subscription(caller, id).await?;
        let key = Key::graph(known.graph.clone()).with_request(repeat.key.clone());
        let now = self.now();
        let done = self.committer.transact(&key, |loaded| {
            if repeat.resource(loaded.request.as_ref())?.is_some() {
                return Ok((Vec::new(), None));
            }
            let turn = Turn::begin(loaded, &self.ids, now).filter(|turn| turn.subscription.id == *id);
            // Another one counts for the graph by now: this one is over.
            let mut turn =
                turn.ok_or_else(|| not_possible(Refusal::Over, Reason::AlreadyEnded))?.by(caller.user.as_str());
            act(&mut turn, loaded)?;
            let after = turn.subscription.clone();
            let mut writes = turn.finish();
            writes.push(Write::Request(repeat.remember(id.as_str())));
            Ok((writes, Some(after)))
        });
        let done: Option<Subscription> = done.await.map_err(from_store)?.map_err(|error: Error| error)?;
        if let Some(subscription) = done {
            return Ok(subscription);
        }
        let found = self.store.subscription(id).await.map_err(from_store)?;
        Ok(found.ok_or_else(subscription_not_found)?)
    }
}

/// Applies a correction; gives what was before and after, for the audit.
fn correct(turn: &mut Turn<'_>, request: &CorrectSubscription) -> Result<BTreeMap<String, String>, Error> {
    let mut detail = BTreeMap::new();
    let mut differs = |what: &str, before: String, after: String| {
        detail.insert(format!("{what}_before"), before);
        detail.insert(format!("{what}_after"), after);
    };
    if let Some((cents, currency)) = &request.price {
        if *currency != turn.subscription.currency {
            let text = format!("must be {}, as before", turn.subscription.currency);
            return Err(Error::invalid_field("price.currency", text));
        }
        differs("price_cents", turn.subscription.price_cents.to_string(), cents.to_string());
        turn.subscription.price_cents = *cents;
    }
    if let Some(credits) = request.monthly_credits {
        differs("monthly_credits", turn.subscription.monthly_credits.to_string(), credits.to_string());
        turn.subscription.monthly_credits = credits;
    }
    if let Some(status) = request.status {
        differs("status", turn.subscription.status.to_string(), status.to_string());
        for event in path(turn.subscription.status, status) {
            turn.take(event).map_err(|refusal| not_possible(refusal, Reason::WrongState))?;
            match event {
                Event::Canceled(_) => turn.tell(TellKind::CancelAtPeriodEnd),
                Event::Resumed => turn.tell(TellKind::Resume),
                _ => {}
            }
        }
        if turn.subscription.status != status {
            return Err(not_possible(Refusal::From(turn.subscription.status), Reason::WrongState));
        }
    }
    Ok(detail)
}

/// The events that lead from one status to another, as far as the life has such a way.
fn path(from: Status, to: Status) -> Vec<Event> {
    match (from, to) {
        (_, Status::Active) if matches!(from, Status::Pending | Status::PendingPayment | Status::Provisioning) => {
            vec![Event::Activated { paid: None }]
        }
        (Status::PastDue | Status::Unpaid, Status::Active) => vec![Event::PaymentMade],
        (Status::Paused | Status::Canceled, Status::Active) => vec![Event::Resumed],
        (_, Status::PendingPayment) => vec![Event::SetUp],
        (_, Status::Provisioning) => vec![Event::Paid],
        (_, Status::Failed) => vec![Event::SetupFailed],
        (_, Status::Paused) => vec![Event::Paused],
        (_, Status::PastDue) => vec![Event::PaymentFailed],
        (_, Status::Unpaid) => vec![Event::PaymentGivenUp],
        (_, Status::Canceled) => vec![Event::Canceled(End::PeriodEnd)],
        (_, Status::Active | Status::Pending) => Vec::new(),
    }
}

/// A refusal of the life, as the caller is told.
fn not_possible(refusal: Refusal, reason: Reason) -> Error {
    let text = match refusal {
        Refusal::Over => "the subscription is over; create a new one".to_owned(),
        Refusal::From(status) => format!("not possible while the subscription is {status}; read it"),
        Refusal::EmptyPeriod => "the period does not end after its start".to_owned(),
    };
    let reason = if refusal == Refusal::Over && reason == Reason::WrongState { Reason::AlreadyEnded } else { reason };
    Error::new(Kind::FailedPrecondition, reason, text)
}
