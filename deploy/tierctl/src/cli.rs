//! The arguments: what they are called, what they mean, and help that teaches. `tests/help.txt` pins every word.

pub mod sim;
pub mod subscription;
pub mod webhook;

use crate::connect;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_STATUS: &str = "\
Exit status:
  0  succeeded, allowed
  2  wrong usage: the arguments, or the addresses of the services
  3  refused: every violation is printed with its fix
  4  failed or canceled
  5  needs attention: only a person can go on
  6  unreachable: the service does not answer; what was asked may still happen

Examples:
  tierctl graphs
  tierctl tier preview kg0000000000000001 ladybug-large
  tierctl tier change kg0000000000000001 ladybug-large --watch
  tierctl migrations list --live
  tierctl --json tier watch chg_01ARZ3NDEKTSV4RRFFQ69G5FAV | jq .stage

Without addresses, tierctl talks to the stack of this machine, which `./x run` writes to ./data/stack.json.";

/// See, change and free the tiers of graphs
#[derive(Clone, Debug, Parser)]
#[command(name = "tierctl", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Cli {
    /// Where the services are, and who calls.
    #[command(flatten)]
    pub target: connect::Options,
    /// One JSON object per line on stdout, for programs
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List graphs, or show one
    #[command(after_help = "\
The list holds graphs with a subscription: those of the caller's organisations, or of all for an operator.

Examples:
  tierctl graphs
  tierctl graphs list --org org_acme
  tierctl graphs show kg0000000000000001")]
    Graphs {
        /// List (the default) or show.
        #[command(subcommand)]
        command: Option<Graphs>,
    },
    /// See, cancel, resume or correct what is paid for a graph
    Subscription {
        /// What of it.
        #[command(subcommand)]
        command: subscription::Subscription,
    },
    /// List what was done, by whom, newest first
    #[command(after_help = "\
Owners and admins see their organisation's, operators everything. At least one filter, but for
operators.

Examples:
  tierctl audit --org org_acme
  tierctl audit --graph kg0000000000000001 --limit 20
  tierctl --json audit --change chg_01ARZ3NDEKTSV4RRFFQ69G5FAV | jq -r '.kind'")]
    Audit {
        /// Which.
        #[command(flatten)]
        wanted: subscription::Audit,
    },
    /// See the payment provider's events, and replay dead ones (operators)
    #[command(after_help = "\
Examples:
  tierctl webhook list
  tierctl webhook list --state pending --limit 20
  tierctl webhook replay evt_1NG8Du2eZvKYlo2CUI79vXWy")]
    Webhook {
        /// What of them.
        #[command(subcommand)]
        command: webhook::Webhook,
    },
    /// List the tiers that a graph can have
    #[command(after_help = "\
Examples:
  tierctl tiers
  tierctl tiers --room                              is there room for one more graph in each tier?
  tierctl tiers --room --graph kg0000000000000001   ... in the zone of this graph?")]
    Tiers {
        /// Ask also whether a move to each tier could begin now
        #[arg(long)]
        room: bool,
        /// The graph in whose zone room is wanted
        #[arg(long, requires = "room", value_name = "GRAPH")]
        graph: Option<String>,
    },
    /// Preview, begin, follow or cancel a change of tier
    Tier {
        /// What of it.
        #[command(subcommand)]
        command: Tier,
    },
    /// Ask whether a graph may be read and written now
    Access {
        /// What of it.
        #[command(subcommand)]
        command: Access,
    },
    /// See the moves of volumes behind the changes, and free stuck ones
    Migrations {
        /// What of it.
        #[command(subcommand)]
        command: Migrations,
    },
    /// Rehearse: make the simulated cloud of the development stack go wrong
    Sim {
        /// Where it is.
        #[command(flatten)]
        at: sim::Options,
        /// What of it.
        #[command(subcommand)]
        command: sim::Sim,
    },
}

