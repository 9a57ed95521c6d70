//! Random call sequences with faults, drawn times and mishaps: what must hold whatever is asked.

use std::collections::{BTreeMap, BTreeSet};

use cloud_sim::api::agent::{AgentRelease, AgentResume, AgentState, AgentVolume, DrainScope};
use cloud_sim::api::autoscaling::TerminateInstanceInAutoScalingGroup;
use cloud_sim::api::control::{AuditWrites, EngineEvent, EngineLogEntry, ReadEngineLog, SetFault};
use cloud_sim::api::ec2::{
    CreateSnapshot, DescribeInstances, DescribeVolumes, DetachVolume, Filter, TerminateInstances,
};
use cloud_sim::api::{Answer, Call, Lost, Request};
use cloud_sim::faults::Fault;
use cloud_sim::timing::Timing;
use cloud_sim::{Config, Sim};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::kit::{GRAPH, LARGE, World, ZONE_A};

/// One step of a random history. `who` picks the source or the target, `device` one of four names.
#[derive(Debug, Clone)]
enum Step {
    /// What brings a move on, as things stand.
    Next,
    Wait(u64),
    Attach {
        who: bool,
        device: u8,
    },
    Detach {
        who: bool,
        device: u8,
        force: bool,
    },
    Drain {
        who: bool,
        all: bool,
    },
    Resume {
        who: bool,
    },
    Release {
        who: bool,
    },
    Adopt {
        who: bool,
    },
    Write {
        who: bool,
    },
    Snapshot,
    Launch,
    Terminate {
        who: bool,
        by_group: bool,
    },
    Fault(u8),
    Look,
}

fn who() -> impl Strategy<Value = bool> {
    any::<bool>()
}

/// Steps that a careful or careless client may take. `violent` adds what loses data by nature.
fn step(violent: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => Just(Step::Next),
        12 => (0_u64..20_000).prop_map(Step::Wait),
        2 => (who(), 0_u8..4).prop_map(|(who, device)| Step::Attach { who, device }),
        2 => (who(), 0_u8..4, any::<bool>()).prop_map(move |(who, device, force)| Step::Detach { who, device, force: force && violent }),
        1 => (who(), any::<bool>()).prop_map(|(who, all)| Step::Drain { who, all }),
        3 => who().prop_map(|who| Step::Resume { who }),
        1 => who().prop_map(|who| Step::Release { who }),
        2 => who().prop_map(|who| Step::Adopt { who }),
        14 => who().prop_map(|who| Step::Write { who }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Launch),
        1 => (who(), any::<bool>()).prop_map(move |(who, by_group)| if violent { Step::Terminate { who, by_group } } else { Step::Look }),
        2 => (0_u8..6).prop_map(Step::Fault),
        3 => Just(Step::Look),
    ]
}

struct Run {
    world: World,
    writes: u64,
    launches: u64,
    violent: bool,
    /// A detach was accepted and no attach since. A mount now would be pulled away: H12 leaves that to the caller.
    detaching: bool,
}

impl Run {
    fn new(seed: u64, violent: bool) -> Self {
        let config = Config { timing: Timing::Drawn, mishaps: true, ..Config::default() };
        Self { world: World::with(config, seed), writes: 0, launches: 0, violent, detaching: false }
    }

