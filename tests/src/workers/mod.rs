//! Several processes of volume-svc over the same tables, real ones: they are started, stopped in mid-air, killed and cut
//! off, and what became of their work is judged from outside.
//!
//! Read `road` (what can be put between two processes), `crew` (the processes), `journey` (one change, with the other
//! service's part played here), `judge` (what must hold, by the cloud's ledger, the engines' log, the journal and the
//! rows) and `kills` (deaths by the dozen, for a test and for `./x bench takeover`). What is asserted of single stories is
//! in `tests/workers*.rs`.

#![expect(clippy::expect_used, clippy::panic, reason = "a harness for tests: a failed expectation is the report")]

pub mod crew;
pub mod ears;
pub mod journey;
pub mod judge;
pub mod kills;
pub mod road;
