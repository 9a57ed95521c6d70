//! The requests: each checks who asks, what is there and what is wanted, and writes one transaction.
//!
//! One file a command. They know neither gRPC nor SQL; everything that can be decided without them is in the cores.

mod cancel;
mod change_tier;
mod credits;
pub mod facts;
mod graphs;
mod lifecycle;
mod preview;
mod reading;
pub mod repeat;
mod subscriptions;
mod tiers;
mod webhooks;

pub use change_tier::ChangeTier;
pub use credits::UseCredits;
pub use graphs::{RegisterGraph, Registered};
pub use lifecycle::{CancelSubscription, CorrectSubscription};
pub use preview::Preview;
pub use reading::Page;
pub use subscriptions::{CreateSubscription, Initial};
pub use tiers::Listed;

use tiershift_common::caller::Caller;
use tiershift_core::ids::OrgId;
use tiershift_core::{Error, Kind, Reason};

/// What is not there, or not the caller's to see, reads the same (D-71).
pub fn graph_not_found() -> Error {
    Error::new(Kind::NotFound, Reason::GraphNotFound, "no such graph, or none that you may see")
}

/// The same for changes.
pub fn change_not_found() -> Error {
    Error::new(Kind::NotFound, Reason::TierChangeNotFound, "no such tier change, or none that you may see")
}

/// The same for subscriptions.
pub fn subscription_not_found() -> Error {
    Error::new(Kind::NotFound, Reason::SubscriptionNotFound, "no such subscription, or none that you may see")
}

/// Whoever may see it but not decide about it.
fn owner_only(caller: &Caller, org: &OrgId) -> Result<(), Error> {
    if caller.may_manage(org) {
        return Ok(());
    }
    let text = "only an owner of the organisation, or an operator, may do this";
    Err(Error::new(Kind::PermissionDenied, Reason::NotOwner, text))
}

/// Operators.
fn operator_only(caller: &Caller) -> Result<(), Error> {
    if caller.is_operator() {
        return Ok(());
    }
    Err(Error::new(Kind::PermissionDenied, Reason::OperatorOnly, "only operators may do this"))
}

/// Services, and operators.
fn service_only(caller: &Caller) -> Result<(), Error> {
    if caller.is_service() || caller.is_operator() {
        return Ok(());
    }
    let text = "only services and operators may do this";
    Err(Error::new(Kind::PermissionDenied, Reason::PermissionDenied, text))
}

/// Owners, services and operators.
fn owner_or_service(caller: &Caller, org: &OrgId) -> Result<(), Error> {
    if caller.is_service() { Ok(()) } else { owner_only(caller, org) }
}
