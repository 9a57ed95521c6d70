//! The events of the machine with one canonical payload each, and the situations that its table prints.
#![allow(dead_code, clippy::expect_used, reason = "shared by two test binaries, each of which uses a part")]

use subscription_core::change::{Back, Change, Event, Side};
use tiershift_core::Reason;

/// The first gate request.
pub const GATE: Event = Event::GateRequested { gate_id: 12, usage_bytes: Some(1) };
/// A later one, after an operator's retry.
pub const GATE_AGAIN: Event = Event::GateRequested { gate_id: 20, usage_bytes: Some(1) };
/// A rollback.
pub const ROLLED_BACK: Event = Event::RolledBack { reason: Reason::DrainTimeout };
/// A decline.
pub const DECLINED: Event = Event::ChargeRefused { reason: Reason::PaymentDeclined };
/// A stuck migration.
pub const STUCK: Event = Event::Stuck { reason: Reason::UndoFailed };

/// Every event.
pub fn alphabet() -> Vec<Event> {
    vec![
        Event::Begun,
        Event::NotBegun { reason: Reason::TooManySubgraphs },
        Event::Started,
        Event::StartRefused { reason: Reason::NoCapacity },
        Event::StartRefused { reason: Reason::Tombstone },
        GATE,
        GATE_AGAIN,
        Event::ChargeTaken,
        DECLINED,
        Event::ChargeWithheld { reason: Reason::PriceChanged },
        Event::ChargeUnknown,
        Event::GateClosed,
        Event::GateCheckFailed { reason: Reason::StorageExceedsLimit },
        Event::LeaseWaited,
        Event::GateConfirmed,
        Event::GateRefused { reason: Reason::GateMismatch },
        Event::Offline,
        Event::DetachJournalled,
        Event::Committed,
        Event::Opened,
        ROLLED_BACK,
        Event::HandedOver { side: Side::Source },
        Event::HandedOver { side: Side::Target },
        STUCK,
        Event::Resumed,
        Event::Settled,
        Event::BackDone { back: Back::Price },
        Event::BackDone { back: Back::Money },
        Event::BackUnknown { back: Back::Price },
        Event::BackUnknown { back: Back::Money },
        Event::BackRefused { back: Back::Price, reason: Reason::PaymentDeclined },
        Event::BackRefused { back: Back::Money, reason: Reason::PaymentDeclined },
        Event::CancelRequested,
        Event::CancelAccepted { never_started: false },
        Event::CancelAccepted { never_started: true },
        Event::CancelRefused { reason: Reason::TooLateToCancel },
        Event::Deadline,
        Event::Contradicted { reason: Reason::MigrationNotFound, past_gate: false },
        Event::Contradicted { reason: Reason::WrongState, past_gate: true },
        Event::Restored,
    ]
}

/// An event with what tells it from its like.
pub fn label(event: &Event) -> String {
    let name = event.name();
    match event {
        Event::GateRequested { gate_id, .. } => format!("{name} {gate_id}"),
        Event::HandedOver { side } => format!("{name} {side}"),
        Event::BackDone { back } | Event::BackUnknown { back } | Event::BackRefused { back, .. } => {
            format!("{name} {back}")
        }
        Event::StartRefused { reason: Reason::Tombstone } => format!("{name} tombstone"),
        Event::CancelAccepted { never_started: true } => format!("{name} never_started"),
        Event::Contradicted { past_gate: true, .. } => format!("{name} past_gate"),
        _ => name.to_owned(),
    }
}

/// A change after these events, all of which it takes.
pub fn after(events: &[Event]) -> Change {
    let take = |change: Change, event| change.step(event).expect("a way into a situation").change;
    events.iter().fold(Change::new().0, take)
}

/// Named ways into each state.
pub fn situations() -> Vec<(&'static str, Change)> {
    let moving = [Event::Started, GATE, Event::ChargeTaken, Event::GateClosed, Event::LeaseWaited];
    let with = |base: &[Event], more: &[Event]| after(&[base, more].concat());
    let charging = &moving[..2];
    let gating = &moving[..3];
    let take = |event: Event| Change::scheduled().step(&event).expect("a way into a situation").change;
    vec![
        ("waiting", Change::scheduled()),
        ("withdrawn", take(Event::CancelRequested)),
        ("not begun", take(Event::NotBegun { reason: Reason::TooManySubgraphs })),
        ("restored while waiting", take(Event::Restored)),
        ("fresh", after(&[])),
        ("cancel asked", after(&[Event::CancelRequested])),
        ("start refused", after(&[Event::StartRefused { reason: Reason::NoCapacity }])),
        ("fresh", after(&[Event::Started])),
        ("cancel asked", after(&[Event::Started, Event::CancelRequested])),
        ("owed", after(charging)),
        ("unknown", with(charging, &[Event::ChargeUnknown])),
        ("declined", with(charging, &[DECLINED])),
        ("cancel asked, owed", with(charging, &[Event::CancelRequested])),
        ("cancel asked, unknown", with(charging, &[Event::ChargeUnknown, Event::CancelRequested])),
        ("cancel asked, taken", with(charging, &[Event::CancelRequested, Event::ChargeTaken])),
        ("gate open", after(gating)),
        ("gate open, cancel asked", with(gating, &[Event::CancelRequested])),
        ("gate closed", after(&moving[..4])),
        ("gate closed, cancel asked", with(&moving[..4], &[Event::CancelRequested])),
        ("unconfirmed", after(&moving)),
        ("offline", with(&moving, &[Event::GateConfirmed, Event::Offline])),
        ("cancel asked", with(&moving, &[Event::CancelRequested])),
        ("cancel accepted", with(&moving, &[Event::CancelRequested, Event::CancelAccepted { never_started: false }])),
        ("detached", with(&moving, &[Event::Offline, Event::DetachJournalled])),
        ("committed", with(&moving, &[Event::Offline, Event::Committed])),
        ("cancel asked", with(&moving, &[Event::CancelRequested, Event::Committed])),
        ("opened", with(&moving, &[Event::Committed, Event::Opened])),
        ("taken", with(&moving, &[ROLLED_BACK])),
        ("price is back", with(&moving, &[ROLLED_BACK, Event::BackDone { back: Back::Price }])),
        ("charge unknown", with(charging, &[Event::ChargeUnknown, ROLLED_BACK])),
        ("charge owed", with(charging, &[ROLLED_BACK])),
        ("declined", with(charging, &[DECLINED, ROLLED_BACK])),
        ("by request", after(&[Event::Started, Event::CancelRequested, ROLLED_BACK])),
        ("stuck while preparing", after(&[Event::Started, STUCK])),
        ("stuck while charging, unknown", with(charging, &[Event::ChargeUnknown, STUCK])),
        ("stuck while gating", with(gating, &[STUCK])),
        ("stuck while moving", with(&moving, &[Event::Offline, STUCK])),
        ("stuck while finalizing", with(&moving, &[Event::Offline, Event::Committed, STUCK])),
        ("overdue while moving", with(&moving, &[Event::Deadline])),
        (
            "refund refused",
            with(&moving, &[ROLLED_BACK, Event::BackRefused { back: Back::Money, reason: Reason::PaymentDeclined }]),
        ),
        (
            "past gate while preparing",
            after(&[Event::Started, Event::Contradicted { reason: Reason::WrongState, past_gate: true }]),
        ),
        ("restored while charging", with(charging, &[Event::Restored])),
    ]
}
