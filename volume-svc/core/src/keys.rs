//! Names of the items: how migrations, locks, permits and workers are keyed.

use crate::item::{Key, Table};
use tiershift_core::ids::{ChangeId, GraphId, InstanceId, VolumeId, WorkerId};

/// Partition of a migration's journal.
pub fn partition(id: &ChangeId) -> String {
    format!("MIG#{id}")
}

/// The head of a migration's journal.
pub fn meta(id: &ChangeId) -> Key {
    Key::journal(partition(id), "META")
}

/// Range key of an entry; zero-padded, so that text order is number order.
pub fn entry_sk(seq: u64) -> String {
    format!("EV#{seq:010}")
}

/// One entry of a migration's journal.
pub fn entry(id: &ChangeId, seq: u64) -> Key {
    Key::journal(partition(id), entry_sk(seq))
}

/// The lock of a volume; also carries the fence that grows over all its migrations. Never deleted.
pub fn volume_lock(id: &VolumeId) -> Key {
    Key::new(Table::Locks, format!("VOL#{id}"))
}

/// The lock of a graph. Never deleted.
pub fn graph_lock(id: &GraphId) -> Key {
    Key::new(Table::Locks, format!("GRAPH#{id}"))
}

/// A permit's item, by name (`account`, or a group's name).
pub fn permit(name: &str) -> Key {
    Key::new(Table::Locks, format!("PERMIT#{name}"))
}

/// A worker's heartbeat: the only one, one a process.
pub fn worker(id: &WorkerId) -> Key {
    Key::new(Table::Locks, format!("WORKER#{id}"))
}

/// The store's epoch (H19).
pub fn epoch() -> Key {
    Key::new(Table::Locks, "STORE#epoch")
}

/// The mark of an alert that was published, by what it was about. Never deleted: it would be told again.
pub fn alert(occurrence: &str) -> Key {
    Key::new(Table::Locks, format!("ALERT#{occurrence}"))
}

/// A graph's row.
pub fn graph_row(id: &GraphId) -> Key {
    Key::new(Table::Graph, id.as_str())
}

/// A volume's row.
pub fn volume_row(id: &VolumeId) -> Key {
    Key::new(Table::Volume, id.as_str())
}

/// An instance's row.
pub fn instance_row(id: &InstanceId) -> Key {
    Key::new(Table::Instance, id.as_str())
}