/// What to do with graphs.
#[derive(Clone, Debug, Subcommand)]
pub enum Graphs {
    /// List graphs that have a subscription
    List {
        /// Only those of this organisation
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
    },
    /// Show one graph, by its id or a subgraph's
    Show {
        /// `kg` and 16 hex digits
        graph: String,
    },
}

/// The graph and the tier of a change.
#[derive(Args, Clone, Debug)]
pub struct Wish {
    /// The graph: `kg` and 16 hex digits
    pub graph: String,
    /// The tier it shall have, as `tierctl tiers` names it
    pub target_tier: String,
    /// Begin when the paid period ends, at no charge for the present one (downgrades only)
    #[arg(long)]
    pub at_period_end: bool,
}

/// What to do with a change of tier.
#[derive(Clone, Debug, Subcommand)]
pub enum Tier {
    /// Say what a change would cost and how long it would take; change nothing
    #[command(after_help = "\
Runs every check of `tier change`. Exit status 3 says that the change would be refused.

Example:
  tierctl tier preview kg0000000000000001 ladybug-large")]
    Preview {
        /// The graph and the tier.
        #[command(flatten)]
        wish: Wish,
    },
    /// Begin a change
    #[command(after_help = "\
The change then runs by itself, whether or not anybody watches. With --at-period-end it waits for
its time, is checked anew then, and can be withdrawn until it begins: `tierctl tier cancel`.

If the answer is lost (exit status 6), repeat with the --request-id that was printed: the service
answers with the same change, and never begins a second one.

Examples:
  tierctl tier change kg0000000000000001 ladybug-large --watch
  tierctl tier change kg0000000000000001 ladybug-standard --at-period-end
  tierctl tier change kg0000000000000001 ladybug-large --expect-price-cents 24900")]
    Change {
        /// The graph and the tier.
        #[command(flatten)]
        wish: Wish,
        /// Follow it to its end; the exit status says how it ended
        #[arg(long, conflicts_with = "at_period_end")]
        watch: bool,
        /// Makes the call repeatable; made up if absent, and printed if the answer is lost
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        /// Refuse if the new price of an interval is another one
        #[arg(long, value_name = "CENTS")]
        expect_price_cents: Option<i64>,
        /// Currency of --expect-price-cents
        #[arg(long, value_name = "ISO", default_value = "USD", requires = "expect_price_cents")]
        currency: String,
    },
    /// Follow a change to its end
    #[command(after_help = "\
Shows every event from the first one on, also of a change that has ended. After a lost connection
it resumes right after the last event shown, and says so on stderr.

Example:
  tierctl tier watch chg_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    Watch {
        /// The change: `chg_` and a ULID
        change: String,
    },
    /// Show one change
    Show {
        /// The change: `chg_` and a ULID
        change: String,
    },
    /// List changes, newest first
    List {
        /// Only those of this organisation
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
        /// Only those of this graph
        #[arg(long, value_name = "GRAPH")]
        graph: Option<String>,
        /// Only those that have not ended
        #[arg(long)]
        active: bool,
    },
    /// Ask for the end of a change
    #[command(after_help = "\
Possible until the detach of the volume is journalled; refused with TOO_LATE_TO_CANCEL afterwards.
The wish is stored; `tierctl tier watch` tells how the change ends.

Example:
  tierctl tier cancel chg_01ARZ3NDEKTSV4RRFFQ69G5FAV --note \"customer called\"")]
    Cancel {
        /// The change: `chg_` and a ULID
        change: String,
        /// Why, for the audit log
        #[arg(long, default_value = "")]
        note: String,
        /// Makes the call repeatable; made up if absent
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
}

/// What to do with access.
#[derive(Clone, Debug, Subcommand)]
pub enum Access {
    /// Ask whether a graph may be read and written now
    #[command(after_help = "\
Exit status 3 says that something asked for is not allowed.

Examples:
  tierctl access check kg0000000000000001
  tierctl access check kg0000000000000001_sales --mode write")]
    Check {
        /// A graph, or a subgraph, for which its parent decides
        graph: String,
        /// What is wanted
        #[arg(long, value_enum, default_value_t = Mode::Both)]
        mode: Mode,
    },
}

