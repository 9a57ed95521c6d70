//! The machine in a small world: its way forward, its table, its four generic checks, random lives, and the rules
//! beside it. One binary, so that the world is compiled once.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: its failure is the report"
)]

#[path = "../world/mod.rs"]
mod world;

mod happy;
mod journals;
mod places;
mod plan;
mod printed;
mod progress;
mod properties;
mod registry;
mod requests;
mod scenarios;
mod steps;
mod stories;
mod table;
mod text;