    fn call(&self, step: &Step, number: u64) -> Option<Call> {
        let world = &self.world;
        let name = |who: bool| if who { world.source.clone() } else { world.target.clone() };
        let device = |device: u8| format!("/dev/sd{}", char::from(b'f' + device));
        Some(match step {
            Step::Wait(_) => return None,
            Step::Next => return self.next(number),
            Step::Attach { who, device: d } => world.attach(&name(*who), &device(*d)).into_call(),
            Step::Detach { who, device: d, force } => {
                DetachVolume { force: *force, ..world.detach(&name(*who), &device(*d)) }.into_call()
            }
            Step::Drain { who, all } => {
                let scope = if *all { DrainScope::All } else { DrainScope::Writes };
                world.drain(&name(*who), 1, scope).into_call()
            }
            Step::Resume { who } => AgentResume { ..world.resume(&name(*who), 1) }.into_call(),
            Step::Release { who } => AgentRelease { ..world.release(&name(*who), 1) }.into_call(),
            Step::Adopt { who } => world.adopt(&name(*who), 1).into_call(),
            Step::Write { who } => world.write(&name(*who), number).into_call(),
            Step::Snapshot => {
                CreateSnapshot { volume_id: world.volume.clone(), ..CreateSnapshot::default() }.into_call()
            }
            Step::Launch => world.launch(LARGE, ZONE_A, &format!("t{}", number / 2)).into_call(),
            Step::Terminate { who, by_group: false } => {
                TerminateInstances { instance_ids: vec![name(*who)] }.into_call()
            }
            Step::Terminate { who, by_group: true } => {
                TerminateInstanceInAutoScalingGroup { instance_id: name(*who), should_decrement_desired_capacity: true }
                    .into_call()
            }
            Step::Fault(which) => SetFault::new(self.fault(*which), Some(2)).into_call(),
            Step::Look => {
                let filters = vec![Filter::new("attachment.instance-id", [name(true), name(false)])];
                DescribeVolumes { filters, ..DescribeVolumes::default() }.into_call()
            }
        })
    }

    /// Whether an agent is about to mount: a detach now has seen no mount and pulls the device away from under it.
    fn mounting(&self) -> bool {
        let mut copy = self.world.sim.clone();
        [&self.world.source, &self.world.target].into_iter().any(|instance_id| {
            let status = copy.ask(self.world.now, AgentVolume { to: self.world.to(instance_id) });
            status.answer.is_ok_and(|status| status.state == AgentState::Adopting)
        })
    }

    /// Stops the engine where the volume is, lets it go, takes it to the other instance, starts it there, over and over.
    fn next(&self, number: u64) -> Option<Call> {
        let world = &self.world;
        let mut copy = world.sim.clone();
        let filters = vec![Filter::new("volume-id", [world.volume.clone()])];
        let volumes = copy.ask(world.now, DescribeVolumes { filters, ..DescribeVolumes::default() }).answer.unwrap();
        let Some(attachment) = volumes.volumes[0].attachments.first() else {
            let to = if number.is_multiple_of(3) { &world.source } else { &world.target };
            return Some(world.attach(to, &format!("/dev/sd{}", char::from(b'f' + (number % 15) as u8))).into_call());
        };
        let holder = &attachment.instance_id;
        let status = copy.ask(world.now, AgentVolume { to: world.to(holder) }).answer.ok()?;
        let leaving = attachment.state == "detaching" || attachment.state == "busy";
        Some(match status.state {
            AgentState::Serving if self.violent && number.is_multiple_of(7) => {
                DetachVolume { force: true, ..world.detach(holder, &attachment.device) }.into_call()
            }
            AgentState::Serving if number.is_multiple_of(2) => world.write(holder, number).into_call(),
            AgentState::Serving | AgentState::Drained => world.release(holder, 1).into_call(),
            AgentState::Adopted => world.resume(holder, 1).into_call(),
            AgentState::Failed if status.mounted => world.release(holder, 1).into_call(),
            _ if attachment.state == "attaching" || number.is_multiple_of(2) && !leaving => {
                world.adopt(holder, 1).into_call()
            }
            _ => world.detach(holder, &attachment.device).into_call(),
        })
    }

    fn fault(&self, which: u8) -> Fault {
        match which {
            0 => Fault::AttachFails,
            1 => Fault::StuckAttach,
            2 => Fault::StaleReads,
            3 => Fault::LostAnswerAfter { api: "DetachVolume".into() },
            4 => Fault::LostAnswerBefore { api: "AgentRelease".into() },
            _ if self.violent => Fault::AgentSkipsUnmount,
            _ => Fault::SlowSnapshot,
        }
    }

