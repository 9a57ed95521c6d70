//! The gRPC face: converts, authorises, calls one use case, converts back. No rule lives here.

pub mod convert;
mod fleet;
mod migrations;
mod volumes;
mod watch;

pub use fleet::Fleet;
pub use migrations::MigrationHandlers;
pub use volumes::Volumes;

use tiershift_common::caller::Caller;
use tiershift_common::status::Fault;
use tiershift_core::{Error, Kind, Reason};
use tonic::{Request, Status};

/// Services and operators only: nobody else speaks of volumes.
fn authorise<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = Caller::of(request)?;
    if caller.is_service() || caller.is_operator() {
        return Ok(caller);
    }
    let error = Error::new(Kind::PermissionDenied, Reason::PermissionDenied, "volumes are for services and operators");
    Err(Fault::from(error).into())
}

/// Operators only.
fn operator<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = Caller::of(request)?;
    if caller.is_operator() {
        return Ok(caller);
    }
    let error = Error::new(Kind::PermissionDenied, Reason::PermissionDenied, "this is for operators");
    Err(Fault::from(error).into())
}

/// Part of the contract, built later.
fn not_built<T>(what: &str) -> Result<T, Status> {
    let error = Error::new(Kind::Unimplemented, Reason::NotImplemented, format!("{what} is not available yet"));
    Err(Fault::from(error).into())
}
