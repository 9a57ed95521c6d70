//! What both services share and no core may name: clocks, errors to Status, callers, server and client builders,
//! telemetry, shutdown. No word of tiers or volumes.

pub mod clock;
