//! Which tier changes are allowed: one function for the preview, the acceptance, the check before the charge and
//! the check at the gate (H28). It finds *all* faults at once and lists the checks that could not run.
//!
//! It knows catalogue, subscription and usage. What only the cloud knows (capacity, agents, shared volumes) comes
//! in as the preflight's own violations. A limit is inclusive; a usage that is not known is never "fine".

use crate::flags::Flags;
use crate::status::{GraphState, SubscriptionStatus};
use serde::{Deserialize, Serialize};
use tiershift_core::catalogue::{Catalogue, Tier};
use tiershift_core::error::NotChecked;
use tiershift_core::ids::{ChangeId, OrgId, TierName};
use tiershift_core::{Error, Kind, Reason, Violation};

/// When a change that is refused only because something does not answer may be tried again.
pub const RETRY_UNKNOWN_MS: u64 = 5_000;

words! {
    /// Which way a change goes: by rank, never by price (D-67).
    Direction {
        /// To a higher rank.
        Upgrade = "upgrade",
        /// To a lower rank.
        Downgrade = "downgrade",
    }
}

words! {
    /// When a change begins.
    Timing {
        /// At once.
        Now = "now",
        /// When the paid period ends; downgrades only.
        PeriodEnd = "period_end",
    }
}

/// How much the graph stores with its subgraphs, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    /// Its engine answered: bytes.
    Bytes(i64),
    /// Nobody could say.
    Unknown,
}

/// Another change of the same graph that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// That change.
    pub change: ChangeId,
    /// `ChangeActive` while it runs, `Settling` after it has succeeded.
    pub reason: Reason,
    /// When it may be out of the way, in milliseconds.
    pub retry_after_ms: u64,
}

/// What the service that owns volumes said about the move.
#[derive(Clone, Copy, Debug)]
pub enum Preflight<'a> {
    /// Asked; these are its faults, and the checks that it could not make. Neither: it may move.
    Answered(&'a [Violation], &'a [NotChecked]),
    /// Not asked, or no answer, for this reason.
    NotAsked(Reason),
}

/// Everything that the rules look at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// All tiers.
    pub catalogue: &'a Catalogue,
    /// Whose graph it is.
    pub org: &'a OrgId,
    /// What is switched on. None: not asked, for a change that was accepted before.
    pub flags: Option<&'a Flags>,
    /// The graph's life.
    pub graph: GraphState,
    /// The platform's own graph.
    pub shared_repository: bool,
    /// The tier it has.
    pub tier: &'a TierName,
    /// How many subgraphs it has.
    pub subgraphs: i64,
    /// The status of its subscription, if it has one.
    pub subscription: Option<SubscriptionStatus>,
    /// The tier asked for.
    pub target: &'a TierName,
    /// When it shall begin.
    pub timing: Timing,
    /// What it stores.
    pub usage: Usage,
    /// Another change in the way.
    pub busy: Option<&'a Busy>,
    /// What the move itself says.
    pub preflight: Preflight<'a>,
}

/// What the rules found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which way; none if the target is unknown or the same.
    pub direction: Option<Direction>,
    /// All faults, by field, then reason.
    pub violations: Vec<Violation>,
    /// Checks that could not run, by reason.
    pub not_checked: Vec<NotChecked>,
}

/// Whether a target is worth asking volume-svc about: known and another one than the present.
pub fn can_ask_preflight(catalogue: &Catalogue, tier: &TierName, target: &TierName) -> Result<(), Reason> {
    match catalogue.get(target) {
        None => Err(Reason::UnknownTier),
        Some(_) if tier == target => Err(Reason::SameTier),
        Some(_) => Ok(()),
    }
}

