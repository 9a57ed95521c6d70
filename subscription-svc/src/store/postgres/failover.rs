//! What a failover of the database keeps, as the deployment declares it, and what is checked of that (H9).
//!
//! PostgreSQL cannot be asked what its operators do when a machine is lost; it can be asked whether it waits for a standby.
//! Whether it did wait is told by COMMIT alone: a wait that somebody cancels ends with a warning and with success. sqlx gives
//! warnings to the log and to nobody else, so that is where they are listened to, in the task whose statement it was.

use super::OpenFault;
use sqlx::PgConnection;
use std::cell::Cell;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// What a failover keeps of what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Failover {
    /// Everything: each COMMIT waits for a standby.
    Synchronous,
    /// Everything: another machine takes over the same disks.
    Storage,
    /// There is none: where the machine is lost, a backup is restored.
    #[default]
    Single,
}

/// Ends a session that would not wait for a standby.
const DEMAND: &str = "
    DO $$ BEGIN
        IF current_setting('synchronous_standby_names') = '' THEN
            RAISE EXCEPTION 'no synchronous standby is asked for' USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END $$;
";

/// Where sqlx tells of warnings.
const WARNINGS: &str = "sqlx::postgres::notice";

tokio::task_local! {
    static WARNED: Cell<bool>;
}

impl Failover {
    /// What every session runs first.
    pub(super) const fn demand(self) -> &'static str {
        match self {
            Self::Synchronous => DEMAND,
            Self::Storage | Self::Single => "",
        }
    }

    /// Checks what can be checked before anything is written.
    pub(super) async fn check(self, db: &mut PgConnection) -> Result<(), OpenFault> {
        if self != Self::Synchronous {
            return Ok(());
        }
        let row =
            sqlx::query_scalar("SELECT current_setting('synchronous_standby_names') <> ''").fetch_one(&mut *db).await;
        if !row.map_err(OpenFault::Connect)? {
            return Err(OpenFault::NoStandby);
        }
        let warns = sqlx::raw_sql("DO $$ BEGIN RAISE WARNING 'tiershift asks whether it hears warnings'; END $$");
        let (said, warned) = warned(warns.execute(db)).await;
        said.map_err(OpenFault::Connect)?;
        if warned { Ok(()) } else { Err(OpenFault::Deaf) }
    }
}

/// Runs statements, and says whether PostgreSQL warned of any of them.
pub(super) async fn warned<F: Future>(statements: F) -> (F::Output, bool) {
    WARNED.scope(Cell::new(false), async { (statements.await, WARNED.with(Cell::get)) }).await
}

/// Listens to warnings: a layer of the process's log, whatever is written to it.
pub fn listener<S>() -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let warnings = filter_fn(|metadata: &Metadata<'_>| metadata.target() == WARNINGS);
    Listener.with_filter(warnings.and(LevelFilter::WARN))
}

struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        // Outside of `warned` nobody asks.
        let _ = WARNED.try_with(|warned| warned.set(true));
    }
}
