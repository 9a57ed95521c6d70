//! The operator's command line, and the parts of it that other programs of the stack use too: how a change is drawn
//! ([`draw`]), followed ([`follow`], [`feeds`]) and summed up ([`summary`]), where the stack of this machine is
//! ([`stack`]), and how its simulated cloud is spoken to ([`cloud`]).
//!
//! It is a client like any other: it decides nothing, retries no change, and says what it does not know. Not here:
//! how the stack is started (deploy/dev), and the services.

pub mod cli;
pub mod cloud;
pub mod commands;
pub mod connect;
pub mod draw;
pub mod exit;
pub mod feeds;
pub mod follow;
pub mod output;
pub mod stack;
pub mod summary;
pub mod table;
pub mod words;
