//! Ids, time values, the tier catalogue, reasons and errors: the words that both services share.
//!
//! Not here: anything that reads a clock, draws a random number or does I/O (see `tiershift-common`), and
//! nothing that knows how a migration or a subscription works (see `volume-core`, `subscription-core`).

pub mod catalogue;
pub mod error;
pub mod event;
pub mod ids;
pub mod mutant;
pub mod reason;
pub mod time;

pub use error::{Error, FieldFault, Kind, NotChecked, Violation};
pub use reason::Reason;
pub use time::UnixMs;
