//! Suites and harness over the whole workspace.
