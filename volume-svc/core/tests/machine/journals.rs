//! Kept journals (V6): what this version and those before it have written, in `tests/journals/<version>/`. Each must fold
//! to the state that its writer had, tell the same public events, and lead to the decisions that were kept, from every
//! entry on: a migration that was started by an older version goes on as it would have.
//!
//! `KEEP_JOURNALS=1 cargo test -p volume-core kept_journals_fold` writes those of the present version anew, and of no other.
//! A difference is read line by line before it is kept: for a version that was released it must be explained by a fact or
//! a field that old journals lack.

use crate::places;
use crate::stories::{at, at_open, one, two};
use crate::text;
use crate::world::driver::{Ended, Run, Step};
use crate::world::faults::{Fate, Shown};
use crate::world::fixture::{self, Setup, idle, source};
use crate::world::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use volume_core::Machine;
use volume_core::effect::Trouble;
use volume_core::fact::{Entry, Resume, Side};
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::state::{Corrupt, Migration};
use volume_core::view::View;

/// A journal with what it led to when it was kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// What happened in it.
    about: String,
    /// What its fold comes to.
    state: Vec<String>,
    /// What a machine that has just loaded the first `n` entries does next, for each `n` from 1 on.
    next: Vec<String>,
    /// As they were stored.
    entries: Vec<Entry>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/journals")
}

/// What of a state must never be read differently, one line each. Not the state's own serialised form: that may gain
/// fields.
fn summary(m: &Migration) -> Vec<String> {
    let last = m.done_at.or(m.opened_at).unwrap_or(m.moved_at);
    let ids = |set: &BTreeSet<tiershift_core::ids::InstanceId>| set.iter().map(fixture::word).collect::<Vec<_>>();
    let view = serde_json::to_string(&View::of(m, last)).expect("a glance has a JSON form");
    vec![
        format!("seq {} public {} fence {} intents {}", m.seq, m.public_seq, m.fence, m.intents),
        format!("stage {} direction {:?} end {:?}", m.stage, m.direction, m.end),
        format!("place {:?} source {:?} target {:?}", m.place, m.source_host, m.target_host),
        format!("target {:?} ready {}", m.target.as_ref().map(|t| fixture::word(&t.instance)), m.target_ready),
        format!(
            "condemned {:?} terminated {:?} protected {:?}",
            ids(&m.condemned),
            ids(&m.terminated),
            ids(&m.protected)
        ),
        format!(
            "dropped {:?}",
            m.dropped.iter().map(|(p, why)| (fixture::word(&p.instance), *why)).collect::<Vec<_>>()
        ),
        format!(
            "devices {:?}",
            m.devices_used.iter().map(|(on, d)| format!("{} {d}", fixture::word(on))).collect::<Vec<_>>()
        ),
        format!("snapshots {:?} {:?} completed {:?} deleted {:?}", m.safety, m.last, m.completed, m.deleted),
        format!("gate {:?} permit {} detach journalled {}", m.gate, m.permit, m.detach_journalled),
        format!("open {:?}", m.open.as_ref().map(|o| (o.n, text::effect(&o.effect), o.token.clone(), o.fence))),
        format!("undo {:?} stuck {:?}", m.undo.as_ref().map(|u| u.reason), m.stuck.as_ref().map(|s| s.reason)),
        format!("reference {:?} fs_uuid {:?}", m.reference, m.fs_uuid),
        format!(
            "offline {:?} committed {:?} opened {:?} done {:?}",
            m.offline_at, m.committed_at, m.opened_at, m.done_at
        ),
        view,
    ]
}

fn load(entries: &[Entry]) -> Result<Machine, Corrupt> {
    let at = entries.last().map_or(tiershift_core::UnixMs(0), |e| e.at);
    Machine::load(&fixture::change(), entries, Settings::default(), at)
}

/// What the machine does from each entry on.
fn decisions(entries: &[Entry]) -> Vec<String> {
    let next = |n: usize| {
        let machine = load(&entries[..n]).expect("a prefix of a journal folds");
        let at = entries[n - 1].at;
        text::next(&machine.next(at), at.0)
    };
    (1..=entries.len()).map(next).collect()
}

fn keep(about: &str, entries: &[Entry]) -> Kept {
    let state = load(entries).expect("it folds").state;
    Kept { about: about.to_owned(), state: summary(&state), next: decisions(entries), entries: entries.to_vec() }
}

