//! The command line and the environment. Everything is checked before anything starts, and all faults come at once.

use crate::hold::{Hold, INSTANTS};
use crate::payments::sim::Behaviour;
use crate::payments::stripe::options as stripe;
use crate::store::postgres::failover::Failover;
use crate::store::postgres::{self, Migrate};
use crate::store::sqlite;
use crate::webhooks::options as webhooks;
use clap::{Parser, ValueEnum};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use subscription_core::flags::{Flags, Rollout};
use tiershift_common::clock::Scaled;
use tiershift_common::telemetry;
use tiershift_core::catalogue::{self, Catalogue};
use tiershift_core::ids::OrgId;

/// Billing state, tier changes and access.
#[derive(Clone, Debug, Parser)]
#[command(name = "subscription-svc", version, about)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7101", env = "TIERSHIFT_SUBSCRIPTION_LISTEN")]
    pub listen: String,

    /// Database: sqlite://path, or postgres://user@host:5432/name
    #[arg(long, default_value = "sqlite://data/subscription.db", env = "TIERSHIFT_SUBSCRIPTION_DATABASE")]
    pub database: String,

    /// With postgres: whether to bring the schema up to date, or only to verify that it is
    #[arg(long, value_enum, default_value_t = Migrate::Apply, env = "TIERSHIFT_SUBSCRIPTION_MIGRATE")]
    pub migrate: Migrate,

    /// With postgres: what a failover keeps of what was acknowledged. `synchronous`: everything, each commit waits for a
    /// standby, which is checked; `storage`: everything, the disks outlive the machine; `single`: there is no failover
    /// (without --dev it must be said)
    #[arg(long, value_enum, env = "TIERSHIFT_SUBSCRIPTION_FAILOVER")]
    pub failover: Option<Failover>,

    /// Address of volume-svc
    #[arg(long, default_value = "http://127.0.0.1:7102", env = "TIERSHIFT_VOLUME_URL")]
    pub volume_url: String,

    /// Payment provider
    #[arg(long, value_enum, default_value_t = Provider::Manual, env = "TIERSHIFT_PAYMENTS")]
    pub payments: Provider,

    /// Book of the embedded payment providers; default: beside the database, with `.payments.jsonl` at its end
    #[arg(long, env = "TIERSHIFT_PAYMENTS_BOOK")]
    pub payments_book: Option<PathBuf>,

    /// With --payments sim: how a customer's payments go, such as `org_acme=decline` (decline, not-immediate,
    /// lose-answer, lose-request, silent, server-fault, refuse-refund); more than once for more customers
    #[arg(long, value_name = "ORG=BEHAVIOUR", env = "TIERSHIFT_SIM_PAYMENTS", value_delimiter = ',')]
    pub sim_payments: Vec<String>,

    /// Stripe
    #[command(flatten)]
    pub stripe: stripe::Options,

    /// Webhooks
    #[command(flatten)]
    pub webhooks: webhooks::Options,

    /// TOML file of tiers, laid over the compiled-in ones key by key; more than once for more, the last uppermost
    #[arg(long, value_name = "FILE", env = "TIERSHIFT_CATALOGUE", value_delimiter = ',')]
    pub catalogue: Vec<PathBuf>,

    /// For whom tier changes are on: `all`, `off`, or organisations and one share with commas between, such as
    /// `10%,org_acme`
    #[arg(long, default_value = "all", env = "TIERSHIFT_TIER_CHANGES")]
    pub tier_changes: String,

    /// Whether a tier can be changed to a lower one
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, env = "TIERSHIFT_DOWNGRADES")]
    pub downgrades: bool,

    /// Name of the environment, for logs
    #[arg(long, default_value = "dev", env = "TIERSHIFT_ENVIRONMENT")]
    pub environment: String,

    /// Origin whose pages may call by grpc-web; more than once for more origins
    #[arg(long, value_name = "ORIGIN", env = "TIERSHIFT_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origin: Vec<String>,

    /// Clock of the stack: a JSON file {origin_ms, boot_ms, speed}; default: the wall clock
    #[arg(long, value_name = "FILE", env = "TIERSHIFT_CLOCK_FILE")]
    pub clock_file: Option<PathBuf>,

    /// Development: callers are who their header says. Never where anybody else can reach it
    #[arg(long, env = "TIERSHIFT_DEV")]
    pub dev: bool,

    /// With --dev: stand still at this instant, for crash tests
    #[arg(long, value_name = "INSTANT")]
    pub hold: Option<String>,

    /// The log
    #[command(flatten)]
    pub telemetry: telemetry::Options,
}

