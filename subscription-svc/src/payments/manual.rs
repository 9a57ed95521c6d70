//! Customers who pay by invoice: each request becomes a line in a book that people read and bill.
//!
//! Nothing is ever declined, and everything is done at once: the line is the promise to pay.

use super::book::{self, Book, Entry};
use super::{Answer, Body, Invoice, Payments, Reading};
use crate::store::rows::PaymentRequest;
use async_trait::async_trait;
use std::sync::Arc;

/// Invoice lines.
#[derive(Debug)]
pub struct Manual {
    book: Arc<Book>,
}

impl Manual {
    /// Over a book.
    pub fn new(book: Arc<Book>) -> Self {
        Self { book }
    }
}

fn unusable(fault: &book::Fault) -> Answer {
    tracing::error!(error = fault as &dyn std::error::Error, "the book of invoice lines cannot be used");
    Answer::Unknown
}

#[async_trait]
impl Payments for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    async fn post(&self, request: &PaymentRequest) -> Answer {
        let key = request.key();
        let Ok(body) = serde_json::from_str::<Body>(&request.bytes) else { return Answer::ServerFault };
        match self.book.enter(Entry::of(key.clone(), &request.change, &request.bytes, &body)) {
            Ok(()) => Answer::Done { reference: format!("line:{key}") },
            Err(fault) => unusable(&fault),
        }
    }

    async fn invoice(&self, invoice: &Invoice, key: &str) -> Answer {
        match self.book.enter(Entry::invoice(key.to_owned(), invoice)) {
            Ok(()) => Answer::Done { reference: format!("line:{key}") },
            Err(fault) => unusable(&fault),
        }
    }

    async fn read(&self, request: &PaymentRequest) -> Reading {
        let key = request.key();
        match self.book.get(&key) {
            Ok(Some(_)) => Reading::Done { reference: format!("line:{key}") },
            Ok(None) => Reading::Nothing,
            Err(fault) => {
                unusable(&fault);
                Reading::Unknown
            }
        }
    }
}
