//! The access decision, the tier rules and the tier-change machine; no I/O.
//!
//! Everything here is a function of its arguments: no clock is read, nothing random is drawn, nothing is stored.
//! `access` decides who may read and write, `rules` which tier changes are allowed, `flags` for whom, `proration` what they cost, `lifecycle` how a subscription lives, `provider` what its payment provider says of that, `period` when it is due,
//! `change` is the machine that runs one, `progress` what watchers see of it. Ports, stores and servers are in
//! `subscription-svc`.

#[macro_use]
mod words;

pub mod access;
pub mod change;
pub mod credits;
pub mod flags;
pub mod lifecycle;
pub mod period;
pub mod progress;
pub mod proration;
pub mod provider;
pub mod rules;
pub mod status;
