//! The migration machine: a pure core that takes events and gives back durable writes and commands. No I/O, no
//! clock, no randomness.

pub mod item;
