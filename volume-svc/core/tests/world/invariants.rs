//! The numbered invariants, one function each, against the truth of the world. A broken one is a text; the run that
//! broke it is the report. Those of them that only the moment of a decision shows are looked at then (`at_intent`,
//! `at_call`) and reported with the next check.

use super::World;
use super::cloud::Life;
use super::fixture;
use super::host::Door;
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::event::Writes;
use volume_core::effect::{AgentState, Attachment, AttachmentState, Effect, SnapshotState};
use volume_core::fact::{Fact, Outcome};
use volume_core::item::Table;
use volume_core::state::{End, Migration, Place};

/// After every event. `from`: the first entry of the journal that was not checked before.
pub fn check(world: &World, m: &Migration, from: usize) -> Vec<String> {
    let mut broken = world.broken.clone();
    let mut rule = |name: &str, result: Result<(), String>| {
        if let Err(why) = result {
            broken.push(format!("invariant {name}: {why}"));
        }
    };
    rule("1", i01_one_attachment(world));
    rule("2", i02_a_shut_engine_takes_no_write(world));
    rule("4", i04_rollback_assets_stay(world, m));
    rule("13", i13_acknowledged_writes_are_somewhere(world));
    rule("14", i14_one_engine_on_its_mount(world));
    if from != world.store.entries.len() {
        rule("6", i06_the_gate_opens_with_the_end(world));
        rule("11", i11_public_sequence_and_progress(world));
        rule("16", i16_no_intent_without_a_result(world));
        rule("F1", f1_devices_are_used_once(world, m));
        rule("end", served_at_the_end(world, m, from));
    }
    if m.is_over() {
        rule("10", i10_at_rest(world, m));
    }
    broken
}

/// When an intent is decided.
pub fn at_intent(world: &mut World, after: &Migration, effect: &Effect) {
    let result = match effect {
        Effect::Detach { instance, .. } => {
            i03_detach_has_its_preconditions(world, after, instance).map_err(|why| format!("3: {why}"))
        }
        Effect::Terminate { instance, .. } => {
            i15_nothing_that_holds_data_is_ended(world, after, instance).map_err(|why| format!("15: {why}"))
        }
        _ => Ok(()),
    };
    if let Err(why) = result {
        world.broken.push(format!("invariant {why}"));
    }
}

/// When a call is sent.
pub fn at_call(world: &mut World, m: &Migration, effect: &Effect) {
    let result = match effect {
        Effect::Attach { .. } if m.place != Place::Free => {
            Err(format!("1: an attach is sent while the volume is established at {:?}", m.place))
        }
        _ => Ok(()),
    };
    if let Err(why) = result {
        world.broken.push(format!("invariant {why}"));
    }
}

fn rule(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn i01_one_attachment(world: &World) -> Result<(), String> {
    let list = &world.cloud.volume.attachments;
    rule(list.len() <= 1, || format!("{list:?}"))
}

/// From drained to the end no engine takes a write; a straggler is refused by the door.
fn i02_a_shut_engine_takes_no_write(world: &World) -> Result<(), String> {
    let shut_from = world.store.entries.iter().find(|e| matches!(e.fact, Fact::WritesDrained { .. })).map(|e| e.at.0);
    let opened = world
        .store
        .entries
        .iter()
        .find(|e| matches!(e.fact, Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. }))
        .map_or(i64::MAX, |e| e.at.0);
    let Some(from) = shut_from else { return Ok(()) };
    match world.acknowledged.iter().find(|w| w.at > from && w.at < opened) {
        Some(write) => Err(format!("{write:?} was taken after {from}")),
        None => Ok(()),
    }
}

