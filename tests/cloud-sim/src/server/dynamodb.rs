//! DynamoDB: dynoxide over an SQLite file, on a thread and a runtime of its own, for SQLite blocks.
//!
//! It knows nothing of simulated time or latencies: the store's calls are real time everywhere in the stack. What it has
//! acknowledged is committed to the file, so a kill loses nothing. Callers reach it through `store_face`, which has the
//! faults.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dynoxide::Database;
use tokio::runtime;
use tokio::sync::oneshot;

use super::error::{ServerError, io};

/// How long running requests may go on after a stop.
const GRACE: Duration = Duration::from_secs(2);

/// Reading requests and writing answers beside the one request that has the database.
const WORKERS: usize = 2;

/// A running DynamoDB. Dropping it stops it and waits, at most the grace.
pub(super) struct Dynamodb {
    /// Where it listens for `store_face`.
    pub(super) address: SocketAddr,
    /// The tables.
    pub(super) database: Database,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dynamodb {
    /// Opens the file, or makes it, and serves it.
    pub(super) fn start(file: &Path) -> Result<Self, ServerError> {
        let failed = |error: &dyn fmt::Display| ServerError::Dynamodb(error.to_string());
        let path = file.to_str().ok_or_else(|| failed(&"the data folder's name is not UTF-8"))?;
        let database = Database::new(path).map_err(|error| failed(&error))?;
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("listen on a free port"))?;
        bound.set_nonblocking(true).map_err(io("listen"))?;
        let address = bound.local_addr().map_err(io("listen"))?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("dynamodb")
            .enable_all()
            .build()
            .map_err(io("start a runtime"))?;
        let (stop, stopped) = oneshot::channel();
        let served = database.clone();
        let run = move || {
            runtime.block_on(serve(bound, served, stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("dynamodb".to_owned()).spawn(run).map_err(io("start a thread"))?;
        Ok(Self { address, database, stop: Some(stop), thread: Some(thread) })
    }
}

impl fmt::Debug for Dynamodb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dynamodb").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Dynamodb {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("DynamoDB has panicked");
        }
    }
}

async fn serve(bound: TcpListener, database: Database, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "DynamoDB does not listen");
            return;
        }
    };
    let (told, mut tell) = oneshot::channel::<()>();
    let serving = dynoxide::server::serve_with_shutdown(listener, database, async {
        // A stop is the sender's end, said or dropped.
        let _said = stopped.await;
        drop(told);
    });
    let late = async {
        let _said = (&mut tell).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        ended = serving => if let Err(error) = ended {
            tracing::error!(error, "DynamoDB has ended");
        },
        () = late => tracing::warn!("DynamoDB had requests that did not end"),
    }
}
