//! Following a stream of events to its end, through lost connections: each event once, in order, without a gap.
//!
//! After a disconnect it resumes with the cursor of the last message, says so, and gives up after a bounded number of
//! attempts that brought nothing. A duplicate is dropped; a gap counts as a broken connection, because the server
//! still has what is missing. Waits here are real time: they belong to the network.

use crate::exit::Fault;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tiershift_core::event::ChangeEvent;
use tiershift_core::{Error, Kind, Reason};
use tokio_stream::{Stream, StreamExt as _};

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Something happened. With `last`, nothing that this follower waits for comes after it.
    Event {
        /// What.
        event: ChangeEvent,
        /// Whether to stop after it.
        last: bool,
    },
    /// Nothing is missing.
    Heartbeat,
    /// Nothing will ever follow.
    Terminal,
    /// Come back after so many milliseconds.
    ComeBack(u64),
}

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Resumes right after it; empty if it does not move the position.
    pub cursor: String,
    /// What it says.
    pub said: Said,
}

/// The messages of one connection.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Message, Error>> + Send>>;

/// Something that can be watched from a cursor.
pub trait Feed: Send {
    /// Opens the stream right after `cursor`; from the first event if it is empty.
    fn open(&mut self, cursor: &str) -> impl Future<Output = Result<Messages, Error>> + Send;
}

/// How patient a follower is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Connections in a row that may bring no message before it gives up.
    pub attempts: u32,
    /// First wait between two of them; each following one is twice as long.
    pub back_off: Duration,
    /// Longest wait between two of them.
    pub back_off_max: Duration,
    /// Silence after which a connection counts as lost. Heartbeats come after 15 s at most.
    pub silence: Duration,
}

impl Default for Patience {
    /// 12 attempts within some 45 s: longer than a service takes to restart.
    fn default() -> Self {
        Self {
            attempts: 12,
            back_off: Duration::from_millis(200),
            back_off_max: Duration::from_secs(5),
            silence: Duration::from_secs(45),
        }
    }
}

/// Where the following tells what it sees.
pub trait Watcher: Send {
    /// The next event.
    fn event(&mut self, event: &ChangeEvent) -> io::Result<()>;

    /// Something about the connection, for people.
    fn note(&mut self, text: &str);
}

impl Watcher for crate::draw::Progress {
    fn event(&mut self, event: &ChangeEvent) -> io::Result<()> {
        Self::event(self, event)
    }

    fn note(&mut self, text: &str) {
        Self::note(self, text);
    }
}

/// How a connection ended that was not the end of the following.
enum Broken {
    Lost(Error),
    ComeBack(Duration),
}

/// Follows `feed` from its first event until its end, or an event that is the last.
pub async fn follow(feed: &mut impl Feed, patience: Patience, watcher: &mut impl Watcher) -> Result<(), Fault> {
    let mut follower = Follower { cursor: String::new(), seq: None, silent: 0 };
    loop {
        let Some(broken) = follower.connection(feed, patience, watcher).await? else { return Ok(()) };
        let back_off = patience.back_off.saturating_mul(1 << follower.silent.min(16)).min(patience.back_off_max);
        follower.silent += 1;
        if follower.silent > patience.attempts {
            let error = match broken {
                Broken::Lost(error) => error,
                Broken::ComeBack(_) => unavailable("the server says come back, and has nothing to tell"),
            };
            watcher.note("given up; the change goes on by itself, and can be watched again");
            return Err(error.into());
        }
        let after = follower.seq.map_or_else(|| "the beginning".to_owned(), |seq| format!("event {seq}"));
        let attempt = format!("resuming after {after}, attempt {} of {}", follower.silent, patience.attempts);
        match broken {
            Broken::Lost(error) => {
                watcher.note(&format!("connection lost ({}); {attempt}", error.message));
                let asked = Duration::from_millis(error.retry_after_ms.unwrap_or(0)).min(patience.silence);
                tokio::time::sleep(back_off.max(asked)).await;
            }
            // An orderly end that brought something needs no note and no wait but the one that was asked for.
            Broken::ComeBack(wait) if follower.silent == 1 => tokio::time::sleep(wait).await,
            Broken::ComeBack(wait) => {
                watcher.note(&format!("the server says come back; {attempt}"));
                tokio::time::sleep(wait.max(back_off)).await;
            }
        }
    }
}

