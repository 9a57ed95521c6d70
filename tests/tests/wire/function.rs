//! The volume manager function by volume-svc's own adapter over the simulated Lambda: its contract, its ways to fail, and
//! what a late or a doubled run does.

use cloud_sim::lambda::AGAIN_MS;
use cloud_sim::seed::VOLUME_FUNCTION;
use serde_json::{Value, json};
use std::time::Duration;
use tiershift_common::clock::Clock as _;
use tiershift_core::ids::{InstanceId, VolumeId};
use volume_svc::adapters::aws::lambda::Lambda;
use volume_svc::ports::cloud::{ApiError, Class, SnapshotRequest, Tags};
use volume_svc::ports::volume_ops::{Operation, VolumeOps as _};

use crate::adapters::aws;
use crate::kit::{World, ZONE_A, eventually};

const DEVICE: &str = "/dev/sdg";

async fn function(world: &World, name: &str) -> Lambda {
    aws(world).await.lambda(name, Duration::from_mins(1)).unwrap()
}

fn operation(world: &World, id: &str) -> Operation {
    Operation { id: id.to_owned(), not_after: world.running.clock.now().plus(600_000) }
}

/// Outcomes of the calls of one kind so far.
async fn outcomes(world: &World, action: &str) -> Vec<String> {
    let entries = world.ledger(0).await;
    let of = entries.iter().filter(|e| e["action"] == action);
    of.map(|e| e["outcome"].as_str().unwrap().to_owned()).collect()
}

/// A free volume, an instance for it, and the function.
struct Scene {
    world: World,
    function: Lambda,
    volume: VolumeId,
    instance: InstanceId,
}

impl Scene {
    async fn new() -> Self {
        Self::over(World::new().await).await
    }

    async fn over(world: World) -> Self {
        let function = function(&world, VOLUME_FUNCTION).await;
        let volume = VolumeId::parse(world.volume(ZONE_A).await).unwrap();
        let instance = InstanceId::parse(world.idle(ZONE_A).instance_id.clone()).unwrap();
        Self { world, function, volume, instance }
    }

    async fn attach(&self, id: &str) -> Result<(), ApiError> {
        self.function.attach(&operation(&self.world, id), &self.volume, &self.instance, DEVICE).await
    }

    async fn detach(&self, id: &str) -> Result<(), ApiError> {
        self.function.detach(&operation(&self.world, id), &self.volume, &self.instance, DEVICE).await
    }

    async fn attached(&self) {
        self.attach("attach").await.unwrap();
        self.becomes(1, Some("attached")).await;
    }

    /// Waits until the volume has so many attachments, in that state.
    async fn becomes(&self, count: usize, state: Option<&str>) {
        self.world
            .volume_becomes(self.volume.as_str(), |volume| {
                let attachments = volume.attachments();
                attachments.len() == count
                    && state.is_none_or(|s| attachments[0].state().is_some_and(|found| found.as_str() == s))
            })
            .await;
    }

    async fn fault(&self, name: &str, action: &str) {
        self.world.fault(json!({ "fault": name, "action": action, "count": 1 })).await;
    }
}

fn class<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> (Class, String) {
    let error = answer.unwrap_err();
    (error.class, error.code)
}

