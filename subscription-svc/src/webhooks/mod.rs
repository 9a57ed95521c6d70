//! What the payment provider tells us: received over HTTP, stored, and only then acknowledged; applied once, by asking the
//! provider what is so.
//!
//! `signature` says who sent an event, `event` what it is about; `receive` takes and stores it, `apply` makes something of it, `prune` forgets it. No order is assumed
//! and no content believed (H24): an event only says that it is worth asking.

pub mod apply;
pub mod event;
#[cfg(feature = "stripe")]
pub mod options;
pub mod prune;
#[cfg(feature = "stripe")]
pub mod receive;
#[cfg(feature = "stripe")]
pub mod signature;
