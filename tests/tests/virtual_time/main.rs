//! volume-svc's real driver, worker, journal and use cases in virtual time: whole changes against the simulated cloud,
//! with everything that can happen to them. The harness is `tiershift_tests::world`.
//!
//! Durations are simulated; a test takes as long as its computing.

#![expect(clippy::expect_used, reason = "a failed expectation is the report, in the tests' helpers too")]

mod budgets;
mod cancels;
mod crashes;
mod crowds;
mod faults;
mod gates;
mod histories;
mod moves;
mod plans;
mod settings;
mod settling;
mod sources;
mod versions;