fn i03_detach_has_its_preconditions(
    world: &World,
    after: &Migration,
    instance: &tiershift_core::ids::InstanceId,
) -> Result<(), String> {
    let ended = world.cloud.instances.get(instance).is_none_or(|i| i.life != Life::Running);
    let mounted = world.hosts.get(instance).is_some_and(|h| h.mounted);
    rule(ended || !mounted, || format!("{} still has it mounted", fixture::word(instance)))?;
    let lost = after.source_lost && world.cloud.instances.get(instance).is_none_or(|i| i.life == Life::Ended);
    if !after.is_source(instance) || lost {
        return Ok(());
    }
    rule(after.gate.as_ref().is_some_and(|g| g.confirmed_at.is_some()), || "no confirmed gate".to_owned())?;
    rule(after.reference.is_some(), || "the writes were not drained".to_owned())?;
    let released = world.hosts.get(instance).is_some_and(|h| h.state == AgentState::Released);
    rule(ended || released, || "the agent has not released it".to_owned())?;
    let safety = after.safety.as_ref().and_then(|id| world.cloud.snapshots.get(id));
    rule(safety.is_some_and(|s| s.state == SnapshotState::Completed), || "no completed safety snapshot".to_owned())?;
    // The final snapshot is a restore point without loss: nothing that was acknowledged is younger.
    let image = after.last.as_ref().and_then(|id| world.cloud.snapshots.get(id)).map(|s| &s.image);
    let whole =
        image.is_some_and(|i| world.acknowledged.iter().all(|w| i.contains(&w.write) || world.died.contains(&w.write)));
    rule(whole, || "the final snapshot lacks acknowledged writes".to_owned())?;
    let first = !after.devices_used.iter().any(|(on, _)| on == instance);
    rule(!first || (after.target.is_some() && after.target_ready), || "no ready target".to_owned())
}

fn i04_rollback_assets_stay(world: &World, m: &Migration) -> Result<(), String> {
    if !m.detach_journalled {
        return Ok(());
    }
    let soaked = m.opened_at.is_some_and(|at| world.now - at.0 >= soak_ms(m));
    let restorable = m.offline_at.is_some_and(|offline| {
        world
            .cloud
            .snapshots
            .values()
            .any(|s| s.state == SnapshotState::Completed && !s.deleted && s.started >= offline.0)
    });
    let may_go = soaked && restorable && m.end == Some(End::Moved);
    let deleted = world.cloud.snapshots.iter().find(|(_, s)| s.deleted);
    rule(may_go || deleted.is_none(), || format!("{deleted:?} is deleted before its time"))?;
    let condemned = m.condemned.contains(&fixture::source());
    rule(may_go || !condemned, || "the source is ended before its time".to_owned())
}

fn soak_ms(_: &Migration) -> i64 {
    volume_core::settings::Settings::default().soak_ms
}

/// Writes are open in the public events up to the confirmed gate, then closed up to the end, and the other service's
/// gate follows them.
fn i06_the_gate_opens_with_the_end(world: &World) -> Result<(), String> {
    let mut confirmed = false;
    for entry in &world.store.entries {
        let Some(public) = &entry.public else { continue };
        match entry.fact {
            Fact::GateConfirmed { .. } => confirmed = true,
            Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. } => confirmed = false,
            _ => {}
        }
        let open = public.writes == Writes::Open;
        rule(open != confirmed, || format!("{} says that writes are {:?}", entry.fact.name(), public.writes))?;
    }
    let closed = matches!(world.gate, super::Gate::Closed(_));
    let ended = world.store.is_settling();
    rule(!(closed && ended), || "the gate is closed and no change is active".to_owned())?;
    rule(closed || !confirmed, || "the gate is open behind its confirmation".to_owned())
}

fn i11_public_sequence_and_progress(world: &World) -> Result<(), String> {
    let mut seq = 0;
    let mut shown = BTreeMap::new();
    for entry in &world.store.entries {
        rule(entry.public.is_some() == entry.fact.is_public(), || format!("{} and its event", entry.fact.name()))?;
        let Some(public) = &entry.public else { continue };
        rule(public.seq == seq + 1, || format!("{} behind {seq}", public.seq))?;
        seq = public.seq;
        let before = shown.insert(public.direction, public.permille).unwrap_or(0);
        rule(public.permille >= before && public.permille <= 1_000, || {
            format!("{before} permille, then {} with {}", public.permille, entry.fact.name())
        })?;
    }
    Ok(())
}

