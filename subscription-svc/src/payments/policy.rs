//! What to do about a provider request: send it, or only read it (H21). Pure but for the two calls it makes.
//!
//! Unknown is repeated with the same key and bytes while the key is young; after that, and after a stored fault of
//! the provider's, the provider is read and never posted to again under that key. A refusal is final only when a
//! read shows nothing open.

use super::{Answer, Payments, Reading};
use crate::store::rows::{PaymentOutcome, PaymentRequest};
use tiershift_core::{Reason, UnixMs};

/// A key is used for so long after its first send: providers prune keys after "at least 24 hours", and a post under a
/// pruned key would be a second charge. Four hours of margin for clocks and calls that hang.
pub const KEY_AGE_MAX_MS: i64 = 20 * 3_600_000;

/// What is known of a request after one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Done.
    Taken {
        /// The provider's own name for it.
        reference: String,
    },
    /// Refused for good.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// Not yet known; `poisoned` says that from now on it is only read.
    Unknown {
        /// The provider stored a fault under the key.
        poisoned: bool,
    },
}

/// Whether the key may still be posted under.
pub fn may_post(request: &PaymentRequest, now: UnixMs) -> bool {
    request.outcome != PaymentOutcome::Poisoned && now.since(request.stored) < KEY_AGE_MAX_MS
}

/// One try to make it definite.
pub async fn resolve(payments: &dyn Payments, request: &PaymentRequest, now: UnixMs) -> Known {
    if !may_post(request, now) {
        return by_reading(payments, request, Reason::PaymentDeclined, true).await;
    }
    match payments.post(request).await {
        Answer::Done { reference } => Known::Taken { reference },
        Answer::Refused { reason } => by_reading(payments, request, reason, false).await,
        Answer::ServerFault => Known::Unknown { poisoned: true },
        Answer::Unknown => Known::Unknown { poisoned: false },
    }
}

async fn by_reading(payments: &dyn Payments, request: &PaymentRequest, reason: Reason, poisoned: bool) -> Known {
    match payments.read(request).await {
        Reading::Done { reference } => Known::Taken { reference },
        Reading::Nothing => Known::Refused { reason },
        Reading::Open | Reading::Unknown => Known::Unknown { poisoned },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::PaymentKind;
    use async_trait::async_trait;
    use std::sync::Mutex;
    use tiershift_core::ids::ChangeId;

    /// Answers as told, and counts the posts.
    struct Told {
        answer: Answer,
        reading: Reading,
        posts: Mutex<u32>,
    }

    #[async_trait]
    impl Payments for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        async fn post(&self, _: &PaymentRequest) -> Answer {
            *self.posts.lock().expect("posts") += 1;
            self.answer.clone()
        }

        async fn read(&self, _: &PaymentRequest) -> Reading {
            self.reading.clone()
        }
    }

    fn request(outcome: PaymentOutcome) -> PaymentRequest {
        PaymentRequest {
            change: ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed"),
            kind: PaymentKind::Forward,
            bytes: "{}".to_owned(),
            stored: UnixMs(0),
            outcome,
            reference: String::new(),
        }
    }

    async fn tried(answer: Answer, reading: Reading, outcome: PaymentOutcome, age_ms: i64) -> (Known, u32) {
        let told = Told { answer, reading, posts: Mutex::new(0) };
        let known = resolve(&told, &request(outcome), UnixMs(age_ms)).await;
        let posts = *told.posts.lock().expect("posts");
        (known, posts)
    }

    fn done() -> Reading {
        Reading::Done { reference: "r".to_owned() }
    }

    #[tokio::test]
    async fn a_young_key_is_posted_again_and_an_old_one_only_read() {
        let unknown = PaymentOutcome::Unknown;
        let young = tried(Answer::Unknown, done(), unknown, KEY_AGE_MAX_MS - 1).await;
        assert_eq!(young, (Known::Unknown { poisoned: false }, 1));
        let old = tried(Answer::Unknown, done(), unknown, KEY_AGE_MAX_MS).await;
        assert_eq!(old, (Known::Taken { reference: "r".to_owned() }, 0), "H21 a: never a second charge");
    }

    #[tokio::test]
    async fn a_stored_fault_is_never_posted_to_again() {
        let first = tried(Answer::ServerFault, done(), PaymentOutcome::Unknown, 0).await;
        assert_eq!(first, (Known::Unknown { poisoned: true }, 1));
        let second = tried(Answer::Unknown, Reading::Nothing, PaymentOutcome::Poisoned, 0).await;
        assert_eq!(second, (Known::Refused { reason: Reason::PaymentDeclined }, 0), "H21 b");
    }

    #[tokio::test]
    async fn a_refusal_is_final_only_when_nothing_is_open() {
        let declined = Answer::Refused { reason: Reason::PaymentNotImmediate };
        let unknown = PaymentOutcome::Unknown;
        let open = tried(declined.clone(), Reading::Open, unknown, 0).await;
        assert_eq!(open.0, Known::Unknown { poisoned: false }, "H21 e");
        let closed = tried(declined, Reading::Nothing, unknown, 0).await;
        assert_eq!(closed.0, Known::Refused { reason: Reason::PaymentNotImmediate });
    }
}
