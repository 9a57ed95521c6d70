//! Suites and harness over the whole workspace.

#[cfg(feature = "processes")]
pub mod workers;
pub mod world;
