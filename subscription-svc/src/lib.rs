//! Billing state, tier changes and access.
//!
//! What is decided is in `subscription-core`; here it is stored, sent and served. `store` keeps everything,
//! `usecase` are the requests, `saga` runs accepted changes, `lifecycle` keeps the time of subscriptions, `migrations` and
//! `payments` are the two outside parties, `webhooks` is what the second one tells, `access` answers checks from memory, `grpc`
//! is the border. Only `app` names ports and adapters.

pub mod access;
#[cfg(all(feature = "sqlite", feature = "postgres", feature = "stripe"))]
pub mod app;
pub mod commit;
#[cfg(all(feature = "sqlite", feature = "postgres", feature = "stripe"))]
pub mod config;
mod digest;
pub mod grpc;
pub mod hold;
pub mod hub;
pub mod lifecycle;
pub mod migrations;
mod pace;
pub mod payments;
pub mod refresh;
pub mod saga;
pub mod service;
pub mod store;
pub mod usecase;
pub mod webhooks;
#[cfg(feature = "postgres")]
pub mod work;
