//! The arguments of `tierctl webhook`.

use clap::{Subcommand, ValueEnum};
use tiershift_proto::subscription::v1::WebhookEventState;

/// What to do with the provider's events.
#[derive(Clone, Debug, Subcommand)]
pub enum Webhook {
    /// List events in one state, newest first
    List {
        /// In which state
        #[arg(long, value_name = "STATE", default_value = "dead")]
        state: State,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Have dead events looked at once more
    #[command(after_help = "\
See to the cause first: `webhook list` says why each is dead. What is not dead is left alone, so that a
repeat does no harm.

Examples:
  tierctl webhook replay evt_1NG8Du2eZvKYlo2CUI79vXWy
  tierctl --json webhook list | jq -r .event_id | xargs tierctl webhook replay")]
    Replay {
        /// The provider's ids, 500 at most
        #[arg(required = true, value_name = "EVENT")]
        events: Vec<String>,
    },
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// To be looked at, at its time
    Pending,
    /// Something was made of it
    Applied,
    /// It concerns nothing here
    Ignored,
    /// Nobody could make anything of it for days
    Dead,
}

impl State {
    /// The contract's value.
    pub const fn contract(self) -> WebhookEventState {
        match self {
            Self::Pending => WebhookEventState::Pending,
            Self::Applied => WebhookEventState::Applied,
            Self::Ignored => WebhookEventState::Ignored,
            Self::Dead => WebhookEventState::Dead,
        }
    }
}