/// What a follower knows across connections.
struct Follower {
    cursor: String,
    /// The last event that was shown.
    seq: Option<u64>,
    /// Connections in a row that brought no message.
    silent: u32,
}

impl Follower {
    /// One connection, to its end. None is the end of the following; an error is one that no new connection mends.
    async fn connection(
        &mut self,
        feed: &mut impl Feed,
        patience: Patience,
        watcher: &mut impl Watcher,
    ) -> Result<Option<Broken>, Fault> {
        let mut messages = match feed.open(&self.cursor).await {
            Ok(messages) => messages,
            Err(error) => return lost(error),
        };
        loop {
            let message = match tokio::time::timeout(patience.silence, messages.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return lost(error),
                Ok(None) => return lost(unavailable("the stream stopped without an end")),
                Err(_) => return lost(unavailable("the stream is silent")),
            };
            match message.said {
                Said::Event { event, last } => {
                    let expected = self.seq.map(|seq| seq + 1);
                    if expected.is_some_and(|expected| event.seq > expected) {
                        return lost(unavailable("events are missing in the stream"));
                    }
                    if expected.is_none_or(|expected| event.seq == expected) {
                        watcher.event(&event)?;
                        self.seq = Some(event.seq);
                    }
                    self.heard(message.cursor);
                    if last {
                        return Ok(None);
                    }
                }
                Said::Heartbeat => self.heard(message.cursor),
                Said::Terminal => return Ok(None),
                Said::ComeBack(ms) => {
                    if !message.cursor.is_empty() {
                        self.cursor = message.cursor;
                    }
                    return Ok(Some(Broken::ComeBack(Duration::from_millis(ms))));
                }
            }
        }
    }

    fn heard(&mut self, cursor: String) {
        self.silent = 0;
        if !cursor.is_empty() {
            self.cursor = cursor;
        }
    }
}

