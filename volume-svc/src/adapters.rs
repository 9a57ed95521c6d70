//! The ports over the real world: AWS by its SDK, agents by HTTP, and the describer that batches EC2 reads.

pub mod agent;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(test)]
mod canned;
pub mod describe;