/// What a check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Reading
    Read,
    /// Writing
    Write,
    /// Both, each with its own answer
    Both,
}

/// What to do with migrations.
#[derive(Clone, Debug, Subcommand)]
pub enum Migrations {
    /// List migrations, newest first
    List {
        /// Only those that still hold their volume: running, stuck and settling ones
        #[arg(long)]
        live: bool,
        /// Only those of this graph
        #[arg(long, value_name = "GRAPH")]
        graph: Option<String>,
    },
    /// Show one migration, by the id of its change
    Show {
        /// The migration: `chg_` and a ULID
        migration: String,
    },
    /// Follow a migration until the graph serves again, or it is stuck
    Watch {
        /// The migration: `chg_` and a ULID
        migration: String,
        /// Go on until the source is retired and everything is settled
        #[arg(long)]
        settle: bool,
    },
    /// Move a stuck migration on (operators)
    #[command(after_help = "\
Look first: `tierctl migrations show` says where it stands and why it is stuck.

  retry       go on from where it stopped, in the same direction
  go-forward  turn an undo round, towards the target
  hand-over   end it where you say that the graph serves (--side), if that can be verified

Example:
  tierctl migrations resume chg_01ARZ3NDEKTSV4RRFFQ69G5FAV --action retry --note \"agent restarted\"")]
    Resume {
        /// The migration: `chg_` and a ULID
        migration: String,
        /// How to go on
        #[arg(long, value_enum)]
        action: Action,
        /// Where the graph serves, for hand-over
        #[arg(long, value_enum, required_if_eq("action", "hand-over"))]
        side: Option<Side>,
        /// Why, and what was done by hand
        #[arg(long)]
        note: String,
        /// Makes the call repeatable; made up if absent
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
}

/// How to go on with a stuck migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// From where it stopped, in the same direction
    Retry,
    /// Towards the target, if it was on its way back
    GoForward,
    /// End it where it serves
    HandOver,
}

/// One of the two places of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// Where the graph came from
    Source,
    /// Where it went
    Target,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_change_is_read_with_all_it_has() {
        let cli = parse(
            "tierctl tier change kg0000000000000001 ladybug-large --watch --json --as alice;org_a=owner \
             --request-id r1 --expect-price-cents 24900",
        )
        .expect("good arguments");
        assert!(cli.json);
        assert_eq!(cli.target.caller.as_deref(), Some("alice;org_a=owner"));
        let Command::Tier { command: Tier::Change { wish, watch, request_id, expect_price_cents, currency } } =
            cli.command
        else {
            panic!("{:?}", cli.command)
        };
        assert_eq!((wish.graph.as_str(), wish.target_tier.as_str()), ("kg0000000000000001", "ladybug-large"));
        assert!(watch && !wish.at_period_end);
        assert_eq!((request_id.as_deref(), expect_price_cents, currency.as_str()), (Some("r1"), Some(24_900), "USD"));
    }

    #[test]
    fn graphs_alone_lists() {
        let cli = parse("tierctl graphs").expect("good arguments");
        assert!(matches!(cli.command, Command::Graphs { command: None }));
    }

    #[test]
    fn wrong_usage_is_status_2() {
        for line in [
            "tierctl",
            "tierctl tier",
            "tierctl tier change kg0000000000000001",
            "tierctl tiers --graph kg0000000000000001",
            "tierctl tier change g t --currency EUR",
            "tierctl access check g --mode delete",
            "tierctl migrations resume c --action hand-over --note x",
            "tierctl migrations resume c --action retry",
            "tierctl fly",
            "tierctl sim fault set",
            "tierctl sim fault set stuck_attach --count -1",
            "tierctl sim fault set stuck_attach --for 10",
            "tierctl sim fault clear",
            "tierctl sim fault clear stuck_attach --all",
            "tierctl sim fault clear --all --api AttachVolume",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        assert!(parse("tierctl migrations resume c --action hand-over --side source --note x").is_ok());
    }
}
