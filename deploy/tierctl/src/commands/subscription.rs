//! `tierctl subscription`: see, cancel, resume and correct what is paid for a graph.

use super::{absent, request_id};
use crate::cli::subscription::{CorrectStatus, Subscription as Command};
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{money, or_dash, when, word};
use serde::Serialize;
use tiershift_proto::common::v1::Money;
use tiershift_proto::subscription::v1::{
    CancelSubscriptionRequest, CancelTiming, CorrectSubscriptionRequest, GetSubscriptionRequest,
    ResumeSubscriptionRequest, Subscription, SubscriptionStatus, get_subscription_request,
};

/// Runs the command and shows the subscription as it is behind it.
pub async fn run(target: &Target, command: Command, output: &mut Output) -> Result<Exit, Fault> {
    let mut subscriptions = target.subscriptions()?;
    let after = match command {
        Command::Show { subscription } => {
            let key = if subscription.starts_with("sub_") {
                get_subscription_request::Key::SubscriptionId(subscription)
            } else {
                get_subscription_request::Key::GraphId(subscription)
            };
            subscriptions.get_subscription(GetSubscriptionRequest { key: Some(key) }).await?.into_inner().subscription
        }
        Command::Cancel { subscription, now, at_period_end: _, note, request_id: given } => {
            let timing = if now { CancelTiming::Now } else { CancelTiming::PeriodEnd };
            let request = CancelSubscriptionRequest {
                request_id: request_id(given),
                subscription_id: subscription,
                timing: timing.into(),
                note,
            };
            subscriptions.cancel_subscription(request).await?.into_inner().subscription
        }
        Command::Resume { subscription, request_id: given } => {
            let request = ResumeSubscriptionRequest { request_id: request_id(given), subscription_id: subscription };
            subscriptions.resume_subscription(request).await?.into_inner().subscription
        }
        Command::Correct {
            subscription,
            status,
            price_cents,
            currency,
            monthly_credits,
            reason,
            request_id: given,
        } => {
            let request = CorrectSubscriptionRequest {
                request_id: request_id(given),
                subscription_id: subscription,
                status: status.map_or(SubscriptionStatus::Unspecified, CorrectStatus::contract).into(),
                price: price_cents.map(|amount_cents| Money { amount_cents, currency }),
                monthly_credits,
                reason,
            };
            subscriptions.correct_subscription(request).await?.into_inner().subscription
        }
    };
    output.one(&SubscriptionRow::of(after.ok_or_else(|| absent("the subscription"))?))?;
    Ok(Exit::Succeeded)
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionRow {
    /// `sub_` and a ULID.
    pub subscription_id: String,
    /// Who pays.
    pub org_id: String,
    /// For which graph.
    pub graph_id: String,
    /// The tier that is paid for.
    pub tier: String,
    /// The billing state.
    pub status: String,
    /// What one interval costs.
    pub price: String,
    /// `monthly` or `annual`.
    pub interval: String,
    /// Credits granted each month.
    pub monthly_credits: i64,
    /// Those of the present month.
    pub credits_granted: i64,
    /// What was used of them.
    pub credits_used: i64,
    /// When the paid period began.
    pub period_start_unix_ms: i64,
    /// When it ends.
    pub period_end_unix_ms: i64,
    /// When it ends, or ended; 0: it does not end.
    pub ends_at_unix_ms: i64,
    /// The tier change that runs; empty if none does.
    pub active_change_id: String,
    /// The tier change that waits for the end of the paid period; empty if none does.
    pub scheduled_change_id: String,
    /// The payment adapter.
    pub provider: String,
    /// The provider's name for it; empty if it has none.
    pub provider_subscription_id: String,
}

impl SubscriptionRow {
    fn of(of: Subscription) -> Self {
        Self {
            status: word(of.status().as_str_name(), "SUBSCRIPTION_STATUS_"),
            price: of.price.as_ref().map(money).unwrap_or_default(),
            interval: word(of.interval().as_str_name(), "BILLING_INTERVAL_"),
            subscription_id: of.subscription_id,
            org_id: of.org_id,
            graph_id: of.graph_id,
            tier: of.tier,
            monthly_credits: of.monthly_credits,
            credits_granted: of.credits.map_or(0, |credits| credits.granted),
            credits_used: of.credits.map_or(0, |credits| credits.used),
            period_start_unix_ms: of.period_start_unix_ms,
            period_end_unix_ms: of.period_end_unix_ms,
            ends_at_unix_ms: of.ends_at_unix_ms,
            active_change_id: of.active_change_id,
            scheduled_change_id: of.scheduled_change_id,
            provider: of.provider,
            provider_subscription_id: of.provider_subscription_id,
        }
    }
}

impl Row for SubscriptionRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("SUBSCRIPTION", Align::Left),
        ("ORGANISATION", Align::Left),
        ("GRAPH", Align::Left),
        ("TIER", Align::Left),
        ("STATUS", Align::Left),
        ("PRICE", Align::Right),
        ("CREDITS LEFT", Align::Right),
        ("PAID FROM", Align::Left),
        ("PAID UNTIL", Align::Left),
        ("ENDS", Align::Left),
        ("CHANGE", Align::Left),
        ("PROVIDER", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.subscription_id.clone(),
            self.org_id.clone(),
            self.graph_id.clone(),
            self.tier.clone(),
            self.status.clone(),
            format!("{} {}", self.price, self.interval),
            format!("{} of {}", self.credits_granted - self.credits_used, self.credits_granted),
            when(self.period_start_unix_ms),
            when(self.period_end_unix_ms),
            when(self.ends_at_unix_ms),
            match self.scheduled_change_id.as_str() {
                "" => or_dash(&self.active_change_id),
                scheduled => format!("{scheduled} (scheduled)"),
            },
            format!("{} {}", self.provider, self.provider_subscription_id).trim_end().to_owned(),
        ]
    }
}
