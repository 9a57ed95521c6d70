//! The migration machine: durable state and time in, the next durable write or command out. No I/O, no clock, no
//! randomness; the shell in `volume-svc` has all three.
//!
//! Read in this order: `stage` (what happens when), `fact` (what is written down), `state` and `fold` (what that
//! means), `machine` (how it goes on), `resolve/` (the life of one effect), `stages/`, `undo` and `home` (the rules),
//! `watch` (instances that end meanwhile), `requests` (what may be asked from outside), `registry` (which rows change),
//! `alerts` (what people are called for), `plan` (whether it may start at all). What it all comes to is printed in `tests/machine_table.txt`.

pub mod alerts;
pub mod effect;
pub mod events;
pub mod fact;
mod fold;
mod home;
pub mod item;
pub mod keys;
pub mod machine;
pub mod plan;
pub mod progress;
pub mod registry;
pub mod requests;
mod resolve;
pub mod scratch;
mod seen;
pub mod settings;
pub mod stage;
mod stages;
pub mod state;
pub mod token;
mod undo;
pub mod view;
mod watch;

pub use machine::{Append, Machine, Next};
pub use stages::{look_for_permit_every_ms, preflight_ask};