    /// Takes a step and checks everything that must always hold.
    fn take(&mut self, step: &Step) {
        if let Step::Wait(ms) = step {
            self.world.wait(*ms);
        }
        let number = match step {
            Step::Write { .. } | Step::Next => {
                self.writes += 1;
                self.writes
            }
            Step::Launch => {
                self.launches += 1;
                self.launches
            }
            _ => 0,
        };
        let violent = self.violent;
        let safe = |call: &Call| match call {
            Call::AgentAdopt(_) => violent || !self.detaching,
            Call::DetachVolume(_) => violent || !self.mounting(),
            _ => true,
        };
        if let Some(call) = self.call(step, number).filter(safe) {
            let reply = self.world.sim.call(self.world.now, call);
            assert!(reply.effect_ms <= reply.latency_ms);
            self.world.now += reply.effect_ms;
            match reply.answer {
                Ok(Answer::DetachVolume(_)) if reply.lost != Some(Lost::Before) => self.detaching = true,
                Ok(Answer::AttachVolume(_)) if reply.lost != Some(Lost::Before) => self.detaching = false,
                _ => {}
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let world = &mut self.world;
        // A copy looks, so that looking does not change the history.
        let mut copy = world.sim.clone();
        let now_ms = world.now;
        let volumes = copy.ask(now_ms, DescribeVolumes::default()).answer.unwrap().volumes;
        assert!(volumes.iter().all(|volume| volume.attachments.len() <= 1), "two attachments at once");
        let entries = copy.ask(now_ms, ReadEngineLog::default()).answer.unwrap().entries;
        let mut open = BTreeMap::new();
        for entry in &entries {
            match &entry.event {
                EngineEvent::Opened => {
                    let before = open.insert(entry.volume_id.clone(), entry.instance_id.clone());
                    assert_eq!(before, None, "two engines have the volume open");
                }
                EngineEvent::Closed { .. } => {
                    assert_eq!(open.remove(&entry.volume_id).as_ref(), Some(&entry.instance_id));
                }
                EngineEvent::Write { .. } | EngineEvent::Door { .. } => {
                    assert_eq!(open.get(&entry.volume_id), Some(&entry.instance_id));
                }
                EngineEvent::Lost { .. } => {}
            }
        }
        let audit = copy.ask(now_ms, AuditWrites { graph_id: GRAPH.into() }).answer.unwrap();
        let lost: u64 = entries
            .iter()
            .map(|entry| if let EngineEvent::Lost { writes, .. } = entry.event { writes } else { 0 })
            .sum();
        if !self.violent {
            assert_eq!(lost, 0, "acknowledged writes were lost though nothing was torn off");
        }
        // Whatever is missing was announced as lost, unless it is in the memory of an engine between two mounts.
        let unflushed = if audit.open_on.is_none() { u64::MAX } else { lost };
        assert!(audit.missing_count <= unflushed);
        // After a clean stop with nothing open, the device has everything.
        if !self.violent && audit.open_on.is_none() {
            assert_eq!(audit.missing_count, 0);
        }
    }
}

/// The histories would prove nothing if they never got anywhere: most are to reach what the properties are about.
#[test]
fn random_histories_get_somewhere() {
    let mut runner = TestRunner::deterministic();
    let (mut moved, mut written, mut lost) = (0, 0, 0);
    for seed in 0..100 {
        let violent = seed % 2 == 0;
        let steps = prop::collection::vec(step(violent), 80).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new(seed, violent);
        for step in &steps {
            run.take(step);
        }
        let target = run.world.target.clone();
        let entries = run.world.ok(ReadEngineLog::default()).entries;
        let on_target = |entry: &&EngineLogEntry| entry.instance_id == target;
        moved += u32::from(entries.iter().filter(on_target).any(|entry| entry.event == EngineEvent::Opened));
        written += u32::from(entries.iter().any(|entry| matches!(entry.event, EngineEvent::Write { .. })));
        lost += u32::from(entries.iter().any(|entry| matches!(entry.event, EngineEvent::Lost { .. })));
    }
    assert!(moved >= 25 && written >= 50 && lost >= 5, "moved {moved}, written {written}, lost {lost} of 100");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// EC2 lets a volume go only when it is unmounted, so careful or careless calls alone lose nothing.
    #[test]
    fn without_force_lies_and_terminations_nothing_acknowledged_is_lost(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(false), 1..100),
    ) {
        let mut run = Run::new(seed, false);
        for step in &steps {
            run.take(step);
        }
    }

    #[test]
    fn whatever_happens_there_is_one_attachment_one_engine_and_no_silent_loss(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(true), 1..100),
    ) {
        let mut run = Run::new(seed, true);
        for step in &steps {
            run.take(step);
        }
    }

