//! What many histories came to, as one line for programs or people.

use crate::history::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use tiershift_core::Reason;

/// Sums over histories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Histories.
    pub seeds: u64,
    /// Events after which every invariant was asked.
    pub events: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Faults of the cloud, the stores and the processes.
    pub faults: u64,
    /// Migrations that moved.
    pub committed: u64,
    /// Migrations that went back.
    pub rolled_back: u64,
    /// Migrations that needed an operator at some time.
    pub stuck: u64,
    /// Of those, the ones that no retry could end.
    pub left_stuck: u64,
    /// Changes that were refused at once.
    pub refused: u64,
    /// Why, and how many of each.
    pub left_stuck_by: BTreeMap<Reason, u64>,
    /// Histories that broke a rule.
    pub violations: u64,
}

impl Report {
    /// Adds one history.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.crashes += outcome.crashes;
        self.faults += outcome.faults;
        self.committed += outcome.committed;
        self.rolled_back += outcome.rolled_back;
        self.stuck += outcome.stuck;
        self.left_stuck += outcome.left_stuck.len() as u64;
        for reason in &outcome.left_stuck {
            *self.left_stuck_by.entry(*reason).or_default() += 1;
        }
        self.refused += outcome.refused;
        self.violations += u64::from(outcome.violation.is_some());
    }
}
