//! Suites and harness over the whole workspace.

pub mod world;
