//! A private PostgreSQL server in a folder of its own: on a socket that nobody else knows, ended by whoever started it, or
//! by that one's death. For tests and measurements; it keeps nothing.
//!
//! It speaks no SQL itself but by `psql`. What subscription-svc keeps there is `subscription-svc/src/store/postgres`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to start, on a machine that is busy with other tests.
const START: Duration = Duration::from_mins(1);

/// The superuser of every server.
const USER: &str = "postgres";

/// Runs the server until its input ends, which it does when the starter drops it or dies: then it is ended at once.
const KEEPER: &str = r#""$0" "$@" & pid=$!; cat >/dev/null; kill -QUIT $pid 2>/dev/null; wait $pid"#;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// PostgreSQL is not on the machine.
    #[error("no initdb was found: install PostgreSQL 15 or newer (Debian: apt-get install postgresql)")]
    Missing,
    /// A program could not be run, or a folder not made.
    #[error("{0}")]
    Io(String, #[source] io::Error),
    /// A program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// The server did not answer in time.
    #[error("the server did not answer in time; its log: {0}")]
    Silent(String),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    folder: TempDir,
    keeper: Child,
    databases: AtomicU32,
}

impl Server {
    /// Makes an empty one and starts it with these settings beside the usual ones, such as `max_connections=20`.
    pub fn start(settings: &[&str]) -> Result<Self, Fault> {
        let bin = programs()?;
        let folder = folder()?;
        let data = folder.path().join("data");
        let mut initdb = as_server(&bin.join("initdb"));
        initdb.arg("--pgdata").arg(&data);
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER]);
        run(initdb, "initdb")?;
        Self::over(bin, folder, settings)
    }

    /// A copy of this one that follows it, and takes no writes until it is promoted.
    pub fn standby(&self, settings: &[&str]) -> Result<Self, Fault> {
        let folder = folder()?;
        let mut copy = as_server(&self.bin.join("pg_basebackup"));
        copy.arg("--pgdata").arg(folder.path().join("data"));
        copy.args([
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
            "--username",
            USER,
        ]);
        copy.arg("--host").arg(self.folder.path());
        run(copy, "pg_basebackup")?;
        Self::over(self.bin.clone(), folder, settings)
    }

    fn over(bin: PathBuf, folder: TempDir, settings: &[&str]) -> Result<Self, Fault> {
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).map_err(|e| Fault::Io(format!("cannot write {}", log.display()), e))?;
        let mut keeper = as_server(Path::new("/bin/sh"));
        keeper.arg("-c").arg(KEEPER).arg(bin.join("postgres")).arg("-D").arg(folder.path().join("data"));
        let socket = format!("unix_socket_directories={}", folder.path().display());
        for setting in ["listen_addresses=", &socket].iter().chain(settings) {
            keeper.arg("-c").arg(setting);
        }
        let copied = file.try_clone().map_err(|e| Fault::Io("cannot share the log".to_owned(), e))?;
        keeper.stdin(Stdio::piped()).stdout(file).stderr(copied);
        let keeper = keeper.spawn().map_err(|e| Fault::Io("cannot start the server".to_owned(), e))?;
        let server = Self { bin, folder, keeper, databases: AtomicU32::new(0) };
        let until = Instant::now() + START;
        while server.sql(USER, "SELECT 1").is_err() {
            if Instant::now() >= until {
                return Err(Fault::Silent(std::fs::read_to_string(&log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.folder.path().display())
    }

    /// Makes an empty database, and says its address.
    pub fn database(&self) -> Result<String, Fault> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(USER, &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs statements in a database by `psql`, and gives back the rows, a line each, with `|` between columns.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String, Fault> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set", "ON_ERROR_STOP=1"]);
        psql.arg("--command").arg(statements).arg(self.url(database));
        let output = run(psql, "psql")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Makes a standby the primary.
    pub fn promote(&self) -> Result<(), Fault> {
        self.sql(USER, "SELECT pg_promote(true, 60)").map(|_| ())
    }

    /// Ends it at once, as a power cut of its machine would; its folder goes too.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It ends by itself now; its folder is removed after that.
        let _ended = self.keeper.wait();
    }
}

/// PostgreSQL's own programs: Debian keeps most of them out of the path.
fn programs() -> Result<PathBuf, Fault> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    let complete = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists());
    folders.into_iter().find(complete).ok_or(Fault::Missing)
}

/// A folder that the server's user can enter and write.
fn folder() -> Result<TempDir, Fault> {
    let fault = |e| Fault::Io("cannot make a folder".to_owned(), e);
    // A socket's path has 107 bytes at most: not below a deep temporary folder.
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").map_err(fault)?;
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).map_err(fault)?;
    }
    Ok(folder)
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made, else as nobody.
fn server_user() -> Option<(u32, u32)> {
    /// On Debian.
    const NOBODY: (u32, u32) = (65_534, 65_534);
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Some(ids.unwrap_or(NOBODY))
}

fn as_server(program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    // Its own folder may be closed to the server's user.
    command.current_dir("/");
    command
}

fn run(mut command: Command, program: &str) -> Result<Output, Fault> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| Fault::Io(format!("cannot run {program}"), e))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Fault::Failed { program: program.to_owned(), said })
}
