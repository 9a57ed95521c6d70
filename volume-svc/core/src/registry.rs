//! Which row of locks and registries each fact changes, and under which condition: written in the same
//! transaction as the fact, or not at all (D-14).
//!
//! Conditions name only attributes that are ours (`ts_state`, `ts_migration`, and the locks' own), so that
//! somebody else's `last_accessed` breaks nothing (H32). No update creates a row (invariant 12), and no row says
//! more than was observed. The journal's own items and the permits are added by `volume-svc/src/journal.rs`.

use crate::effect::Effect;
use crate::fact::{Entry, Fact, Outcome, Party, Side, Spec};
use crate::item::{Cond, Item, Write};
use crate::keys;
use crate::machine::Append;
use crate::stages::gate::ACCOUNT;
use crate::state::{End, Migration, Place};
use tiershift_core::ids::InstanceId;
use tiershift_core::mutant::{self, Mutant};

/// Names of the permits that a migration takes.
pub fn permit_names(spec: &Spec) -> [String; 2] {
    [ACCOUNT.to_owned(), spec.target_group.to_string()]
}

/// Whether an append takes (`Some(true)`) or gives back (`Some(false)`) the permits.
pub fn permits(append: &Append) -> Option<bool> {
    match (append.before.permit, append.after.permit) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        _ => None,
    }
}

/// The writes of an append beside the journal's own. `volume_fence` is the fence that the volume's lock shows,
/// needed by the facts that take the lock or raise the fence.
pub fn writes(append: &Append, volume_fence: Option<i64>) -> Vec<Write> {
    let mut rows = Rows::default();
    for entry in &append.entries {
        let Some(spec) = append.after.spec.as_ref() else { continue };
        fact(&mut rows, append, spec, entry, volume_fence);
    }
    rows.0
}

/// Collects writes; a second write to the same item is joined with the first, because a transaction may touch an
/// item only once.
#[derive(Default)]
struct Rows(Vec<Write>);

impl Rows {
    fn push(&mut self, write: Write) {
        use crate::item::Op;
        let Some(have) = self.0.iter_mut().find(|w| w.key == write.key) else {
            self.0.push(write);
            return;
        };
        // Conditions speak of the item before the transaction: the first write's are the ones that count.
        match (&mut have.op, write.op) {
            (
                Op::Update { set, remove } | Op::Upsert { set, remove },
                Op::Update { set: more, remove: gone } | Op::Upsert { set: more, remove: gone },
            ) => {
                remove.retain(|name| !more.0.contains_key(name));
                for name in gone {
                    set.0.remove(&name);
                    if !remove.contains(&name) {
                        remove.push(name);
                    }
                }
                set.0.extend(more.0);
            }
            (_, op) => have.op = op,
        }
    }

    fn update(&mut self, key: crate::item::Key, set: Item, remove: &[&str], conds: Vec<Cond>) {
        self.push(Write::update(key, set, remove, conds));
    }
}

fn mine(spec: &Spec) -> Vec<Cond> {
    vec![Cond::eq("ts_migration", spec.id.as_str())]
}

fn mine_or_nobodys(spec: &Spec) -> Vec<Cond> {
    vec![Cond::absent_or_eq("ts_migration", spec.id.as_str())]
}

fn held(spec: &Spec) -> Vec<Cond> {
    vec![Cond::eq("holder", spec.id.as_str())]
}

fn ours(spec: &Spec, state: &str, entry: &Entry) -> Item {
    let version = i64::try_from(entry.seq).unwrap_or(i64::MAX);
    Item::default().with("ts_state", state).with("ts_migration", spec.id.as_str()).with("ts_version", version)
}

const TS: [&str; 2] = ["ts_state", "ts_migration"];

