//! Idempotency keys: what was asked for under each, and what was answered.

use crate::call::Call;
use std::collections::{BTreeMap, BTreeSet};

/// What is stored under a key.
#[derive(Clone, Debug)]
struct Stored {
    asked: (String, String),
    answer: (u16, String),
}

/// What a key says about a request.
pub(crate) enum Known {
    /// It has not been used.
    New,
    /// For this very request: its answer.
    Same(u16, String),
    /// For another one.
    Other,
}

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    stored: BTreeMap<String, Stored>,
    /// Keys that came before, whatever came of it.
    seen: BTreeSet<String>,
}

impl Keys {
    pub(crate) fn known(&self, key: &str, call: &Call) -> Known {
        match self.stored.get(key) {
            None => Known::New,
            Some(stored) if stored.asked == asked(call) => Known::Same(stored.answer.0, stored.answer.1.clone()),
            Some(_) => Known::Other,
        }
    }

    pub(crate) fn store(&mut self, key: &str, call: &Call, status: u16, body: &str) {
        let stored = Stored { asked: asked(call), answer: (status, body.to_owned()) };
        self.stored.insert(key.to_owned(), stored);
    }

    pub(crate) fn occupy(&mut self, key: &str) {
        let asked = ("/v1/charges".to_owned(), "amount=1".to_owned());
        self.stored.insert(key.to_owned(), Stored { asked, answer: (200, "{}".to_owned()) });
    }

    /// Whether this key came for the first time.
    pub(crate) fn first(&mut self, key: &str) -> bool {
        self.seen.insert(key.to_owned())
    }
}

fn asked(call: &Call) -> (String, String) {
    (call.path.clone(), call.form.clone())
}