/// Checks a change whole.
pub fn check(facts: &Facts<'_>) -> Report {
    let mut report = Report::default();
    if facts.flags.is_some_and(|flags| !flags.changes.includes(facts.org)) {
        let fix = "wait until tier changes are switched on for this organisation";
        report.fault(Reason::FeatureDisabled, "", None, fix);
    }
    check_graph(facts, &mut report);
    match facts.catalogue.get(facts.target) {
        None => {
            report.fault(Reason::UnknownTier, "target_tier", None, "choose one of the tiers that ListTiers gives");
            for check in [Reason::TierNotOffered, Reason::TooManySubgraphs, Reason::StorageExceedsLimit] {
                report.skip(check, Reason::UnknownTier);
            }
        }
        Some(target) => check_target(facts, target, &mut report),
    }
    if let Some(busy) = facts.busy {
        let fix = format!("wait for the change {} to end, or cancel it", busy.change);
        report.fault(busy.reason, "", None, &fix);
    }
    check_preflight(facts, &mut report);
    report.sort();
    report
}

fn check_graph(facts: &Facts<'_>, report: &mut Report) {
    if facts.shared_repository {
        report.fault(
            Reason::SharedRepository,
            "graph_id",
            None,
            "a shared repository has no tier of its own to change",
        );
    }
    if facts.graph != GraphState::Active {
        report.fault(Reason::GraphNotActive, "graph_id", None, "resume the graph's subscription first");
    }
    match facts.subscription {
        Some(SubscriptionStatus::Active) => {}
        // A shared repository needs no subscription: its own fault says all.
        None if facts.shared_repository => {}
        None => report.fault(Reason::NoSubscription, "graph_id", None, "create a subscription for the graph first"),
        Some(status) => {
            let fix = format!("bring the subscription from {status} to active first");
            report.fault(Reason::SubscriptionNotActive, "graph_id", None, &fix);
        }
    }
}

fn check_target(facts: &Facts<'_>, target: &Tier, report: &mut Report) {
    if facts.tier == &target.name {
        report.fault(Reason::SameTier, "target_tier", None, "nothing to do: the graph has this tier");
        return;
    }
    // A graph on a tier that left the catalogue has no rank; going up from nothing is the way that checks least, so
    // it counts as a downgrade, which checks most.
    let rank_now = facts.catalogue.get(facts.tier).map(|t| t.rank);
    let direction = match rank_now {
        Some(rank) if rank < target.rank => Direction::Upgrade,
        Some(_) | None => Direction::Downgrade,
    };
    report.direction = Some(direction);
    if direction == Direction::Downgrade && facts.flags.is_some_and(|flags| !flags.downgrades) {
        report.fault(Reason::FeatureDisabled, "target_tier", None, "wait until downgrades are switched on");
    }
    if !target.sold_to(facts.org) {
        report.fault(Reason::TierNotOffered, "target_tier", None, "choose a tier that is offered");
    }
    if facts.timing == Timing::PeriodEnd && direction == Direction::Upgrade {
        report.fault(Reason::ScheduleNotAllowed, "timing", None, "ask for the upgrade now: only a downgrade can wait");
    }
    // The limits hold in both directions: an edited catalogue can make a higher rank smaller in one of them.
    if facts.subgraphs > target.max_subgraphs {
        let over = facts.subgraphs - target.max_subgraphs;
        let fix = format!("delete {over} subgraph{}", if over == 1 { "" } else { "s" });
        let numbers = Some((target.max_subgraphs, facts.subgraphs));
        report.fault(Reason::TooManySubgraphs, "graph.subgraphs", numbers, &fix);
    }
    match facts.usage {
        Usage::Unknown => report.skip(Reason::StorageExceedsLimit, Reason::UsageUnknown),
        Usage::Bytes(bytes) if bytes > target.storage_limit_bytes => {
            let fix = format!("delete at least {} bytes of data", bytes - target.storage_limit_bytes);
            let numbers = Some((target.storage_limit_bytes, bytes));
            report.fault(Reason::StorageExceedsLimit, "graph.storage_bytes", numbers, &fix);
        }
        Usage::Bytes(_) => {}
    }
}

