//! volume-svc in virtual time: its real driver, worker, journal and use cases, over the store in memory and the
//! simulated cloud in process. One thread, tokio's paused clock, no sockets, so a seed gives one history.
//!
//! Read `rig` (what there is), `process` (one volume-svc and how it dies), `subscriber` and `customer` (the other side of
//! the conversation, as short as it can be), `run` (all of it for one change), `evidence` (what is known afterwards and
//! what must hold of it). The ports are implemented in `face`; what is asserted of a change is in `tests/virtual_time/`.

#![expect(clippy::expect_used, clippy::panic, reason = "a harness for tests: a failed expectation is the report")]

pub mod access;
mod agent;
mod autoscaling;
mod classes;
pub mod cloud;
pub mod customer;
pub mod dice;
mod ec2;
pub mod evidence;
pub mod face;
pub mod fuse;
pub mod process;
pub mod rest;
pub mod rig;
pub mod run;
pub mod store;
pub mod subscriber;
