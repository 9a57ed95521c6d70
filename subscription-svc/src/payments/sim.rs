//! A payment provider for development and tests: it keeps a book of its own, and behaves as badly as it is told to.
//!
//! Behaviours belong to customers (organisations), so that a demo can show each beside the others. Idempotent by
//! key, as real ones are.

use super::book::{self, Book, Entry};
use super::{Answer, Body, Invoice, Payments, Reading};
use crate::store::rows::{PaymentKind, PaymentRequest};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tiershift_core::Reason;
use tiershift_core::ids::OrgId;

/// How a customer's payments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// Declined, always.
    Decline,
    /// Not complete at once.
    NotImmediate,
    /// The first answer to each key is lost after the money was taken.
    LoseAnswer,
    /// The first request under each key is lost before anything was done.
    LoseRequest,
    /// Never any answer, and nothing done.
    Silent,
    /// A stored fault for each key, after the money was taken.
    ServerFault,
    /// Refunds are refused.
    RefuseRefund,
}

impl Behaviour {
    /// The behaviour with this word, as the command line has it.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "decline" => Self::Decline,
            "not-immediate" => Self::NotImmediate,
            "lose-answer" => Self::LoseAnswer,
            "lose-request" => Self::LoseRequest,
            "silent" => Self::Silent,
            "server-fault" => Self::ServerFault,
            "refuse-refund" => Self::RefuseRefund,
            _ => return None,
        })
    }
}

/// The provider.
#[derive(Debug)]
pub struct Sim {
    book: Arc<Book>,
    behaviours: Mutex<BTreeMap<OrgId, Behaviour>>,
    /// Keys that were sent before: a lost answer is lost once.
    seen: Mutex<BTreeSet<String>>,
}

impl Sim {
    /// Over a book.
    pub fn new(book: Arc<Book>, behaviours: BTreeMap<OrgId, Behaviour>) -> Self {
        Self { book, behaviours: Mutex::new(behaviours), seen: Mutex::new(BTreeSet::new()) }
    }

    /// Changes how a customer's payments go; none is well.
    pub fn behave(&self, org: &OrgId, behaviour: Option<Behaviour>) {
        let mut all = self.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        match behaviour {
            Some(behaviour) => all.insert(org.clone(), behaviour),
            None => all.remove(org),
        };
    }

    /// The book.
    pub fn book(&self) -> &Book {
        &self.book
    }

    fn behaviour(&self, customer: &str) -> Option<Behaviour> {
        let all = self.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(org, _)| org.as_str() == customer).map(|(_, behaviour)| *behaviour)
    }

    fn first_time(&self, key: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }

    fn done(&self, request: &PaymentRequest, body: &Body) -> Answer {
        let key = request.key();
        match self.book.enter(Entry::of(key.clone(), &request.change, &request.bytes, body)) {
            Ok(()) => Answer::Done { reference: reference(&key) },
            Err(fault) => unusable(&fault),
        }
    }
}

fn unusable(fault: &book::Fault) -> Answer {
    tracing::error!(error = fault as &dyn std::error::Error, "the book of the payment simulator cannot be used");
    Answer::Unknown
}

fn reference(key: &str) -> String {
    format!("sim:{key}")
}

#[async_trait]
impl Payments for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    async fn post(&self, request: &PaymentRequest) -> Answer {
        let key = request.key();
        let first = self.first_time(&key);
        let Ok(body) = serde_json::from_str::<Body>(&request.bytes) else { return Answer::ServerFault };
        match self.book.get(&key) {
            Ok(Some(known)) if known.bytes == request.bytes => return Answer::Done { reference: reference(&key) },
            Ok(Some(_)) => return Answer::ServerFault,
            Ok(None) => {}
            Err(fault) => return unusable(&fault),
        }
        match (self.behaviour(&body.customer), request.kind) {
            (Some(Behaviour::Decline), PaymentKind::Forward) => Answer::Refused { reason: Reason::PaymentDeclined },
            (Some(Behaviour::NotImmediate), PaymentKind::Forward) => {
                Answer::Refused { reason: Reason::PaymentNotImmediate }
            }
            (Some(Behaviour::RefuseRefund), PaymentKind::BackMoney) => {
                Answer::Refused { reason: Reason::PaymentDeclined }
            }
            (Some(Behaviour::Silent), _) => Answer::Unknown,
            (Some(Behaviour::LoseRequest), _) if first => Answer::Unknown,
            (Some(Behaviour::LoseAnswer), _) if first => match self.done(request, &body) {
                Answer::Done { .. } => Answer::Unknown,
                other => other,
            },
            (Some(Behaviour::ServerFault), PaymentKind::Forward) => match self.done(request, &body) {
                Answer::Done { .. } => Answer::ServerFault,
                other => other,
            },
            _ => self.done(request, &body),
        }
    }

    async fn invoice(&self, invoice: &Invoice, key: &str) -> Answer {
        let first = self.first_time(key);
        let behaviour = match self.book.get(key) {
            Ok(known) => self.behaviour(&invoice.customer).filter(|_| known.is_none()),
            Err(fault) => return unusable(&fault),
        };
        match behaviour {
            Some(Behaviour::Decline) => return Answer::Refused { reason: Reason::PaymentDeclined },
            Some(Behaviour::NotImmediate) => return Answer::Refused { reason: Reason::PaymentNotImmediate },
            Some(Behaviour::Silent) => return Answer::Unknown,
            Some(Behaviour::LoseRequest) if first => return Answer::Unknown,
            _ => {}
        }
        match self.book.enter(Entry::invoice(key.to_owned(), invoice)) {
            Ok(()) if first && behaviour == Some(Behaviour::LoseAnswer) => Answer::Unknown,
            Ok(()) => Answer::Done { reference: reference(key) },
            Err(fault) => unusable(&fault),
        }
    }

    async fn read(&self, request: &PaymentRequest) -> Reading {
        let key = request.key();
        match self.book.get(&key) {
            Ok(Some(_)) => Reading::Done { reference: reference(&key) },
            Ok(None) => Reading::Nothing,
            Err(fault) => {
                unusable(&fault);
                Reading::Unknown
            }
        }
    }
}
