//! ChangeTier: accepts a change, which then runs by itself: at once, or when the paid period ends (`saga::schedule`).
//!
//! The checks run twice: before the lock with a fresh plan of volume-svc, and under it with the rows as they are. One
//! transaction writes the change, its first public event, the audit, the record's pace and the first owed effect, so
//! that nothing is ever half accepted (D-08).

use super::facts::{Asked, price_changed, priced_at, terms};
use super::repeat::Repeat;
use super::{graph_not_found, owner_only};
use crate::saga::turn::Turn;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::{Graph, Measured, TierChange};
use crate::store::{Key, Loaded, Write};
use serde::Serialize;
use subscription_core::change::Change;
use subscription_core::progress::Progress;
use subscription_core::rules::{Report, Timing};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{ChangeId, GraphId, RequestId, TierName};
use tiershift_core::{Error, Kind, Reason, UnixMs};

/// The request.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeTier {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// The graph.
    pub graph: GraphId,
    /// The tier wanted.
    pub target: TierName,
    /// When it begins.
    pub timing: Timing,
    /// The price that the caller was shown, in cents and currency.
    pub expected_price: Option<(i64, String)>,
}

impl Service {
    /// Accepts a change, or gives back the one that this request made before.
    pub async fn change_tier(&self, caller: &Caller, request: ChangeTier) -> Outcome<TierChange> {
        let repeat = Repeat::of(caller, request.request.clone(), "ChangeTier", &request);
        let key = Key::graph(request.graph.clone()).with_request(repeat.key.clone());
        let loaded = self.store.read(&key).await.map_err(from_store)?;
        if let Some(earlier) = repeat.resource(loaded.request.as_ref())? {
            return self.accepted_before(caller, earlier).await;
        }
        let graph = visible(caller, &loaded)?.clone();
        owner_only(caller, &graph.org)?;
        let asked = self.ask(&graph, &request.target).await;
        let now = self.now();
        let provider = self.ask_provider(&request, &asked, &loaded, &graph, now).await?;
        let decided = self
            .committer
            .transact(&key, |loaded| self.decide(caller, &request, &repeat, &asked, &provider, loaded))
            .await
            .map_err(from_store)??;
        match decided {
            Decided::Accepted(change) if change.waits() => {
                tracing::info!(change = %change.id, graph = %change.graph, from = %change.from_tier,
                    to = %change.to_tier, "tier change scheduled");
                Ok(*change)
            }
            Decided::Accepted(change) => {
                // The commit is learned: from here on every holder has one calm lease to see the new pace (H29).
                self.learned.since(&change.id, crate::saga::gate::ACCEPTED, self.now());
                tracing::info!(change = %change.id, graph = %change.graph, from = %change.from_tier,
                    to = %change.to_tier, waited_ms = self.now().since(now), "tier change accepted");
                Ok(*change)
            }
            Decided::Before(resource) => self.accepted_before(caller, resource).await,
        }
    }

    /// What the provider says of the price at this instant: of a change that nothing else forbids.
    async fn ask_provider(
        &self,
        request: &ChangeTier,
        asked: &Asked,
        loaded: &Loaded,
        graph: &Graph,
        at: UnixMs,
    ) -> Outcome<Provider> {
        let mut report = self.check(loaded, graph, &request.target, request.timing, asked);
        let (Some(subscription), Some(target)) = (&loaded.subscription, self.catalogue.get(&request.target)) else {
            return Ok(Provider { at, report: Report::default() });
        };
        if !report.clean() || request.timing != Timing::Now {
            return Ok(Provider { at, report: Report::default() });
        }
        let quote = self.quote(subscription, target, at)?;
        self.check_provider(&mut report, &quote, subscription, &request.target).await;
        Ok(Provider { at, report })
    }

    async fn accepted_before(&self, caller: &Caller, resource: String) -> Outcome<TierChange> {
        let id = ChangeId::parse(resource).map_err(tiershift_common::status::Fault::internal)?;
        self.get_change(caller, &id).await
    }

