//! How a change is drawn while it runs: a bar with the events above it on a terminal, plain lines on a pipe, one JSON
//! object a line for programs. All of it goes to stdout; what goes wrong on the way is said on stderr by others.
//!
//! It draws what it is given: that no event is missing or comes twice is the business of `follow`.

use crate::summary::{Ending, Summary};
use crate::words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;
use tiershift_core::event::{ChangeEvent, Direction, Reads, Writes};

/// The clock on the bar goes on between events: a still picture looks like a dead program.
const TICK: Duration = Duration::from_secs(1);

/// The time on the bar is the watcher's own; the events carry the stack's, which may run faster.
const TEMPLATE: &str = "{prefix:16} [{bar:30}] {percent:>3} %  {msg}  watched for {elapsed}";

/// Draws one change.
pub struct Progress {
    sink: Sink,
    colour: bool,
    events: u64,
}

enum Sink {
    Json(Box<dyn Write + Send>),
    Lines(Box<dyn Write + Send>),
    Bar(ProgressBar),
}

impl Progress {
    /// Draws on stdout: for programs if `json`, else as a bar or as lines, by what stdout is.
    pub fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let environment = |name: &str| std::env::var(name).ok();
        let look =
            Look::choose(stdout.is_terminal(), environment("NO_COLOR").as_deref(), environment("TERM").as_deref());
        let sink = match (json, look.bar) {
            (true, _) => Sink::Json(Box::new(stdout)),
            (false, false) => Sink::Lines(Box::new(stdout)),
            (false, true) => Sink::Bar(bar(ProgressDrawTarget::stdout())),
        };
        Self { sink, colour: look.colour && !json, events: 0 }
    }

    /// Draws on something else: JSON objects, or plain lines.
    pub fn to(json: bool, out: impl Write + Send + 'static) -> Self {
        let out = Box::new(out);
        Self { sink: if json { Sink::Json(out) } else { Sink::Lines(out) }, colour: false, events: 0 }
    }

    /// How many events were drawn.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Draws an event.
    pub fn event(&mut self, event: &ChangeEvent) -> io::Result<()> {
        self.events += 1;
        let line = line(event, self.colour);
        match &mut self.sink {
            Sink::Json(out) => {
                serde_json::to_writer(&mut *out, event)?;
                out.write_all(b"\n")?;
                out.flush()
            }
            Sink::Lines(out) => write_line(out, &line),
            Sink::Bar(bar) => {
                bar.println(line);
                bar.set_prefix(event.stage.clone());
                bar.set_message(state(event, self.colour));
                bar.set_position(u64::from(event.permille));
                Ok(())
            }
        }
    }

    /// Draws the last word. The bar goes; the events stay.
    pub fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let paint = match summary.result {
            Ending::Succeeded => GREEN,
            Ending::Canceled => YELLOW,
            Ending::Refused | Ending::Failed | Ending::NeedsAttention => RED,
        };
        let mut lines = summary.lines();
        if let Some(first) = lines.first_mut() {
            *first = painted(first, paint, self.colour);
        }
        match &mut self.sink {
            Sink::Json(out) => {
                serde_json::to_writer(&mut *out, summary)?;
                out.write_all(b"\n")?;
                out.flush()
            }
            Sink::Lines(out) => lines.iter().try_for_each(|line| write_line(out, line)),
            Sink::Bar(bar) => {
                bar.finish_and_clear();
                let mut out = io::stdout();
                lines.iter().try_for_each(|line| write_line(&mut out, line))
            }
        }
    }

    /// Takes the bar away when something else has the last word.
    pub fn clear(&self) {
        if let Sink::Bar(bar) = &self.sink {
            bar.finish_and_clear();
        }
    }

    /// Says something on stderr without breaking the bar.
    pub fn note(&self, text: &str) {
        match &self.sink {
            Sink::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Sink::Json(_) | Sink::Lines(_) => eprintln!("{text}"),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = match &self.sink {
            Sink::Json(_) => "json",
            Sink::Lines(_) => "lines",
            Sink::Bar(_) => "bar",
        };
        f.debug_struct("Progress").field("sink", &sink).field("events", &self.events).finish_non_exhaustive()
    }
}

/// What stdout can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    bar: bool,
    colour: bool,
}

impl Look {
    /// A bar needs a terminal that can move its cursor; colour also that nobody forbids it (NO_COLOR set to anything).
    fn choose(terminal: bool, no_color: Option<&str>, term: Option<&str>) -> Self {
        let bar = terminal && term != Some("dumb");
        Self { bar, colour: bar && no_color.is_none_or(str::is_empty) }
    }
}

fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1_000), target);
    // A fault of the template is a fault of this line, which a test draws; without a style the default one shows.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn write_line(out: &mut dyn Write, line: &str) -> io::Result<()> {
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const PLAIN: &str = "";

