//! What must be when nothing is owed any more: locks, permits and marks are gone, the rows say where the graph is served,
//! and the cloud agrees (invariants 5, 8, 10).

use super::rig::Rig;
use cloud_sim::api::autoscaling::DescribeAutoScalingGroups;
use cloud_sim::api::ec2::{DescribeInstances, DescribeVolumes, Filter};
use std::collections::BTreeMap;
use tiershift_core::ids::GraphId;
use volume_core::item::{Item, Table};
use volume_core::keys;
use volume_core::state::Migration;
use volume_svc::journal::holder;
use volume_svc::ports::store::Store;

/// Checks that a migration has left nothing behind, and that its graph is served by `instance` as a graph of `tier`.
pub async fn at_rest(rig: &Rig, state: &Migration, instance: &str, tier: &str) {
    let spec = state.spec.as_ref().expect("a migration that was started");
    let (graph, volume) = (spec.graph.clone(), spec.volume.clone());
    nothing_is_held(rig, state.id.as_str()).await;

    let row = rig.row(&keys::graph_row(&graph)).await.expect("the graph's row");
    let expected = [("instance_id", instance), ("status", "active"), ("availability_zone", spec.zone.as_str())];
    agrees(&row, &expected);
    let row = rig.row(&keys::volume_row(&volume)).await.expect("the volume's row");
    agrees(&row, &[("instance_id", instance), ("status", "attached"), ("tier", tier)]);
    served_by(rig, &graph, volume.as_str(), instance);
    groups_are_whole(rig);
}

/// No lock, permit or mark in any row names a migration.
async fn nothing_is_held(rig: &Rig, id: &str) {
    for table in [Table::Locks, Table::Graph, Table::Volume, Table::Instance] {
        let page = rig.store.scan(table, None, 1_000).await.expect("the store answers");
        assert_eq!(page.next, None, "one page holds them all");
        for item in page.items {
            for name in ["holder", "ts_migration"] {
                assert_ne!(item.s(name), Some(id), "still held: {item:?}");
            }
            assert!(!item.0.contains_key(&holder(id)), "a permit is still held: {item:?}");
        }
    }
}

fn agrees(row: &Item, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(row.s(name), Some(*value), "{name} of {row:?}");
    }
}

/// EC2 and the engine agree with the rows.
fn served_by(rig: &Rig, graph: &GraphId, volume: &str, instance: &str) {
    let filters = vec![Filter::new("volume-id", [volume])];
    let seen = rig.cloud.at_once(DescribeVolumes { filters, ..DescribeVolumes::default() });
    let attachments = &seen.volumes.first().expect("the volume is there").attachments;
    let shown: Vec<(&str, &str)> = attachments.iter().map(|a| (a.instance_id.as_str(), a.state.as_str())).collect();
    assert_eq!(shown, [(instance, "attached")], "{volume} in EC2");
    assert_eq!(rig.cloud.audit(graph).open_on.as_deref(), Some(instance), "the engine that has {graph} open");
}

/// Every group has as many members as it wants, and each of them serves a volume or waits for one.
fn groups_are_whole(rig: &Rig) {
    let seen = rig.cloud.at_once(DescribeAutoScalingGroups::default());
    for group in seen.groups {
        let members = u32::try_from(group.instances.len()).expect("few members");
        assert_eq!(group.desired_capacity, members, "{} wants what it has: {:?}", group.name, group.instances);
        for member in &group.instances {
            assert_eq!(member.lifecycle_state, "InService", "{member:?}");
        }
    }
}

/// The state of instances in EC2, by id.
pub fn instance_states(rig: &Rig) -> BTreeMap<String, String> {
    let seen = rig.cloud.at_once(DescribeInstances::default());
    seen.instances.into_iter().map(|instance| (instance.instance_id, instance.state)).collect()
}
