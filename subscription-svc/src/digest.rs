//! sha256 as 64 hex digits: what identifies a request's content and a schema file.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The digest of a text.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
