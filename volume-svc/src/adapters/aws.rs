//! EC2, Auto Scaling, Lambda and SNS by the SDK: conversion and classification, no decisions.
//!
//! `config` makes the clients (time-outs, one attempt for writes), `errors` has the one table of codes, `ec2`,
//! `autoscaling`, `lambda` and `sns` are the ports.

pub mod autoscaling;
mod config;
pub mod ec2;
mod errors;
pub mod lambda;
mod last_look;
pub mod sns;

pub use config::{Attempts, Aws, BadSettings, Identity, Settings};

#[cfg(test)]
mod tests;
