//! EC2 and EBS: volumes, attachments, snapshots, instances.
//!
//! Progress is never stored as a state: each object keeps the instants at which its state changes, and a read computes the
//! state at its own instant. Reads lag behind by shifting those instants, and go back in time by reading at an earlier one.

pub mod attachments;
pub mod filter;
pub mod instances;
pub mod link;
pub mod places;
pub mod snapshots;
pub mod volumes;
