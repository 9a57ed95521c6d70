//! A provider that answers each question after a while, from books in which every subscription has been renewed.

use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use subscription_svc::payments::{Answer, Billing, Fetched, InvoiceState, Payments, Reading, Snapshot};
use subscription_svc::store::rows::{Interval, PaymentRequest};
use tiershift_core::UnixMs;

/// It.
#[derive(Debug)]
pub struct Provider {
    now: UnixMs,
    takes: Duration,
    questions: AtomicU64,
}

/// The provider's name of the n-th subscription.
pub fn name(n: u32) -> String {
    format!("sub_bench{n}")
}

/// When the n-th one's paid period ends there: long behind what was subscribed.
pub fn period_end(n: u32) -> UnixMs {
    UnixMs(4_000_000_000_000 + i64::from(n) * 1_000)
}

impl Provider {
    /// One whose answers take so long.
    pub fn new(now: UnixMs, takes: Duration) -> Self {
        Self { now, takes, questions: AtomicU64::new(0) }
    }

    /// How often it was asked.
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Payments for Provider {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn post(&self, _: &PaymentRequest) -> Answer {
        Answer::Unknown
    }

    async fn read(&self, _: &PaymentRequest) -> Reading {
        Reading::Unknown
    }

    async fn fetch(&self, named: &str) -> Fetched {
        self.questions.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        let Some(n) = named.strip_prefix("sub_bench").and_then(|n| n.parse().ok()) else { return Fetched::Gone };
        Fetched::Snapshot(Box::new(Snapshot {
            status: Billing::Active,
            period_start: self.now,
            period_end: period_end(n),
            cancel_at: None,
            canceled_at: None,
            ended_at: None,
            price_cents: 9_900,
            currency: "USD".to_owned(),
            interval: Some(Interval::Monthly),
            latest_invoice: Some(InvoiceState::Paid),
        }))
    }
}
