//! A simulated AWS: one pure, deterministic model of EC2, EBS, Auto Scaling, the agents and the graph engine.
//!
//! The model (everything but `server`) has no clock, no I/O and no threads: a face tells it the time with each call and
//! waits out the latency that the reply names. Start reading at [`api`] (what can be asked) and [`sim`] (how it is answered).
//! The face in process is [`Sim`] itself; the wire face is the feature `server`.

mod agent;
pub mod api;
mod asg;
mod device;
mod ec2;
pub mod engine;
pub mod faults;
pub mod fleet;
mod host;
mod ids;
pub mod lambda;
mod ledger;
mod rates;
pub mod seed;
#[cfg(feature = "server")]
pub mod server;
pub mod sim;
mod sns;
pub mod store;
pub mod timing;
mod truth;
mod writes;

pub use sim::{Config, Sim};
pub use truth::Held;
