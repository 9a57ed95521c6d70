//! `tierctl sim` as a person or a script runs it, against a simulated cloud that follows a script: what it asks, what it
//! prints, its exit status. What the real one does with it is tested with that.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers: a failed one is the report")]

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A cloud that answers each path as it was told, and notes what it was asked.
struct Cloud {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Cloud {
    /// Answers: path, status, body.
    fn start(answers: &[(&'static str, u16, &'static str)]) -> Self {
        let answers = answers.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.expect("a connection"), &answers, &notes);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().expect("notes").clone()
    }

    fn tierctl(&self, arguments: &str) -> Output {
        tierctl(&format!("sim --cloud-url {} {arguments}", self.url))
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, answers: &[(&str, u16, &str)], notes: &Mutex<Vec<(String, Value)>>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_lowercase());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let mut words = head.first().map(String::as_str).unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = format!("{} {path}", method.to_uppercase());
    notes.lock().expect("notes").push((asked.clone(), serde_json::from_slice(&body).unwrap_or(Value::Null)));
    let (status, text) = answers
        .iter()
        .find(|(known, ..)| *known == asked)
        .map_or((404, r#"{"code":"NOT_FOUND","message":"nothing is served here"}"#), |(_, status, text)| {
            (*status, *text)
        });
    let length = text.len();
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}").expect("sent");
}

fn tierctl(arguments: &str) -> Output {
    let folder = std::env::temp_dir();
    Command::new(env!("CARGO_BIN_EXE_tierctl"))
        .env_clear()
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .expect("tierctl runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", err(output)))
}

const CATALOGUE: &str = r#"{"faults":[
    {"name":"stuck_detach","sentence":"a detach hangs","strikes":"chances","parameters":[]},
    {"name":"agent_silent","sentence":"no answer","strikes":"chances",
     "parameters":[{"name":"instance_id","required":false,"kind":"instance"}]},
    {"name":"scale_in","sentence":"one less","strikes":"once",
     "parameters":[{"name":"group_name","required":true,"kind":"group"}]}]}"#;

#[test]
fn the_catalogue_is_the_clouds() {
    let cloud = Cloud::start(&[("GET /sim/faults/catalogue", 200, CATALOGUE)]);
    let output = cloud.tierctl("faults");
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "FAULT         TAKES         STRIKES  WHAT GOES WRONG\n\
         stuck_detach  -             chances  a detach hangs\n\
         agent_silent  [--instance]  chances  no answer\n\
         scale_in      --group       once     one less\n"
    );
    let output = cloud.tierctl("faults --json");
    let lines: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!((lines.len(), &lines[2]["parameters"][0]["name"]), (3, &json!("group_name")));
}

#[test]
fn faults_that_are_on_are_listed_with_what_is_left_of_them() {
    let cloud = Cloud::start(&[
        ("GET /sim/clock", 200, r#"{"now_ms":1000000,"origin_ms":0,"boot_ms":0,"speed":20}"#),
        (
            "GET /sim/faults",
            200,
            r#"{"faults":[{"fault":"throttle","api":"AttachVolume","count":2,"skip":1},
                {"fault":"stuck_detach","count":null,"until_ms":1090000}]}"#,
        ),
    ]);
    let output = cloud.tierctl("fault list");
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "FAULT         STRIKES ON        COUNT  SKIPS  ENDS IN\n\
         throttle      api=AttachVolume      2      1        -\n\
         stuck_detach  -                     -      -   90.0 s\n"
    );
    let output = cloud.tierctl("--json fault list");
    let first: Value = serde_json::from_str(out(&output).lines().next().expect("a line")).expect("JSON");
    assert_eq!(first, json!({ "fault": "throttle", "api": "AttachVolume", "count": 2, "skip": 1 }));
}

