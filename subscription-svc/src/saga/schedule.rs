//! Begins what was scheduled, when the paid period has ended.
//!
//! Everything is checked as it is then: what was clean a month ago says nothing. What may pass by itself (no room, a service
//! that is away, a change before it that still settles) is waited for, up to [`GIVE_UP_MS`]; anything else ends the change
//! with its faults, and nothing was taken. The price is the end of the period's, however late it is looked at: where we renew
//! ourselves, nothing is left of the old period and the renewal behind the change is at the new price; where the provider has
//! renewed, all of the new period is left, and what it took too much comes back.
//!
//! When to look is the change's deadline (`worker`); that a renewal waits for the change is `rows::Subscription`'s.

use super::Fault;
use super::gate::ACCEPTED;
use super::turn::Turn;
use crate::service::Service;
use crate::store::rows::{Graph, Subscription, TierChange};
use crate::store::{Key, Loaded, Write};
use crate::usecase::facts::Asked;
use subscription_core::change::{Event, Refusal};
use subscription_core::proration::Quote;
use subscription_core::rules::Report;
use tiershift_common::ids::Ids;
use tiershift_core::ids::ChangeId;
use tiershift_core::{NotChecked, Reason, UnixMs, Violation};

/// How often to look again, in milliseconds of the clock port: whoever waits a month does not mind a minute.
const AGAIN_MS: i64 = 60_000;

/// Where waiting ends, in milliseconds behind the end of the period: as long as a provider goes on telling of a renewal.
const GIVE_UP_MS: i64 = 3 * 24 * 3_600_000;

/// What is to be done about a change whose time has come.
#[derive(Debug)]
enum Verdict {
    /// It begins, at this price.
    Begin(Box<Quote>),
    /// Not yet: look again then.
    Later(UnixMs),
    /// The paid period ends at another instant than when it was accepted.
    Moved(UnixMs),
    /// It may not begin, for these faults.
    Never(Report),
}

/// Begins a change whose time has come, or puts it off, or ends it.
pub async fn begin(service: &Service, id: &ChangeId) -> Result<(), Fault> {
    let loaded = service.store.read(&Key::change(id.clone())).await?;
    let Some((change, graph, subscription)) = due(&loaded, service.now()) else { return Ok(()) };
    let asked = service.ask(graph, &change.to_tier).await;
    let said = ask_provider(service, &loaded, change, graph, subscription, &asked).await;
    let decided = service.turn(id, |turn, loaded| {
        let now = service.now();
        // It was withdrawn meanwhile, or somebody else has looked.
        let Some((change, graph, subscription)) = due(loaded, now) else { return Ok(false) };
        match verdict(service, loaded, change, graph, subscription, &asked, &said, now) {
            Verdict::Begin(quote) => {
                let usage = asked.measured(now);
                turn.begin_scheduled(*quote, Service::expected(loaded.leases, &asked), usage, loaded.leases)?;
                return Ok(true);
            }
            Verdict::Later(at) => turn.look_again(at),
            Verdict::Moved(end) => turn.reschedule(end),
            Verdict::Never(report) => {
                let reason = report.first_reason().unwrap_or(Reason::WrongState);
                turn.violations(report.violations);
                turn.take(&Event::NotBegun { reason })?;
            }
        }
        Ok(false)
    });
    let (change, begun) = decided.await?;
    if begun {
        // The commit is learned: from here on every holder has one calm lease to see the new pace (H29).
        service.learned.since(id, ACCEPTED, service.now());
        tracing::info!(change = %change.id, graph = %change.graph, "a scheduled tier change begins");
    }
    Ok(())
}

/// Ends the scheduled change of a subscription that is over, within somebody else's transaction: what to write of it.
pub fn withdraw(loaded: &Loaded, ids: &Ids, now: UnixMs) -> Result<Vec<Write>, Refusal> {
    let Some(mut turn) = Turn::begin(loaded, ids, now).filter(|turn| turn.change.waits()) else {
        return Ok(Vec::new());
    };
    turn.take(&Event::NotBegun { reason: Reason::SubscriptionNotActive })?;
    let mut writes = turn.finish();
    // The subscription's row is the other's to write.
    writes.retain(|write| !matches!(write, Write::Subscription(_)));
    Ok(writes)
}

