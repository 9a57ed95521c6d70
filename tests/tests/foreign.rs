//! Clients that this project did not write, against the real stack: gRPC from Python by reflection alone, grpc-web from
//! JavaScript by descriptors read at run time, a browser's preflight, and `buf lint`.
//!
//! Each test of a client starts a stack of its own. The clients (tests/foreign/python, tests/foreign/node) say what they
//! saw as one line of ProtoJSON and decide nothing; what must be true of it is here: `foreign/story.rs` for a change
//! from its wish to its end, `foreign/probes.rs` for calls that must be refused. What they need is installed by
//! `./x test`; its absence is a failure.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers: a failed one is the report")]

#[path = "foreign/child.rs"]
mod child;
#[path = "foreign/probes.rs"]
mod probes;
#[path = "foreign/stage.rs"]
mod stage;
#[path = "foreign/story.rs"]
mod story;

use child::Client;
use serde_json::{Value, json};
use stage::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The story, then the probes that rest on what it left behind.
async fn play(client: Client) -> Value {
    let stage = Stage::start(&[]).await;
    let summary = client.run(&stage.wanted(json!({ "command": "story" }))).await;
    story::holds(&summary, &stage);
    let probes = probes::of(&summary, &stage, client);
    let calls: Vec<_> = probes.iter().map(probes::Probe::call).collect();
    let said = client.run(&stage.wanted(json!({ "command": "probe", "calls": calls }))).await;
    probes::hold(&probes, &said["answers"], &summary);
    summary
}

#[tokio::test]
async fn a_python_client_that_knows_reflection_only_changes_a_tier() {
    let summary = play(Client::Python).await;
    // What the contract names is what each server says of itself.
    for (server, services) in [
        ("subscription", &["AccessService", "GraphService", "SubscriptionService", "TierService"][..]),
        ("volume", &["FleetService", "MigrationService", "VolumeService"]),
    ] {
        for service in services {
            let name = format!("tiershift.{server}.v1.{service}");
            let methods = summary["services"][server][&name].as_array().map_or(0, Vec::len);
            assert!(methods >= 5, "{name} in {:#}", summary["services"][server]);
        }
    }
}

#[tokio::test]
async fn a_node_client_changes_a_tier_over_grpc_web() {
    let summary = play(Client::Node).await;
    assert_eq!(summary["trailers"]["grpc-status"], "0", "{:#}", summary["trailers"]);
}

#[tokio::test]
async fn only_pages_of_an_allowed_origin_may_call() {
    let allowed = "https://console.test:8443";
    let stage = Stage::start(&[allowed]).await;
    for (url, path) in [
        (&stage.stack.subscription_url, "/tiershift.subscription.v1.TierService/ListTiers"),
        (&stage.stack.volume_url, "/tiershift.volume.v1.MigrationService/GetMigration"),
    ] {
        let preflight = |origin: &str| {
            format!(
                "OPTIONS {path} HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: content-type,x-grpc-web,x-tiershift-dev-caller\r\n"
            )
        };
        let answer = http(url, &preflight(allowed)).await;
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("\naccess-control-allow-origin: {allowed}\r")), "{answer}");
        let header = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in {answer}")).split(',').map(str::trim).collect::<Vec<_>>()
        };
        assert_eq!(header("access-control-allow-methods"), ["post"]);
        for name in ["content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "x-tiershift-dev-caller"] {
            assert!(header("access-control-allow-headers").contains(&name), "{name} in {answer}");
        }
        // Another scheme, port or host is another origin.
        for other in ["http://console.test:8443", "https://console.test", "https://console.test:8443.evil.test", "null"]
        {
            let answer = http(url, &preflight(other)).await;
            assert!(!answer.contains("access-control-allow-origin"), "{other}: {answer}");
        }
        let call = |origin: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nOrigin: {origin}\r\nContent-Type: application/grpc-web+proto\r\n\
                 X-Grpc-Web: 1\r\nX-Tiershift-Dev-Caller: dev-operator;operator\r\n"
            )
        };
        let answer = http(url, &call(allowed)).await;
        assert!(answer.contains(&format!("\naccess-control-allow-origin: {allowed}\r")), "{answer}");
        let exposed = answer.lines().find(|line| line.starts_with("access-control-expose-headers:"));
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
            assert!(exposed.is_some_and(|line| line.contains(name)), "{answer}");
        }
        let answer = http(url, &call("https://elsewhere.test")).await;
        assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    }
}

/// One HTTP/1.1 request with an empty gRPC message; all of the answer, in lower case.
async fn http(url: &str, head: &str) -> String {
    let address = url.strip_prefix("http://").expect("an address");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!("{head}Host: {address}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read");
        String::from_utf8_lossy(&answer).to_lowercase()
    };
    tokio::time::timeout(child::BOUND, exchange).await.expect("an answer in time")
}

#[tokio::test]
async fn buf_finds_nothing_to_say_about_the_contract_and_would() {
    let proto = child::root().join("../proto");
    let said = child::buf_lint(&proto).await;
    assert_eq!(said, (Some(0), String::new()));

    // The same rules over a contract that breaks them.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(proto.join("buf.yaml"), folder.path().join("buf.yaml")).expect("copied");
    let wrong = "syntax = \"proto3\";\npackage wrong;\nmessage lower_case {\n  string x = 1;\n}\n";
    std::fs::write(folder.path().join("wrong.proto"), wrong).expect("written");
    let (code, words) = child::buf_lint(folder.path()).await;
    assert_eq!(code, Some(100), "{words}");
    for complaint in ["must be within a directory", "should be suffixed", "should be PascalCase", "a non-empty comment"]
    {
        assert!(words.contains(complaint), "{complaint} in {words}");
    }
}