fn i13_acknowledged_writes_are_somewhere(world: &World) -> Result<(), String> {
    let live = world.hosts.iter().filter(|(id, host)| host.mounted && world.cloud.is_attached(id));
    let held: BTreeSet<u64> = live
        .filter_map(|(_, host)| host.engine.as_ref())
        .flat_map(|engine| engine.unflushed.iter())
        .chain(&world.cloud.volume.disk)
        .chain(&world.cloud.volume.log)
        .copied()
        .collect();
    let lost: Vec<u64> = world
        .acknowledged
        .iter()
        .map(|w| w.write)
        .filter(|write| !held.contains(write) && !world.died.contains(write))
        .collect();
    rule(lost.is_empty(), || format!("acknowledged and gone: {lost:?}"))
}

fn i14_one_engine_on_its_mount(world: &World) -> Result<(), String> {
    let open: Vec<_> = world.hosts.iter().filter(|(_, host)| host.engine.is_some()).collect();
    rule(open.len() <= 1, || format!("{} engines are open", open.len()))?;
    for (id, host) in open {
        let right = host.mounted && host.fs_uuid.as_deref() == Some(fixture::FS_UUID) && world.cloud.is_attached(id);
        rule(right, || format!("the engine of {} is open outside its mount", fixture::word(id)))?;
    }
    Ok(())
}

fn i15_nothing_that_holds_data_is_ended(
    world: &World,
    m: &Migration,
    instance: &tiershift_core::ids::InstanceId,
) -> Result<(), String> {
    let row = world.store.row(&volume_core::keys::instance_row(instance));
    let named = row.s("ts_migration");
    rule(named.is_none_or(|id| id == fixture::change().as_str()), || format!("{instance} is named by {named:?}"))?;
    let holds = |a: &Attachment| a.instance == *instance;
    if !world.cloud.volume.attachments.iter().any(holds) {
        return Ok(());
    }
    let already = world.cloud.instances.get(instance).is_some_and(|i| i.life != Life::Running);
    let silent = world.faults.silent_ms(instance, world.now) >= 30_000;
    let target = m.target.as_ref().is_some_and(|t| t.instance == *instance) && m.opened_at.is_none();
    let never_open = world.hosts.get(instance).is_none_or(|h| h.door == Door::Shut);
    rule(already || (target && silent && never_open), || {
        format!("{} holds the volume and is ended (silent: {silent})", fixture::word(instance))
    })
}

