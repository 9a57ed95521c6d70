//! Billing state, tier changes and access.
