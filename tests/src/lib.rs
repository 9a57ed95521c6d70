//! Suites and harness over the whole workspace.

pub mod workers;
pub mod world;
