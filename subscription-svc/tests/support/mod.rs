//! What several test binaries share: a volume-svc that follows a script, and a world around one service.
#![allow(dead_code, clippy::expect_used, clippy::panic, reason = "shared by test binaries, each of which uses a part")]

pub mod api;
pub mod books;
pub mod port;
pub mod rows;
pub mod seed;
pub mod stack;
pub mod stores;
pub mod stripe;
pub mod volume;
pub mod volume_grpc;
pub mod world;
