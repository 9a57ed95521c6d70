//! Stripe's part of the command line. The key comes from a file or the environment and never from an argument, which
//! everybody on the machine can read.

use super::http::Key;
use clap::Args;
use http::Uri;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where the key is, if it is in the environment.
pub const KEY_VARIABLE: &str = "TIERSHIFT_STRIPE_KEY";

/// Stripe.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// With --payments stripe: its address; http:// only on loopback
    #[arg(long, value_name = "URL", default_value = "https://api.stripe.com", env = "TIERSHIFT_STRIPE_URL")]
    pub stripe_url: String,

    /// With --payments stripe: a file with the secret key, and nothing else in it; default: the variable
    /// TIERSHIFT_STRIPE_KEY
    #[arg(long, value_name = "FILE", env = "TIERSHIFT_STRIPE_KEY_FILE")]
    pub stripe_key_file: Option<PathBuf>,
}

/// What the options mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Scheme and authority.
    pub url: String,
    /// The secret key.
    pub key: Key,
}

impl Options {
    /// Checks everything that `--payments stripe` needs; `variable` is what [`KEY_VARIABLE`] holds. Faults never repeat
    /// what may be a key.
    pub fn check(&self, variable: Option<String>, faults: &mut Vec<String>) -> Option<Config> {
        let url = url(&self.stripe_url).map_err(|fault| faults.push(format!("--stripe-url: {fault}")));
        let key = key(self.stripe_key_file.as_deref(), variable);
        let key = key.map_err(|fault| faults.push(format!("--stripe-key-file: {fault}")));
        Some(Config { url: url.ok()?, key: key.ok()? })
    }
}

fn url(text: &str) -> Result<String, String> {
    let shape = || format!("`{text}` must be an address without a path, such as https://api.stripe.com");
    // What stands before an @ is a secret more often than not.
    if text.contains('@') {
        return Err("must not hold a user or password".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| shape())?;
    let authority = uri.authority().ok_or_else(shape)?;
    let reachable = authority.as_str() == authority.host() || authority.port_u16().is_some();
    if !reachable || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(shape());
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if loopback(authority.host()) => {}
        Some("http") => return Err(format!("`{text}` would send the key in plain text; http:// is for loopback only")),
        _ => return Err(shape()),
    }
    Ok(format!("{}://{authority}", uri.scheme_str().unwrap_or("https")))
}

fn loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn key(file: Option<&Path>, variable: Option<String>) -> Result<Key, String> {
    let text = match (file, variable.filter(|text| !text.is_empty())) {
        (Some(_), Some(_)) => return Err(format!("give the key once: there is {KEY_VARIABLE} too")),
        (None, None) => return Err(format!("--payments stripe needs a secret key, in a file or in {KEY_VARIABLE}")),
        (None, Some(text)) => text,
        (Some(file), None) => {
            std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
        }
    };
    // The text is not repeated: it may be the key, with something beside it.
    let malformed = || "the key must be such as Stripe shows it: sk_... or rk_..., and nothing else".to_owned();
    Key::parse(text.trim()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, file: Option<PathBuf>) -> Options {
        Options { stripe_url: url.to_owned(), stripe_key_file: file }
    }

    fn faults(options: &Options, variable: Option<&str>) -> Vec<String> {
        let mut faults = Vec::new();
        let config = options.check(variable.map(str::to_owned), &mut faults);
        assert_eq!(config.is_none(), !faults.is_empty());
        faults
    }

    #[test]
    fn plain_text_is_for_loopback_only() {
        let good = [
            "https://api.stripe.com",
            "https://stripe.internal:8443/",
            "http://127.0.0.1:80",
            "http://[::1]:9",
            "http://localhost:1",
        ];
        for url in good {
            assert_eq!(faults(&options(url, None), Some("sk_test_1")), Vec::<String>::new(), "{url}");
        }
        let bad = [
            "http://api.stripe.com",
            "http://127.0.0.1.example.com:80",
            "http://localhost.example.com",
            "ftp://a",
            "api.stripe.com",
            "https://a/v1",
            "https://a?b=c",
            "https://a:99999",
            "https://user:hunter2@a",
            "",
        ];
        for url in bad {
            let found = faults(&options(url, None), Some("sk_test_1"));
            assert_eq!(found.len(), 1, "{url}: {found:?}");
            assert!(found[0].starts_with("--stripe-url: ") && !found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn the_key_comes_once_and_is_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "sk_live_hunter2\n").expect("written");
        let url = "https://api.stripe.com";
        let mut none = Vec::new();
        let config = options(url, Some(file.clone())).check(None, &mut none).expect("good");
        assert_eq!(Some(config.key.clone()), Key::parse("sk_live_hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let twice = faults(&options(url, Some(file.clone())), Some("sk_live_hunter2"));
        let never = faults(&options(url, None), None);
        let empty = faults(&options(url, None), Some(""));
        let malformed = faults(&options(url, None), Some("hunter2"));
        std::fs::write(&file, "the key is sk_live_hunter2").expect("written");
        let prose = faults(&options(url, Some(file)), None);
        let nowhere = faults(&options(url, Some(PathBuf::from("/no/such/file"))), None);
        for found in [twice, never, empty, malformed, prose, nowhere] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("--stripe-key-file: ") && !found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn all_faults_come_at_once() {
        assert_eq!(faults(&options("http://a", None), None).len(), 2);
    }
}
