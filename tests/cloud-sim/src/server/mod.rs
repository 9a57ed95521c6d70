//! The wire face: the simulated cloud as a server that AWS's own SDKs talk to unchanged.
//!
//! One port serves EC2, Auto Scaling and SNS by their query protocols (`aws`), Lambda by its own (`lambda`), the agents and
//! engines of all instances (`agents`) and the simulator's own switches (`control`); a second one serves DynamoDB
//! (`store_face`). The model is
//! behind one lock and kept in one file (`state`); latencies and lost answers are carried out here, by the stack's
//! clock (`clock`). Nothing here decides what a call does: that is the model's.
//!
//! It is no security boundary: keys are compared, signatures are not computed, and it listens on loopback only.

mod agents;
mod auth;
mod autoscaling;
mod aws;
mod clock;
mod cloud;
mod config;
mod control;
mod dynamodb;
mod ec2;
mod ec2_xml;
mod error;
mod json;
mod lambda;
mod net;
mod query;
mod sns;
mod state;
mod store_face;
mod timestamp;
mod xml;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, post};
use tiershift_common::clock::{Scaled, boottime_ms};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle as Task;
use tokio_util::sync::CancellationToken;

pub use config::{Args, Config};
pub use error::ServerError;

use cloud::Cloud;
use dynamodb::Dynamodb;
use error::io;
use state::{End, Saved, State};

use crate::api::ApiError;
use crate::{Sim, seed};

/// How long running requests may go on after a stop: a launch takes 4 s at the median with the clock's lowest speed.
const GRACE: Duration = Duration::from_secs(5);

/// A running cloud. Dropping it ends it at once, as a kill would: nothing is saved that was not saved yet.
#[derive(Debug)]
pub struct Running {
    /// `http://127.0.0.1:port` of EC2, Auto Scaling, agents, engines and control.
    pub cloud_url: String,
    /// `http://127.0.0.1:port` of DynamoDB.
    pub dynamodb_url: String,
    /// The stack's clock.
    pub clock: Scaled,
    /// The file from which other processes take it.
    pub clock_file: PathBuf,
    cloud: Arc<Cloud>,
    stop: CancellationToken,
    serving: Task<((), ())>,
    /// How the saving ended.
    kept: Option<oneshot::Receiver<Result<(), ServerError>>>,
    keeper: Option<JoinHandle<()>>,
    dynamodb: Option<Dynamodb>,
    /// Last, so that the folder is free only when nothing works on it.
    _lock: File,
}

/// Starts a simulated cloud over a folder, inside a tokio runtime. When this returns it serves.
pub async fn start(config: Config) -> Result<Running, ServerError> {
    let faults = config.faults();
    if !faults.is_empty() {
        return Err(ServerError::Config(faults));
    }
    fs::create_dir_all(&config.data).map_err(io(format!("make {}", config.data.display())))?;
    let lock = lock(&config.data)?;
    let clock_file = clock::file_in(&config.data);
    let state = load(&config, &clock_file)?;
    let clock = state.clock();
    let listener = TcpListener::bind(config.listen).await.map_err(io(format!("listen on {}", config.listen)))?;
    let cloud_url = format!("http://{}", listener.local_addr().map_err(io("listen"))?);
    let listen = config.dynamodb_listen;
    let store_listener = TcpListener::bind(listen).await.map_err(io(format!("listen on {listen}")))?;
    let dynamodb_url = format!("http://{}", store_listener.local_addr().map_err(io("listen"))?);
    let dynamodb = Dynamodb::start(&config.data.join("dynamodb.sqlite"))?;

    let account_id = config.cloud.account_id;
    let cloud = Arc::new(Cloud::new(state, config.access_key_id, account_id, dynamodb_url.clone()));
    let (tell, kept) = oneshot::channel();
    let keeping = Arc::clone(&cloud);
    let keep = move || {
        let ended = keeping.state.keep();
        if let Err(error) = &ended {
            tracing::error!(error = error as &dyn std::error::Error, "the state is not saved any more");
        }
        // Nobody is there to be told after a drop.
        let _told = tell.send(ended);
    };
    let keeper = thread::Builder::new().name("keeper".to_owned()).spawn(keep).map_err(io("start a thread"))?;
    let stop = CancellationToken::new();
    let front = net::serve(listener, routes(Arc::clone(&cloud)), stop.clone());
    let store = net::serve(store_listener, store_face::routes(Arc::clone(&cloud), &dynamodb), stop.clone());
    let serving = tokio::spawn(async { tokio::join!(front, store) });
    let (kept, keeper, dynamodb) = (Some(kept), Some(keeper), Some(dynamodb));
    Ok(Running {
        cloud_url,
        dynamodb_url,
        clock,
        clock_file,
        cloud,
        stop,
        serving,
        kept,
        keeper,
        dynamodb,
        _lock: lock,
    })
}

