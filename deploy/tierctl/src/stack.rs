//! Where the stack of this machine is: the file `./data/stack.json`, written by what starts it, read by what talks to
//! it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where the file is, from the folder in which `./x` is run.
pub const PATH: &str = "data/stack.json";

/// A running stack. What it says is true while its processes live; a reader must still expect that nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// subscription-svc's gRPC address: `http://127.0.0.1:PORT`.
    pub subscription_url: String,
    /// volume-svc's gRPC address.
    pub volume_url: String,
    /// The simulated cloud's address.
    pub cloud_url: String,
    /// Who calls by default, in the development form (`dev-operator;operator`).
    pub dev_caller: String,
    /// How much faster than the wall its clock runs: 1 to 100.
    pub speed: u32,
    /// The environment's name in group and table names (`dev`).
    pub environment: String,
    /// Process ids by the name of the process. In one process, several names have one id.
    pub pids: BTreeMap<String, u32>,
}

/// Why there is no stack to be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file exists and cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file is not what a stack writes.
    #[error("{} is not the file of a stack", .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
}

impl Stack {
    /// The stack of this file; none if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, Fault> {
        match std::fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| Fault::Malformed(path.to_owned(), error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::Read(path.to_owned(), error)),
        }
    }

    /// Writes the file whole or not at all: a reader never meets half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("json.new");
        let mut file = std::fs::File::create(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(unfinished, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack {
            subscription_url: "http://127.0.0.1:7101".into(),
            volume_url: "http://127.0.0.1:7102".into(),
            cloud_url: "http://127.0.0.1:7103".into(),
            dev_caller: "dev-operator;operator".into(),
            speed: 20,
            environment: "dev".into(),
            pids: [("cloud-sim".to_owned(), 12)].into(),
        }
    }

    #[test]
    fn it_comes_back_as_written_and_again_when_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stack.json");
        assert!(Stack::read(&path).expect("readable").is_none(), "no file is no stack");
        stack().write(&path).expect("written");
        assert_eq!(Stack::read(&path).expect("readable"), Some(stack()));
        let faster = Stack { speed: 100, ..stack() };
        faster.write(&path).expect("written");
        assert_eq!(Stack::read(&path).expect("readable"), Some(faster));
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1, "nothing unfinished is left");
    }

    #[test]
    fn something_else_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stack.json");
        std::fs::write(&path, "{\"speed\": 20}").expect("written");
        let fault = Stack::read(&path).expect_err("half a stack");
        let cause = std::error::Error::source(&fault).expect("a cause").to_string();
        assert!(fault.to_string().contains("stack.json") && cause.contains("subscription_url"), "{fault}: {cause}");
        assert!(matches!(Stack::read(folder.path()), Err(Fault::Read(..))), "a folder is no file");
    }
}
