//! What both services share and no core may name: clocks, errors to Status, callers, server and client builders,
//! telemetry, shutdown. No word of tiers or volumes.
//!
//! Where to look: `status` turns every error into a gRPC status and back; `convert` and `fields` are the border of
//! the proto types; `caller` says who calls; `server` and `client` are the two ends of a connection; `page` makes
//! opaque tokens and cursors; `ids` makes ids; `clock` is the one clock port; `shutdown` and `telemetry` frame a
//! process.

pub mod caller;
pub mod client;
pub mod clock;
mod connection;
pub mod convert;
pub mod fields;
pub mod ids;
pub mod page;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;
