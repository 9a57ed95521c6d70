//! Which rows each fact writes, over every append of many lives. That a transaction has the right shape (one write
//! an item, conditions over our own attributes, nothing created by an update, at most a hundred) is checked by the
//! world's store for every append of every test; here is what is in them.

use crate::places;
use crate::world::driver::{Run, Step};
use crate::world::fixture::{self, Setup, idle, launched, source};
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::event::Direction;
use volume_core::fact::{Fact, Side};
use volume_core::item::{Cond, Item, Key, Op, Table, Value, Write};
use volume_core::stage::Stage;
use volume_core::state::Migration;
use volume_core::{Append, Machine, keys, registry};

/// Every append of a run, as it was prepared.
fn appends(mut run: Run) -> Vec<Append> {
    let mut all = Vec::new();
    loop {
        let before = run.state().clone();
        let from = run.world.store.entries.len();
        let step = run.step();
        let entries = run.world.store.entries[from..].to_vec();
        if !entries.is_empty() {
            all.push(Append { entries, before, after: run.state().clone() });
        }
        if matches!(step, Step::Over | Step::Idle) {
            return all;
        }
    }
}

/// The writes of the append with the first fact that fits.
fn writes_of(all: &[Append], fits: impl Fn(&Fact) -> bool) -> Vec<Write> {
    let append = all.iter().find(|a| a.entries.iter().any(|e| fits(&e.fact))).expect("it was appended");
    registry::writes(append, Some(append.before.fence))
}

fn to<'a>(writes: &'a [Write], key: &Key) -> &'a Write {
    writes.iter().find(|w| w.key == *key).unwrap_or_else(|| panic!("nothing is written to {key:?}"))
}

fn set(write: &Write) -> &Item {
    match &write.op {
        Op::Put(set) | Op::Update { set, .. } | Op::Upsert { set, .. } | Op::Count { set, .. } => set,
        Op::Check => panic!("only a check"),
    }
}

fn removed(write: &Write) -> &[String] {
    match &write.op {
        Op::Update { remove, .. } | Op::Upsert { remove, .. } | Op::Count { remove, .. } => remove,
        Op::Put(_) | Op::Check => &[],
    }
}

fn mine() -> Cond {
    Cond::eq("ts_migration", fixture::change().as_str())
}

fn keys_of(writes: &[Write]) -> BTreeSet<Key> {
    writes.iter().map(|w| w.key.clone()).collect()
}

#[test]
fn a_start_takes_both_locks_and_both_rows_and_looks_at_the_sources() {
    let run = Run::start(&Setup::idle_target());
    let append = Machine::start(fixture::spec(), &fixture::worker(1), 8, &run.settings, run.world.at()).expect("sound");
    let writes = registry::writes(&append, Some(7));
    let lock = to(&writes, &keys::volume_lock(&fixture::volume()));
    assert_eq!(lock.conds, [Cond::absent("holder"), Cond::eq("fence", 7)]);
    assert_eq!(set(lock).n("fence"), Some(8));
    assert_eq!(set(lock).s("kind"), Some("migration"));
    assert_eq!(to(&writes, &keys::graph_lock(&fixture::graph())).conds, [Cond::absent("holder")]);
    for key in [keys::graph_row(&fixture::graph()), keys::volume_row(&fixture::volume())] {
        assert_eq!(set(to(&writes, &key)).s("ts_state"), Some("migrating"));
        assert!(matches!(to(&writes, &key).op, Op::Update { .. }));
    }
    let check = to(&writes, &keys::instance_row(&source()));
    assert_eq!(check.op, Op::Check);
    assert!(check.conds.contains(&Cond::Exists));
    assert_eq!(writes.len(), 5);
    // The first migration of a volume finds no fence.
    let first = registry::writes(&append, None);
    let lock = to(&first, &keys::volume_lock(&fixture::volume()));
    assert_eq!(lock.conds, [Cond::absent("holder"), Cond::absent("fence")]);
}