/// The change with what belongs to it, if it still waits and its time has come.
fn due(loaded: &Loaded, now: UnixMs) -> Option<(&TierChange, &Graph, &Subscription)> {
    let change = loaded.change.as_ref().filter(|c| c.waits() && c.deadline.is_some_and(|at| at <= now))?;
    Some((change, loaded.graph.as_ref()?, loaded.subscription.as_ref()?))
}

/// What the provider says of the price, if nothing else forbids the change.
async fn ask_provider(
    service: &Service,
    loaded: &Loaded,
    change: &TierChange,
    graph: &Graph,
    subscription: &Subscription,
    asked: &Asked,
) -> Report {
    let mut report = service.check_scheduled(loaded, graph, change, asked);
    let target = service.catalogue.get(&change.to_tier);
    let (Some(at), Some(target), true) = (change.scheduled, target, report.clean()) else { return Report::default() };
    if let (Paid::Until, Ok(quote)) = (paid(subscription, at), service.quote(subscription, target, at)) {
        service.check_provider(&mut report, &quote, subscription, &change.to_tier).await;
    }
    report
}

#[expect(clippy::too_many_arguments, reason = "everything that was read, before the lock and under it")]
fn verdict(
    service: &Service,
    loaded: &Loaded,
    change: &TierChange,
    graph: &Graph,
    subscription: &Subscription,
    asked: &Asked,
    said: &Report,
    now: UnixMs,
) -> Verdict {
    let at = change.scheduled.unwrap_or(now);
    let mut report = service.check_scheduled(loaded, graph, change, asked);
    if subscription.id != change.subscription {
        report.add(fault(Reason::SubscriptionNotActive, "the subscription that it was accepted for is over"));
    }
    if graph.tier != change.from_tier {
        report.add(fault(Reason::TierMismatch, "the graph is on another tier by now; ask for the change anew"));
    }
    for violation in &said.violations {
        if !report.violations.contains(violation) {
            report.add(violation.clone());
        }
    }
    report.not_checked.extend(said.not_checked.iter().copied());
    let patient = now.since(at) < GIVE_UP_MS;
    let again = Verdict::Later(now.plus(AGAIN_MS));
    if !report.violations.iter().all(|v| passes(v.reason)) {
        return Verdict::Never(report);
    }
    match paid(subscription, at) {
        Paid::Longer(end) => return Verdict::Moved(end),
        Paid::NotRenewed if patient => return again,
        Paid::NotRenewed => {
            report.add(fault(Reason::SubscriptionNotActive, "the payment provider has not renewed the subscription"));
        }
        Paid::Until => {}
    }
    let target = service.catalogue.get(&change.to_tier);
    let price = target.and_then(|target| service.quote(subscription, target, at).ok()).map(Box::new);
    if price.is_none() {
        report.not_checked.push(NotChecked { check: Reason::PriceChanged, because: Reason::Internal });
    }
    match price {
        Some(quote) if report.clean() => Verdict::Begin(quote),
        _ if patient => again,
        _ => Verdict::Never(report),
    }
}

/// Whether the paid period ends at an instant.
enum Paid {
    /// It ended there: ours is to begin the next, or the provider has.
    Until,
    /// It ended there, and the provider, whose the renewal is, has not told of the next.
    NotRenewed,
    /// It ends later.
    Longer(UnixMs),
}

fn paid(subscription: &Subscription, at: UnixMs) -> Paid {
    match subscription {
        s if s.period_start >= at => Paid::Until,
        s if s.period_end > at => Paid::Longer(s.period_end),
        s if s.renews() => Paid::Until,
        _ => Paid::NotRenewed,
    }
}

/// Faults that may be gone in a while without anybody's doing.
const fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Settling
            | Reason::VolumeLocked
            | Reason::NoCapacity
            | Reason::NoRoomInZone
            | Reason::AgentUnreachable
            | Reason::UsageUnknown
    )
}

fn fault(reason: Reason, fix: &str) -> Violation {
    Violation { reason, field: String::new(), limit: None, actual: None, fix: fix.to_owned() }
}
