//! PreviewTierChange: every check of ChangeTier, and nothing changed.

use super::facts::{Asked, priced_at, terms};
use super::graph_not_found;
use crate::service::{Outcome, Service, from_store};
use crate::store::Key;
use crate::store::rows::{Expected, Graph};
use subscription_core::proration::{Quote, quote};
use subscription_core::rules::{RETRY_UNKNOWN_MS, Report, Timing};
use tiershift_common::caller::Caller;
use tiershift_core::catalogue::Tier;
use tiershift_core::ids::{GraphId, TierName};
use tiershift_core::{Reason, UnixMs};

/// What a change would do, or say.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The graph.
    pub graph: Graph,
    /// The target's name, known or not.
    pub to_tier: TierName,
    /// The target, if it is known.
    pub target: Option<Tier>,
    /// What the customer pays now, in cents, and in which currency; none without a subscription.
    pub price_before: Option<(i64, String)>,
    /// Credits per month now.
    pub credits_before: i64,
    /// The price; none without a subscription or with an unknown target.
    pub quote: Option<Quote>,
    /// Faults, and checks that did not run.
    pub report: Report,
    /// Estimates.
    pub expected: Expected,
    /// What the graph stores, in bytes, and when that was asked.
    pub usage: Option<(i64, UnixMs)>,
    /// The volume's zone; empty if not known.
    pub zone: String,
    /// Age of the oldest reading, in milliseconds.
    pub read_age_ms: i64,
    /// When the fault may have gone by itself, in milliseconds of real time; 0 if not by itself, or no fault.
    pub retry_after_ms: u64,
}

impl Service {
    /// Runs all checks and computes the price.
    pub async fn preview(
        &self,
        caller: &Caller,
        graph_id: &GraphId,
        target_name: &TierName,
        timing: Timing,
    ) -> Outcome<Preview> {
        let loaded = self.store.read(&Key::graph(graph_id.clone())).await.map_err(from_store)?;
        let graph = loaded.graph.clone().filter(|g| caller.may_see(&g.org) && !g.state.gone());
        let graph = graph.ok_or_else(graph_not_found)?;
        let asked = self.ask(&graph, target_name).await;
        let mut report = self.check(&loaded, &graph, target_name, timing, &asked);
        let target = self.catalogue.get(target_name).cloned();
        let subscription = loaded.subscription.as_ref();
        let now = self.now();
        let priced =
            subscription.zip(target.as_ref()).and_then(|(s, t)| quote(terms(s, t), priced_at(timing, s, now)).ok());
        if let (Some(quote), Some(subscription), Timing::Now) = (&priced, subscription, timing) {
            self.check_provider(&mut report, quote, subscription, target_name).await;
        }
        let retry_after_ms = match self.busy(&loaded) {
            Some(busy) => busy.retry_after_ms,
            None if report.violations.iter().any(|v| v.reason == Reason::NoCapacity) => RETRY_UNKNOWN_MS,
            None if report.violations.is_empty() && !report.not_checked.is_empty() => RETRY_UNKNOWN_MS,
            None => 0,
        };
        let expected = Self::expected(loaded.leases, &asked);
        let (usage_bytes, zone, read_age_ms) = match asked {
            Asked::Plan(plan) => (plan.usage_bytes, plan.zone, plan.read_age_ms),
            Asked::Not(_) => (None, String::new(), 0),
        };
        Ok(Preview {
            to_tier: target_name.clone(),
            price_before: subscription.map(|s| (s.price_cents, s.currency.clone())),
            credits_before: subscription.map_or(0, |s| s.monthly_credits),
            quote: priced,
            target,
            graph,
            report,
            expected,
            usage: usage_bytes.map(|bytes| (bytes, now.plus(-read_age_ms))),
            zone,
            read_age_ms,
            retry_after_ms,
        })
    }
}