/// Whether a new connection may mend the error.
fn lost(error: Error) -> Result<Option<Broken>, Fault> {
    match error.kind {
        Kind::Unavailable | Kind::ResourceExhausted => Ok(Some(Broken::Lost(error))),
        _ => Err(error.into()),
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(Kind::Unavailable, Reason::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::tests::event;
    use std::collections::VecDeque;

    /// Connections as a script; what was asked for is kept.
    #[derive(Default)]
    struct Script {
        connections: VecDeque<Result<Vec<Result<Message, Error>>, Error>>,
        cursors: Vec<String>,
    }

    impl Feed for Script {
        async fn open(&mut self, cursor: &str) -> Result<Messages, Error> {
            self.cursors.push(cursor.to_owned());
            let messages = self.connections.pop_front().unwrap_or_else(|| Err(unavailable("nobody there")))?;
            Ok(Box::pin(tokio_stream::iter(messages)))
        }
    }

    #[derive(Default)]
    struct Seen {
        seqs: Vec<u64>,
        notes: Vec<String>,
    }

    impl Watcher for Seen {
        fn event(&mut self, event: &ChangeEvent) -> io::Result<()> {
            self.seqs.push(event.seq);
            Ok(())
        }

        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "an item of a stream that can fail")]
    fn at(seq: u64, last: bool) -> Result<Message, Error> {
        Ok(Message { cursor: format!("c{seq}"), said: Said::Event { event: ChangeEvent { seq, ..event() }, last } })
    }

    #[expect(clippy::unnecessary_wraps, reason = "an item of a stream that can fail")]
    fn say(cursor: &str, said: Said) -> Result<Message, Error> {
        Ok(Message { cursor: cursor.to_owned(), said })
    }

    async fn run(connections: Vec<Result<Vec<Result<Message, Error>>, Error>>) -> (Result<(), Fault>, Script, Seen) {
        let mut script = Script { connections: connections.into(), cursors: Vec::new() };
        let mut seen = Seen::default();
        let ended = follow(&mut script, Patience::default(), &mut seen).await;
        (ended, script, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_resumed_without_gap_or_duplicate() {
        let (ended, script, seen) = run(vec![
            Ok(vec![at(1, false), at(2, false), Err(unavailable("reset"))]),
            Err(unavailable("refused")),
            Ok(vec![at(2, false), at(3, false), say("h3", Said::Heartbeat)]),
            Ok(vec![at(4, true), at(5, false)]),
        ])
        .await;
        ended.expect("followed");
        assert_eq!(seen.seqs, [1, 2, 3, 4], "the last one ends it");
        assert_eq!(script.cursors, ["", "c2", "c2", "h3"]);
        assert_eq!(
            seen.notes,
            [
                "connection lost (reset); resuming after event 2, attempt 1 of 12",
                "connection lost (refused); resuming after event 2, attempt 2 of 12",
                "connection lost (the stream stopped without an end); resuming after event 3, attempt 1 of 12"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_is_asked_for_again_and_never_shown_over() {
        let (ended, script, seen) = run(vec![
            Ok(vec![at(1, false), at(3, false)]),
            Ok(vec![at(2, false), at(3, false), say("", Said::Terminal)]),
        ])
        .await;
        ended.expect("followed");
        assert_eq!((seen.seqs, script.cursors), (vec![1, 2, 3], vec![String::new(), "c1".to_owned()]));
        assert_eq!(seen.notes.len(), 1);
        assert!(seen.notes[0].contains("missing"), "{:?}", seen.notes);
    }

    #[tokio::test(start_paused = true)]
    async fn come_back_waits_as_long_as_it_was_told_and_needs_no_note() {
        let begun = tokio::time::Instant::now();
        let (ended, script, seen) = run(vec![
            Ok(vec![at(1, false), say("e1", Said::ComeBack(700))]),
            Ok(vec![at(2, false), say("", Said::Terminal)]),
        ])
        .await;
        ended.expect("followed");
        assert_eq!((seen.seqs, seen.notes.len()), (vec![1, 2], 0));
        assert_eq!(script.cursors, ["", "e1"]);
        assert_eq!(begun.elapsed(), Duration::from_millis(700));
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_after_the_attempts_and_says_that_the_change_goes_on() {
        let begun = tokio::time::Instant::now();
        let (ended, script, seen) = run(vec![Ok(vec![at(1, false)])]).await;
        match ended.expect_err("nobody there") {
            Fault::Service(error) => assert_eq!(error.kind, Kind::Unavailable),
            other => panic!("{other:?}"),
        }
        assert_eq!(script.cursors.len(), 13, "one that brought something, and twelve that did not");
        assert!(seen.notes.last().expect("a note").contains("goes on by itself"));
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());

        let endless = std::iter::repeat_with(|| Ok(vec![say("", Said::ComeBack(0))])).take(99).collect();
        let (ended, script, _) = run(endless).await;
        ended.expect_err("a server that only says come back");
        assert_eq!(script.cursors.len(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_lost_connection_and_heartbeats_are_not_silence() {
        struct Quiet(u32);
        impl Feed for Quiet {
            async fn open(&mut self, _: &str) -> Result<Messages, Error> {
                self.0 += 1;
                if self.0 == 1 {
                    let beat = Message { cursor: "h".into(), said: Said::Heartbeat };
                    let beats = tokio_stream::iter([Ok(beat.clone()), Ok(beat)]).throttle(Duration::from_secs(15));
                    return Ok(Box::pin(beats.chain(tokio_stream::pending())));
                }
                Ok(Box::pin(tokio_stream::iter([at(1, true)])))
            }
        }
        let mut seen = Seen::default();
        follow(&mut Quiet(0), Patience::default(), &mut seen).await.expect("followed");
        assert_eq!(seen.seqs, [1]);
        assert_eq!(seen.notes.len(), 1);
        assert!(seen.notes[0].contains("silent"), "{:?}", seen.notes);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_new_connection_mends_ends_it_at_once() {
        for kind in [Kind::NotFound, Kind::PermissionDenied, Kind::OutOfRange, Kind::InvalidArgument, Kind::Internal] {
            let error = Error::new(kind, Reason::WrongState, "no");
            let (ended, script, _) = run(vec![Ok(vec![at(1, false), Err(error)])]).await;
            ended.expect_err("over");
            assert_eq!(script.cursors.len(), 1, "{kind:?}");
        }
    }
}
