//! The model against what docs/aws.md and the agent contract say, with explicit times: one module per subject.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the kit is test code: a failure is the report"
)]
#![expect(clippy::unused_self, reason = "requests are built through the world whether they need it or not")]

mod agents;
mod attachments;
mod autoscaling;
mod control;
mod describes;
mod engines;
mod faults;
mod kit;
mod properties;
mod seeded;
mod snapshots;
mod volumes;