#[test]
fn a_take_over_raises_the_fence_of_the_lock_and_nothing_else() {
    let run = Run::start(&Setup::idle_target());
    let fact = run.machine.take_over(&fixture::worker(2), 5);
    let append = run.machine.prepare(vec![fact], run.world.at()).expect("sound");
    let writes = registry::writes(&append, Some(4));
    let lock = to(&writes, &keys::volume_lock(&fixture::volume()));
    assert_eq!((writes.len(), set(lock)), (1, &Item::default().with("fence", 5)));
    assert_eq!(lock.conds, [Cond::eq("holder", fixture::change().as_str()), Cond::eq("fence", 4)]);
}

#[test]
fn the_way_forward_writes_what_was_observed_and_when() {
    let all = appends(Run::start(&Setup::idle_target()));
    let volume = keys::volume_row(&fixture::volume());

    let reserved = writes_of(&all, |f| matches!(f, Fact::Reserved { .. }));
    let row = to(&reserved, &keys::instance_row(&idle(1)));
    assert_eq!((set(row).s("ts_state"), &row.conds[..]), (Some("reserved"), &[Cond::absent("ts_migration")][..]));

    let detached = all.iter().find(|a| a.before.at_source() && !a.after.at_source()).expect("it left");
    let writes = registry::writes(detached, None);
    assert_eq!(removed(to(&writes, &volume)), ["instance_id"]);
    assert_eq!(set(to(&writes, &volume)).s("status"), Some("detaching"), "never `available` (D-20)");
    let attached = all.iter().find(|a| !a.before.at_target() && a.after.at_target()).expect("it came");
    let writes = registry::writes(attached, None);
    assert_eq!(set(to(&writes, &volume)).s("instance_id"), Some(idle(1).as_str()));

    let committed = writes_of(&all, |f| matches!(f, Fact::Committed { .. }));
    assert_eq!(
        keys_of(&committed),
        BTreeSet::from([
            keys::graph_row(&fixture::graph()),
            volume.clone(),
            keys::instance_row(&source()),
            keys::instance_row(&idle(1)),
            keys::volume_lock(&fixture::volume()),
            keys::graph_lock(&fixture::graph()),
        ])
    );
    let graph = to(&committed, &keys::graph_row(&fixture::graph()));
    assert_eq!(graph.conds, [mine()]);
    assert_eq!(set(graph).s("instance_id"), Some(idle(1).as_str()));
    assert_eq!(set(graph).s("private_ip"), Some("10.0.0.20"));
    assert_eq!(set(graph).s("status"), Some("active"));
    assert_eq!(set(to(&committed, &volume)).s("tier"), Some(fixture::target_tier().as_str()));
    assert_eq!(set(to(&committed, &keys::instance_row(&source()))).s("status"), Some("retiring"));
    let target = to(&committed, &keys::instance_row(&idle(1)));
    assert_eq!((set(target).s("status"), set(target).n("database_count")), (Some("healthy"), Some(1)));
    assert_eq!(set(to(&committed, &keys::volume_lock(&fixture::volume()))).s("kind"), Some("settling"));

    let condemned = writes_of(&all, |f| matches!(f, Fact::Intent { effect, .. } if effect.name() == "terminate"));
    let row = to(&condemned, &keys::instance_row(&source()));
    assert_eq!((set(row).s("ts_state"), &row.conds[..]), (Some("condemned"), &[mine()][..]));

    let done = writes_of(&all, |f| matches!(f, Fact::Done));
    for key in [keys::volume_lock(&fixture::volume()), keys::graph_lock(&fixture::graph())] {
        assert_eq!(removed(to(&done, &key)), ["holder", "kind"], "the item and its fence stay");
    }
}