/// The lives whose journals are kept: one for each interesting end.
fn lives() -> Vec<(&'static str, &'static str, Vec<Entry>)> {
    let mut all = Vec::new();
    let mut put = |name, about, mut run: Run| {
        while !matches!(run.step(), Step::Over | Step::Idle) {}
        all.push((name, about, run.world.store.entries));
    };
    put("moved_with_an_idle_target", "nothing went wrong", Run::start(&two()));
    put("moved_with_a_launch", "the pool was empty", Run::start(&Setup::launched_target()));
    put(
        "moved_with_the_source_kept",
        "the source's group was at its smallest size",
        Run::start(&Setup { source_min: 1, ..two() }),
    );
    let mut run = at_open(&two(), "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    put("moved_to_another_target", "the first target could not mount", run);
    let mut run = at_open(&two(), "resume");
    run.world.kill(&idle(1));
    put("moved_again_behind_the_commit", "the target ended before its door was open", run);
    let mut run = at_open(&two(), "drain_all");
    run.world.kill(&source());
    put("moved_uncleanly", "the source ended in its drain", run);
    let mut run = at_open(&two(), "attach");
    run.world.faults.once("attach", Fate::LostAfter);
    run.call_unheard();
    run.crash();
    put("moved_by_two_drivers", "the first died while its attach was under way", run);
    let mut run = at(&two(), Stage::Settle);
    run.world.cloud.fail_snapshots();
    put("moved_with_a_second_final_snapshot", "the first ended in error", run);
    for (name, about, stage) in [
        ("canceled_in_the_safety_snapshot", "nothing was asked of anybody yet", Stage::SafetySnapshot),
        ("canceled_at_the_gate", "a target was reserved", Stage::Gate),
        ("canceled_in_the_drain", "the source's door was shut", Stage::DrainReads),
        ("canceled_in_the_release", "the source was about to unmount", Stage::Release),
    ] {
        let mut run = at(&two(), stage);
        run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
        put(name, about, run);
    }
    let mut run = at(&Setup::launched_target(), Stage::Capacity);
    run.until("the launch", |run| run.state().launched.is_some());
    run.request(|machine| machine.cancel("user_a")).expect("nothing is detached yet");
    put("canceled_with_a_launch_taken_back", "the launched instance was no target yet", run);
    let mut run = at(&one(), Stage::Attach);
    run.world.faults.attach_falls_back = 2;
    put("rolled_back_from_attach", "the target took the volume on no device", run);
    let mut run = at_open(&one(), "adopt");
    let now = run.world.now;
    run.world.faults.silent.insert(idle(1), now);
    put("rolled_back_from_adopt", "the target fell silent and was condemned", run);
    let mut run = at_open(&one(), "adopt");
    run.world.faults.adopt_fails.insert(idle(1));
    run.world.kill(&source());
    put("rolled_back_to_a_new_instance", "the source had ended", run);
    let mut run = at(&two(), Stage::Commit);
    run.world.faults.foreign_rows.insert(fixture::graph().to_string());
    run.until("its end for the customer", |run| run.state().end.is_some());
    run.world.faults.foreign_rows.clear();
    put("rolled_back_from_commit", "somebody else wrote to the graph's row", run);
    put("stuck_and_resumed", "the volume was seen twice, until an operator mended it", stuck_and_resumed());
    put("turned_around", "an operator went forward out of an undo", turned_around());
    put("handed_over_to_the_target", "an operator mounted the volume there by hand", handed_over(Side::Target));
    put("handed_over_to_the_source", "an operator mounted the volume there by hand", handed_over(Side::Source));
    all.push(("stuck", "the volume was at an instance that is not ours", still_stuck()));
    let at = tiershift_core::UnixMs(1_000_000);
    let tombstone =
        Machine::tombstone(&fixture::change(), "user_a", &Settings::default(), at).expect("it can be written");
    all.push(("tombstone", "a cancel came before the start", tombstone.entries));
    all
}

fn stuck_and_resumed() -> Run {
    let mut run = at_open(&two(), "detach");
    run.world.faults.volume = Some(Shown::Twice);
    assert!(matches!(run.finish(), Ended::Stuck(_)));
    run.world.faults.volume = None;
    run.request(|machine| machine.resume(Resume::Retry, "op_a", "detached the other")).expect("it is stuck");
    run
}

fn still_stuck() -> Vec<Entry> {
    let mut run = at_open(&two(), "attach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert!(matches!(run.finish(), Ended::Stuck(_)));
    run.world.store.entries
}

fn turned_around() -> Run {
    let mut run = at_open(&places::brief(two()), "adopt");
    run.world.faults.probe_lies.insert(idle(1));
    run.until("the way back", |run| run.state().undo.is_some());
    run.world.faults.always("attach", Fate::Refuse(Trouble::SlotsFull));
    assert!(matches!(run.finish(), Ended::Stuck(_)));
    run.world.faults.calls.clear();
    run.world.faults.probe_lies.clear();
    run.request(|machine| machine.resume(Resume::GoForward, "op_a", "mended the target")).expect("it may");
    run
}

fn handed_over(side: Side) -> Run {
    let mut run = at_open(&two(), "attach");
    run.world.faults.volume = Some(Shown::Foreign);
    assert!(matches!(run.finish(), Ended::Stuck(_)));
    run.world.faults.volume = None;
    let (on, device) = if side == Side::Target { (idle(1), "/dev/sdk") } else { (source(), "/dev/sdp") };
    run.world.cloud.put(&on, device);
    let serving = Host::serving(&run.world.cloud.volume);
    run.world.hosts.insert(on, serving);
    run.request(|machine| machine.hand_over(side, "op_a", "by hand")).expect("it may");
    run
}

/// Writes those of the present version anew.
fn write_kept() {
    let here = folder().join(env!("CARGO_PKG_VERSION"));
    std::fs::create_dir_all(&here).expect("the folder can be made");
    for (name, about, entries) in lives() {
        let kept = serde_json::to_string_pretty(&keep(about, &entries)).expect("it has a JSON form");
        std::fs::write(here.join(format!("{name}.json")), kept + "\n").expect("the folder can be written");
    }
}

/// Every kept journal with its name, of every version.
fn kept() -> Vec<(String, Kept)> {
    let mut all = Vec::new();
    let versions = std::fs::read_dir(folder()).expect("journals are kept");
    for version in versions {
        let version = version.expect("it can be listed").path();
        for file in std::fs::read_dir(&version).expect("it can be listed") {
            let path = file.expect("it can be listed").path();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let kept = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            all.push((path.display().to_string(), kept));
        }
    }
    all.sort_by(|a: &(String, Kept), b| a.0.cmp(&b.0));
    all
}

/// The first line in which two lists differ.
fn differing(kept: &[String], fresh: &[String]) -> Option<String> {
    let longest = kept.len().max(fresh.len());
    let at = (0..longest).find(|n| kept.get(*n) != fresh.get(*n))?;
    Some(format!("line {}: kept {:?}, now {:?}", at + 1, kept.get(at), fresh.get(at)))
}

#[test]
fn kept_journals_fold_to_the_same_state_and_lead_to_the_same_decisions() {
    if std::env::var("KEEP_JOURNALS").is_ok_and(|value| value == "1") {
        write_kept();
    }
    let all = kept();
    assert!(all.len() >= 20, "only {} journals are kept", all.len());
    for (name, kept) in &all {
        let state = load(&kept.entries).unwrap_or_else(|e| panic!("{name}: {e}")).state;
        let state = differing(&kept.state, &summary(&state));
        assert!(state.is_none(), "{name}: another state, {}", state.unwrap_or_default());
        let next = differing(&kept.next, &decisions(&kept.entries));
        assert!(next.is_none(), "{name}: another decision, {}", next.unwrap_or_default());
    }
}

#[test]
fn kept_journals_tell_the_same_public_events() {
    for (name, kept) in kept() {
        for n in 1..kept.entries.len() {
            let (before, entry) = (&kept.entries[..n], &kept.entries[n]);
            let machine = load(before).unwrap_or_else(|e| panic!("{name}: {e}"));
            let told = machine.prepare(vec![entry.fact.clone()], entry.at).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(told.entries[0].public, entry.public, "{name}: entry {}", entry.seq);
        }
    }
}

#[test]
fn the_journals_of_this_version_are_kept_as_it_writes_them() {
    let here = folder().join(env!("CARGO_PKG_VERSION"));
    for (name, about, entries) in lives() {
        let text = std::fs::read_to_string(here.join(format!("{name}.json"))).unwrap_or_default();
        let kept: Kept =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name} is not kept ({e}): KEEP_JOURNALS=1"));
        assert!(kept == keep(about, &entries), "{name} is written otherwise now; KEEP_JOURNALS=1 keeps it anew");
    }
}

#[test]
fn every_fact_is_in_a_kept_journal() {
    let seen: BTreeSet<&str> =
        lives().iter().flat_map(|(_, _, entries)| entries.iter().map(|e| e.fact.name())).collect();
    let all = [
        "started",
        "taken_over",
        "entered",
        "progress",
        "intent",
        "outcome",
        "reserved",
        "target_ready",
        "target_failed",
        "target_dropped",
        "gate_requested",
        "gate_confirmed",
        "writes_drained",
        "committed",
        "rehomed",
        "opened",
        "undo_begun",
        "rolled_back",
        "stuck",
        "resumed",
        "handed_over",
        "source_lost",
        "source_replaced",
        "snapshot_completed",
        "snapshot_amiss",
        "source_kept",
        "done",
        "tombstone",
    ];
    let missing: Vec<&str> = all.into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are in no kept journal");
}

#[test]
fn an_entry_of_another_version_does_not_load_and_nothing_of_it_is_guessed() {
    for (name, kept) in kept() {
        let mut entries = kept.entries;
        let last = entries.last_mut().expect("there is one");
        last.schema += 1;
        assert!(matches!(load(&entries), Err(Corrupt::Schema { .. })), "{name}");
    }
    // A fact that this build does not know is no entry at all.
    let unheard = r#"{"schema":1,"seq":1,"at":1,"fact":{"kind":"unheard"},"public":null}"#;
    assert!(serde_json::from_str::<Entry>(unheard).is_err());
}
