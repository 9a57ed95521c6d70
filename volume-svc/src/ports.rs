//! What volume-svc asks of the world, as traits: the durable store, the cloud's calls and who makes three of them, the
//! agent on an instance.
//!
//! No implementation is here. Stores are in `store/`, the AWS and HTTP adapters in `adapters/`; only `app.rs` puts
//! a port and its implementation together.

pub mod agent;
pub mod cloud;
pub mod store;
pub mod volume_ops;

/// The cause of an error, for the log. Never shown to a caller.
pub type Source = Box<dyn std::error::Error + Send + Sync>;
