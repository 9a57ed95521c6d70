//! EBS volumes, fleets and migrations: the shell around `volume-core`.
//!
//! The rules are in `volume-core`; here are the ports to the world (`ports`), their implementations (`store`,
//! `adapters`), what drives migrations (`worker`, `driver`, `world`, `gather`), what answers calls (`migrations`,
//! `registry`, `grpc`), and the one place that puts ports and implementations together (`app`).

pub mod adapters;
pub mod alerts;
#[cfg(feature = "aws")]
pub mod app;
pub mod capacity;
#[cfg(feature = "aws")]
pub mod config;
pub mod driver;
pub mod gather;
pub mod grpc;
pub mod hold;
pub mod hub;
pub mod idle;
pub mod journal;
pub mod lease;
pub mod migrations;
pub mod permits;
pub mod ports;
pub mod registry;
pub mod store;
pub mod watched;
pub mod worker;
pub mod world;
