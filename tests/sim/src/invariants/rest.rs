//! What must be when nothing is owed any more: money, tiers, rows, locks, instances and writes agree (5, 8, 10, 13).

use super::cloud::Journals;
use super::{Verdict, holds};
use cloud_sim::api::autoscaling::DescribeAutoScalingGroups;
use std::collections::{BTreeMap, BTreeSet};
use subscription_core::access::Gate;
use subscription_core::change::State;
use subscription_svc::store::Loaded;
use tiershift_core::ids::GraphId;
use tiershift_tests::world::cloud::Cloud;
use volume_core::item::{Item, Table};

/// Everything that is known of one graph when its changes are over.
#[derive(Debug)]
pub struct Graph<'a> {
    /// The other service's rows.
    pub loaded: &'a Loaded,
    /// Its row in the registry.
    pub row: Option<Item>,
    /// Its volume's.
    pub volume_row: Option<Item>,
    /// The row of the instance that the registry names.
    pub instance_row: Option<Item>,
}

/// 5: plan = graph tier = volume tier = instance tier, and the price is that plan's.
pub fn i05_money_and_tier_agree(graph: &Graph<'_>) -> Verdict {
    let (Some(here), Some(subscription), Some(change)) =
        (&graph.loaded.graph, &graph.loaded.subscription, &graph.loaded.change)
    else {
        return holds("5", false, || "a graph without its rows".to_owned());
    };
    let moved = change.machine.state == State::Succeeded;
    let (tier, cents) = if moved {
        (&change.to_tier, change.quote.terms.price_after_cents)
    } else {
        (&change.from_tier, change.quote.terms.price_before_cents)
    };
    let tiers = [
        ("plan", Some(subscription.tier.as_str())),
        ("graph", Some(here.tier.as_str())),
        ("volume", graph.volume_row.as_ref().and_then(|row| row.s("tier"))),
        ("instance", graph.instance_row.as_ref().and_then(|row| row.s("cluster_tier"))),
    ];
    for (whose, found) in tiers {
        holds("5", found == Some(tier.as_str()), || {
            format!("the {whose} tier of {} is {found:?}, not {tier}", here.id)
        })?;
    }
    let price = subscription.price_cents;
    holds("5", price == cents, || format!("the price of {} is {price}, not {cents}", here.id))?;
    let gate = graph.loaded.access.as_ref().map(|access| access.record.gate.clone());
    holds("6", gate == Some(Gate::Open), || format!("at rest the gate of {} is {gate:?}", here.id))?;
    holds("9", graph.loaded.owed.is_empty(), || format!("at rest {} owes {:?}", here.id, graph.loaded.owed))
}

/// 8: locks, permits and marks are gone.
pub fn i08_nothing_is_held(rows: &[(Table, Item)], over: &BTreeSet<String>) -> Verdict {
    for (table, row) in rows {
        for name in ["holder", "ts_migration"] {
            let held = row.s(name).is_some_and(|holder| over.contains(holder));
            // A condemned instance keeps its mark for ever (F4).
            let condemned = *table == Table::Instance && row.s("ts_state") == Some("condemned");
            holds("8", !held || condemned, || format!("at rest {} is still held: {row:?}", table.name()))?;
        }
        let permits = row.l("holders").iter().filter(|holder| over.contains(*holder)).count();
        holds("8", permits == 0, || format!("at rest a permit is still held: {row:?}"))?;
    }
    Ok(())
}

/// 10: every group has as many members as it wants, each in service and known to the registry as serving or idle; but for
/// those that a group launched because somebody had `grown` it: they would register themselves, which nobody plays here.
pub fn i10_groups_are_whole(cloud: &Cloud, known: &BTreeSet<String>, grown: &BTreeMap<String, usize>) -> Verdict {
    for group in cloud.at_once(DescribeAutoScalingGroups::default()).groups {
        let (members, wanted) = (group.instances.len(), group.desired_capacity as usize);
        let own = grown.get(&group.name).copied().unwrap_or(0);
        // Where it found no capacity it tries again later.
        let whole = (wanted.saturating_sub(own)..=wanted).contains(&members);
        holds("10", whole, || format!("{} wants {wanted} and has {members}", group.name))?;
        for member in &group.instances {
            // What the group launched by itself may still wait for its hook.
            let due = known.contains(&member.instance_id);
            holds("10", !due || member.lifecycle_state == "InService", || format!("at rest {member:?}"))?;
        }
        let ids = group.instances.iter().map(|member| &member.instance_id);
        let strangers: Vec<&String> = ids.filter(|id| !known.contains(*id)).collect();
        holds("10", strangers.len() <= own, || format!("at rest nobody knows {strangers:?} of {}", group.name))?;
    }
    Ok(())
}

/// 5 and 10: the volume hangs on the instance that the registry names, and that engine has the graph open.
pub fn i05_the_registry_is_true(cloud: &Cloud, id: &GraphId, graph: &Graph<'_>, volume: &str) -> Verdict {
    let named = graph.row.as_ref().and_then(|row| row.s("instance_id")).unwrap_or("nobody").to_owned();
    let held = cloud.truth(|sim| sim.held(volume));
    let there = held.as_ref().is_some_and(|held| held.instance_id == named && held.state == "attached");
    holds("5", there, || format!("the registry says that {named} serves {id}, and {volume} is {held:?}"))?;
    let open_on = cloud.audit(id).open_on;
    holds("5", open_on.as_deref() == Some(named.as_str()), || {
        format!("the registry says that {named} serves {id}, and it is open on {open_on:?}")
    })
}

/// 13: every acknowledged write is readable, but for those that died with a host whose power was cut, or with an instance
/// that somebody else terminated.
pub fn i13_writes_are_there(cloud: &Cloud, graph: &GraphId, torn_off: u64) -> Verdict {
    let audit = cloud.audit(graph);
    let missing = audit.missing_count.saturating_sub(audit.lost_with_host);
    holds("13", missing <= torn_off, || format!("acknowledged writes of {graph} are gone: {audit:?}"))
}

/// 9: every change ended, or was put before a person.
pub fn i09_everything_ends(journals: &Journals) -> Verdict {
    for (id, journal) in journals {
        holds("9", journal.done || journal.stuck.is_some(), || {
            format!("{id} has not ended: {:?} is open", journal.open)
        })?;
    }
    Ok(())
}
