//! The ports over the real world: AWS by its SDK, agents by HTTP, the describer that batches reads of AWS, the budgets
//! that all its calls wait for, and EC2 as one of the two who move volumes.

pub mod agent;
#[cfg(feature = "aws")]
pub mod aws;
pub mod budget;
pub mod budgeted;
#[cfg(test)]
mod canned;
pub mod describe;
pub mod direct;
#[cfg(test)]
mod doubles;