#[test]
fn a_fault_is_set_with_all_that_is_said_and_cleared_by_name_or_with_all_others() {
    let one = r#"{"faults":[{"fault":"throttle","api":"AttachVolume","count":1}]}"#;
    let cloud = Cloud::start(&[("POST /sim/faults", 200, "{}"), ("POST /sim/faults/clear", 200, one)]);
    let output = cloud.tierctl("fault set agent_slow --instance i-1 --count 2 --skip 1 --for 2m");
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), "set: agent_slow count=2 for_ms=120000 instance_id=i-1 skip=1\n");
    cloud.tierctl("fault set scale_in --group large-asg");
    cloud.tierctl("fault set throttle --api AttachVolume");
    cloud.tierctl("fault set index_lag --lag-ms 500");
    let output = cloud.tierctl("fault clear throttle");
    assert_eq!(out(&output), "cleared: throttle api=AttachVolume count=1\n");
    let output = cloud.tierctl("--json fault clear throttle --api AttachVolume");
    assert_eq!(out(&output), "{\"api\":\"AttachVolume\",\"count\":1,\"fault\":\"throttle\"}\n");
    cloud.tierctl("fault clear --all");
    let set = |body: Value| ("POST /sim/faults".to_owned(), body);
    let clear = |body: Value| ("POST /sim/faults/clear".to_owned(), body);
    assert_eq!(
        cloud.asked(),
        [
            set(json!({ "fault": "agent_slow", "instance_id": "i-1", "count": 2, "skip": 1, "for_ms": 120_000 })),
            set(json!({ "fault": "scale_in", "group_name": "large-asg" })),
            set(json!({ "fault": "throttle", "api": "AttachVolume" })),
            set(json!({ "fault": "index_lag", "lag_ms": 500 })),
            clear(json!({ "fault": "throttle" })),
            clear(json!({ "fault": "throttle", "api": "AttachVolume" })),
            clear(json!({})),
        ]
    );
    let quiet = Cloud::start(&[("POST /sim/faults/clear", 200, r#"{"faults":[]}"#)]);
    let output = quiet.tierctl("fault clear --all");
    assert_eq!((status(&output), out(&output).as_str()), (0, "nothing of that was on\n"));
}

#[test]
fn everything_that_is_wrong_is_told_by_its_flag_and_is_wrong_usage() {
    let refusal = r#"{"code":"INVALID_FAULT","message":"x","faults":[
        {"field":"fault","rule":"must be one of a, b"},{"field":"instance_id","rule":"must be an instance that lives"}]}"#;
    let cloud = Cloud::start(&[("POST /sim/faults", 400, refusal)]);
    let output = cloud.tierctl("fault set nope --instance i-0");
    assert_eq!((status(&output), out(&output).as_str()), (2, ""));
    for line in ["  NAME: must be one of a, b", "  --instance: must be an instance that lives"] {
        assert!(err(&output).lines().any(|said| said == line), "{line} in {}", err(&output));
    }
}

#[test]
fn a_refusal_is_status_3_and_another_server_status_4() {
    let refusal = r#"{"code":"ValidationError","message":"New value 0 is not between 1 and 5"}"#;
    let cloud = Cloud::start(&[("POST /sim/faults", 400, refusal)]);
    let output = cloud.tierctl("fault set scale_in --group g");
    assert_eq!(status(&output), 3);
    assert!(err(&output).contains("ValidationError: New value 0 is not between 1 and 5"), "{}", err(&output));
    let other = Cloud::start(&[("GET /sim/faults/catalogue", 200, "<html>"), ("POST /sim/faults", 502, "<html>")]);
    assert_eq!(status(&other.tierctl("faults")), 4);
    assert_eq!(status(&other.tierctl("fault set stuck_attach")), 4);
}

#[test]
fn nobody_there_is_status_6_and_no_address_is_wrong_usage() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let output = tierctl(&format!("sim --cloud-url http://{port} fault list"));
    assert_eq!((status(&output), out(&output).as_str()), (6, ""), "{}", err(&output));
    let output = tierctl("sim --stack /nonexistent/stack.json faults");
    assert_eq!(status(&output), 2);
    assert!(err(&output).contains("./x run") && err(&output).contains("--cloud-url"), "{}", err(&output));
    assert_eq!(status(&tierctl("sim --cloud-url localhost:1 faults")), 2);
}

#[test]
fn the_stack_file_says_where_the_cloud_is() {
    let cloud = Cloud::start(&[("GET /sim/faults/catalogue", 200, CATALOGUE)]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stack.json");
    let stack = tierctl::stack::Stack {
        subscription_url: String::new(),
        volume_url: String::new(),
        cloud_url: cloud.url.clone(),
        dev_caller: "dev-operator;operator".into(),
        speed: 20,
        environment: "dev".into(),
        pids: std::collections::BTreeMap::new(),
    };
    stack.write(&file).expect("written");
    let output = tierctl(&format!("--stack {} sim faults", file.display()));
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(cloud.asked(), [("GET /sim/faults/catalogue".to_owned(), Value::Null)]);
}