    fn decide(
        &self,
        caller: &Caller,
        request: &ChangeTier,
        repeat: &Repeat,
        asked: &Asked,
        provider: &Provider,
        loaded: &Loaded,
    ) -> Result<(Vec<Write>, Decided), Error> {
        if let Some(earlier) = repeat.resource(loaded.request.as_ref())? {
            return Ok((Vec::new(), Decided::Before(earlier)));
        }
        let graph = visible(caller, loaded)?;
        owner_only(caller, &graph.org)?;
        let mut report = self.check(loaded, graph, &request.target, request.timing, asked);
        let target = self.catalogue.get(&request.target);
        if let (Some((cents, currency)), Some(target)) = (&request.expected_price, target) {
            let present =
                loaded.subscription.as_ref().map_or(target.price_cents, |s| terms(s, target).price_after_cents);
            if *cents != present || *currency != target.currency {
                report.add(price_changed("expected_price", *cents, present));
            }
        }
        for fault in &provider.report.violations {
            report.add(fault.clone());
        }
        report.not_checked.extend(provider.report.not_checked.iter().copied());
        let direction = report.direction;
        let busy = self.busy(loaded);
        if let Some(refusal) = report.refusal(busy.as_ref()) {
            return Err(refusal);
        }
        // A clean report knows the target, the direction and a subscription.
        let missing = || Error::new(Kind::Internal, Reason::Internal, "a clean report without its ground");
        let subscription = loaded.subscription.as_ref().ok_or_else(missing)?;
        let (target, direction) = target.zip(direction).ok_or_else(missing)?;
        let now = self.now();
        let scheduled = (request.timing == Timing::PeriodEnd).then_some(subscription.period_end);
        let (machine, effects) = match scheduled {
            Some(_) => (Change::scheduled(), Vec::new()),
            None => Change::new(),
        };
        let expected = Self::expected(loaded.leases, asked);
        // Of one that begins later nobody knows yet how long it will take.
        let total_ms = expected.total_ms.filter(|_| scheduled.is_none());
        let change = TierChange {
            id: self.ids.change(),
            org: graph.org.clone(),
            graph: graph.id.clone(),
            subscription: subscription.id.clone(),
            request: request.request.clone(),
            fingerprint: repeat.fingerprint.clone(),
            requested_by: caller.user.clone(),
            from_tier: graph.tier.clone(),
            to_tier: request.target.clone(),
            direction,
            timing: request.timing,
            scheduled,
            begun: None,
            // At the instant that the provider was asked for.
            quote: self.quote(subscription, target, priced_at(request.timing, subscription, provider.at))?,
            expected,
            machine,
            progress: Progress::new(total_ms, expected.earliest_ms(loaded.leases)),
            last_event: None,
            measured: Measured { usage: asked.measured(now), ..Measured::default() },
            cursor: None,
            volume_seq: 0,
            gate_epoch: 0,
            follows: false,
            deadline: None,
            store_epoch: loaded.epoch,
            accepted: now,
            updated: now,
            ended: None,
        };
        let mut turn = Turn::of(change, loaded, &self.ids, now).ok_or_else(missing)?.by(caller.user.as_str());
        match scheduled {
            Some(_) => turn.schedule(),
            None => turn.accept(effects),
        }
        let change = turn.change.clone();
        let mut writes = turn.finish();
        writes.push(Write::Request(repeat.remember(change.id.as_str())));
        Ok((writes, Decided::Accepted(Box::new(change))))
    }
}

/// What the provider said, and of which instant.
struct Provider {
    at: UnixMs,
    report: Report,
}

enum Decided {
    Accepted(Box<TierChange>),
    Before(String),
}

/// The graph, if the caller may see it.
fn visible<'a>(caller: &Caller, loaded: &'a Loaded) -> Result<&'a Graph, Error> {
    let graph = loaded.graph.as_ref().filter(|g| caller.may_see(&g.org) && !g.state.gone());
    graph.ok_or_else(graph_not_found)
}
