//! The ports over the real world: AWS by its SDK, agents by HTTP, the describer that batches reads
//! of AWS, and the budgets that all its calls wait for.

pub mod agent;
#[cfg(feature = "aws")]
pub mod aws;
pub mod budget;
pub mod budgeted;
#[cfg(test)]
mod canned;
pub mod describe;
#[cfg(test)]
mod doubles;
