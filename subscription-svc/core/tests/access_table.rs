//! The whole decision table, printed and compared with `access_table.txt` (docs/protocol.md, H5).
//!
//! After a wanted change of the rules, copy the file that the failed test names over it, and read the difference.
#![allow(clippy::expect_used, clippy::panic, clippy::format_push_string, reason = "a test: its failure is the report")]

mod printed;

use subscription_core::access::{AccessRecord, Decision, Gate, Mode, Pace, decide};
use subscription_core::status::{GraphState, SubscriptionStatus};
use tiershift_core::UnixMs;
use tiershift_core::ids::ChangeId;

const NOW: UnixMs = UnixMs(1_000_000);

fn change() -> ChangeId {
    ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed")
}

fn gates() -> [(&'static str, Gate); 3] {
    [("open", Gate::Open), ("writes_blocked", Gate::WritesBlocked(change())), ("offline", Gate::Offline(change()))]
}

/// Every status, and a canceled one before, at and after its end.
fn subscriptions() -> Vec<(String, Option<SubscriptionStatus>, Option<UnixMs>)> {
    let mut all = vec![("none".to_owned(), None, None)];
    for status in SubscriptionStatus::ALL {
        if *status == SubscriptionStatus::Canceled {
            for (name, end) in [("canceled, ends in 1 ms", 1), ("canceled, ends now", 0), ("canceled, ended", -1)] {
                all.push((name.to_owned(), Some(*status), Some(NOW.plus(end))));
            }
            all.push(("canceled, no end".to_owned(), Some(*status), None));
        } else {
            all.push((status.to_string(), Some(*status), None));
        }
    }
    all
}

fn words(decision: &Decision) -> String {
    let mut text = match decision.reason {
        None if decision.allowed => "yes".to_owned(),
        Some(reason) if !decision.allowed => reason.to_string(),
        contradiction => format!("CONTRADICTION {contradiction:?}"),
    };
    if let Some(ms) = decision.retry_after_ms {
        text.push_str(&format!(" retry {ms}"));
    }
    if let Some(ms) = decision.valid_for_ms {
        text.push_str(&format!(" for {ms}"));
    }
    text
}

#[test]
fn the_decision_table_is_the_printed_one() {
    let mut table = String::from("graph | gate | billing | subscription | read | write\n");
    let row = |record: Option<&AccessRecord>| {
        let read = words(&decide(record, Mode::Read, NOW));
        let write = words(&decide(record, Mode::Write, NOW));
        format!("{read} | {write}\n")
    };
    table.push_str(&format!("unknown | - | - | - | {}", row(None)));
    for graph in GraphState::ALL {
        for (gate_name, gate) in gates() {
            for (billing, shared_repository, billing_off) in
                [("on", false, false), ("off", false, true), ("shared", true, false)]
            {
                for (name, subscription, ends_at) in subscriptions() {
                    let record = AccessRecord {
                        revision: 1,
                        graph: *graph,
                        shared_repository,
                        subscription,
                        ends_at,
                        gate: gate.clone(),
                        billing_off,
                        pace: Pace::Calm,
                    };
                    table.push_str(&format!("{graph} | {gate_name} | {billing} | {name} | {}", row(Some(&record))));
                }
            }
        }
    }
    printed::compare("access_table.txt", &table);
}

#[test]
fn no_setting_opens_a_gate() {
    for (_, gate) in gates() {
        for (shared_repository, billing_off) in [(false, false), (true, false), (false, true), (true, true)] {
            for (_, subscription, ends_at) in subscriptions() {
                let record = AccessRecord {
                    revision: 1,
                    graph: GraphState::Active,
                    shared_repository,
                    subscription,
                    ends_at,
                    gate: gate.clone(),
                    billing_off,
                    pace: Pace::Changing,
                };
                let write = decide(Some(&record), Mode::Write, NOW);
                let read = decide(Some(&record), Mode::Read, NOW);
                assert!(gate == Gate::Open || !write.allowed, "a write passed {gate:?} (H5)");
                assert!(!matches!(gate, Gate::Offline(_)) || !read.allowed, "a read passed {gate:?}");
                assert!(read.allowed || !write.allowed, "whoever may write may read");
            }
        }
    }
}