/// The payment providers of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// A simulator with a book of its own.
    Sim,
    /// Invoice lines for people.
    Manual,
    /// Stripe.
    Stripe,
}

/// A payment provider and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payments {
    /// A simulator: how its customers' payments go.
    Sim(BTreeMap<OrgId, Behaviour>),
    /// Invoice lines for people.
    Manual,
    /// Stripe.
    Stripe(stripe::Config),
}

/// Where everything is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// In a file.
    Sqlite(PathBuf),
    /// In PostgreSQL.
    Postgres {
        /// Its address, with its secrets.
        url: String,
        /// The same without them.
        shown: String,
        /// What to do about an older schema.
        migrate: Migrate,
        /// What a failover keeps.
        failover: Failover,
    },
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { shown, .. } => f.write_str(shown),
        }
    }
}

impl Database {
    fn parse(text: &str, migrate: Migrate, failover: Option<Failover>, dev: bool) -> Result<Self, String> {
        if text.starts_with("sqlite://") && migrate == Migrate::Verify {
            return Err("--migrate verify is PostgreSQL's: a file is always brought up to date".to_owned());
        }
        if text.starts_with("sqlite://") && failover.is_some() {
            return Err("--failover is PostgreSQL's: a file is where its disk is".to_owned());
        }
        if text.starts_with("sqlite://") {
            return sqlite::path_of(text).map(Self::Sqlite).map_err(|fault| fault.to_string());
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let shown = postgres::described(text).map_err(|fault| fault.to_string())?;
            let failover = failover
                .or_else(|| dev.then_some(Failover::Single))
                .ok_or("say what a failover of it keeps: --failover synchronous, storage or single")?;
            return Ok(Self::Postgres { url: text.to_owned(), shown, migrate, failover });
        }
        // The text is not repeated: it may hold a password.
        Err("must be such as sqlite:///var/lib/tiershift/subscription.db or postgres://user@host:5432/name".to_owned())
    }
}

/// What the options mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The database.
    pub database: Database,
    /// volume-svc.
    pub volume_url: String,
    /// The payment provider.
    pub payments: Payments,
    /// Where webhooks are received, if anywhere.
    pub webhooks: Option<webhooks::Config>,
    /// The book of an embedded one.
    pub payments_book: PathBuf,
    /// All tiers.
    pub catalogue: Catalogue,
    /// What is switched on.
    pub flags: Flags,
    /// For logs.
    pub environment: String,
    /// Browsers.
    pub cors_origins: Vec<String>,
    /// The clock.
    pub clock: Scaled,
    /// Callers by header.
    pub dev: bool,
    /// Where to stand still.
    pub hold: Hold,
}

/// Everything that is wrong with the options, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

impl Options {
    /// Checks everything.
    pub fn check(self) -> Result<Config, Faults> {
        let mut faults = Vec::new();
        let listen = self.listen.parse().map_err(|_| {
            faults.push(format!("--listen: `{}` must be an address with a port, such as 127.0.0.1:7101", self.listen));
        });
        let database = Database::parse(&self.database, self.migrate, self.failover, self.dev);
        let database = database.map_err(|fault| faults.push(format!("--database: {fault}")));
        // The channel itself is made where a runtime is.
        if !self.volume_url.starts_with("http://") {
            faults
                .push(format!("--volume-url: `{}` must be an address such as http://127.0.0.1:7102", self.volume_url));
        }
        let payments = self.payments(&mut faults);
        let secret = std::env::var(webhooks::SECRET_VARIABLE).ok();
        let webhooks = self.webhooks.check(self.payments == Provider::Stripe, secret.as_deref(), &mut faults);
        let catalogue = tiers(&self.catalogue, &mut faults);
        let flags = flags(&self.tier_changes, self.downgrades, &mut faults);
        let clock = clock(self.clock_file.as_deref(), &mut faults);
        let hold = hold(self.hold.as_deref(), self.dev, &mut faults);
        let environment = &self.environment;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=32).contains(&environment.len()) || !environment.bytes().all(word) {
            faults.push("--environment: must be 1 to 32 letters, digits, `-` or `_`".to_owned());
        }
        match (listen, database, payments, clock, hold) {
            (Ok(listen), Ok(database), Some(payments), Some(clock), Some(hold)) if faults.is_empty() => Ok(Config {
                listen,
                payments_book: self.payments_book.unwrap_or_else(|| beside(&database)),
                database,
                volume_url: self.volume_url,
                payments,
                webhooks,
                catalogue,
                flags,
                environment: self.environment,
                cors_origins: self.cors_origin,
                clock,
                dev: self.dev,
                hold,
            }),
            _ => Err(Faults(faults)),
        }
    }

    fn payments(&self, faults: &mut Vec<String>) -> Option<Payments> {
        let behaviours = behaviours(&self.sim_payments, self.payments, faults);
        // Its periods are of the wall's time, and so is the age of its keys.
        if self.payments == Provider::Stripe && self.clock_file.is_some() && !self.dev {
            faults.push("--clock-file: with --payments stripe only the wall clock will do; leave it out".to_owned());
        }
        if self.stripe.stripe_key_file.is_some() && self.payments != Provider::Stripe {
            faults.push("--stripe-key-file: needs --payments stripe".to_owned());
        }
        match self.payments {
            Provider::Sim => Some(Payments::Sim(behaviours)),
            Provider::Manual => Some(Payments::Manual),
            Provider::Stripe => {
                self.stripe.check(std::env::var(stripe::KEY_VARIABLE).ok(), faults).map(Payments::Stripe)
            }
        }
    }
}

