//! Sentences for people about a change: public events, audit, reasons. Nothing is ever decided by them.

use subscription_core::change::{Change, Event, Gate, State};
use tiershift_core::Reason;

/// What has just happened to the change itself.
pub fn happened(before: &Change, after: &Change, event: &Event) -> String {
    let text = match event {
        Event::Begun => "the paid period has ended: the change begins",
        Event::NotBegun { .. } => "the change cannot begin; tier and money are as before",
        Event::Started => "everything slow is being made ready while you go on working",
        Event::StartRefused { .. } => "the move cannot start; the change is being ended",
        Event::GateRequested { .. } if after.state == State::Charging => "everything is ready; taking the payment",
        Event::ChargeTaken if after.state == State::Gating => "paid; writes are about to pause",
        Event::ChargeTaken => "the payment had gone through; it will be given back",
        Event::ChargeRefused { .. } => "the payment was refused; nothing was moved",
        Event::ChargeWithheld { .. } => "a check failed before the payment; nothing was taken",
        Event::ChargeUnknown => "it is not known yet whether the payment went through; finding out",
        Event::GateClosed => "writes are paused",
        Event::GateCheckFailed { .. } => "a check failed before the writes were paused; turning back",
        Event::LeaseWaited => "no write is on its way any more; the move begins",
        Event::Committed => "the graph has moved to the new tier; opening it",
        Event::Opened => "done: the graph serves on the new tier",
        Event::HandedOver { .. } if after.state == State::Succeeded => "done: an operator completed the move",
        Event::HandedOver { .. } | Event::RolledBack { .. } if after.state == State::Compensating => {
            "the graph serves on the old tier; the payment is being given back"
        }
        Event::CancelRequested if after.state == State::Canceled => "canceled before it began",
        Event::CancelRequested => "asked to cancel; turning back",
        Event::CancelRefused { .. } => "it is too late to cancel; the change goes on",
        Event::CancelAccepted { .. } if !after.state.ended() => "the cancel was accepted; turning back",
        Event::Stuck { .. } => "a person must look at this; the operators have been told",
        Event::Resumed => "an operator let it go on",
        Event::Deadline if after.state == State::NeedsAttention => "this takes too long; the operators have been told",
        Event::Deadline => "this took too long; turning back",
        Event::Contradicted { .. } => "something does not fit together; the operators have been told",
        Event::Restored => "the store was restored; an operator must reconcile first",
        _ => general(before, after),
    };
    text.to_owned()
}

fn general(before: &Change, after: &Change) -> &'static str {
    match after.state {
        State::Succeeded => "done: the graph serves on the new tier",
        State::Failed => "ended: tier and money are as before",
        State::Canceled => "canceled: tier and money are as before",
        State::NeedsAttention => "a person must look at this; the operators have been told",
        State::Compensating => "the payment is being given back",
        State::Moving if before.gate != Gate::Offline && after.gate == Gate::Offline => "reads are paused",
        State::Scheduled
        | State::Requested
        | State::Preparing
        | State::Charging
        | State::Gating
        | State::Moving
        | State::Finalizing => "the change goes on",
    }
}

/// A reason as a sentence.
pub fn because(reason: Reason) -> String {
    let text = match reason {
        Reason::CanceledByRequest => "canceled on request",
        Reason::PaymentDeclined => "the payment was declined",
        Reason::PaymentNotImmediate => "the payment was not complete at once",
        Reason::PaymentUnknown => "it did not become known in time whether the payment went through",
        Reason::PriceChanged => "the price is not the accepted one any more",
        Reason::GateTimeout => "the writes could not be paused in time",
        Reason::DrainTimeout => "running requests did not end in time",
        Reason::StepTimeout => "a step took too long",
        Reason::StoreRestored => "the store was restored",
        Reason::MigrationNotFound => "the migration is gone",
        other => return format!("the change ended because of {other}"),
    };
    text.to_owned()
}