#[test]
fn a_launched_instance_gets_a_row_and_a_condemned_one_that_was_never_reserved_too() {
    let all = appends(Run::start(&Setup::launched_target()));
    let reserved = writes_of(&all, |f| matches!(f, Fact::Reserved { .. }));
    let row = to(&reserved, &keys::instance_row(&launched(1)));
    assert!(matches!(row.op, Op::Upsert { .. }));
    assert_eq!(set(row).s("private_ip"), Some("10.0.1.1"));
    assert_eq!(set(row).s("cluster_group"), Some(fixture::target_group().as_str()));

    // Canceled between the launch and the reservation.
    let mut run = Run::start(&Setup::launched_target());
    run.until("the launch", |run| run.state().launched.is_some());
    run.request(|machine| machine.cancel("user_a")).expect("it may");
    let all = appends(run);
    let condemned = writes_of(&all, |f| matches!(f, Fact::Intent { effect, .. } if effect.name() == "terminate"));
    let row = to(&condemned, &keys::instance_row(&launched(1)));
    assert!(matches!(row.op, Op::Upsert { .. }), "nobody may reserve it meanwhile");
    assert_eq!(row.conds, [Cond::absent_or_eq("ts_migration", fixture::change().as_str())]);
}

#[test]
fn a_hand_over_names_the_side_that_serves() {
    let mut run = Run::start(&Setup::idle_target());
    run.until("the attach", |run| run.state().open.as_ref().is_some_and(|o| o.effect.name() == "attach"));
    run.world.faults.volume = Some(crate::world::faults::Shown::Foreign);
    run.finish();
    let write = |side| {
        let granted = run.machine.hand_over(side, "op_a", "n").expect("it is stuck");
        let volume_core::requests::Granted::Append(facts) = granted else { panic!("nothing is granted") };
        registry::writes(&run.machine.prepare(facts, run.world.at()).expect("sound"), None)
    };
    let volume = keys::volume_row(&fixture::volume());
    let source_side = write(Side::Source);
    assert_eq!(set(to(&source_side, &volume)).s("instance_id"), Some(source().as_str()));
    assert!(!keys_of(&source_side).contains(&keys::graph_row(&fixture::graph())), "it never named another");
    let target_side = write(Side::Target);
    assert_eq!(set(to(&target_side, &volume)).s("instance_id"), Some(idle(1).as_str()));
    assert_eq!(set(to(&target_side, &keys::graph_row(&fixture::graph()))).s("instance_id"), Some(idle(1).as_str()));
    for writes in [source_side, target_side] {
        assert_eq!(set(to(&writes, &keys::volume_lock(&fixture::volume()))).s("kind"), Some("settling"));
    }
}

#[test]
fn permits_are_taken_by_the_request_and_given_back_by_the_end() {
    for run in places::reached().into_values() {
        let mut held = run.state().permit;
        for append in appends(run) {
            let has = |name: &str| append.entries.iter().any(|e| e.fact.name() == name);
            match registry::permits(&append) {
                Some(true) => {
                    assert!(!held && has("gate_requested"));
                    held = true;
                }
                Some(false) => {
                    let given_back = ["opened", "rolled_back", "stuck", "handed_over"].into_iter().any(has);
                    assert!(held && given_back);
                    held = false;
                }
                None => {}
            }
        }
        assert!(!held);
    }
}

#[test]
fn which_facts_write_which_tables() {
    // Over every append of every life: a fact that is not named here writes nothing.
    let mut tables: BTreeMap<&'static str, BTreeSet<&'static str>> = BTreeMap::new();
    for run in places::reached().into_values() {
        for append in appends(run) {
            let [entry] = &append.entries[..] else { continue };
            let writes = registry::writes(&append, None);
            tables.entry(entry.fact.name()).or_default().extend(writes.iter().map(|w| w.key.table.name()));
        }
    }
    let writing: Vec<String> = tables
        .iter()
        .filter(|(_, tables)| !tables.is_empty())
        .map(|(fact, tables)| format!("{fact}: {}", tables.iter().copied().collect::<Vec<_>>().join(", ")))
        .collect();
    assert_eq!(
        writing,
        [
            "committed: graph-registry, instance-registry, locks, volume-registry",
            "done: graph-registry, instance-registry, locks, volume-registry",
            "intent: instance-registry",
            "outcome: instance-registry, volume-registry",
            "rehomed: graph-registry, instance-registry, locks, volume-registry",
            "reserved: instance-registry",
            // All but the locks only where another instance took the source's place (H34).
            "rolled_back: graph-registry, instance-registry, locks, volume-registry",
            "source_replaced: instance-registry",
        ]
    );
}

