//! The agents' HTTP contract and the engines' clients, by plain HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::kit::{KEY, World, ZONE_A, eventually};

/// A command of a migration.
fn command(fence: u64, volume: &str, instance: &str) -> Value {
    json!({ "migration_id": "chg_1", "fence": fence, "volume_id": volume, "instance_id": instance })
}

fn with(mut command: Value, key: &str, value: &str) -> Value {
    command[key] = json!(value);
    command
}

async fn becomes(world: &World, instance: &str, state: &str) -> Value {
    eventually(&format!("agent in {state}"), async || {
        let (status, body) = world.http.agent(Method::GET, instance, "admin/volume", None).await;
        assert_eq!(status, 200, "{body}");
        (body["state"] == state).then_some(body)
    })
    .await
}

#[tokio::test]
async fn a_volume_moves_by_the_agents() {
    let world = World::new().await;
    let graph = world.graph("upgrade-idle").clone();
    let (source, volume) = (graph.instance_id.as_str(), graph.volume_id.as_str());
    let target = world.idle(ZONE_A).instance_id.clone();
    let (get, post) = (Method::GET, Method::POST);
    let http = &world.http;

    let (status, health) = http.ask(get.clone(), &format!("/agents/{source}/health"), None, None).await.unwrap();
    assert_eq!((status, health["status"].as_str()), (200, Some("healthy")), "needs no key");
    let (_, info) = http.agent(get.clone(), source, "admin/info", None).await;
    assert!(info["engine"].is_string() && info["version"].is_string() && info["format"].is_string(), "{info}");
    let (_, usage) = http.agent(get.clone(), source, "admin/usage", None).await;
    assert_eq!(usage["graphs"][&graph.graph_id], json!(graph.used_bytes));
    let (status, _) = http.engine(&graph, "write", 1).await;
    assert_eq!(status, 200);

    let (status, drained) = http
        .agent(post.clone(), source, "admin/drain", Some(with(command(7, volume, source), "scope", "writes")))
        .await;
    assert_eq!((status, drained["state"].as_str()), (200, Some("drained")), "{drained}");
    let (status, refused) = http.engine(&graph, "write", 2).await;
    assert_eq!((status, refused["code"].as_str()), (503, Some("DRAINING")));
    assert_eq!(http.engine(&graph, "read", 1).await, (200, json!({ "present": true })));
    http.agent(post.clone(), source, "admin/drain", Some(with(command(7, volume, source), "scope", "all"))).await;
    eventually("quiet engine", async || {
        let (_, counts) = http.agent(get.clone(), source, "admin/connections", None).await;
        (counts == json!({ "active_connections": 0, "active_writes": 0 })).then_some(())
    })
    .await;
    let probe = format!("admin/probe/{}", graph.graph_id);
    let (_, before) = http.agent(get.clone(), source, &probe, None).await;
    assert!(before["checksum"].is_string(), "{before}");

    let (status, fenced) =
        http.agent(post.clone(), source, "admin/volume/release", Some(command(6, volume, source))).await;
    assert_eq!((status, fenced["code"].as_str()), (409, Some("FENCED")));
    let (status, releasing) =
        http.agent(post.clone(), source, "admin/volume/release", Some(command(7, volume, source))).await;
    assert_eq!((status, releasing["state"].as_str()), (202, Some("releasing")));
    let released = becomes(&world, source, "released").await;
    assert_eq!((&released["mounted"], &released["fence"]), (&json!(false), &json!(7)));

    world.ec2.detach_volume().volume_id(volume).instance_id(source).device("/dev/sdf").send().await.unwrap();
    world.volume_becomes(volume, |volume| volume.attachments().is_empty()).await;
    world.attach(volume, &target, "/dev/sdg").await;
    let adopt = with(command(7, volume, &target), "fs_uuid", released["fs_uuid"].as_str().unwrap());
    let (status, adopting) = http.agent(post.clone(), &target, "admin/volume/adopt", Some(adopt)).await;
    assert_eq!((status, adopting["state"].as_str()), (202, Some("adopting")));
    becomes(&world, &target, "adopted").await;
    let (_, after) = http.agent(get, &target, &probe, None).await;
    assert_eq!(after, before, "nothing was lost on the way");
    let (status, serving) = http.agent(post, &target, "admin/resume", Some(command(7, volume, &target))).await;
    assert_eq!((status, serving["state"].as_str()), (200, Some("serving")));

    let (status, _) = http.engine(&graph, "write", 3).await;
    assert_eq!(status, 404, "the source does not serve it any more");
    let moved = cloud_sim::seed::FleetGraph { instance_id: target.clone(), ..graph.clone() };
    assert_eq!(http.engine(&moved, "write", 3).await.0, 200);
    let audit = http.get(&format!("/sim/audit/{}", graph.graph_id)).await;
    assert_eq!(
        (&audit["acknowledged"], &audit["readable"], &audit["missing_count"]),
        (&json!(2), &json!(2), &json!(0))
    );
    assert_eq!(audit["open_on"], json!(target));
    let log = http.get("/sim/engine-log").await;
    let writes: Vec<&Value> = log["entries"].as_array().unwrap().iter().filter(|e| e["event"] == "write").collect();
    assert_eq!(writes.iter().map(|e| e["write_id"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn an_agent_refuses_what_is_not_for_it() {
    let world = World::new().await;
    let graph = world.graph("upgrade-idle");
    let (instance, volume) = (graph.instance_id.as_str(), graph.volume_id.as_str());
    let other = world.idle(ZONE_A).instance_id.as_str();
    for (method, path) in [
        (Method::GET, "admin/info"),
        (Method::GET, "admin/volume"),
        (Method::POST, "admin/drain"),
        (Method::GET, "nothing"),
    ] {
        for key in [None, Some("wrong")] {
            let asked = format!("/agents/{instance}/{path}");
            let (status, body) = world.http.ask(method.clone(), &asked, key, None).await.unwrap();
            assert_eq!((status, body["code"].as_str()), (401, Some("UNAUTHORIZED")), "{path}");
        }
    }
    let scoped = |command| with(command, "scope", "writes");
    let cases = [
        (Method::GET, "nothing", None, 404, "NOT_FOUND"),
        (Method::GET, "admin/drain", None, 405, "METHOD_NOT_ALLOWED"),
        (Method::POST, "admin/drain", Some(json!({ "fence": 1 })), 400, "BAD_REQUEST"),
        (Method::POST, "admin/drain", Some(scoped(command(1, volume, other))), 409, "FENCED"),
        (
            Method::POST,
            "admin/drain",
            Some(scoped(command(1, "vol-00000000000000009", instance))),
            409,
            "VOLUME_NOT_HERE",
        ),
        (Method::GET, "admin/probe/kg0000000000000000", None, 404, "GRAPH_NOT_SERVED"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = world.http.agent(method, instance, path, body).await;
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{path}: {}", answer.1);
    }
    let (status, body) =
        world.http.ask(Method::GET, &format!("/agents/{instance}/admin/volume"), Some(KEY), None).await.unwrap();
    assert_eq!((status, body["state"].as_str()), (200, Some("serving")), "nothing of it was done");
    let engine = format!("/engine/{instance}/{}", graph.graph_id);
    for (method, path, status) in
        [(Method::GET, "write", 405), (Method::POST, "write", 400), (Method::POST, "erase", 404)]
    {
        let answer = world.http.ask(method, &format!("{engine}/{path}"), None, None).await.unwrap();
        assert_eq!(answer.0, status, "{path}");
    }
}

#[tokio::test]
async fn load_and_power_cuts_are_switches() {
    let world = World::at_speed(10).await;
    let graph = world.graph("upgrade-idle");
    let post = async |path: String, body: Value| world.http.ask(Method::POST, &path, None, Some(body)).await.unwrap().0;
    let counts = async || world.http.agent(Method::GET, &graph.instance_id, "admin/connections", None).await.1;
    assert_eq!(post(format!("/sim/load/{}", graph.graph_id), json!({ "readers": 9, "writers": 3 })).await, 200);
    assert_eq!(counts().await, json!({ "active_connections": 12, "active_writes": 3 }));
    assert_eq!(post(format!("/sim/reboot/{}", graph.instance_id), json!({})).await, 200);
    let path = format!("/agents/{}/health", graph.instance_id);
    assert!(world.http.ask(Method::GET, &path, None, None).await.is_err(), "it is booting");
    eventually("rebooted instance", async || {
        let answer = world.http.ask(Method::GET, &path, None, None).await;
        answer.is_ok_and(|(_, body)| body["engine_open"] == true).then_some(())
    })
    .await;
}
