//! The gRPC contract: generated code, descriptor set, nothing else.
