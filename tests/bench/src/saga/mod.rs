//! What `bench saga` is made of: a recorded life (`life`), appends beside bare transactions (`appends`), a crowd that one
//! process takes over (`crowd`), and what a crowd asks of EC2 (`describes`).

pub mod appends;
pub mod crowd;
pub mod describes;
pub mod life;
pub mod tables;

pub use crate::figures::{percentile_ms, ratio};
