//! EBS volumes, fleets and migrations: the shell around `volume-core`.
//!
//! The rules are in `volume-core`; here are the ports to the world, their implementations, and what drives them.

pub mod adapters;
pub mod ports;
pub mod store;