fn i16_no_intent_without_a_result(world: &World) -> Result<(), String> {
    let mut open: Option<(u32, &Effect)> = None;
    let mut tokens: BTreeMap<&str, u32> = BTreeMap::new();
    for entry in &world.store.entries {
        match &entry.fact {
            Fact::Intent { n, effect, token, .. } => {
                rule(open.is_none(), || format!("{} is decided while {open:?} has no result", effect.name()))?;
                open = Some((*n, effect));
                let other = tokens.insert(token, *n);
                rule(other.is_none(), || format!("intents {other:?} and {n} share a token"))?;
            }
            Fact::Outcome { n, outcome } => {
                let (was, effect) = open.take().ok_or("a result without an intent")?;
                rule(was == *n, || format!("the result of {n} for {was}"))?;
                let told = !matches!(outcome, Outcome::Abandoned) || may_be_abandoned(world, effect);
                rule(told, || format!("{} was abandoned", effect.name()))?;
            }
            Fact::Opened | Fact::RolledBack | Fact::HandedOver { .. } | Fact::Done => {
                rule(open.is_none(), || format!("{} with {open:?} open", entry.fact.name()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A snapshot that left no trace, a command to a silent or ended target, anything at a hand-over.
fn may_be_abandoned(world: &World, effect: &Effect) -> bool {
    let handed = world.store.entries.iter().any(|e| matches!(e.fact, Fact::HandedOver { .. }));
    handed
        || match effect {
            Effect::Snapshot { .. } => true,
            Effect::Release { instance }
            | Effect::Adopt { instance }
            | Effect::Resume { instance }
            | Effect::Drain { instance, .. } => {
                let ended = world.cloud.instances.get(instance).is_none_or(|i| i.life == Life::Ended);
                *instance != fixture::source() || ended
            }
            _ => false,
        }
}

fn f1_devices_are_used_once(world: &World, m: &Migration) -> Result<(), String> {
    let mut used = BTreeSet::from([(fixture::source(), fixture::DEVICE.to_owned())]);
    for entry in &world.store.entries {
        if let Fact::Intent { effect: Effect::Attach { instance, device }, .. } = &entry.fact {
            rule(used.insert((instance.clone(), device.clone())), || format!("{device} is used again"))?;
        }
    }
    used.remove(&(fixture::source(), fixture::DEVICE.to_owned()));
    rule(used == m.devices_used, || format!("{used:?} are used, {:?} are known", m.devices_used))
}

/// What an end says is true at that moment: the graph is served there, whole.
fn served_at_the_end(world: &World, m: &Migration, from: usize) -> Result<(), String> {
    for entry in &world.store.entries[from..] {
        let on = match entry.fact {
            Fact::Opened => m.target.as_ref().map(|t| t.instance.clone()),
            // A source that was lost before its gate had nothing taken from it.
            Fact::RolledBack if m.undo.as_ref().is_some_and(|u| u.reason != tiershift_core::Reason::SourceLost) => {
                m.home().map(|home| home.instance.clone())
            }
            _ => None,
        };
        if let Some(on) = on {
            let host = world.hosts.get(&on);
            let serves = host.is_some_and(|h| h.state == AgentState::Serving && h.engine.is_some() && h.mounted);
            let dead = world.cloud.instances.get(&on).is_none_or(|i| i.life != Life::Running);
            rule(serves || dead, || format!("{} does not serve", fixture::word(&on)))?;
            let attached =
                world.cloud.volume.attachments.iter().any(|a| a.instance == on && a.state == AttachmentState::Attached);
            rule(attached || dead, || format!("the volume is not attached to {}", fixture::word(&on)))?;
        }
    }
    Ok(())
}

/// At the end nothing is held: no lock, no row, no permit; every instance serves, is idle, or is gone, and a group
/// wants as many as it has.
fn i10_at_rest(world: &World, m: &Migration) -> Result<(), String> {
    for (key, item) in &world.store.items {
        rule(item.s("holder").is_none(), || format!("{key:?} is still held"))?;
        rule(item.s("ts_migration").is_none(), || format!("{key:?} still names the migration"))?;
    }
    rule(world.store.permits().values().all(Vec::is_empty), || "a permit is still held".to_owned())?;
    let serving = match &m.place {
        Place::At { instance, .. } => Some(instance),
        Place::Free => None,
    };
    for (id, instance) in &world.cloud.instances {
        let row = world.store.row(&volume_core::keys::instance_row(id));
        let gone = matches!(instance.life, Life::Ending | Life::Ended);
        let word = row.s("status").unwrap_or("none");
        let right = match word {
            "healthy" => !gone || !m.condemned.contains(id),
            "terminated" => gone,
            // It registers itself when it is up.
            "initializing" | "none" => true,
            _ => false,
        };
        rule(right, || format!("the row of {} says {word}", fixture::word(id)))?;
        let places = row.n("database_count").unwrap_or(0);
        let holds = Some(id) == serving;
        rule(gone || places == i64::from(holds), || format!("{} has {places} databases", fixture::word(id)))?;
    }
    for (name, group) in &world.cloud.groups {
        let members = world
            .cloud
            .instances
            .values()
            .filter(|i| i.group == *name && matches!(i.life, Life::Running | Life::Booting))
            .count();
        // One that died by itself, or was ended without lowering desired, is replaced by the group.
        let replaced = world.cloud.instances.values().filter(|i| i.group == *name && i.replaced).count();
        let wanted = usize::try_from(group.desired).expect("small");
        rule(wanted == members + replaced, || format!("{name} wants {wanted} and has {members} + {replaced}"))?;
    }
    let rows = world.store.items.keys().filter(|k| k.table == Table::Instance).count();
    rule(rows <= world.cloud.instances.len(), || "a row without an instance".to_owned())
}