impl Running {
    /// Returns when the cloud cannot go on, with the reason. It is to be stopped or dropped then.
    pub async fn broken(&mut self) -> ServerError {
        let Some(kept) = &mut self.kept else { return ServerError::Broken };
        let ended = kept.await;
        self.kept = None;
        match ended {
            Ok(Err(error)) => error,
            _ => ServerError::Broken,
        }
    }

    /// Ends in order: running requests are answered within 5 s, everything is saved.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.serving).await.is_err() {
            tracing::warn!("requests that did not end are left behind");
        }
        self.cloud.state.end(End::Stopped);
        match self.kept.take() {
            Some(kept) => kept.await.unwrap_or(Err(ServerError::Broken)),
            None => Err(ServerError::Broken),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
        self.cloud.state.end(End::Abandoned);
        if let Some(Err(_)) = self.keeper.take().map(JoinHandle::join) {
            tracing::error!("the keeper has panicked");
        }
        drop(self.dynamodb.take());
    }
}

/// The folder's lock: held as long as the file is open, gone with the process.
fn lock(data: &Path) -> Result<File, ServerError> {
    let path = data.join("cloud.lock");
    let file = File::create(&path).map_err(io(format!("make {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::Locked(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(format!("lock {}", path.display()))(error)),
    }
}

/// The folder's state, or a new one, and its clock. When this returns both are in their files.
fn load(config: &Config, clock_file: &Path) -> Result<State, ServerError> {
    let file = config.data.join("cloud.json");
    let left = clock::read(clock_file)?;
    let Some(saved) = Saved::read(&file)? else {
        let clock = Scaled { speed: config.speed_of_new(), ..Scaled::wall() };
        let mut sim = Sim::new(config.cloud.clone(), config.seed);
        sim.advance(u64::try_from(clock.origin_ms).unwrap_or(0));
        let fleet = seed::plant(&mut sim)?;
        clock::write(clock_file, clock)?;
        return State::begin(clock, file, sim, fleet);
    };
    if let Some(asked) = config.speed.filter(|asked| *asked != saved.speed) {
        return Err(ServerError::Speed { data: config.data.clone(), saved: saved.speed, asked });
    }
    let clock = if config.same_clock {
        clock::shared(saved.time(), left, clock_file)?
    } else {
        let clock = clock::resumed(saved.time(), left, boottime_ms());
        clock::write(clock_file, clock)?;
        clock
    };
    let mut sim = saved.cloud;
    sim.config.agent_api_key.clone_from(&config.cloud.agent_api_key);
    State::begin(clock, file, sim, saved.fleet)
}

fn routes(cloud: Arc<Cloud>) -> Router {
    Router::new()
        .route("/", post(aws::handle))
        .route("/2015-03-31/functions/{name}/invocations", post(lambda::invoke))
        .route("/agents/{instance_id}/{*path}", any(agents::agent))
        .route("/engine/{instance_id}/{graph_id}/{action}", any(agents::engine))
        .merge(control::routes())
        .fallback(async || json::refusal(&ApiError::new("NOT_FOUND", "nothing is served here", 404)))
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .with_state(cloud)
}