#[tokio::test]
async fn the_three_calls_are_made_once_for_each_operation() {
    let scene = Scene::new().await;
    assert_eq!(scene.function.function().await.unwrap().unwrap().lacks, Vec::<String>::new());
    scene.attached().await;
    scene.attach("attach").await.unwrap();
    assert_eq!(outcomes(&scene.world, "AttachVolume").await, ["ok"], "the second one was a repetition");
    let tags: Tags = [("GraphId".to_owned(), "kg1".to_owned())].into();
    let request = SnapshotRequest { volume_id: scene.volume.clone(), description: "d".to_owned(), tags };
    let made = scene.function.snapshot(&operation(&scene.world, "snapshot"), &request).await.unwrap();
    let again = scene.function.snapshot(&operation(&scene.world, "snapshot"), &request).await.unwrap();
    assert_eq!(made, again);
    let other = scene.function.snapshot(&operation(&scene.world, "snapshot-2"), &request).await.unwrap();
    assert_ne!(made, other);
    assert_eq!(outcomes(&scene.world, "CreateSnapshot").await.len(), 2);
    scene.detach("detach").await.unwrap();
    scene.becomes(0, None).await;
    scene.detach("detach").await.unwrap();
    assert_eq!(outcomes(&scene.world, "DetachVolume").await, ["ok"]);
    let ledger = scene.world.ledger(0).await;
    let invokes: Vec<&Value> = ledger.iter().filter(|e| e["action"] == "Invoke").collect();
    assert_eq!(invokes[1]["parameters"]["action"], "attach_volume");
    assert_eq!(invokes[1]["parameters"]["operation_id"], "attach");
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_is_ec2s_or_the_contracts_own() {
    let scene = Scene::new().await;
    assert_eq!(class(scene.detach("d-1").await), (Class::IncorrectState, "HOLDER_MISMATCH".to_owned()));
    scene.attached().await;
    assert_eq!(class(scene.attach("a-2").await), (Class::VolumeInUse, "VolumeInUse".to_owned()));
    let late = Operation { id: "d-2".to_owned(), not_after: scene.world.running.clock.now().plus(-1) };
    let refused = scene.function.detach(&late, &scene.volume, &scene.instance, DEVICE).await;
    assert_eq!(class(refused), (Class::TooLate, "TOO_LATE".to_owned()));
    let third = operation(&scene.world, "d-3");
    let elsewhere = scene.function.detach(&third, &scene.volume, &scene.instance, "/dev/sdh").await;
    assert_eq!(class(elsewhere).1, "HOLDER_MISMATCH");
    assert_eq!(outcomes(&scene.world, "DetachVolume").await, Vec::<String>::new(), "EC2 was not asked");
    scene.world.fault(json!({ "fault": "throttle", "api": "Invoke", "count": 1 })).await;
    assert_eq!(class(scene.detach("d-4").await), (Class::Throttled, "TooManyRequestsException".to_owned()));
    // What was refused is not remembered: the same operation may succeed later.
    scene.detach("d-2").await.unwrap();
}

/// Each leaves open whether it happened, and here it did.
#[tokio::test]
async fn a_function_that_ends_badly_is_unknown() {
    for (fault, code) in [("function_crashes", "FunctionError"), ("function_fails", "Status500")] {
        let scene = Scene::new().await;
        scene.attached().await;
        scene.fault(fault, "detach_volume").await;
        assert_eq!(class(scene.detach("d").await), (Class::Unknown, code.to_owned()));
        assert_eq!(outcomes(&scene.world, "DetachVolume").await, ["ok"]);
        scene.becomes(0, None).await;
    }
}

#[tokio::test]
async fn a_function_may_run_behind_its_callers_back() {
    let scene = Scene::new().await;
    scene.attached().await;
    scene.fault("function_runs_late", "detach_volume").await;
    assert_eq!(class(scene.detach("d").await), (Class::Unknown, "Dispatch".to_owned()));
    scene.becomes(0, None).await;
    assert_eq!(outcomes(&scene.world, "DetachVolume").await, ["ok"]);
}

/// The second run finds the operation done. The old function has no memory and no expectations: it takes the volume from
/// whoever has it then.
#[tokio::test]
async fn a_doubled_run_is_harmless_with_the_contract_and_without_it_is_not() {
    for old in [false, true] {
        // Three seconds until the second run: the volume is with its next holder long before.
        let scene = Scene::over(World::at_speed(20).await).await;
        scene.attached().await;
        if old {
            scene.world.fault(json!({ "fault": "function_is_old" })).await;
        }
        scene.fault("function_runs_twice", "detach_volume").await;
        scene.detach("d").await.unwrap();
        let doubled_at = scene.world.running.clock.now().plus(i64::try_from(AGAIN_MS).unwrap());
        scene.becomes(0, None).await;
        // The volume's next holder, by EC2 itself, before the second run.
        scene.world.attach(scene.volume.as_str(), scene.instance.as_str(), "/dev/sdh").await;
        let clock = scene.world.running.clock;
        eventually("the second run's time", async || (clock.now() > doubled_at).then_some(())).await;
        if old {
            scene.becomes(0, None).await;
            assert_eq!(outcomes(&scene.world, "DetachVolume").await, ["ok", "ok"], "what the contract is there for");
        } else {
            scene.becomes(1, Some("attached")).await;
            assert_eq!(outcomes(&scene.world, "DetachVolume").await, ["ok"]);
        }
    }
}

#[tokio::test]
async fn who_does_not_speak_the_contract_is_told_by_what_it_lacks() {
    let world = World::new().await;
    let lacks = async |name: &str| function(&world, name).await.function().await.unwrap().unwrap().lacks;
    assert_eq!(lacks("nobody").await, ["everything: there is no such function"]);
    world.fault(json!({ "fault": "function_is_old" })).await;
    assert_eq!(lacks(VOLUME_FUNCTION).await.len(), 6);
    let too_short = aws(&world).await.lambda(VOLUME_FUNCTION, Duration::from_secs(50)).unwrap();
    world
        .http
        .ask(http::Method::POST, "/sim/faults/clear", None, Some(json!({ "fault": "function_is_old" })))
        .await
        .unwrap();
    let lacks = too_short.function().await.unwrap().unwrap().lacks;
    assert_eq!(lacks, ["a time limit of at most 50 s (--volume-function-timeout-s)"]);
}
