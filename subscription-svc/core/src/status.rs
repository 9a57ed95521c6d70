//! The life of graphs and subscriptions as words. A running tier change is *not* among them: that one runs is the
//! subscription's `active_change_id`, and clients see `migrating` as a derived value (H25).
//!
//! What the words mean for reading and writing is `access`; for tier changes, `rules`.

use tiershift_core::UnixMs;

words! {
    /// The life of a graph.
    GraphState {
        /// It exists; its gate and subscription decide.
        Active = "active",
        /// Its paid time is over; data is kept.
        Suspended = "suspended",
        /// It is gone for good.
        Deprovisioned = "deprovisioned",
        /// It was deleted by its owner.
        Deleted = "deleted",
    }
}

words! {
    /// The billing state of a subscription.
    SubscriptionStatus {
        /// Asked for, nothing is set up.
        Pending = "pending",
        /// The first payment is outstanding.
        PendingPayment = "pending_payment",
        /// Paid; its graph is being made.
        Provisioning = "provisioning",
        /// Paid and served: the only status from which a tier can change.
        Active = "active",
        /// Paused by somebody.
        Paused = "paused",
        /// A payment is overdue.
        PastDue = "past_due",
        /// Payment was given up.
        Unpaid = "unpaid",
        /// It will end, or has ended, at `ends_at`.
        Canceled = "canceled",
        /// Setting it up failed for good.
        Failed = "failed",
    }
}

impl GraphState {
    /// Whether it reads as "not found" to anyone but an operator.
    pub const fn gone(self) -> bool {
        matches!(self, Self::Deprovisioned | Self::Deleted)
    }
}

impl SubscriptionStatus {
    /// Whether this subscription is the one that counts for its graph at `now`, so that no other may exist beside it:
    /// every status but the ends. A canceled one counts until its end, because one call resumes it (D-72, D-77).
    pub fn live(self, ends_at: Option<UnixMs>, now: UnixMs) -> bool {
        match self {
            Self::Failed => false,
            Self::Canceled => ends_at.is_some_and(|end| now < end),
            Self::Pending
            | Self::PendingPayment
            | Self::Provisioning
            | Self::Active
            | Self::Paused
            | Self::PastDue
            | Self::Unpaid => true,
        }
    }
}
