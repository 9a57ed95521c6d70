//! Why a simulated cloud does not start or cannot go on.

use std::io;
use std::path::PathBuf;

use crate::fleet::FleetError;

/// Why a simulated cloud does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration cannot be used; nothing was changed.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The folder's clock runs at another speed.
    #[error("{} was begun with speed {saved}, which belongs to it; {asked} was asked for", data.display())]
    Speed {
        /// The folder.
        data: PathBuf,
        /// Its speed.
        saved: u32,
        /// The speed asked for.
        asked: u32,
    },
    /// The folder's clock cannot be gone on by.
    #[error("{} cannot be gone on by: {why}", file.display())]
    Clock {
        /// Its file.
        file: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// Another process works on the folder.
    #[error("another simulated cloud works on {}", .0.display())]
    Locked(PathBuf),
    /// The operating system refuses.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A saved file cannot be understood: of another version, or damaged.
    #[error("{} cannot be read; begin a new data folder, or use the version that wrote it", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The state cannot be written as JSON.
    #[error("the state cannot be written")]
    Unwritable(#[source] serde_json::Error),
    /// The dev stack's fleet cannot be planted.
    #[error("the fleet cannot be planted")]
    Fleet(#[from] FleetError),
    /// The embedded DynamoDB does not start.
    #[error("DynamoDB does not start: {0}")]
    Dynamodb(String),
    /// A call panicked: a fault of the model. Nothing is saved any more, the last saved state is good.
    #[error("the model has panicked; its state is as it was last saved")]
    Broken,
}

/// Names what was tried when the operating system refused.
pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let what = what.into();
    move |source| ServerError::Io { what, source }
}
