//! The processes of the stack: starts them in order, knows where they listen, kills and restarts single ones.
//!
//! Each child tells its address by one JSON line on its stdout. It holds a pipe on its stdin and ends when that closes,
//! so a stack whose starter was killed does not stay behind.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a child may take until it says where it listens. A cold SQLite on a busy machine takes a second.
const START: Duration = Duration::from_secs(30);

/// How long a child may take to end when it is told to.
const STOP: Duration = Duration::from_secs(30);

/// Who calls by default: an operator.
pub const DEV_CALLER: &str = "dev-operator;operator";

/// The key id that the simulated cloud expects in signatures.
const ACCESS_KEY_ID: &str = "dev";

/// The simulated cloud's topic for alerts.
const ALERTS_TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:tiershift-dev-alerts";

/// Key of the agents.
const AGENT_KEY: &str = "dev-agent-key";

/// Why the stack cannot be started or used.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A binary is missing.
    #[error("{} is not built; run `cargo build` (or use ./x)", .0.display())]
    NotBuilt(PathBuf),
    /// The operating system refused.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A child did not start.
    #[error("{name} did not start: {why} (its log: {})", log.display())]
    Start {
        /// Which.
        name: &'static str,
        /// What is known.
        why: String,
        /// Its log.
        log: PathBuf,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StackError {
    let what = what.into();
    move |source| StackError::Io { what, source }
}

/// How a stack is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of everything that it keeps.
    pub data: PathBuf,
    /// Speed of its clock.
    pub speed: u32,
    /// Origins for grpc-web.
    pub cors_origins: Vec<String>,
    /// PostgreSQL in place of a file in the folder, for subscription-svc.
    pub database: Option<String>,
    /// Folder of the children's logs.
    pub logs: PathBuf,
}

/// One of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// The simulated cloud.
    Cloud,
    /// volume-svc.
    Volume,
    /// subscription-svc.
    Subscription,
}

impl Process {
    /// Its binary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud-sim",
            Self::Volume => "volume-svc",
            Self::Subscription => "subscription-svc",
        }
    }
}

/// A running stack. Dropping it kills its processes.
#[derive(Debug)]
pub struct Stack {
    options: Options,
    children: BTreeMap<Process, Child>,
    /// Where each listened last: a restarted process keeps its address, as it does in production.
    listens: BTreeMap<&'static str, String>,
    /// Address of the simulated cloud.
    pub cloud_url: String,
    /// Address of the embedded DynamoDB.
    pub dynamodb_url: String,
    /// The clock's file.
    pub clock_file: PathBuf,
    /// Address of volume-svc.
    pub volume_url: String,
    /// Address of subscription-svc.
    pub subscription_url: String,
}

