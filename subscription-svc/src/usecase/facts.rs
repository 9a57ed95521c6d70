//! From what is loaded to what the tier rules look at: the same for the preview, the acceptance and both later checks.

use crate::migrations::{Plan, Spec};
use crate::payments::Previewed;
use crate::service::Service;
use crate::store::Loaded;
use crate::store::rows::{Expected, Graph, Leases, Subscription, TierChange};
use subscription_core::proration::{Quote, Terms, quote};
use subscription_core::rules::{self, Busy, Facts, Preflight, Report, Timing, Usage};
use tiershift_core::catalogue::Tier;
use tiershift_core::ids::TierName;
use tiershift_core::{Error, NotChecked, Reason, UnixMs, Violation};

/// When a change in the way may be gone, if nobody has an estimate: about the length of a change without a first
/// snapshot.
const BUSY_MS: i64 = 60_000;

/// What volume-svc said, or why it was not asked.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Its plan.
    Plan(Plan),
    /// No plan, for this reason.
    Not(Reason),
}

impl Asked {
    /// What the graph stores.
    pub fn usage(&self) -> Usage {
        match self {
            Self::Plan(plan) => plan.usage_bytes.map_or(Usage::Unknown, Usage::Bytes),
            Self::Not(_) => Usage::Unknown,
        }
    }

    /// What the graph stores, and when that was asked.
    pub fn measured(&self, now: UnixMs) -> Option<(i64, UnixMs)> {
        match self {
            Self::Plan(plan) => plan.usage_bytes.map(|bytes| (bytes, now.plus(-plan.read_age_ms))),
            Self::Not(_) => None,
        }
    }

    fn preflight(&self) -> Preflight<'_> {
        match self {
            Self::Plan(plan) => Preflight::Answered(&plan.violations, &plan.not_checked),
            Self::Not(reason) => Preflight::NotAsked(*reason),
        }
    }
}

impl Service {
    /// Asks volume-svc whether a graph could move, if the question makes sense.
    pub async fn ask(&self, graph: &Graph, target: &TierName) -> Asked {
        if let Err(reason) = rules::can_ask_preflight(&self.catalogue, &graph.tier, target) {
            return Asked::Not(reason);
        }
        let Some(tier) = self.catalogue.get(target) else { return Asked::Not(Reason::UnknownTier) };
        match self.migrations.plan(&spec(graph, tier)).await {
            Ok(plan) => Asked::Plan(plan),
            // Asked for something that is not there: a refusal of its own, told as the fault it is.
            Err(error) if !crate::migrations::outcome_open(&error) => Asked::Plan(plan_of(error)),
            Err(error) => {
                tracing::warn!(graph = %graph.id, reason = error.reason.as_str(), "volume-svc gives no plan");
                Asked::Not(Reason::Unavailable)
            }
        }
    }

    /// The rules over what is loaded, for a change that is not accepted yet.
    pub fn check(&self, loaded: &Loaded, graph: &Graph, target: &TierName, timing: Timing, asked: &Asked) -> Report {
        let busy = self.busy(loaded);
        rules::check(&Facts {
            flags: Some(&self.flags),
            usage: asked.usage(),
            busy: busy.as_ref(),
            preflight: asked.preflight(),
            ..self.facts(loaded, graph, target, timing)
        })
    }

    /// The rules once more, for a change that runs: before the charge and at the gate (H28). The migration is at its
    /// gate, so that what only preflight knows is settled; the rollout may have ended meanwhile, and an accepted
    /// change goes on.
    pub fn check_again(&self, loaded: &Loaded, graph: &Graph, change: &TierChange) -> Report {
        let usage = change.machine.usage_bytes.map_or(Usage::Unknown, Usage::Bytes);
        rules::check(&Facts { usage, ..self.facts(loaded, graph, &change.to_tier, change.timing) })
    }

    /// The rules for a scheduled change whose time has come: everything anew but the rollout, for it was accepted.
    pub fn check_scheduled(&self, loaded: &Loaded, graph: &Graph, change: &TierChange, asked: &Asked) -> Report {
        rules::check(&Facts {
            usage: asked.usage(),
            preflight: asked.preflight(),
            ..self.facts(loaded, graph, &change.to_tier, change.timing)
        })
    }

