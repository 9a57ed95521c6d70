//! The end of a process: one signal begins it, phases with deadlines carry it out, a second signal cuts it short.
//!
//! Everything a killed process leaves behind is safe by design (journals, leases), so no phase may wait for ever:
//! one that is late is named in the log and left behind. The phases of a service, in order: readiness and health
//! off; wait for routers; stop accepting and end watches with "come back"; drain calls; drivers stop at a step's
//! border; background loops; stores; log.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after the second signal: what a shell shows for a process that SIGINT ended.
pub const IMPATIENT: i32 = 130;

/// Set by a starter that holds the other end of stdin: when it closes, the process shuts down, so that what it started
/// does not outlive it, however it ended. Unset, stdin is not looked at.
pub const STOP_WITH_STDIN: &str = "TIERSHIFT_STOP_WITH_STDIN";

/// A token that is cancelled by the first SIGINT or SIGTERM, or by the end of stdin where [`STOP_WITH_STDIN`] says so.
/// The second signal ends the process at once.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    if std::env::var_os(STOP_WITH_STDIN).is_some() {
        let told = stop.clone();
        // A thread, because a blocked read of stdin would keep the runtime from ending.
        std::thread::spawn(move || {
            let mut bytes = [0_u8; 64];
            while matches!(io::Read::read(&mut io::stdin(), &mut bytes), Ok(1..)) {}
            told.cancel();
        });
    }
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => tracing::info!("interrupted: shutting down; once more ends at once"),
            _ = terminate.recv() => tracing::info!("terminated: shutting down; once more ends at once"),
        }
        told.cancel();
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("second signal: ending at once");
        std::process::exit(IMPATIENT);
    });
    Ok(stop)
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a shutdown does, in order.
#[derive(Default)]
pub struct Plan {
    phases: Vec<(&'static str, Duration, Work)>,
}

impl Plan {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a phase. It begins when the one before has ended or is past its deadline.
    #[must_use]
    pub fn then(
        mut self,
        name: &'static str,
        deadline: Duration,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.phases.push((name, deadline, Box::pin(work)));
        self
    }

    /// The longest that all of it can take: must stay below the platform's grace period before SIGKILL.
    pub fn total(&self) -> Duration {
        self.phases.iter().map(|(_, deadline, _)| *deadline).sum()
    }

    /// Carries it out and gives back the names of the phases that were late and left behind.
    pub async fn run(self) -> Vec<&'static str> {
        let mut late = Vec::new();
        for (name, deadline, work) in self.phases {
            let begun = Instant::now();
            if tokio::time::timeout(deadline, work).await.is_ok() {
                tracing::info!(phase = name, took_ms = ms(begun.elapsed()), "shutdown phase done");
            } else {
                tracing::warn!(phase = name, deadline_ms = ms(deadline), "shutdown phase left behind");
                late.push(name);
            }
        }
        late
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, Command, Stdio};
    use std::sync::{Arc, Mutex};

    #[tokio::test(start_paused = true)]
    async fn phases_run_in_order_and_a_late_one_is_named_and_left() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |word: &'static str| {
            let seen = Arc::clone(&seen);
            async move { seen.lock().expect("words").push(word) }
        };
        let plan = Plan::new()
            .then("first", Duration::from_secs(1), note("a"))
            .then("stuck", Duration::from_secs(2), std::future::pending())
            .then("last", Duration::from_secs(3), note("b"));
        assert_eq!(plan.total(), Duration::from_secs(6));
        let begun = tokio::time::Instant::now();
        assert_eq!(plan.run().await, ["stuck"]);
        assert_eq!(begun.elapsed(), Duration::from_secs(2), "only the stuck one takes its deadline");
        assert_eq!(*seen.lock().expect("words"), ["a", "b"]);
    }

    /// Makes the signal test play the part of the process that signals are sent to.
    const CHILD: &str = "TIERSHIFT_SHUTDOWN_CHILD";

    fn child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let stop = on_signal().expect("signal handlers");
            say("ready");
            stop.cancelled().await;
            say("stopping");
            std::future::pending::<()>().await;
        });
    }

    /// Past the test harness, which keeps what `println!` writes.
    fn say(word: &str) {
        let mut out = io::stdout().lock();
        writeln!(out, "{word}").and_then(|()| out.flush()).expect("stdout");
    }

    fn send(signal: &str, child: &Child) {
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        // This very test, started again by itself: a signal needs a process of its own.
        if std::env::var_os(CHILD).is_some() {
            return child();
        }
        for (first, second) in [("-TERM", "-INT"), ("-INT", "-INT")] {
            let mut child = Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", "shutdown::tests::the_first_signal_asks_and_the_second_ends", "--nocapture"])
                .env(CHILD, "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("a child");
            let mut lines =
                BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
            // Ends with the child, so that a handler that does not work fails the test and does not hang it.
            assert!(lines.any(|line| line.ends_with("ready")), "the child is up");
            send(first, &child);
            assert!(lines.any(|line| line.ends_with("stopping")), "{first} asks");
            send(second, &child);
            assert_eq!(child.wait().expect("ended").code(), Some(IMPATIENT), "{second} ends at once");
        }
    }
}
