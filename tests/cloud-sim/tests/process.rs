//! The process: what it prints, how it ends, and what a kill leaves behind.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test are tests: a failed one is the report")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A running cloud; killed when it is dropped.
struct Cloud {
    child: Child,
    stdin: Option<ChildStdin>,
    line: Value,
}

impl Cloud {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut child =
            command(data, more).env("TIERSHIFT_STOP_WITH_STDIN", "1").stdin(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = serde_json::from_str(&line).unwrap();
        Self { stdin: child.stdin.take(), child, line }
    }

    /// Status and JSON of a request.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let address = self.line["cloud_url"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn now_ms(&self) -> i64 {
        self.ask("GET", "/sim/clock", "").1["now_ms"].as_i64().unwrap()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn command(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloud-sim"));
    command.arg("--data").arg(data).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit status and what it said when it did not start.
fn refused(data: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = command(data, more).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The first graph of the seed, as a path of its engine.
fn engine(cloud: &Cloud) -> String {
    let fleet = cloud.ask("GET", "/sim/fleet", "").1;
    let graph = &fleet["graphs"][0];
    format!("/engine/{}/{}", graph["instance_id"].as_str().unwrap(), graph["graph_id"].as_str().unwrap())
}

#[test]
fn one_line_tells_where_it_is() {
    let data = TempDir::new().unwrap();
    let cloud = Cloud::start(data.path(), &["--speed", "50"]);
    assert_eq!(cloud.line["speed"], json!(50));
    assert_eq!(cloud.line["pid"], json!(cloud.child.id()));
    assert_eq!(cloud.line["clock_file"], json!(data.path().join("clock.json")));
    assert_eq!(cloud.ask("GET", "/sim/health", ""), (200, json!({ "status": "serving" })));
    let dynamodb = cloud.line["dynamodb_url"].as_str().unwrap().strip_prefix("http://").unwrap();
    TcpStream::connect(dynamodb).unwrap();
}

#[test]
fn a_killed_process_has_forgotten_no_acknowledged_write() {
    let data = TempDir::new().unwrap();
    let cloud = Cloud::start(data.path(), &["--speed", "100"]);
    let engine = engine(&cloud);
    for id in 0..20 {
        assert_eq!(cloud.ask("POST", &format!("{engine}/write"), &json!({ "write_id": id }).to_string()).0, 200);
    }
    let shown = cloud.now_ms();
    cloud.signal("-KILL");
    assert_eq!(cloud.ended(), None, "killed");

    let cloud = Cloud::start(data.path(), &[]);
    assert_eq!(cloud.line["speed"], json!(100), "the folder's");
    assert!(cloud.now_ms() >= shown, "time does not go back");
    for id in 0..20 {
        let read = cloud.ask("POST", &format!("{engine}/read"), &json!({ "write_id": id }).to_string());
        assert_eq!(read, (200, json!({ "present": true })));
    }
}

#[test]
fn it_ends_in_order_by_signal_and_with_its_starter() {
    let data = TempDir::new().unwrap();
    for name in ["-TERM", "-INT"] {
        let cloud = Cloud::start(data.path(), &[]);
        cloud.signal(name);
        assert_eq!(cloud.ended(), Some(0), "{name}");
    }
    let mut cloud = Cloud::start(data.path(), &[]);
    drop(cloud.stdin.take());
    assert_eq!(cloud.ended(), Some(0), "its starter is gone");
    let saved: Value = serde_json::from_slice(&std::fs::read(data.path().join("cloud.json")).unwrap()).unwrap();
    assert_eq!(saved["stopped"], json!(true));
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let data = TempDir::new().unwrap();
    let cloud = Cloud::start(data.path(), &["--speed", "30"]);
    let (status, said) = refused(data.path(), &[]);
    assert_eq!(status, Some(69));
    assert!(said.contains("another simulated cloud works on"), "{said}");
    cloud.signal("-TERM");
    assert_eq!(cloud.ended(), Some(0));
    let (status, said) = refused(data.path(), &["--speed", "31"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("was begun with speed 30"), "{said}");
    let (status, said) = refused(data.path(), &["--speed", "0", "--listen", "0.0.0.0:0"]);
    assert_eq!(status, Some(78));
    assert!(said.contains("speed must be 1 to 100") && said.contains("loopback"), "all at once: {said}");
}
