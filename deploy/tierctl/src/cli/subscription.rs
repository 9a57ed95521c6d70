//! The arguments of `tierctl subscription` and `tierctl audit`.

use clap::{Args, Subcommand, ValueEnum};
use tiershift_proto::subscription::v1::SubscriptionStatus;

/// What to do with a subscription.
#[derive(Clone, Debug, Subcommand)]
pub enum Subscription {
    /// Show one, by its id or its graph's
    Show {
        /// `sub_` and a ULID, or `kg` and 16 hex digits: then the one that counts for the graph
        subscription: String,
    },
    /// End it, now or with its paid period
    #[command(after_help = "\
With the paid period the graph can be read until then, and the cancellation be taken back by
`subscription resume`. Now closes the graph at once, for good, and is refused while its tier changes.

Examples:
  tierctl subscription cancel sub_01ARZ3NDEKTSV4RRFFQ69G5FAV --at-period-end
  tierctl subscription cancel sub_01ARZ3NDEKTSV4RRFFQ69G5FAV --now --note \"customer called\"")]
    #[command(group(clap::ArgGroup::new("end").required(true).args(["now", "at_period_end"])))]
    Cancel {
        /// `sub_` and a ULID
        subscription: String,
        /// At once
        #[arg(long)]
        now: bool,
        /// With the paid period
        #[arg(long)]
        at_period_end: bool,
        /// Why, for the audit log
        #[arg(long, default_value = "")]
        note: String,
        /// Makes the call repeatable; made up if absent
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Take a cancellation back before its end, or end a pause
    Resume {
        /// `sub_` and a ULID
        subscription: String,
        /// Makes the call repeatable; made up if absent
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Correct status, price or credits by hand (operators)
    #[command(after_help = "\
Only along the ways that the life of a subscription has: `active` activates what is paid, resumes what
is paused, and takes a payment for made. Refused while the tier changes. The reason is kept for ever.

Example:
  tierctl subscription correct sub_01ARZ3NDEKTSV4RRFFQ69G5FAV --status active --reason \"paid by wire, ticket 7\"")]
    Correct {
        /// `sub_` and a ULID
        subscription: String,
        /// The status it shall have
        #[arg(long)]
        status: Option<CorrectStatus>,
        /// What one interval costs from the next period on, in cents
        #[arg(long, value_name = "CENTS")]
        price_cents: Option<i64>,
        /// Currency of --price-cents
        #[arg(long, value_name = "ISO", default_value = "USD", requires = "price_cents")]
        currency: String,
        /// Credits granted each month from then on
        #[arg(long, value_name = "CREDITS")]
        monthly_credits: Option<i64>,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
        /// Makes the call repeatable; made up if absent
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
}

/// A status that an operator can bring a subscription to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CorrectStatus {
    /// Paid and served
    Active,
    /// No access until it is resumed
    Paused,
    /// A payment is overdue
    PastDue,
    /// Payment was given up
    Unpaid,
    /// Ends with its paid period
    Canceled,
    /// Setting it up failed for good
    Failed,
}

impl CorrectStatus {
    /// The contract's value.
    pub const fn contract(self) -> SubscriptionStatus {
        match self {
            Self::Active => SubscriptionStatus::Active,
            Self::Paused => SubscriptionStatus::Paused,
            Self::PastDue => SubscriptionStatus::PastDue,
            Self::Unpaid => SubscriptionStatus::Unpaid,
            Self::Canceled => SubscriptionStatus::Canceled,
            Self::Failed => SubscriptionStatus::Failed,
        }
    }
}

/// Which entries of the audit.
#[derive(Args, Clone, Debug)]
// A name of its own, because clap would take the type's, which the command bears too.
#[group(id = "audit_filter")]
pub struct Audit {
    /// Only those of this organisation
    #[arg(long, value_name = "ORG")]
    pub org: Option<String>,
    /// Only those about this graph
    #[arg(long, value_name = "GRAPH")]
    pub graph: Option<String>,
    /// Only those about this subscription
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub subscription: Option<String>,
    /// Only those about this tier change
    #[arg(long, value_name = "CHANGE")]
    pub change: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}