/// The text in a colour of the terminal's palette.
fn painted(text: &str, paint: &str, colour: bool) -> String {
    if colour && !paint.is_empty() { format!("\u{1b}[{paint}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// The line of an event: when, how far, which way, where, what is open, what is said.
fn line(event: &ChangeEvent, colour: bool) -> String {
    let (way, paint) = match event.direction {
        Direction::Forward => ("forward", PLAIN),
        Direction::Undo => ("undo", RED),
        Direction::Settle => ("settle", PLAIN),
    };
    let detail = event.detail.iter().fold(String::new(), |text, (key, value)| text + " " + key + "=" + value);
    format!(
        "{:>12}  {:>3}.{} %  {}  {:<16}  {}  {}{detail}",
        words::duration(event.at_ms),
        event.permille / 10,
        event.permille % 10,
        painted(&format!("{way:<7}"), paint, colour),
        event.stage,
        doors(event, colour),
        event.message,
    )
}

/// What is open now, in words of one width.
fn doors(event: &ChangeEvent, colour: bool) -> String {
    let (reads, reads_paint) = match event.reads {
        Reads::Open => ("open", PLAIN),
        Reads::Closing => ("closing", YELLOW),
        Reads::Closed => ("closed", RED),
    };
    let (writes, writes_paint) = match event.writes {
        Writes::Open => ("open", PLAIN),
        Writes::Closed => ("closed", YELLOW),
    };
    format!(
        "{}  {}",
        painted(&format!("reads {reads:<7}"), reads_paint, colour),
        painted(&format!("writes {writes:<6}"), writes_paint, colour)
    )
}

/// What stands right of the bar. A negative ETA is none.
fn state(event: &ChangeEvent, colour: bool) -> String {
    let doors = doors(event, colour);
    let doors = doors.trim_end();
    if event.eta_ms < 0 { doors.to_owned() } else { format!("ETA {}  {doors}", words::duration(event.eta_ms)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tiershift_core::event::Source;

    /// A writer whose bytes the test can read.
    #[derive(Clone, Default)]
    pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().expect("bytes"))).expect("UTF-8")
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("bytes").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn event() -> ChangeEvent {
        ChangeEvent {
            change_id: "chg_1".into(),
            seq: 12,
            at_ms: 92_345,
            source: Source::Volume,
            stage: "detach".into(),
            direction: Direction::Forward,
            permille: 615,
            eta_ms: 9_000,
            reads: Reads::Closed,
            writes: Writes::Closed,
            message: "the volume leaves the source".into(),
            detail: [("volume_id".to_owned(), "vol-1".to_owned())].into(),
        }
    }

    fn summary() -> Summary {
        Summary {
            result: Ending::Succeeded,
            change_id: Some("chg_1".into()),
            graph_id: Some("kg1".into()),
            from: Some("small".into()),
            to: Some("large".into()),
            writes_blocked_ms: 22_000,
            offline_ms: 18_000,
            events: 1,
            reason: None,
            message: None,
            violations: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    #[test]
    fn programs_get_the_event_of_the_contract_and_one_summary() {
        let shared = Shared::default();
        let mut progress = Progress::to(true, shared.clone());
        progress.event(&event()).expect("written");
        progress.finish(&summary()).expect("written");
        let text = shared.take();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"change_id\":\"chg_1\",\"seq\":12,\"at_ms\":92345,\"source\":\"volume\",\"stage\":\"detach\",\
             \"direction\":\"forward\",\"permille\":615,\"eta_ms\":9000,\"reads\":\"closed\",\"writes\":\"closed\",\
             \"message\":\"the volume leaves the source\",\"detail\":{\"volume_id\":\"vol-1\"}}"
        );
        let last: serde_json::Value = serde_json::from_str(lines[1]).expect("JSON");
        assert_eq!((lines.len(), last["result"].as_str()), (2, Some("succeeded")));
        assert_eq!(progress.events(), 1);
    }

    #[test]
    fn a_pipe_gets_plain_lines() {
        let shared = Shared::default();
        let mut progress = Progress::to(false, shared.clone());
        progress.event(&event()).expect("written");
        let undo = ChangeEvent { direction: Direction::Undo, reads: Reads::Open, permille: 40, ..event() };
        progress.event(&undo).expect("written");
        progress.finish(&summary()).expect("written");
        assert_eq!(
            shared.take(),
            "      92.3 s   61.5 %  forward  detach            reads closed   writes closed  \
             the volume leaves the source volume_id=vol-1\n      \
             92.3 s    4.0 %  undo     detach            reads open     writes closed  \
             the volume leaves the source volume_id=vol-1\n\
             succeeded: kg1 is on large, and was on small\n  \
             writes blocked 22.0 s, offline 18.0 s, 1 event, chg_1\n"
        );
    }

    #[test]
    fn a_terminal_gets_a_bar_that_says_where_it_is() {
        let mut progress = Progress { sink: Sink::Bar(bar(ProgressDrawTarget::hidden())), colour: true, events: 0 };
        progress.event(&event()).expect("drawn");
        let Sink::Bar(bar) = &progress.sink else { panic!("a bar") };
        assert_eq!((bar.position(), bar.length(), bar.prefix().as_str()), (615, Some(1_000), "detach"));
        let message = bar.message();
        assert!(message.starts_with("ETA 9.0 s  ") && message.contains("\u{1b}[31mreads closed"), "{message}");
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let silent = ChangeEvent { eta_ms: -1, ..event() };
        assert!(!state(&silent, false).contains("ETA"), "no estimate is not an estimate of nothing");
    }

    #[test]
    fn colour_is_for_terminals_that_nobody_forbids_it() {
        let look = |terminal, no_color, term| {
            let look = Look::choose(terminal, no_color, term);
            (look.bar, look.colour)
        };
        assert_eq!(look(true, None, Some("xterm")), (true, true));
        assert_eq!(look(true, Some(""), None), (true, true));
        assert_eq!(look(true, Some("1"), Some("xterm")), (true, false));
        assert_eq!(look(true, None, Some("dumb")), (false, false));
        assert_eq!(look(false, None, Some("xterm")), (false, false));
    }
}