fn beside(database: &Database) -> PathBuf {
    let Database::Sqlite(database) = database else { return PathBuf::from("data/subscription.payments.jsonl") };
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".payments.jsonl");
    database.with_file_name(name)
}

fn behaviours(given: &[String], payments: Provider, faults: &mut Vec<String>) -> BTreeMap<OrgId, Behaviour> {
    if !given.is_empty() && payments != Provider::Sim {
        faults.push("--sim-payments: needs --payments sim".to_owned());
    }
    let mut all = BTreeMap::new();
    for text in given {
        let read =
            text.split_once('=').and_then(|(org, word)| Some((OrgId::parse(org).ok()?, Behaviour::parse(word)?)));
        match read {
            Some((org, behaviour)) => {
                all.insert(org, behaviour);
            }
            None => faults.push(format!("--sim-payments: `{text}` must be such as org_acme=decline")),
        }
    }
    all
}

fn flags(changes: &str, downgrades: bool, faults: &mut Vec<String>) -> Flags {
    let changes = Rollout::parse(changes).unwrap_or_else(|bad| {
        faults.extend(bad.iter().map(|part| {
            format!("--tier-changes: `{part}` must be an organisation, such as org_acme, or one share, such as 10%")
        }));
        Rollout::Off
    });
    Flags { changes, downgrades }
}

/// The compiled-in tiers with these files over them.
fn tiers(files: &[PathBuf], faults: &mut Vec<String>) -> Catalogue {
    catalogue::text::read_files(files, |file| std::fs::read_to_string(file)).unwrap_or_else(|all| {
        faults.extend(all.0.iter().map(|fault| format!("--catalogue: {fault}")));
        Catalogue::default()
    })
}

fn clock(file: Option<&Path>, faults: &mut Vec<String>) -> Option<Scaled> {
    let Some(file) = file else { return Some(Scaled::wall()) };
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let clock = read.and_then(|text| serde_json::from_str::<Scaled>(&text).map_err(|error| error.to_string()));
    match clock {
        Ok(clock) if (1..=100).contains(&clock.speed) => Some(clock),
        Ok(clock) => {
            faults.push(format!("--clock-file: speed {} must be 1 to 100", clock.speed));
            None
        }
        Err(error) => {
            faults.push(format!("--clock-file: cannot read {}: {error}", file.display()));
            None
        }
    }
}

