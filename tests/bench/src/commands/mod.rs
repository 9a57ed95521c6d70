//! One file a command. Each has `Args` and `run`, which prints and gives the exit status.

pub mod downtime;
pub mod saga;
pub mod takeover;
