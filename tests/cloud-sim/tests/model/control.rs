//! Faults, the ledger, saving and loading, and replies as a face sees them.

use cloud_sim::api::agent::{AgentAdopt, AgentHealth};
use cloud_sim::api::autoscaling::DescribeAutoScalingGroups;
use cloud_sim::api::control::{
    ActiveFault, AuditWrites, ClearFault, LedgerEntry, ListFaults, ReadLedger, RebootInstance, SetFault, SetLoad,
};
use cloud_sim::api::ec2::{CreateSnapshot, DescribeVolumes};
use cloud_sim::api::{Call, Lost, Request, Service};
use cloud_sim::faults::Fault;
use cloud_sim::faults::catalogue::{CATALOGUE, ParameterKind};
use cloud_sim::timing::{Op, Timing};
use cloud_sim::{Config, Sim};

use crate::kit::{DESCRIBE_MS, MUTATE_MS, World};

#[test]
fn a_reply_says_when_the_effect_and_when_the_answer_is() {
    let mut world = World::new();
    let reply = world.sim.ask(world.now, DescribeVolumes::default());
    assert_eq!((reply.effect_ms, reply.latency_ms), (DESCRIBE_MS / 2, DESCRIBE_MS));
    let reply = world.sim.ask(world.now, AgentHealth { to: world.to(&world.source) });
    assert_eq!((reply.effect_ms, reply.latency_ms), (0, 5));
    let snapshot = CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() };
    let reply = world.sim.ask(world.now, snapshot);
    assert_eq!((reply.effect_ms, reply.latency_ms), (250, 500));
    assert_eq!(reply.answer.unwrap().start_time_ms, world.now + 250);
    let reply = world.sim.ask(world.now, ListFaults {});
    assert_eq!((reply.effect_ms, reply.latency_ms), (0, 0));
}

#[test]
fn throttling_speaks_each_apis_own_language() {
    let mut world = World::new();
    for (call, code, status) in [
        (DescribeVolumes::default().into_call(), "RequestLimitExceeded", 503),
        (DescribeAutoScalingGroups::default().into_call(), "Throttling", 400),
        (AgentHealth { to: world.to(&world.source) }.into_call(), "TOO_MANY_REQUESTS", 429),
    ] {
        world.fault(Fault::Throttle { api: call.action().into() }, Some(1));
        let error = world.sim.call(world.now, call.clone()).answer.unwrap_err();
        assert_eq!((error.code.as_str(), error.http_status), (code, status));
        assert!(world.sim.call(world.now, call).answer.is_ok());
    }
}

#[test]
fn a_lost_answer_is_lost_before_or_after_the_effect() {
    let mut world = World::new();
    world.release_source(1);
    let api = || "DetachVolume".to_owned();
    let request = world.detach(&world.source, "/dev/sdf").into_call();
    world.fault(Fault::LostAnswerBefore { api: api() }, Some(1));
    assert_eq!(world.lost(request.clone()), Lost::Before);
    world.wait(10_000);
    assert_eq!(world.attachment(), "attached");
    world.fault(Fault::LostAnswerAfter { api: api() }, Some(1));
    assert_eq!(world.lost(request), Lost::After);
    world.wait(10_000);
    assert_eq!(world.attachment(), "none");
}

#[test]
fn the_ledger_says_what_was_drawn_for_a_call() {
    let mut world = World::new();
    world.ok(ListFaults {});
    world.ok(DescribeVolumes::default());
    world.ok(CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() });
    let drew = |entry: &LedgerEntry| entry.drew.iter().map(|drawn| (drawn.op, drawn.ms)).collect::<Vec<_>>();
    let entries = world.ok(ReadLedger::default()).entries;
    let [.., describe, snapshot] = entries.as_slice() else { panic!("two entries") };
    assert_eq!(drew(describe).last(), Some(&(Op::DescribeCall, DESCRIBE_MS)));
    let [(Op::SnapshotCall, 500), (Op::SnapshotFirst, first_ms), (Op::ReadLag, 300)] = drew(snapshot)[..] else {
        panic!("latency, copy and lag: {snapshot:?}")
    };
    assert!(first_ms > 0);
}

#[test]
fn faults_are_listed_counted_and_cleared() {
    let mut world = World::new();
    world.fault(Fault::SlowSnapshot, Some(2));
    world.fault(Fault::Throttle { api: "AgentDrain".into() }, None);
    world.fault(Fault::SlowSnapshot, Some(1));
    let on = world.ok(ListFaults {}).faults;
    let listed = |fault, count| ActiveFault { fault, count, skip: 0, until_ms: None };
    let throttle = listed(Fault::Throttle { api: "AgentDrain".into() }, None);
    assert_eq!(on, [throttle, listed(Fault::SlowSnapshot, Some(1))]);
    world.ok(CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() });
    world.clear(Fault::Throttle { api: "AgentDrain".into() });
    assert!(world.ok(ListFaults {}).faults.is_empty());
}

