//! EC2 and Auto Scaling by the SDK: conversion and classification, no decisions.
//!
//! `config` makes the clients (time-outs, one attempt for writes), `errors` has the one table of codes, `ec2` and
//! `autoscaling` are the ports.

pub mod autoscaling;
mod config;
pub mod ec2;
mod errors;
mod last_look;

pub use config::{Attempts, Aws, BadSettings, Identity, Settings};

#[cfg(test)]
mod tests;
