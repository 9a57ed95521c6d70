//! Stores behind `ports::store::Store`: DynamoDB for every durable use, memory for virtual time.
//!
//! What both must do is one suite of cases (`suite`), run over memory here and over DynamoDB's adapter in
//! `tiershift-tests`.

#[cfg(feature = "aws")]
pub mod dynamodb;
pub mod memory;
pub mod schema;
pub mod suite;