    /// What every check looks at, of a change that was accepted, whose graph stores nobody knows what, and that moves freely: a
    /// check adds what it knows better.
    fn facts<'a>(&'a self, loaded: &Loaded, graph: &'a Graph, target: &'a TierName, timing: Timing) -> Facts<'a> {
        Facts {
            catalogue: &self.catalogue,
            org: &graph.org,
            flags: None,
            graph: graph.state,
            shared_repository: graph.shared_repository,
            tier: &graph.tier,
            subgraphs: loaded.subgraphs,
            subscription: loaded.subscription.as_ref().map(|s| s.status),
            target,
            timing,
            usage: Usage::Unknown,
            busy: None,
            preflight: Preflight::Answered(&[], &[]),
        }
    }

    /// Another change in the way.
    pub fn busy(&self, loaded: &Loaded) -> Option<Busy> {
        let change = loaded.change.as_ref()?;
        let reason = match (change.active(), change.follows) {
            (true, _) => Reason::ChangeActive,
            (false, true) => Reason::Settling,
            (false, false) => return None,
        };
        let eta_ms = match change.scheduled {
            Some(at) if change.waits() => Some(at.since(self.now()).max(BUSY_MS)),
            _ => change.last_event.as_ref().map(|e| e.eta_ms).filter(|ms| *ms > 0 && change.active()),
        };
        let retry_after_ms = self.hint_ms(eta_ms.unwrap_or(BUSY_MS));
        Some(Busy { change: change.id.clone(), reason, retry_after_ms })
    }

    /// What the plan expects, with the leases that volume-svc knows nothing of: the gate closes one calm lease after the
    /// acceptance at the earliest, and writes are blocked for one changing lease before the move begins.
    pub fn expected(leases: Leases, asked: &Asked) -> Expected {
        let Asked::Plan(plan) = asked else { return Expected::default() };
        let write_block_ms = plan.expected.write_block_ms.map(|ms| ms.saturating_add(leases.changing_ms));
        let earliest_ms = leases.calm_ms.saturating_add(write_block_ms.unwrap_or(0));
        Expected {
            write_block_ms,
            offline_ms: plan.expected.offline_ms,
            total_ms: plan.expected.total_ms.map(|ms| ms.max(earliest_ms)),
        }
    }

    /// Asks the provider whether it would take what is quoted, and adds what it says. Not asked where the change is
    /// refused without it: previews of what cannot be are many, and the provider counts calls.
    pub async fn check_provider(&self, report: &mut Report, quote: &Quote, subscription: &Subscription, to: &TierName) {
        if !report.clean() {
            return;
        }
        match self.payments.preview(quote, subscription, to).await {
            Previewed::Same => {}
            Previewed::Differs { due_cents } => report.add(price_changed("price", quote.due_cents, due_cents)),
            Previewed::Unknown => {
                let skipped = NotChecked { check: Reason::PriceChanged, because: Reason::Unavailable };
                report.not_checked.push(skipped);
            }
        }
    }

    /// The price of a change, to the second.
    pub fn quote(&self, subscription: &Subscription, target: &Tier, now: UnixMs) -> Result<Quote, Error> {
        quote(terms(subscription, target), now).map_err(|fault| {
            // A row of ours that no price can be computed from.
            Error::new(tiershift_core::Kind::Internal, Reason::Internal, fault.to_string())
        })
    }
}

/// What the price rests on, now.
pub fn terms(subscription: &Subscription, target: &Tier) -> Terms {
    let months = i64::from(subscription.interval.months());
    Terms {
        price_before_cents: subscription.price_cents,
        price_after_cents: target.price_cents * months,
        currency: target.currency.clone(),
        credits_before: subscription.monthly_credits,
        credits_after: target.monthly_credits,
        period_start: subscription.period_start,
        period_end: subscription.period_end,
        month_start: subscription.credits.start,
        month_end: subscription.credits.end,
    }
}

/// The instant that a change is priced for: one at the end of the period costs nothing until then.
pub fn priced_at(timing: Timing, subscription: &Subscription, now: UnixMs) -> UnixMs {
    match timing {
        Timing::Now => now,
        Timing::PeriodEnd => subscription.period_end,
    }
}

/// The fault of a price that is not the accepted one.
pub fn price_changed(field: &str, accepted_cents: i64, present_cents: i64) -> Violation {
    Violation {
        reason: Reason::PriceChanged,
        field: field.to_owned(),
        limit: Some(accepted_cents),
        actual: Some(present_cents),
        fix: "preview the change again and accept the present price".to_owned(),
    }
}

/// What shall be moved.
pub fn spec(graph: &Graph, target: &Tier) -> Spec {
    Spec {
        graph: graph.id.clone(),
        source_tier: graph.tier.clone(),
        target_tier: target.name.clone(),
        target_instance_type: target.instance_type.clone(),
        max_write_block_ms: target.max_write_block_ms,
    }
}

/// A plan that was refused whole: its error as faults.
fn plan_of(error: Error) -> Plan {
    let mut plan = Plan { violations: error.violations, not_checked: error.not_checked, ..Plan::default() };
    if plan.violations.is_empty() {
        plan.violations.push(Violation {
            reason: error.reason,
            field: String::new(),
            limit: None,
            actual: None,
            fix: error.message,
        });
    }
    plan.not_checked.push(NotChecked { check: Reason::StorageExceedsLimit, because: error.reason });
    plan
}
