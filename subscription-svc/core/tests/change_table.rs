//! Every (state, event) pair of the tier-change machine, printed and compared with `change_table.txt`.
//!
//! A state is printed in each of its situations that decide differently (a cancel asked for, an unknown charge, …).
//! After a wanted change of the machine, copy the file that the failed test names over it, and read the difference.
#![allow(clippy::expect_used, clippy::panic, clippy::format_push_string, reason = "a test: its failure is the report")]

mod printed;
mod situations;

use situations::{alphabet, label, situations};
use subscription_core::change::Change;

fn row(change: &Change, event: &subscription_core::change::Event) -> String {
    match change.step(event) {
        Err(refusal) => format!("refused: {refusal:?}"),
        Ok(step) => {
            let mut text = difference(change, &step.change);
            if text.is_empty() {
                text.push_str("noted");
            }
            for effect in &step.effects {
                text.push_str(&format!(" !{}", effect.kind()));
            }
            text
        }
    }
}

/// What an event changed, field by field.
fn difference(before: &Change, after: &Change) -> String {
    let fields = |change: &Change| {
        let value = serde_json::to_value(change).expect("a change is JSON");
        value.as_object().expect("an object").clone()
    };
    let (before, after) = (fields(before), fields(after));
    let mut text = String::new();
    if before["state"] != after["state"] {
        text.push_str(&format!("-> {}", after["state"].as_str().expect("a word")));
    }
    for (field, value) in &after {
        if field != "state" && before[field] != *value {
            text.push_str(&format!(" {field}={}", value.to_string().replace('"', "")));
        }
    }
    text.trim_start().to_owned()
}

#[test]
fn the_transitions_are_the_printed_ones() {
    let mut table = String::from("state (situation) | event | outcome (fields that change, then !effects)\n");
    for (name, change) in situations() {
        for event in alphabet() {
            table.push_str(&format!("{} ({name}) | {} | {}\n", change.state, label(&event), row(&change, &event)));
        }
    }
    printed::compare("change_table.txt", &table);
}

#[test]
fn every_state_is_in_the_table() {
    let printed: std::collections::BTreeSet<_> = situations().into_iter().map(|(_, change)| change.state).collect();
    for state in subscription_core::change::State::ALL {
        assert!(printed.contains(state), "{state} has no situation");
    }
}