fn check_preflight(facts: &Facts<'_>, report: &mut Report) {
    match facts.preflight {
        Preflight::Answered(faults, not_checked) => {
            for fault in faults {
                // With another change in the way, its lock is that same fault told twice; and what nobody could read
                // is a check that did not run, not a fault of the caller's.
                let told = facts.busy.is_some() && matches!(fault.reason, Reason::VolumeLocked | Reason::Settling);
                if fault.reason == Reason::UsageUnknown {
                    report.skip(Reason::StorageExceedsLimit, Reason::UsageUnknown);
                } else if !told && !report.violations.contains(fault) {
                    report.violations.push(fault.clone());
                }
            }
            for skipped in not_checked {
                report.skip(skipped.check, skipped.because);
            }
        }
        Preflight::NotAsked(because) => report.skip(Reason::NoCapacity, because),
    }
}

impl Report {
    /// Neither a fault nor a check left out.
    pub fn clean(&self) -> bool {
        self.violations.is_empty() && self.not_checked.is_empty()
    }

    /// The one reason to end a running change with, if the change may not go on.
    pub fn first_reason(&self) -> Option<Reason> {
        self.violations.first().map(|v| v.reason).or_else(|| self.not_checked.first().map(|n| n.because))
    }

    /// The refusal that a request gets; none if the change is allowed. `busy` is what was in the facts.
    pub fn refusal(self, busy: Option<&Busy>) -> Option<Error> {
        if self.clean() {
            return None;
        }
        let only_busy = self.violations.iter().all(|v| busy.is_some_and(|b| b.reason == v.reason));
        match (busy, self.violations.is_empty()) {
            (Some(busy), false) if only_busy => Some(
                Error::new(
                    Kind::Aborted,
                    busy.reason,
                    "another change of this graph is in the way; wait for its end, or cancel it",
                )
                .with("change_id", busy.change.as_str())
                .retry_after_ms(busy.retry_after_ms),
            ),
            (_, false) => {
                let error = Error::refused(self.violations, self.not_checked);
                Some(match busy {
                    Some(busy) => error.with("change_id", busy.change.as_str()),
                    None => error,
                })
            }
            (_, true) => {
                let because = self.not_checked.first().map_or(Reason::Unavailable, |n| n.because);
                let text = "a check could not run because something it needs does not answer; try again later";
                let mut error = Error::new(Kind::Unavailable, because, text).retry_after_ms(RETRY_UNKNOWN_MS);
                error.not_checked = self.not_checked;
                Some(error)
            }
        }
    }

    /// Adds a fault that only the caller knows of, and keeps the order.
    pub fn add(&mut self, violation: Violation) {
        self.violations.push(violation);
        self.sort();
    }

    fn sort(&mut self) {
        self.violations.sort_by(|a, b| (&a.field, a.reason).cmp(&(&b.field, b.reason)));
        self.not_checked.sort_unstable();
    }

    fn fault(&mut self, reason: Reason, field: &str, numbers: Option<(i64, i64)>, fix: &str) {
        self.violations.push(Violation {
            reason,
            field: field.to_owned(),
            limit: numbers.map(|(limit, _)| limit),
            actual: numbers.map(|(_, actual)| actual),
            fix: fix.to_owned(),
        });
    }

