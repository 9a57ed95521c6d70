//! The shortest history that breaks the same rule: mishaps, changes and cancels are left out one after another, as long as
//! the rule is still broken. Greedy; it finds a short one, not always the shortest there is.

use crate::history::{Outcome, play};
use crate::plan::Plan;
use tiershift_core::mutant::Mutant;

/// Histories that are played at the most.
const TRIES_MAX: usize = 60;

/// A plan with less in it that breaks the same rule, and its outcome.
pub fn shrink(plan: &Plan, outcome: Outcome, with: Option<Mutant>) -> (Plan, Outcome) {
    let Some(rule) = outcome.violation.as_ref().map(|violation| violation.rule) else {
        return (plan.clone(), outcome);
    };
    let (mut best, mut shortest, mut tries) = (plan.clone(), outcome, 0);
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            tries += 1;
            if tries > TRIES_MAX {
                return (best, shortest);
            }
            let outcome = play(&candidate, with);
            if outcome.violation.as_ref().is_some_and(|violation| violation.rule == rule) {
                smaller = Some((candidate, outcome));
                break;
            }
        }
        match smaller {
            Some((plan, outcome)) => (best, shortest) = (plan, outcome),
            None => return (best, shortest),
        }
    }
}

/// Plans with one thing less.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for n in 0..plan.mishaps.len() {
        let mut less = plan.clone();
        less.mishaps.remove(n);
        all.push(less);
    }
    for n in 0..plan.changes.len() {
        if plan.changes.len() > 1 {
            let mut less = plan.clone();
            less.changes.remove(n);
            all.push(less);
        }
        if plan.changes[n].cancel_after_ms.is_some() || plan.changes[n].payments.is_some() {
            let mut less = plan.clone();
            (less.changes[n].cancel_after_ms, less.changes[n].payments) = (None, None);
            all.push(less);
        }
    }
    all
}