fn fact(rows: &mut Rows, append: &Append, spec: &Spec, entry: &Entry, volume_fence: Option<i64>) {
    match &entry.fact {
        Fact::Started { .. } => started(rows, append, spec, entry, volume_fence),
        Fact::TakenOver { fence, .. } if append.before.seq > 0 => {
            let mut conds = held(spec);
            conds.extend(volume_fence.map(|f| Cond::eq("fence", f)));
            rows.update(keys::volume_lock(&spec.volume), Item::default().with("fence", *fence), &[], conds);
        }
        Fact::Reserved { target } => reserved(rows, spec, entry, target),
        Fact::SourceReplaced { home } => {
            let set = launched(spec, "reserved", entry, Of::Source).with("private_ip", home.private_ip.as_str());
            let key = keys::instance_row(&home.instance);
            rows.push(Write::upsert(key, set.with("status", "initializing"), &[], mine_or_nobodys(spec)));
        }
        Fact::Intent { effect: Effect::Terminate { instance, .. }, .. } => {
            condemned(rows, &append.before, spec, entry, instance);
        }
        Fact::Intent { effect: Effect::Attach { instance, .. }, .. } if mutant::on(Mutant::RecordEarly) => {
            attached(rows, spec, entry, instance);
        }
        Fact::Outcome { outcome: Outcome::Done(_), .. } => moved(rows, append, spec, entry),
        Fact::TargetDropped { instance, .. }
            if !append.after.condemned.contains(instance)
            // A reserved one is as idle as before; a launched one is ended in Settle and stays ours until then.
            && append.before.target.as_ref().is_some_and(|t| !t.launched) =>
        {
            rows.update(keys::instance_row(instance), Item::default(), &TS, mine(spec));
        }
        Fact::Committed { private_ip } | Fact::Rehomed { private_ip } => {
            committed(rows, &append.before, spec, entry, private_ip);
        }
        // The rows of graph and volume are left alone: a source that serves must not wait for a foreign writer.
        // Only what took the place of a lost source must be found by those who look for the graph (H34).
        Fact::RolledBack => {
            if let Some(home) = &append.before.home {
                rehoused(rows, spec, entry, home);
            }
            settling(rows, spec);
        }
        Fact::HandedOver { side: Side::Source, .. } => {
            match &append.before.home {
                Some(home) => rehoused(rows, spec, entry, home),
                None => attached(rows, spec, entry, &spec.source.instance),
            }
            settling(rows, spec);
        }
        Fact::HandedOver { side: Side::Target, .. } => {
            let ip = append.before.target.as_ref().map_or("", |t| t.private_ip.as_str());
            committed(rows, &append.before, spec, entry, ip);
        }
        Fact::SourceKept => {
            let set = Item::default().with("status", "healthy").with("database_count", 0);
            rows.update(keys::instance_row(&spec.source.instance), set, &TS, mine_or_nobodys(spec));
        }
        Fact::Done => done(rows, &append.before, spec),
        _ => {}
    }
}

fn started(rows: &mut Rows, append: &Append, spec: &Spec, entry: &Entry, volume_fence: Option<i64>) {
    let lock = Item::default().with("holder", spec.id.as_str()).with("kind", "migration");
    let fence = match volume_fence {
        Some(seen) => Cond::eq("fence", seen),
        None => Cond::absent("fence"),
    };
    rows.push(Write::upsert(
        keys::volume_lock(&spec.volume),
        lock.clone().with("fence", append.after.fence),
        &[],
        vec![Cond::absent("holder"), fence],
    ));
    rows.push(Write::upsert(keys::graph_lock(&spec.graph), lock, &[], vec![Cond::absent("holder")]));
    let set = ours(spec, "migrating", entry);
    rows.update(keys::graph_row(&spec.graph), set.clone(), &[], mine_or_nobodys(spec));
    rows.update(keys::volume_row(&spec.volume), set, &[], mine_or_nobodys(spec));
    // The commit will update it: that it is missing must show itself now, and not when the writes are blocked.
    let mut conds = mine_or_nobodys(spec);
    conds.push(Cond::Exists);
    rows.push(Write::check(keys::instance_row(&spec.source.instance), conds));
}

fn reserved(rows: &mut Rows, spec: &Spec, entry: &Entry, target: &Party) {
    let key = keys::instance_row(&target.instance);
    if target.launched {
        let set = launched(spec, "reserved", entry, Of::Target).with("private_ip", target.private_ip.as_str());
        rows.push(Write::upsert(key, set.with("status", "initializing"), &[], mine_or_nobodys(spec)));
    } else {
        rows.update(key, ours(spec, "reserved", entry), &[], vec![Cond::absent("ts_migration")]);
    }
}

/// Whose tier and group a launched instance is of.
#[derive(Clone, Copy)]
enum Of {
    Source,
    Target,
}

/// The row of an instance that was launched for us. It has none yet, unless it was quick to register itself: ours
/// names it either way.
fn launched(spec: &Spec, state: &str, entry: &Entry, of: Of) -> Item {
    let (tier, group) = match of {
        Of::Source => (&spec.source_tier, &spec.source.group),
        Of::Target => (&spec.target_tier, &spec.target_group),
    };
    ours(spec, state, entry)
        .with("availability_zone", spec.zone.as_str())
        .with("tier", tier.as_str())
        .with("cluster_tier", tier.as_str())
        .with("cluster_group", group.as_str())
        .with("node_type", "writer")
        .with("database_count", 0)
        .with("max_databases", 1)
        .with("created_at", entry.at.0)
}

/// Never reserved, claimed or used again (F4), and only if the row is this migration's (H16). One that was launched
/// and never reserved gets a row by this, so that nobody reserves it meanwhile.
fn condemned(rows: &mut Rows, before: &Migration, spec: &Spec, entry: &Entry, instance: &InstanceId) {
    let key = keys::instance_row(instance);
    let of = if before.launched.as_ref() == Some(instance) {
        Some(Of::Target)
    } else if before.home_launched.as_ref() == Some(instance) {
        Some(Of::Source)
    } else {
        None
    };
    if let Some(of) = of {
        let set = launched(spec, "condemned", entry, of).with("status", "terminating");
        rows.push(Write::upsert(key, set, &[], mine_or_nobodys(spec)));
    } else {
        rows.update(key, ours(spec, "condemned", entry).with("status", "terminating"), &[], mine(spec));
    }
}