    #[test]
    fn a_saved_cloud_goes_on_as_if_nothing_had_been(
        seed in any::<u64>(),
        before in prop::collection::vec(step(true), 1..30),
        after in prop::collection::vec(step(true), 1..30),
    ) {
        let mut run = Run::new(seed, true);
        for step in &before {
            run.take(step);
        }
        let text = run.world.sim.save().unwrap().to_string();
        let loaded = Sim::load(serde_json::from_str(&text).unwrap()).unwrap();
        prop_assert_eq!(&loaded, &run.world.sim);
        let mut twin = Run { world: World { sim: loaded, ..run.world.clone() }, ..run };
        for step in &after {
            if let Step::Wait(ms) = step {
                run.world.wait(*ms);
                twin.world.wait(*ms);
            }
            if let Some(call) = run.call(step, 1_000) {
                let (a, b) = (run.world.sim.call(run.world.now, call.clone()), twin.world.sim.call(twin.world.now, call));
                prop_assert_eq!(a, b);
            }
        }
        prop_assert_eq!(run.world.sim, twin.world.sim);
    }

    /// Rule 12 rests on it: when nothing has changed for half a minute, reads tell the truth.
    #[test]
    fn reads_agree_once_a_change_is_old(seed in any::<u64>(), steps in prop::collection::vec(step(true), 1..40)) {
        let mut run = Run::new(seed, true);
        for step in &steps {
            run.take(step);
        }
        // A stuck detach may take an hour.
        run.world.wait(2 * 3_600_000);
        let world = &mut run.world;
        let volume_id = world.volume.clone();
        let filters = vec![Filter::new("volume-id", [volume_id.clone()])];
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let request = DescribeVolumes { filters: filters.clone(), ..DescribeVolumes::default() };
            let volume = world.sim.ask(world.now, request).answer.unwrap().volumes.remove(0);
            seen.insert(volume.attachments.first().map(|attachment| (attachment.instance_id.clone(), attachment.state.clone())));
        }
        prop_assert_eq!(seen.len(), 1);
        let Some((holder, state)) = seen.pop_first().unwrap() else { return Ok(()) };
        let request = DescribeInstances { instance_ids: vec![holder.clone()], ..DescribeInstances::default() };
        let shown = world.sim.ask(world.now, request).answer.unwrap().instances.remove(0);
        let device = shown.block_devices.iter().find(|device| device.volume_id == volume_id).unwrap();
        prop_assert_eq!(if state == "busy" { "detaching" } else { state.as_str() }, device.status.as_str());
        let to = world.to(&holder);
        let reply = world.sim.call(world.now, AgentVolume { to }.into_call());
        if let (None, Ok(Answer::AgentVolume(status))) = (reply.lost, reply.answer) {
            let has = status.serial == Some(volume_id.replacen('-', "", 1));
            prop_assert_eq!(has, state != "attaching");
        }
    }
}