impl Stack {
    /// Starts all processes. Everything is kept in the options' folder, and found again there.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        let mut stack = Self::idle(options)?;
        stack.restart(Process::Cloud, &[]).await?;
        stack.restart(Process::Volume, &[]).await?;
        stack.restart(Process::Subscription, &[]).await?;
        Ok(stack)
    }

    /// The folders only: its processes are started one by one, by whoever puts something between them.
    pub fn idle(options: Options) -> Result<Self, StackError> {
        for folder in [&options.data, &options.logs] {
            std::fs::create_dir_all(folder).map_err(io(format!("cannot make {}", folder.display())))?;
        }
        Ok(Self {
            clock_file: options.data.join("clock.json"),
            options,
            children: BTreeMap::new(),
            listens: BTreeMap::new(),
            cloud_url: String::new(),
            dynamodb_url: String::new(),
            volume_url: String::new(),
            subscription_url: String::new(),
        })
    }

    /// Starts a process, after killing the one that runs. `more` are further arguments (`--hold`).
    pub async fn restart(&mut self, process: Process, more: &[&str]) -> Result<(), StackError> {
        self.kill(process).await?;
        let mut args = self.arguments(process, &self.cloud_url);
        args.extend(more.iter().map(|a| (*a).to_owned()));
        let (child, line) = spawn(process, &args, &self.log(process)).await?;
        self.children.insert(process, child);
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match process {
            Process::Cloud => {
                self.cloud_url = text("cloud_url");
                self.dynamodb_url = text("dynamodb_url");
                self.listens.insert("dynamodb", address(&self.dynamodb_url));
                self.listens.insert(process.name(), address(&self.cloud_url));
            }
            Process::Volume | Process::Subscription => {
                let listening = text("listening");
                let url = format!("http://{listening}");
                self.listens.insert(process.name(), listening);
                *(if process == Process::Volume { &mut self.volume_url } else { &mut self.subscription_url }) = url;
            }
        }
        Ok(())
    }

    /// Starts one more volume-svc over the same tables, which the caller owns; it reaches the simulated cloud at
    /// `cloud_url`. Gives the child and where it listens.
    pub async fn another_volume(
        &self,
        cloud_url: &str,
        log: &Path,
        more: &[&str],
    ) -> Result<(Child, String), StackError> {
        let mut args = self.arguments(Process::Volume, cloud_url);
        args.extend(more.iter().map(|a| (*a).to_owned()));
        let (child, line) = spawn(Process::Volume, &args, log).await?;
        let listening = line.get("listening").and_then(Value::as_str).unwrap_or_default();
        Ok((child, listening.to_owned()))
    }

    /// Kills a process with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self, process: Process) -> Result<(), StackError> {
        if let Some(mut child) = self.children.remove(&process) {
            child.kill().await.map_err(io(format!("cannot kill {}", process.name())))?;
        }
        Ok(())
    }

    /// The process id of a running process.
    pub fn pid(&self, process: Process) -> Option<u32> {
        self.children.get(&process).and_then(Child::id)
    }

    /// The log of a process: all its starts, one after another.
    pub fn log(&self, process: Process) -> PathBuf {
        self.options.logs.join(format!("{}.log", process.name()))
    }

    /// Waits until one of the processes ends by itself.
    pub async fn broken(&mut self) -> &'static str {
        loop {
            for (process, child) in &mut self.children {
                if !matches!(child.try_wait(), Ok(None)) {
                    return process.name();
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends all processes in order: the services first, so that none of them sees the others go.
    pub async fn stop(mut self) {
        for process in [Process::Subscription, Process::Volume, Process::Cloud] {
            if let Some(mut child) = self.children.remove(&process) {
                // Its stdin closes: it shuts down in order.
                drop(child.stdin.take());
                if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                    let _gone = child.kill().await;
                }
            }
        }
    }

    /// What `./data/stack.json` says of it.
    pub fn describe(&self) -> tierctl::stack::Stack {
        let pids = self.children.iter().filter_map(|(p, c)| Some((p.name().to_owned(), c.id()?))).collect();
        tierctl::stack::Stack {
            subscription_url: self.subscription_url.clone(),
            volume_url: self.volume_url.clone(),
            cloud_url: self.cloud_url.clone(),
            dev_caller: DEV_CALLER.to_owned(),
            speed: self.options.speed,
            environment: "dev".to_owned(),
            pids,
        }
    }

    /// Where subscription-svc keeps everything.
    pub fn database(&self) -> String {
        let file = || format!("sqlite://{}", self.options.data.join("subscription.sqlite").display());
        self.options.database.clone().unwrap_or_else(file)
    }

    fn arguments(&self, process: Process, cloud_url: &str) -> Vec<String> {
        let data = &self.options.data;
        let path = |p: &Path| p.display().to_string();
        let listen = |what: &str| self.listens.get(what).cloned().unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let mut args: Vec<String> = match process {
            Process::Cloud => vec![
                "--data".into(),
                path(data),
                "--listen".into(),
                listen(process.name()),
                "--dynamodb-listen".into(),
                listen("dynamodb"),
                "--speed".into(),
                self.options.speed.to_string(),
                "--access-key-id".into(),
                ACCESS_KEY_ID.into(),
                "--agent-api-key".into(),
                AGENT_KEY.into(),
            ],
            Process::Volume => vec![
                "--dev".into(),
                "--listen".into(),
                listen(process.name()),
                "--aws-endpoint-url".into(),
                cloud_url.into(),
                "--dynamodb-endpoint-url".into(),
                self.dynamodb_url.clone(),
                "--create-tables".into(),
                "--agent-api-key".into(),
                AGENT_KEY.into(),
                "--agent-url-template".into(),
                format!("{cloud_url}/agents/{{instance_id}}"),
                "--alerts-topic-arn".into(),
                ALERTS_TOPIC.into(),
                "--clock-file".into(),
                path(&self.clock_file),
            ],
            Process::Subscription => vec![
                "--dev".into(),
                "--listen".into(),
                listen(process.name()),
                "--database".into(),
                self.database(),
                "--volume-url".into(),
                self.volume_url.clone(),
                "--payments".into(),
                "sim".into(),
                "--payments-book".into(),
                path(&data.join("payments.jsonl")),
                "--clock-file".into(),
                path(&self.clock_file),
            ],
        };
        if process != Process::Cloud {
            for origin in &self.options.cors_origins {
                args.extend(["--cors-origin".to_owned(), origin.clone()]);
            }
        }
        args
    }
}

/// `host:port` of an address.
fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// The binary beside this one: all of the stack come from one build.
fn binary(process: Process) -> Result<PathBuf, StackError> {
    let me = std::env::current_exe().map_err(io("cannot tell where this program is"))?;
    // Test binaries lie one folder deeper.
    let folders = me.ancestors().skip(1).take(2);
    let found = folders.map(|f| f.join(process.name())).find(|p| p.is_file());
    found.ok_or_else(|| StackError::NotBuilt(me.with_file_name(process.name())))
}

async fn spawn(process: Process, args: &[String], log: &Path) -> Result<(Child, Value), StackError> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(io(format!("cannot write {}", log.display())))?;
    let mut child = Command::new(binary(process)?)
        .args(args)
        .env("TIERSHIFT_STOP_WITH_STDIN", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .map_err(io(format!("cannot start {}", process.name())))?;
    let failed = |why: String| StackError::Start { name: process.name(), why, log: log.to_owned() };
    let stdout = child.stdout.take().ok_or_else(|| failed("it has no stdout".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = match tokio::time::timeout(START, lines.next_line()).await {
        Ok(Ok(Some(line))) => line,
        Ok(_) => {
            let status = child.wait().await.map_or_else(|e| e.to_string(), |s| s.to_string());
            return Err(failed(format!("it ended with {status}")));
        }
        Err(_) => return Err(failed(format!("no word within {} s", START.as_secs()))),
    };
    // Read on, so that a child that says more is never blocked by a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let value = serde_json::from_str(&line).map_err(|e| failed(format!("it said {line:?}: {e}")))?;
    Ok((child, value))
}
