//! The gRPC contract: generated code and its descriptor set. Nothing is written by hand here but this file, and nothing
//! decides anything: each service turns these messages into its own types at its border.
//!
//! The contract itself, with the limits of every field, is in `tiershift/*/v1/*.proto`; the comments there are the
//! documentation of the items here.

/// `tiershift.common`: what both services say in the same words.
pub mod common {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("tiershift.common.v1");
    }
}

/// `tiershift.subscription`: graphs, subscriptions, tiers and access, served by subscription-svc.
pub mod subscription {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("tiershift.subscription.v1");
    }
}

/// `tiershift.volume`: migrations, volumes and the fleet, served by volume-svc.
pub mod volume {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("tiershift.volume.v1");
    }
}

/// The whole contract as an encoded `google.protobuf.FileDescriptorSet`, with the comments of the source: for gRPC
/// reflection and for tools.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");
