//! The options of the webhook endpoint, and what they mean. Everything is checked before anything starts.

use crate::webhooks::signature::Secret;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The environment's variable with one signing secret.
pub const SECRET_VARIABLE: &str = "TIERSHIFT_STRIPE_WEBHOOK_SECRET";

/// The command line's part.
#[derive(Clone, Debug, Args)]
// A name of its own, because clap would take the type's, which other option groups bear too.
#[group(id = "webhooks")]
pub struct Options {
    /// With --payments stripe: address of the webhook endpoint, such as 127.0.0.1:7103; port 0 takes a free one. Without
    /// it nothing is received
    #[arg(long, env = "TIERSHIFT_WEBHOOK_LISTEN")]
    pub webhook_listen: Option<String>,

    /// File with the endpoint's signing secrets, one a line: several while one replaces another. Or one in
    /// TIERSHIFT_STRIPE_WEBHOOK_SECRET
    #[arg(long, value_name = "FILE")]
    pub stripe_webhook_secret_file: Option<PathBuf>,
}

/// What they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who signs. Never shown.
    pub secrets: Vec<Secret>,
}

impl Options {
    /// Checks everything; none if there is no endpoint. `variable` is the environment's secret.
    pub fn check(&self, stripe: bool, variable: Option<&str>, faults: &mut Vec<String>) -> Option<Config> {
        let Some(listen) = &self.webhook_listen else {
            if self.stripe_webhook_secret_file.is_some() {
                faults.push("--stripe-webhook-secret-file: needs --webhook-listen".to_owned());
            }
            return None;
        };
        if !stripe {
            faults.push("--webhook-listen: needs --payments stripe".to_owned());
        }
        let address = listen.parse::<SocketAddr>();
        if address.is_err() {
            faults.push(format!("--webhook-listen: `{listen}` must be an address with a port, such as 127.0.0.1:7103"));
        }
        let mut texts: Vec<String> = variable.into_iter().map(str::to_owned).collect();
        if let Some(file) = &self.stripe_webhook_secret_file {
            match std::fs::read_to_string(file) {
                Ok(text) => {
                    texts.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
                }
                Err(error) => {
                    faults.push(format!("--stripe-webhook-secret-file: cannot read {}: {error}", file.display()));
                }
            }
        }
        // The texts are not repeated: they are secrets, or nearly so.
        let secrets: Vec<Option<Secret>> = texts.iter().map(|text| Secret::parse(text)).collect();
        if secrets.iter().any(Option::is_none) {
            faults.push("--stripe-webhook-secret-file: each secret must begin with whsec_".to_owned());
        }
        if secrets.is_empty() {
            faults.push(format!("--webhook-listen: needs --stripe-webhook-secret-file, or {SECRET_VARIABLE}"));
        }
        Some(Config { listen: address.ok()?, secrets: secrets.into_iter().flatten().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(listen: Option<&str>, file: Option<&str>, variable: Option<&str>) -> (Option<Config>, Vec<String>) {
        let options =
            Options { webhook_listen: listen.map(str::to_owned), stripe_webhook_secret_file: file.map(PathBuf::from) };
        let mut faults = Vec::new();
        let config = options.check(true, variable, &mut faults);
        (config, faults)
    }

    #[test]
    fn without_an_address_there_is_no_endpoint() {
        assert_eq!(checked(None, None, Some("whsec_a")), (None, vec![]));
    }

    #[test]
    fn a_file_may_hold_several_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secrets");
        std::fs::write(&file, "whsec_old\n\nwhsec_new\n").expect("written");
        let (config, faults) = checked(Some("127.0.0.1:0"), file.to_str(), Some("whsec_third"));
        assert_eq!((config.map(|config| config.secrets.len()), faults), (Some(3), vec![]));
    }

    #[test]
    fn all_faults_come_at_once_and_show_no_secret() {
        let (_, faults) = checked(Some("nowhere"), Some("/no/such/file"), Some("hunter2"));
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(!faults.concat().contains("hunter2"));
        let (_, faults) = checked(Some("127.0.0.1:0"), None, None);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(checked(None, Some("/x"), None).1.len(), 1);
    }
}
