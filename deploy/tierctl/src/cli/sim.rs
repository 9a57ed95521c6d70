//! The arguments of `tierctl sim`: the simulated cloud's faults. Names and what they take come from the cloud's own
//! catalogue; here are only the flags.

use clap::{Args, Subcommand};

/// Where the simulated cloud is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct Options {
    /// Address of the simulated cloud [default: the stack's]
    #[arg(long, global = true, value_name = "URL", env = "TIERSHIFT_CLOUD_URL", hide_env_values = true)]
    pub cloud_url: Option<String>,
}

/// What to do with the simulated cloud.
#[derive(Clone, Debug, Subcommand)]
pub enum Sim {
    /// List the faults that there are, with a sentence each
    Faults,
    /// See, set and clear faults
    Fault {
        /// What of it.
        #[command(subcommand)]
        command: Fault,
    },
}

/// What to do with faults.
#[derive(Clone, Debug, Subcommand)]
pub enum Fault {
    /// List the faults that are on
    List,
    /// Switch a fault on; if it is on, its count, chances and end are replaced
    #[command(after_help = "\
`tierctl sim faults` lists the names. Everything that is wrong with a request is told at once, and it changes nothing.

Examples:
  tierctl sim fault set stuck_detach --count 1
  tierctl sim fault set failed_snapshot --count 1 --skip 1         the second snapshot from now: the final one
  tierctl sim fault set agent_silent --instance i-0123456789abcdef0 --for 2m
  tierctl sim fault set lost_answer_after --api AttachVolume --count 1
  tierctl sim fault set index_lag --lag-ms 500")]
    Set {
        /// The fault, as `tierctl sim faults` names it
        name: String,
        /// What it strikes.
        #[command(flatten)]
        which: Which,
        /// How many times it strikes [default: until it is cleared]
        #[arg(long, value_name = "N")]
        count: Option<u32>,
        /// How many chances it lets pass first
        #[arg(long, value_name = "N")]
        skip: Option<u32>,
        /// For how long it is on, in simulated time: 500ms, 30s, 10m, 1h [default: until it is cleared]
        #[arg(long = "for", value_name = "TIME", value_parser = duration_ms)]
        for_ms: Option<u64>,
    },
    /// Switch faults off
    #[command(after_help = "\
What has struck already takes its course: a snapshot that was failed stays failed. A dead instance boots.

Examples:
  tierctl sim fault clear throttle                        of whatever action
  tierctl sim fault clear throttle --api AttachVolume
  tierctl sim fault clear --all")]
    Clear {
        /// The fault; all of that name unless more is said
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// What it strikes.
        #[command(flatten)]
        which: Which,
        /// Every fault
        #[arg(long, conflicts_with_all = ["api", "instance", "group", "action", "lag_ms"])]
        all: bool,
    },
}

/// What a fault strikes, for those that take it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The action of AWS or an agent: AttachVolume, AgentRelease, TransactWriteItems
    #[arg(long, value_name = "ACTION")]
    pub api: Option<String>,
    /// The instance
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<String>,
    /// The Auto Scaling group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// The volume manager function's action: detach_volume
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// How far indexes lag, in real milliseconds
    #[arg(long, value_name = "MS")]
    pub lag_ms: Option<u64>,
}

/// A duration with its unit, in milliseconds.
fn duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with its unit is wanted: 500ms, 30s, 10m, 1h".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|ms| *ms > 0);
    ms.ok_or_else(|| "it must be a whole number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "10", "s", "0s", "1.5s", "-1s", "1d", "18446744073709551615h"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