/// The volume's row follows what was established, while the volume is ours.
fn moved(rows: &mut Rows, append: &Append, spec: &Spec, entry: &Entry) {
    let Some(open) = append.before.open.as_ref() else { return };
    match &open.effect {
        Effect::Detach { .. } => freed(rows, spec, entry),
        Effect::Attach { instance, .. } => attached(rows, spec, entry, instance),
        Effect::Terminate { instance, .. } => {
            let set = Item::default().with("status", "terminated").with("terminating_at", entry.at.0);
            rows.update(keys::instance_row(instance), set, &TS, mine(spec));
            if matches!(&append.before.place, Place::At { instance: at, .. } if at == instance) {
                freed(rows, spec, entry);
            }
        }
        _ => {}
    }
}

fn freed(rows: &mut Rows, spec: &Spec, entry: &Entry) {
    // Not `available`: that would offer it to whoever boots next (D-20).
    let status = if mutant::on(Mutant::OfferEarly) { "available" } else { "detaching" };
    let set = Item::default().with("status", status).with("last_detached", entry.at.0);
    rows.update(keys::volume_row(&spec.volume), set, &["instance_id"], mine(spec));
}

fn attached(rows: &mut Rows, spec: &Spec, entry: &Entry, instance: &InstanceId) {
    let set = Item::default()
        .with("status", "attached")
        .with("instance_id", instance.as_str())
        .with("last_attached", entry.at.0);
    rows.update(keys::volume_row(&spec.volume), set, &[], mine(spec));
}

fn committed(rows: &mut Rows, before: &Migration, spec: &Spec, entry: &Entry, private_ip: &str) {
    let Some(target) = &before.target else { return };
    rows.update(
        keys::graph_row(&spec.graph),
        ours(spec, "settling", entry)
            .with("instance_id", target.instance.as_str())
            .with("private_ip", private_ip)
            .with("availability_zone", spec.zone.as_str())
            .with("status", "active")
            .with("last_updated", entry.at.0),
        &[],
        mine(spec),
    );
    rows.update(
        keys::volume_row(&spec.volume),
        ours(spec, "settling", entry)
            .with("tier", spec.target_tier.as_str())
            .with("instance_id", target.instance.as_str())
            .with("status", "attached")
            .with("last_modified", entry.at.0),
        &[],
        mine(spec),
    );
    rows.update(
        keys::instance_row(&spec.source.instance),
        ours(spec, "retiring", entry).with("status", "retiring").with("database_count", 1),
        &[],
        mine_or_nobodys(spec),
    );
    rows.update(
        keys::instance_row(&target.instance),
        ours(spec, "serving", entry).with("status", "healthy").with("database_count", 1),
        &[],
        mine(spec),
    );
    settling(rows, spec);
}

/// The graph serves on what took the place of a source that was lost: those who look for it must find it there.
fn rehoused(rows: &mut Rows, spec: &Spec, entry: &Entry, home: &Party) {
    rows.update(
        keys::graph_row(&spec.graph),
        Item::default()
            .with("instance_id", home.instance.as_str())
            .with("private_ip", home.private_ip.as_str())
            .with("availability_zone", spec.zone.as_str())
            .with("status", "active")
            .with("last_updated", entry.at.0),
        &[],
        mine(spec),
    );
    attached(rows, spec, entry, &home.instance);
    rows.update(
        keys::instance_row(&home.instance),
        ours(spec, "serving", entry).with("status", "healthy").with("database_count", 1),
        &[],
        mine(spec),
    );
    // EC2 has shown that it ended (H34).
    let ended = Item::default().with("status", "terminated").with("terminating_at", entry.at.0);
    rows.update(keys::instance_row(&spec.source.instance), ended, &[], mine_or_nobodys(spec));
}

/// The locks go on to keep out migrations and clean-up, and nothing else (H35).
fn settling(rows: &mut Rows, spec: &Spec) {
    let set = Item::default().with("kind", "settling");
    rows.update(keys::volume_lock(&spec.volume), set.clone(), &[], held(spec));
    rows.update(keys::graph_lock(&spec.graph), set, &[], held(spec));
}

fn done(rows: &mut Rows, before: &Migration, spec: &Spec) {
    if mutant::on(Mutant::KeepLocks) {
        return;
    }
    rows.update(keys::volume_lock(&spec.volume), Item::default(), &["holder", "kind"], held(spec));
    rows.update(keys::graph_lock(&spec.graph), Item::default(), &["holder", "kind"], held(spec));
    rows.update(keys::graph_row(&spec.graph), Item::default(), &TS, mine_or_nobodys(spec));
    rows.update(keys::volume_row(&spec.volume), Item::default(), &TS, mine_or_nobodys(spec));
    let serving = match &before.place {
        Place::At { instance, .. } => Some(instance),
        Place::Free => None,
    };
    let free = |rows: &mut Rows, instance: &InstanceId| {
        if !before.condemned.contains(instance) {
            rows.update(keys::instance_row(instance), Item::default(), &TS, mine_or_nobodys(spec));
        }
    };
    if let Some(home) = &before.home {
        free(rows, &home.instance);
    }
    if let Some(target) = &before.target
        && (before.end == Some(End::Moved) || Some(&target.instance) != serving)
    {
        free(rows, &target.instance);
    }
}
