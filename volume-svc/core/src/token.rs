//! Idempotency tokens. A token is a function of what is decided, so a restart repeats the same one; the attempt
//! moves only by a journalled decision (rule 2).

use sha2::{Digest, Sha256};
use tiershift_core::ids::ChangeId;

/// The first 32 hex digits of sha256(change | step | attempt): EC2 takes 64 characters, DynamoDB 36.
pub fn token(change: &ChangeId, step: &str, attempt: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(change.as_str().as_bytes());
    hash.update(b"|");
    hash.update(step.as_bytes());
    hash.update(b"|");
    hash.update(attempt.to_string().as_bytes());
    hash.finalize().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stable_and_depends_on_each_part() {
        let a = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
        let b = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAW").expect("well formed");
        let one = token(&a, "launch", 1);
        assert_eq!(one.len(), 32);
        assert_eq!(one, token(&a, "launch", 1));
        assert_ne!(one, token(&a, "launch", 2));
        assert_ne!(one, token(&a, "attach", 1));
        assert_ne!(one, token(&b, "launch", 1));
    }
}
