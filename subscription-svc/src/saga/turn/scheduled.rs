//! The steps of a change that begins later: what each writes. When they are taken, and after which checks, is
//! `saga::schedule`'s.

use super::Turn;
use crate::store::rows::{AuditKind, Expected, Leases};
use std::collections::BTreeMap;
use subscription_core::change::{Event, Refusal};
use subscription_core::proration::Quote;
use tiershift_core::UnixMs;

impl Turn<'_> {
    /// The first step of a new change that begins later: access does not hear of it, and it owes nothing.
    pub fn schedule(&mut self) {
        self.subscription.scheduled_change = Some(self.change.id.clone());
        self.subscription_dirty = true;
        self.change.deadline = self.change.scheduled;
        let mut detail = BTreeMap::from([
            ("from_tier".to_owned(), self.change.from_tier.to_string()),
            ("to_tier".to_owned(), self.change.to_tier.to_string()),
        ]);
        if let Some(at) = self.change.scheduled {
            detail.insert("scheduled_unix_ms".to_owned(), at.to_string());
        }
        self.note(
            AuditKind::ChangeAccepted,
            "the tier change was accepted for the end of the paid period",
            detail.clone(),
        );
        self.publish("the change is accepted: it begins when the paid period ends", detail);
    }

    /// A scheduled change begins: from here on it is as one that was accepted now.
    pub fn begin_scheduled(
        &mut self,
        quote: Quote,
        expected: Expected,
        usage: Option<(i64, UnixMs)>,
        leases: Leases,
    ) -> Result<(), Refusal> {
        let earliest_ms = expected.earliest_ms(leases);
        self.change.progress.begin(expected.total_ms, earliest_ms);
        self.change.begun = Some(self.now);
        (self.change.quote, self.change.expected, self.change.measured.usage) = (quote, expected, usage);
        self.runs();
        self.take(&Event::Begun)
    }

    /// A scheduled change cannot begin yet.
    pub fn look_again(&mut self, at: UnixMs) {
        self.change.deadline = Some(at);
    }

    /// The paid period ends later than when the change was accepted.
    pub fn reschedule(&mut self, end: UnixMs) {
        (self.change.scheduled, self.change.deadline) = (Some(end), Some(end));
    }
}