#[test]
fn a_fault_that_can_never_strike_is_refused() {
    let mut world = World::new();
    for api in ["NoSuchCall", "EngineWrite", "AuditWrites"] {
        let fault = SetFault::new(Fault::Throttle { api: api.into() }, None);
        assert_eq!(world.err(fault), "UNKNOWN_API");
    }
    let unknown = Fault::InstanceDead { instance_id: "i-00000000000000000".into() };
    assert_eq!(world.err(SetFault::new(unknown, None)), "InvalidInstanceID.NotFound");
    assert_eq!(world.err(AuditWrites { graph_id: "kg0".into() }), "UNKNOWN_GRAPH");
    assert_eq!(world.err(SetLoad { graph_id: "kg0".into(), readers: 0, writers: 0 }), "UNKNOWN_GRAPH");
    assert_eq!(world.err(RebootInstance { instance_id: "i-0".into() }), "InvalidInstanceID.NotFound");
}

/// The JSON that people and the wire face use to switch faults.
#[test]
fn faults_have_names() {
    let mut names = std::collections::BTreeSet::new();
    for entry in CATALOGUE {
        let name = entry.name;
        assert!(names.insert(name), "{name} is there twice");
        let mut json = serde_json::json!({ "fault": name, "count": 3 });
        for parameter in entry.parameters {
            let number = parameter.kind == ParameterKind::Milliseconds;
            json[parameter.name] = if number { 7.into() } else { "x".into() };
        }
        let set: SetFault = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(set.count, Some(3), "{name}");
        assert_eq!(serde_json::to_value(&set).unwrap(), json, "{name}");
        json.as_object_mut().unwrap().remove("count");
        assert_eq!(serde_json::from_value::<ClearFault>(json).unwrap().fault, set.fault);
    }
    // serde names every variant when it meets an unknown one: none of them is missing in the catalogue.
    let unknown = serde_json::from_value::<Fault>(serde_json::json!({ "fault": "nope" })).unwrap_err().to_string();
    let variants: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
    assert_eq!(names, variants.into_iter().collect(), "{unknown}");
}

#[test]
fn the_ledger_has_every_api_call_and_nothing_else() {
    let mut world = World::new();
    let (source, start_ms) = (world.source.clone(), world.now);
    world.ok(world.write(&source, 1));
    assert_eq!(world.err(world.detach(&source, "/dev/sdg")), "InvalidAttachment.NotFound");
    world.fault(Fault::LostAnswerAfter { api: "AgentAdopt".into() }, Some(1));
    let adopt: AgentAdopt = world.adopt(&source, 1);
    assert_eq!(world.lost(adopt.into_call()), Lost::After);
    let entries = world.ok(ReadLedger::default()).entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.seq, entry.service, entry.action.as_str(), entry.outcome.as_str(), entry.lost))
        .collect();
    assert_eq!(
        told,
        [
            (1, Service::Ec2, "DetachVolume", "InvalidAttachment.NotFound", None),
            (2, Service::Agent, "AgentAdopt", "ok", Some(Lost::After)),
        ]
    );
    assert_eq!(entries[0].at_ms, start_ms + 2);
    assert_eq!(entries[1].at_ms, start_ms + 2 + MUTATE_MS);
    assert_eq!(entries[0].parameters["volume_id"], world.volume);
    assert_eq!(entries[0].parameters["device"], "/dev/sdg");
    assert_eq!(entries[1].parameters["fence"], "1");
    let rest = world.ok(ReadLedger { after_seq: 1, limit: 5 });
    assert_eq!(rest.entries, entries[1..]);
    assert_eq!(rest.oldest_seq, 1);
}

#[test]
fn calls_can_be_kept_as_json() {
    let world = World::new();
    let call = world.attach(&world.target, "/dev/sdf").into_call();
    let json = serde_json::to_value(&call).unwrap();
    assert_eq!(json["action"], "AttachVolume");
    assert_eq!(serde_json::from_value::<Call>(json).unwrap(), call);
}

#[test]
fn time_does_not_go_back() {
    let mut world = World::new();
    world.wait(10_000);
    let now_ms = world.sim.now_ms();
    world.sim.ask(5, DescribeVolumes::default()).answer.unwrap();
    assert_eq!(world.sim.now_ms(), now_ms);
}

#[test]
fn the_same_seed_is_the_same_history_and_another_is_another() {
    let drawn = || Config { timing: Timing::Drawn, mishaps: true, ..Config::default() };
    let run = |seed| {
        let mut world = World::with(drawn(), seed);
        (0..50).map(|_| world.sim.ask(world.now, DescribeVolumes::default()).latency_ms).collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn rubbish_is_not_loaded() {
    assert!(Sim::load(serde_json::json!({ "config": 1 })).is_err());
}

/// A file is written often: it carries the newest entries of the logs, and the numbering goes on.
#[test]
fn a_saved_ledger_is_short_and_keeps_counting() {
    let mut world = World::new();
    for _ in 0..1_500 {
        world.ok(AgentHealth { to: world.to(&world.source) });
    }
    let mut loaded = Sim::load(world.sim.save().unwrap()).unwrap();
    let page = loaded.ask(world.now, ReadLedger::default()).answer.unwrap();
    assert_eq!((page.oldest_seq, page.entries.len()), (501, 1_000));
    loaded.ask(world.now, AgentHealth { to: world.to(&world.source) }).answer.unwrap();
    let page = loaded.ask(world.now, ReadLedger { after_seq: 1_500, limit: 0 }).answer.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1_501]);
}