fn hold(instant: Option<&str>, dev: bool, faults: &mut Vec<String>) -> Option<Hold> {
    let Some(instant) = instant else { return Some(Hold::never()) };
    if !dev {
        faults.push("--hold: needs --dev".to_owned());
    }
    let hold = Hold::at(instant);
    if hold.is_none() {
        faults.push(format!("--hold: `{instant}` must be one of {}", INSTANTS.join(", ")));
    }
    hold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let all = std::iter::once("subscription-svc").chain(arguments.iter().copied());
        Options::try_parse_from(all).expect("options")
    }

    #[test]
    fn the_defaults_are_good() {
        let config = options(&[]).check().expect("good");
        assert_eq!(config.payments_book, PathBuf::from("data/subscription.db.payments.jsonl"));
        assert!(!config.dev && config.clock.speed == 1 && config.flags == Flags::default());
    }

    #[test]
    fn all_faults_come_at_once() {
        let bad = options(&[
            "--listen=nowhere",
            "--database=mysql://x",
            "--volume-url=https://x",
            "--sim-payments=org_a=decline,nonsense",
            "--stripe-key-file=/no/such/file",
            "--catalogue=/no/such/tiers.toml",
            "--tier-changes=org_a,b",
            "--clock-file=/no/such/file",
            "--hold=gating.nonsense",
            "--environment=a b",
        ]);
        let Faults(faults) = bad.check().expect_err("bad");
        let flags = [
            "--listen",
            "--database",
            "--volume-url",
            "--sim-payments",
            "--sim-payments",
            "--stripe-key-file",
            "--catalogue",
            "--tier-changes",
            "--clock-file",
            "--hold",
            "--hold",
            "--environment",
        ];
        let found: Vec<&str> = faults.iter().filter_map(|f| f.split(':').next()).collect();
        assert_eq!(found, flags, "{faults:?}");
    }

    #[test]
    fn stripe_needs_its_key_and_an_address_that_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, clock) = (folder.path().join("key"), folder.path().join("clock.json"));
        std::fs::write(&clock, "{\"origin_ms\": 5, \"boot_ms\": 6, \"speed\": 1}").expect("written");
        let clock = format!("--clock-file={}", clock.display());
        let nowhere = "--stripe-key-file=/no/such/file";
        let bad = ["--payments=stripe", "--stripe-url=http://example.com", nowhere, &clock];
        let Faults(faults) = options(&bad).check().expect_err("bad");
        let found: Vec<&str> = faults.iter().filter_map(|f| f.split(':').next()).collect();
        assert_eq!(found, ["--clock-file", "--stripe-url", "--stripe-key-file"], "{faults:?}");
        std::fs::write(&file, "sk_test_hunter2\n").expect("written");
        let key = format!("--stripe-key-file={}", file.display());
        let config = options(&["--payments=stripe", &key]).check().expect("good");
        let Payments::Stripe(stripe) = &config.payments else { panic!("{config:?}") };
        assert_eq!(stripe.url, "https://api.stripe.com");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_secrets_of_a_database_are_not_shown() {
        let config =
            options(&["--dev", "--database=postgres://svc:hunter2@db.internal:5433/billing"]).check().expect("good");
        assert_eq!(config.database.to_string(), "postgres://db.internal:5433/billing");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.payments_book, PathBuf::from("data/subscription.payments.jsonl"));
        let Faults(faults) = options(&["--database=postgres://svc:hunter2@[/x"]).check().expect_err("bad");
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }

    #[test]
    fn only_postgresql_can_be_verified() {
        let Faults(faults) = options(&["--migrate=verify"]).check().expect_err("bad");
        assert!(faults.len() == 1 && faults[0].starts_with("--database: --migrate verify"), "{faults:?}");
        let postgres = "--database=postgres://svc@db/billing";
        options(&["--migrate=verify", postgres, "--failover=storage"]).check().expect("good");
        let Faults(faults) = options(&["--failover=single"]).check().expect_err("a file");
        assert!(faults.len() == 1 && faults[0].contains("--failover is PostgreSQL's"), "{faults:?}");
        options(&["--dev", postgres]).check().expect("development may do without");
        let Faults(faults) = options(&[postgres]).check().expect_err("not declared");
        assert!(faults.len() == 1 && faults[0].contains("--failover synchronous"), "{faults:?}");
    }

    #[test]
    fn a_clock_file_is_read_and_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clock.json");
        let flag = format!("--clock-file={}", file.display());
        std::fs::write(&file, "{\"origin_ms\": 5, \"boot_ms\": 6, \"speed\": 20}").expect("written");
        let clock = options(&[&flag]).check().expect("good").clock;
        assert_eq!(clock, Scaled { origin_ms: 5, boot_ms: 6, speed: 20 });
        std::fs::write(&file, "{\"origin_ms\": 5, \"boot_ms\": 6, \"speed\": 0}").expect("written");
        assert!(options(&[&flag]).check().is_err());
    }
}
