//! The simulated cloud's wire face, driven by AWS's own SDKs and by plain HTTP, over real sockets.
//!
//! `ec2` and `autoscaling` ask for every action, with success and refusal; `faults` for what has no answer, `store_faults` for
//! DynamoDB's, `rehearsals` for those that volume-svc's own adapters meet; `agents` for the instances' own HTTP; `adapters`
//! moves a volume by volume-svc's adapters, `function` by the volume manager function; `alerts` for SNS; `keeping` is what
//! survives. What the
//! model answers in detail is tested with the model itself.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test are tests: a failed one is the report")]

mod adapters;
mod agents;
mod alerts;
mod autoscaling;
mod command_line;
mod ec2;
mod faults;
mod function;
mod instances;
mod keeping;
mod kit;
mod rehearsals;
mod store_faults;
