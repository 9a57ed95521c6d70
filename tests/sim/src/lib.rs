//! Whole histories of both services in virtual time: the real drivers, workers, use cases and gRPC handlers over stores
//! in memory and the simulated cloud, on one thread. A seed is one history, to the millisecond.
//!
//! Read `plan` (what a seed decides), `history` (how it is played), `customer` and `clients` (who asks and who writes),
//! `stack` (two services and how their processes die), `monitor` (what is looked at after every event) and `invariants`
//! (what must hold). `shrink` looks for the shortest history that breaks the same invariant, `report` counts.
//!
//! It is not the place for stories with one expected course: those are `tests/tests/virtual_time` and
//! `subscription-svc/tests`.

#![expect(clippy::expect_used, reason = "a harness for tests: a failed expectation is the report")]

mod clients;
mod customer;
mod hazard;
pub mod history;
mod invariants;
mod monitor;
mod operator;
pub mod plan;
pub mod report;
pub mod shrink;
mod stack;
mod volume_store;
mod wire;