#[test]
fn h34_the_rows_follow_what_took_the_place_of_a_lost_source_and_wait_for_nobody_else() {
    let lost = |run: &Run| run.state().source_lost && run.state().direction == Direction::Undo;
    let all = appends(places::reached().into_values().find(lost).expect("it is reached"));
    let home = launched(1);
    let taken = writes_of(&all, |fact| matches!(fact, Fact::SourceReplaced { .. }));
    assert_eq!(keys_of(&taken), [keys::instance_row(&home)].into());
    let row = set(&taken[0]);
    assert_eq!((row.s("ts_state"), row.s("tier")), (Some("reserved"), Some(fixture::source_tier().as_str())));
    let back = writes_of(&all, |fact| matches!(fact, Fact::RolledBack));
    assert_eq!(set(to(&back, &keys::graph_row(&fixture::graph()))).s("instance_id"), Some(home.as_str()));
    assert_eq!(set(to(&back, &keys::volume_row(&fixture::volume()))).s("instance_id"), Some(home.as_str()));
    assert_eq!(set(to(&back, &keys::instance_row(&home))).n("database_count"), Some(1));
    assert_eq!(set(to(&back, &keys::instance_row(&source()))).s("status"), Some("terminated"));
    // Back on the source itself only the locks change: it must not wait for a foreign writer.
    let mut plain = Run::start(&Setup::idle_target());
    plain.until("a drain", |run| run.state().stage == Stage::DrainReads);
    plain.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    let back = writes_of(&appends(plain), |fact| matches!(fact, Fact::RolledBack));
    let locks = [keys::volume_lock(&fixture::volume()), keys::graph_lock(&fixture::graph())];
    assert_eq!(keys_of(&back), locks.into());
}

#[test]
fn two_writes_to_one_item_become_one_and_the_later_value_holds() {
    // Given up and back in the pool, in one append with the hand-over that names the rows again.
    let mut run = Run::start(&Setup::idle_target());
    run.until("the attach", |run| run.state().at_target());
    run.world.faults.volume = Some(crate::world::faults::Shown::Foreign);
    let m: &Migration = run.state();
    let mut before = m.clone();
    before.open = Some(volume_core::state::Open {
        n: 99,
        effect: volume_core::effect::Effect::Detach { instance: idle(1), device: "/dev/sdf".to_owned() },
        token: String::new(),
        fence: 1,
        at: run.world.at(),
    });
    let entry = |fact: Fact, seq: u64| volume_core::fact::Entry {
        schema: volume_core::fact::SCHEMA,
        seq,
        at: run.world.at(),
        fact,
        public: None,
    };
    let outcome = volume_core::fact::Outcome::Done(volume_core::effect::Done::Accepted);
    let append = Append {
        entries: vec![
            entry(Fact::Outcome { n: 99, outcome }, before.seq + 1),
            entry(Fact::HandedOver { side: Side::Target, by: "op".to_owned(), note: "n".to_owned() }, before.seq + 2),
        ],
        after: before.clone(),
        before,
    };
    let writes = registry::writes(&append, None);
    let volume: Vec<&Write> = writes.iter().filter(|w| w.key == keys::volume_row(&fixture::volume())).collect();
    assert_eq!(volume.len(), 1);
    assert_eq!(set(volume[0]).0.get("instance_id"), Some(&Value::S(idle(1).to_string())));
    assert!(!removed(volume[0]).contains(&"instance_id".to_owned()), "removed first, set later");
    assert!(writes.iter().all(|w| w.key.table != Table::Journal));
}
