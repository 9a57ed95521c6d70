//! The agent's client against a server that answers as the contract says, and as it must not.

use super::*;
use crate::adapters::canned::{Canned, Reply};
use crate::ports::agent::VolumeState;
use tiershift_core::ids::{ChangeId, InstanceId, VolumeId};

fn agent() -> HttpAgent {
    HttpAgent::new("the-key").unwrap()
}

fn at(server: &Canned) -> Address {
    // Agents of the development stack share a port: the endpoint has a path, here with the slash that people add.
    Address { endpoint_url: Some(format!("{}/agents/i-0123456789abcdef0/", server.url)), private_ip: None }
}

fn order() -> Order {
    Order {
        migration_id: ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(),
        fence: 7,
        volume_id: VolumeId::parse("vol-0123456789abcdef0").unwrap(),
        instance_id: InstanceId::parse("i-0123456789abcdef0").unwrap(),
    }
}

const ORDER: &str = r#""migration_id":"chg_01ARZ3NDEKTSV4RRFFQ69G5FAV","fence":7,"volume_id":"vol-0123456789abcdef0","instance_id":"i-0123456789abcdef0""#;

#[tokio::test]
async fn commands_carry_the_order_and_the_key() {
    let server = Canned::start(|_, _| Reply::Answer(202, String::new())).await;
    let (agent, at, order) = (agent(), at(&server), order());
    agent.drain(&at, &order, Scope::Writes).await.unwrap();
    agent.drain(&at, &order, Scope::All).await.unwrap();
    agent.resume(&at, &order).await.unwrap();
    agent.release(&at, &order).await.unwrap();
    agent.adopt(&at, &order, None).await.unwrap();
    agent.adopt(&at, &order, Some("b1a9")).await.unwrap();
    let expected = [
        ("/admin/drain", format!(r#"{{{ORDER},"scope":"writes"}}"#)),
        ("/admin/drain", format!(r#"{{{ORDER},"scope":"all"}}"#)),
        ("/admin/resume", format!("{{{ORDER}}}")),
        ("/admin/volume/release", format!("{{{ORDER}}}")),
        ("/admin/volume/adopt", format!("{{{ORDER}}}")),
        ("/admin/volume/adopt", format!(r#"{{{ORDER},"fs_uuid":"b1a9"}}"#)),
    ];
    let seen = server.seen();
    assert_eq!(seen.len(), expected.len());
    for (seen, (path, body)) in seen.iter().zip(expected) {
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.path, format!("/agents/i-0123456789abcdef0{path}"));
        assert_eq!(seen.body, body);
        assert_eq!(seen.headers.get("x-api-key").map(String::as_str), Some("the-key"));
        assert_eq!(seen.headers.get("content-type").map(String::as_str), Some("application/json"));
    }
}

#[tokio::test]
async fn answers_are_read_and_only_health_goes_without_key() {
    let server = Canned::start(|seen, _| {
        let path = seen.path.strip_prefix("/agents/i-0123456789abcdef0").unwrap();
        Reply::ok(match path {
            "/health" => r#"{"status":"healthy","more":1}"#,
            "/admin/connections" => r#"{"active_connections":3,"active_writes":1}"#,
            "/admin/volume" => {
                r#"{"volume_id":"vol-0123456789abcdef0","serial":"vol0123456789abcdef0","mounted":true,
                    "fs_uuid":"b1a9","state":"drained","fence":7,"holders":["engine"],"error":null}"#
            }
            "/admin/probe/kg0123456789abcdef" => r#"{"nodes":5,"relationships":6,"checksum":"c0ffee"}"#,
            "/admin/usage" => r#"{"graphs":{"kg0123456789abcdef":1073741824}}"#,
            "/admin/info" => r#"{"engine":"ladybug","version":"0.12.2","format":"39"}"#,
            _ => "",
        })
    })
    .await;
    let (agent, at) = (agent(), at(&server));
    assert!(agent.health(&at).await.unwrap().is_healthy());
    assert_eq!(agent.connections(&at).await.unwrap(), Connections { active_connections: 3, active_writes: 1 });
    let volume = agent.volume(&at).await.unwrap();
    assert_eq!((volume.state.clone(), volume.mounted, volume.fence), (VolumeState::Drained, true, Some(7)));
    assert!(volume.sees(&order().volume_id));
    assert!(!volume.sees(&VolumeId::parse("vol-0123456789abcdef1").unwrap()));
    let graph = AnyGraphId::parse("kg0123456789abcdef").unwrap();
    assert_eq!(agent.probe(&at, &graph).await.unwrap().checksum, "c0ffee");
    assert_eq!(agent.usage(&at).await.unwrap().graphs["kg0123456789abcdef"], 1 << 30);
    assert_eq!(agent.info(&at).await.unwrap().format, "39");
    let without_key: Vec<String> = server
        .seen()
        .iter()
        .filter(|seen| !seen.headers.contains_key("x-api-key"))
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(without_key, ["/agents/i-0123456789abcdef0/health"]);
}

#[tokio::test]
async fn a_word_that_is_not_in_the_contract_is_no_state_of_ours() {
    let server = Canned::start(|_, _| Reply::ok(r#"{"mounted":false,"state":"Released"}"#)).await;
    let volume = agent().volume(&at(&server)).await.unwrap();
    assert_eq!(volume.state, VolumeState::Other("Released".to_owned()));
    assert!(!volume.sees(&order().volume_id));
}

/// What an answer means for a command that an old agent may lack, and for a probe of something that may be missing.
#[tokio::test]
async fn refusals_are_told_by_status_and_code() {
    let rows: [(u16, &str, &str, &str); 14] = [
        (401, "", "unauthorized", "unauthorized"),
        (403, r#"{"code":"WHATEVER"}"#, "unauthorized", "unauthorized"),
        (409, "", "fenced", "fenced"),
        (409, r#"{"code":"FENCED","message":"fence 9"}"#, "fenced", "fenced"),
        (409, r#"{"code":"BUSY"}"#, "BUSY", "BUSY"),
        (404, "", "unsupported", "HTTP_404"),
        (404, r#"{"code":"NO_SUCH_GRAPH"}"#, "unsupported", "NO_SUCH_GRAPH"),
        (405, "", "unsupported", "HTTP_405"),
        (501, "", "unsupported", "HTTP_501"),
        (422, r#"{"code":"WRONG_VOLUME"}"#, "WRONG_VOLUME", "WRONG_VOLUME"),
        (400, "no json", "HTTP_400", "HTTP_400"),
        (307, "", "HTTP_307", "HTTP_307"),
        (500, r#"{"code":"FENCED"}"#, "unknown", "unknown"),
        (503, "", "unknown", "unknown"),
    ];
    let word = |error: AgentError| match error {
        AgentError::Fenced => "fenced".to_owned(),
        AgentError::Unauthorized => "unauthorized".to_owned(),
        AgentError::Unsupported => "unsupported".to_owned(),
        AgentError::Refused { code } => code,
        AgentError::NoAddress(_) => "no address".to_owned(),
        AgentError::Unknown(_) => "unknown".to_owned(),
    };
    let graph = AnyGraphId::parse("kg0123456789abcdef").unwrap();
    for (status, body, command, probe) in rows {
        let server = Canned::start(move |_, _| Reply::Answer(status, body.to_owned())).await;
        let (agent, at) = (agent(), at(&server));
        assert_eq!(word(agent.release(&at, &order()).await.unwrap_err()), command, "release: {status} {body}");
        assert_eq!(word(agent.probe(&at, &graph).await.unwrap_err()), probe, "probe: {status} {body}");
        assert_eq!(server.seen().len(), 2, "nothing is repeated");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_unknown() {
    let huge = format!(r#"{{"active_connections":0,"active_writes":0,"pad":"{}"}}"#, "x".repeat(ANSWER_BYTES_MAX));
    let cases = [Reply::Drop, Reply::Hang, Reply::ok("{}"), Reply::ok("<html>"), Reply::ok(huge)];
    for reply in cases {
        let name = format!("{:.40}", format!("{reply:?}"));
        let server = Canned::start(move |_, _| reply.clone()).await;
        let agent = HttpAgent { request_timeout: Duration::from_millis(200), ..agent() };
        let answer = agent.connections(&at(&server)).await;
        assert!(matches!(answer, Err(AgentError::Unknown(_))), "{name}: {answer:?}");
        assert_eq!(server.seen().len(), 1, "{name}: nothing is repeated");
    }
    // A port where nobody listens any more.
    let gone = at(&Canned::start(|_, _| Reply::Hang).await);
    for _ in 0..100 {
        // The listener closes when its task has ended.
        if matches!(agent().connections(&gone).await, Err(AgentError::Unknown(_))) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("a refused connection is unknown");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_not_asked() {
    let cases = [
        Address { endpoint_url: None, private_ip: None },
        Address { endpoint_url: Some(String::new()), private_ip: Some(String::new()) },
        Address { endpoint_url: Some("https://10.0.0.1".to_owned()), private_ip: None },
        Address { endpoint_url: Some("10.0.0.1:8001".to_owned()), private_ip: None },
        Address { endpoint_url: Some("http://bad host".to_owned()), private_ip: None },
    ];
    for address in cases {
        let answer = agent().resume(&address, &order()).await;
        assert!(matches!(answer, Err(AgentError::NoAddress(_))), "{address:?}: {answer:?}");
    }
}

#[test]
fn without_an_endpoint_the_port_of_the_private_address_is_asked() {
    let row = Address { endpoint_url: None, private_ip: Some("10.0.0.7".to_owned()) };
    assert_eq!(uri(&row, "/health").unwrap().to_string(), "http://10.0.0.7:8001/health");
}

#[test]
fn the_key_is_never_printed() {
    assert!(!format!("{:?}", agent()).contains("the-key"));
    assert!(HttpAgent::new("line\nbreak").is_err());
}
