//! Runs a client, or `buf`, as a child process: bounded, its input on stdin, its answer one line on stdout.
//!
//! Not here: what they are asked (`stage`, `probes`), and how they are installed (`./x test`).

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long a child may take, in real time: the change of a story takes some 15 s at the stage's speed on an idle
/// machine.
pub const BOUND: Duration = Duration::from_mins(2);

/// A client in another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// grpcio, by reflection.
    Python,
    /// connect-es over grpc-web, by a descriptor set.
    Node,
}

impl Client {
    /// What it says about what it was asked.
    pub async fn run(self, wanted: &Value) -> Value {
        let (folder, program) = match self {
            Self::Python => ("foreign/python", installed("foreign/python/.venv/bin/python")),
            Self::Node => {
                installed("foreign/node/node_modules/@connectrpc/connect-web/package.json");
                ("foreign/node", PathBuf::from("node"))
            }
        };
        let script = if self == Self::Python { "client.py" } else { "client.mjs" };
        let mut command = Command::new(program);
        command.arg(script).current_dir(root().join(folder)).env("PYTHONDONTWRITEBYTECODE", "1");
        // The services are on this machine: no proxy stands in between, whatever the machine's settings are.
        for proxy in ["grpc_proxy", "https_proxy", "http_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        let (code, stdout, stderr) = bounded(command, &wanted.to_string()).await;
        assert_eq!(code, Some(0), "{self:?} failed:\n{stderr}\n{stdout}");
        assert_eq!(stdout.lines().count(), 1, "{self:?} says one line: {stdout}");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{self:?} said {stdout:?}: {e}"))
    }
}

/// Exit status and words of `buf lint` over a folder with a buf.yaml. Every way out of the machine is closed to it.
pub async fn buf_lint(folder: &Path) -> (Option<i32>, String) {
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("node");
    command.arg(installed("foreign/node/node_modules/.bin/buf")).arg("lint").current_dir(folder);
    command.env("BUF_CACHE_DIR", cache.path());
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        // The discard port, where nobody listens.
        command.env(proxy, "http://127.0.0.1:9");
    }
    let (code, stdout, stderr) = bounded(command, "").await;
    (code, format!("{stdout}{stderr}"))
}

/// The folder of the tests' crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file that `./x test` installs.
fn installed(file: &str) -> PathBuf {
    let path = root().join(file);
    assert!(path.exists(), "tests/{file} is missing: run ./x test, which installs what these tests need");
    path
}

/// Exit status, stdout and stderr of a child that was given a text on stdin.
async fn bounded(mut command: Command, stdin: &str) -> (Option<i32>, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let mut input = child.stdin.take().expect("a pipe");
    let exchange = async {
        // A child that ended before it read all says why by itself.
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        child.wait_with_output().await.expect("an end")
    };
    let ended = tokio::time::timeout(BOUND, exchange).await;
    let output = ended.unwrap_or_else(|_| panic!("{command:?} takes longer than {BOUND:?}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
