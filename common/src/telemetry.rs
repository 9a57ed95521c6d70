//! The process's log: where it goes, in which form, how much of it.
//!
//! Always stderr, because stdout belongs to what a command answers. `RUST_LOG` chooses what is written (default
//! `info`), `--log-format json` one JSON object a line, and colour is used on a terminal only.

use clap::{Args, ValueEnum};
use std::io::IsTerminal as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Registry};

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// The command line's part of it.
#[derive(Args, Clone, Debug, Default)]
// A name of its own, because clap would take the type's, which other option groups bear too.
#[group(id = "telemetry")]
pub struct Options {
    /// Form of the log lines on stderr. What is written is chosen by RUST_LOG (default: info)
    #[arg(long, value_enum, default_value_t = Format::Text, env = "TIERSHIFT_LOG_FORMAT")]
    pub log_format: Format,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// RUST_LOG is not a list of directives.
    #[error("RUST_LOG must be directives such as `info` or `warn,subscription_svc=debug`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log of this process is set up already")]
    Twice,
}

/// Hears events beside the log, whatever is written to it; with a filter of its own.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Sets up the log of the process, once, before anything is written to it.
pub fn init(options: &Options, listener: Option<Listener>) -> Result<(), Fault> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = subscriber(options.log_format, filter, ansi, std::io::stderr, listener);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Fault::Twice)
}

/// The filter of RUST_LOG's value; unset or empty is `info`.
fn filter(rust_log: Option<&str>) -> Result<EnvFilter, Fault> {
    Ok(EnvFilter::builder().parse(rust_log.filter(|text| !text.trim().is_empty()).unwrap_or("info"))?)
}

fn subscriber<W>(
    format: Format,
    filter: EnvFilter,
    ansi: bool,
    writer: W,
    listener: Option<Listener>,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(listener);
    let written = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    match format {
        Format::Text => Box::new(registry.with(written.with_filter(filter))),
        Format::Json => Box::new(registry.with(written.json().flatten_event(true).with_filter(filter))),
    }
}

/// Runs `act` and gives back what it wrote to the log as text.
#[cfg(test)]
pub(crate) fn captured<T>(act: impl FnOnce() -> T) -> (T, String) {
    captured_as(Format::Text, "info", act)
}

#[cfg(test)]
fn captured_as<T>(format: Format, rust_log: &str, act: impl FnOnce() -> T) -> (T, String) {
    use std::sync::{Arc, Mutex};
    let lines = Arc::new(Mutex::new(Vec::<u8>::new()));
    let sink = Arc::clone(&lines);
    let filter = filter(Some(rust_log)).expect("a filter");
    let subscriber = subscriber(format, filter, false, move || Sink(Arc::clone(&sink)), None);
    let value = tracing::subscriber::with_default(subscriber, act);
    let text = String::from_utf8(lines.lock().expect("lines").clone()).expect("UTF-8");
    (value, text)
}

#[cfg(test)]
struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak() {
        tracing::debug!("quiet words");
        tracing::info!(graph = "kg1", "loud words");
    }

    #[test]
    fn text_is_for_people_and_json_for_programs() {
        let ((), text) = captured_as(Format::Text, "", speak);
        assert!(text.contains("loud words") && text.contains("graph=\"kg1\"") && !text.contains("quiet"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colour off a terminal");
        let ((), json) = captured_as(Format::Json, "debug", speak);
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1]["message"].as_str(), lines[1]["graph"].as_str()), (Some("loud words"), Some("kg1")));
    }

    #[test]
    fn a_listener_hears_what_is_not_written() {
        use std::sync::atomic::{AtomicU32, Ordering};
        use tracing_subscriber::filter::filter_fn;
        struct Count(&'static AtomicU32);
        impl<S: tracing::Subscriber> Layer<S> for Count {
            fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        static HEARD: AtomicU32 = AtomicU32::new(0);
        let listener: Listener = Box::new(Count(&HEARD).with_filter(filter_fn(|told| told.target() == "heard")));
        let filter = filter(Some("off")).expect("a filter");
        let subscriber = subscriber(Format::Text, filter, false, std::io::stderr, Some(listener));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "heard", "one");
            tracing::warn!("another's");
        });
        assert_eq!(HEARD.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        let fault = filter(Some("info=loud=3")).expect_err("no filter");
        assert!(fault.to_string().contains("warn,subscription_svc=debug"), "{fault}");
        assert_eq!(filter(None).expect("default").to_string(), "info");
    }
}