    fn skip(&mut self, check: Reason, because: Reason) {
        let skipped = NotChecked { check, because };
        if !self.not_checked.contains(&skipped) {
            self.not_checked.push(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Rollout;
    use tiershift_core::catalogue::{GIB, State};

    struct World {
        catalogue: Catalogue,
        org: OrgId,
        flags: Flags,
        tier: TierName,
        target: TierName,
    }

    fn name(text: &str) -> TierName {
        TierName::parse(text).expect("well formed")
    }

    fn world(tier: &str, target: &str) -> World {
        World {
            catalogue: Catalogue::default(),
            org: OrgId::parse("org_acme").expect("well formed"),
            flags: Flags::default(),
            tier: name(tier),
            target: name(target),
        }
    }

    impl World {
        fn facts(&self) -> Facts<'_> {
            Facts {
                catalogue: &self.catalogue,
                org: &self.org,
                flags: Some(&self.flags),
                graph: GraphState::Active,
                shared_repository: false,
                tier: &self.tier,
                subgraphs: 0,
                subscription: Some(SubscriptionStatus::Active),
                target: &self.target,
                timing: Timing::Now,
                usage: Usage::Bytes(GIB),
                busy: None,
                preflight: Preflight::Answered(&[], &[]),
            }
        }
    }

    fn reasons(report: &Report) -> Vec<Reason> {
        report.violations.iter().map(|v| v.reason).collect()
    }

    fn busy(reason: Reason) -> Busy {
        let change = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
        Busy { change, reason, retry_after_ms: 60_000 }
    }

    #[test]
    fn a_plain_upgrade_is_clean() {
        let world = world("ladybug-standard", "ladybug-large");
        let report = check(&world.facts());
        assert!(report.clean(), "{report:?}");
        assert_eq!(report.direction, Some(Direction::Upgrade));
        assert_eq!(report.refusal(None), None);
    }

    #[test]
    fn direction_follows_rank_and_not_price() {
        let mut world = world("ladybug-standard", "ladybug-large");
        let mut tiers = world.catalogue.tiers().to_vec();
        tiers[1].price_cents = 1;
        world.catalogue = Catalogue::new(tiers).expect("a catalogue");
        assert_eq!(check(&world.facts()).direction, Some(Direction::Upgrade), "D-67");
    }

    #[test]
    fn limits_are_inclusive() {
        let world = world("ladybug-large", "ladybug-standard");
        let at = |subgraphs, bytes| {
            let report = check(&Facts { subgraphs, usage: Usage::Bytes(bytes), ..world.facts() });
            reasons(&report)
        };
        assert_eq!(at(3, 20 * GIB), vec![]);
        assert_eq!(at(4, 20 * GIB + 1), vec![Reason::StorageExceedsLimit, Reason::TooManySubgraphs]);
    }

    #[test]
    fn the_fix_says_how_many_to_delete() {
        let world = world("ladybug-large", "ladybug-standard");
        let report = check(&Facts { subgraphs: 5, ..world.facts() });
        let fault = report.violations.first().expect("one fault");
        assert_eq!((fault.limit, fault.actual, fault.fix.as_str()), (Some(3), Some(5), "delete 2 subgraphs"));
    }

    #[test]
    fn all_faults_come_at_once_and_sorted() {
        let mut world = world("ladybug-xlarge", "ladybug-standard");
        let mut tiers = world.catalogue.tiers().to_vec();
        tiers[0].state = State::Retired;
        world.catalogue = Catalogue::new(tiers).expect("a catalogue");
        world.flags.changes = Rollout::Off;
        let volume_shared = Violation {
            reason: Reason::VolumeShared,
            field: "volume".to_owned(),
            limit: None,
            actual: None,
            fix: "ask an operator".to_owned(),
        };
        let other = busy(Reason::ChangeActive);
        let facts = Facts {
            graph: GraphState::Suspended,
            shared_repository: true,
            subscription: Some(SubscriptionStatus::PastDue),
            subgraphs: 30,
            usage: Usage::Bytes(90 * GIB),
            busy: Some(&other),
            preflight: Preflight::Answered(std::slice::from_ref(&volume_shared), &[]),
            ..world.facts()
        };
        let report = check(&facts);
        let expected = [
            Reason::ChangeActive,
            Reason::FeatureDisabled,
            Reason::StorageExceedsLimit,
            Reason::TooManySubgraphs,
            Reason::SubscriptionNotActive,
            Reason::SharedRepository,
            Reason::GraphNotActive,
            Reason::TierNotOffered,
            Reason::VolumeShared,
        ];
        let mut found = reasons(&report);
        let fields: Vec<&str> = report.violations.iter().map(|v| v.field.as_str()).collect();
        assert!(fields.is_sorted(), "{fields:?}");
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let error = report.refusal(Some(&other)).expect("refused");
        assert_eq!((error.kind, error.violations.len()), (Kind::FailedPrecondition, 9));
    }

    #[test]
    fn an_unknown_tier_leaves_its_limits_unchecked_and_never_passes() {
        let world = world("ladybug-standard", "ladybug-huge");
        let report = check(&Facts { preflight: Preflight::NotAsked(Reason::UnknownTier), ..world.facts() });
        assert_eq!(reasons(&report), vec![Reason::UnknownTier]);
        assert_eq!(report.direction, None);
        let skipped: Vec<Reason> = report.not_checked.iter().map(|n| n.check).collect();
        for check in [Reason::StorageExceedsLimit, Reason::TooManySubgraphs, Reason::TierNotOffered, Reason::NoCapacity]
        {
            assert!(skipped.contains(&check), "{check} in {skipped:?}");
        }
    }

    #[test]
    fn usage_that_nobody_knows_is_unavailable_and_never_fine() {
        let world = world("ladybug-large", "ladybug-standard");
        let report = check(&Facts { usage: Usage::Unknown, ..world.facts() });
        assert!(!report.clean());
        let error = report.refusal(None).expect("refused");
        assert_eq!((error.kind, error.reason), (Kind::Unavailable, Reason::UsageUnknown));
        assert!(error.retry_after_ms.is_some());
    }

    #[test]
    fn a_change_in_the_way_alone_is_aborted_with_its_id() {
        let world = world("ladybug-standard", "ladybug-large");
        for reason in [Reason::ChangeActive, Reason::Settling] {
            let other = busy(reason);
            let locked = Violation {
                reason: Reason::VolumeLocked,
                field: "volume".to_owned(),
                limit: None,
                actual: None,
                fix: "wait".to_owned(),
            };
            let preflight = Preflight::Answered(std::slice::from_ref(&locked), &[]);
            let report = check(&Facts { busy: Some(&other), preflight, ..world.facts() });
            let error = report.refusal(Some(&other)).expect("refused");
            assert_eq!((error.kind, error.reason), (Kind::Aborted, reason));
            assert_eq!(error.metadata.get("change_id").map(String::as_str), Some(other.change.as_str()));
            assert_eq!(error.retry_after_ms, Some(60_000));
        }
    }

    #[test]
    fn a_switch_stops_what_it_names_and_nothing_that_was_accepted() {
        let (mut up, mut down) =
            (world("ladybug-standard", "ladybug-large"), world("ladybug-large", "ladybug-standard"));
        (up.flags.downgrades, down.flags.downgrades) = (false, false);
        assert!(check(&up.facts()).clean());
        assert_eq!(reasons(&check(&down.facts())), [Reason::FeatureDisabled]);
        assert!(check(&Facts { flags: None, ..down.facts() }).clean());
        up.flags.changes = Rollout::Some { orgs: [down.org.clone()].into(), percent: 0 };
        assert!(check(&up.facts()).clean());
        let other = OrgId::parse("org_other").expect("well formed");
        assert_eq!(reasons(&check(&Facts { org: &other, ..up.facts() })), [Reason::FeatureDisabled]);
    }

    #[test]
    fn a_tier_for_others_is_not_offered() {
        let mut world = world("ladybug-standard", "ladybug-large");
        let mut tiers = world.catalogue.tiers().to_vec();
        tiers[1].organisations = Some([OrgId::parse("org_other").expect("well formed")].into());
        world.catalogue = Catalogue::new(tiers).expect("a catalogue");
        assert_eq!(reasons(&check(&world.facts())), [Reason::TierNotOffered]);
    }

    #[test]
    fn only_a_downgrade_can_wait_for_the_end_of_the_period() {
        let up = world("ladybug-standard", "ladybug-large");
        let report = check(&Facts { timing: Timing::PeriodEnd, ..up.facts() });
        assert_eq!(reasons(&report), vec![Reason::ScheduleNotAllowed]);
        let down = world("ladybug-large", "ladybug-standard");
        assert!(check(&Facts { timing: Timing::PeriodEnd, ..down.facts() }).clean());
    }
}
