//! The ports over the real world: AWS by its SDK, agents by HTTP, the describer that batches EC2 reads, and
//! EC2 as one of the two who move volumes.

pub mod agent;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(test)]
mod canned;
pub mod describe;
pub mod direct;
