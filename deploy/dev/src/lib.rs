//! The one-machine stack: a simulated cloud and both services as processes of their own, seeded, with a customer who
//! writes. `main.rs` is its command line; the crash tests use `stack` to kill and restart single processes.
//!
//! Every process is the real one: what differs from production is where AWS is, who is believed, and how fast the
//! clock runs. Nothing here decides about a change.

pub mod cli;
pub mod demo;
pub mod run;
pub mod seed;
pub mod stack;
pub mod workload;

pub use tierctl::cloud;
