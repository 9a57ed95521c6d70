//! `tierctl migrations`: what volume-svc does behind the changes, and how a stuck one is freed.

use super::{PAGE, absent, request_id};
use crate::cli::{Action, Migrations, Side};
use crate::connect::Target;
use crate::draw::Progress;
use crate::exit::{Exit, Fault};
use crate::feeds::MigrationFeed;
use crate::follow::{Patience, follow};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{or_dash, word};
use serde::Serialize;
use tiershift_common::convert::reason_from_proto;
use tiershift_proto::volume::v1::{
    GetMigrationRequest, ListMigrationsRequest, Migration, MigrationSide, MigrationStatus, ResumeAction,
    ResumeMigrationRequest,
};

/// Runs the command.
pub async fn run(target: &Target, command: Migrations, output: &mut Output) -> Result<Exit, Fault> {
    match command {
        Migrations::List { live, graph } => {
            let rows = list(target, live, graph).await?;
            output.rows(&rows)?;
            Ok(Exit::Succeeded)
        }
        Migrations::Show { migration } => {
            output.one(&MigrationRow::of(get(target, migration).await?))?;
            Ok(Exit::Succeeded)
        }
        Migrations::Watch { migration, settle } => {
            let mut feed = MigrationFeed::new(target.migrations()?, &migration, settle);
            let mut progress = Progress::new(output.json());
            follow(&mut feed, Patience::default(), &mut progress).await?;
            progress.clear();
            let migration = get(target, migration).await?;
            let exit = ending(&migration);
            output.one(&MigrationRow::of(migration))?;
            Ok(exit)
        }
        Migrations::Resume { migration, action, side, note, request_id: given } => {
            let request = ResumeMigrationRequest {
                request_id: request_id(given),
                migration_id: migration,
                action: match action {
                    Action::Retry => ResumeAction::Retry,
                    Action::GoForward => ResumeAction::GoForward,
                    Action::HandOver => ResumeAction::HandOver,
                }
                .into(),
                side: match side {
                    None => MigrationSide::Unspecified,
                    Some(Side::Source) => MigrationSide::Source,
                    Some(Side::Target) => MigrationSide::Target,
                }
                .into(),
                operator: target.caller().user.to_string(),
                note,
            };
            let response = target.migrations()?.resume_migration(request).await?.into_inner();
            output.one(&MigrationRow::of(response.migration.ok_or_else(|| absent("the migration"))?))?;
            Ok(Exit::Succeeded)
        }
    }
}

async fn list(target: &Target, live_only: bool, graph: Option<String>) -> Result<Vec<MigrationRow>, Fault> {
    let mut client = target.migrations()?;
    let graph_id = graph.unwrap_or_default();
    // Without a graph only live ones can be listed: nothing else has an index.
    let live_only = live_only || graph_id.is_empty();
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListMigrationsRequest {
            live_only,
            graph_id: graph_id.clone(),
            page_size: PAGE,
            page_token,
            ..Default::default()
        };
        let page = client.list_migrations(request).await?.into_inner();
        rows.extend(page.migrations.into_iter().map(MigrationRow::of));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rows);
        }
    }
}

async fn get(target: &Target, migration_id: String) -> Result<Migration, Fault> {
    let response = target.migrations()?.get_migration(GetMigrationRequest { migration_id }).await?.into_inner();
    response.migration.ok_or_else(|| absent("the migration"))
}

/// How a migration ended, for the exit status: where the graph serves decides.
fn ending(migration: &Migration) -> Exit {
    match migration.status() {
        MigrationStatus::Succeeded => Exit::Succeeded,
        MigrationStatus::HandedOver if migration.handed_over_side() == MigrationSide::Target => Exit::Succeeded,
        MigrationStatus::RolledBack | MigrationStatus::HandedOver | MigrationStatus::Tombstone => Exit::Failed,
        // Still running, though its stream has ended: somebody should look.
        MigrationStatus::Stuck | MigrationStatus::Running | MigrationStatus::Unspecified => Exit::NeedsAttention,
    }
}

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationRow {
    /// The id of its change.
    pub migration_id: String,
    /// The graph.
    pub graph_id: String,
    /// The tier it came from.
    pub source_tier: String,
    /// The tier it goes to.
    pub target_tier: String,
    /// The step it is in, or undoes.
    pub stage: String,
    /// `forward`, `undo`, `settle`.
    pub direction: String,
    /// `running`, `succeeded`, `rolled_back`, `stuck`, `handed_over`, `tombstone`.
    pub status: String,
    /// Progress, 0 to 1000.
    pub permille: i32,
    /// `open`, `closing`, `closed`.
    pub reads: String,
    /// `open`, `closed`.
    pub writes: String,
    /// Why it turned back or is stuck; empty if neither.
    pub reason: String,
    /// The same for people.
    pub reason_message: String,
    /// Since when it is stuck: Unix milliseconds; 0 = it is not.
    pub stuck_since_unix_ms: i64,
    /// The volume; empty if not found yet.
    pub volume_id: String,
    /// Where it came from; empty if not found yet.
    pub source_instance_id: String,
    /// Where it goes; empty if none is reserved yet.
    pub target_instance_id: String,
    /// Its zone; empty if not found yet.
    pub availability_zone: String,
    /// The worker that drives it; empty if nobody does.
    pub owner: String,
    /// The number that agents obey.
    pub fence: i64,
    /// Sequence of its newest public event.
    pub last_seq: i64,
    /// Who asked for it.
    pub requested_by: String,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// When it was started: Unix milliseconds; 0 = never.
    pub started_unix_ms: i64,
    /// When its graph was opened on the target: Unix milliseconds; 0 = never.
    pub opened_unix_ms: i64,
    /// When nothing was owed any more: Unix milliseconds; 0 = it is live.
    pub ended_unix_ms: i64,
}

impl MigrationRow {
    fn of(migration: Migration) -> Self {
        let specified = |text: String| if text == "unspecified" { String::new() } else { text };
        Self {
            stage: specified(word(migration.stage().as_str_name(), "MIGRATION_STAGE_")),
            direction: specified(word(migration.direction().as_str_name(), "DIRECTION_")),
            status: word(migration.status().as_str_name(), "MIGRATION_STATUS_"),
            reads: specified(word(migration.reads().as_str_name(), "READ_STATE_")),
            writes: specified(word(migration.writes().as_str_name(), "WRITE_STATE_")),
            reason: reason_from_proto(migration.reason).map(|reason| reason.to_string()).unwrap_or_default(),
            migration_id: migration.migration_id,
            graph_id: migration.graph_id,
            source_tier: migration.source_tier,
            target_tier: migration.target_tier,
            permille: migration.permille,
            reason_message: migration.reason_message,
            stuck_since_unix_ms: migration.stuck_since_unix_ms,
            volume_id: migration.volume_id,
            source_instance_id: migration.source_instance_id,
            target_instance_id: migration.target_instance_id,
            availability_zone: migration.availability_zone,
            owner: migration.owner,
            fence: migration.fence,
            last_seq: migration.last_seq,
            requested_by: migration.requested_by,
            cancel_requested: migration.cancel_requested,
            started_unix_ms: migration.started_unix_ms,
            opened_unix_ms: migration.opened_unix_ms,
            ended_unix_ms: migration.ended_unix_ms,
        }
    }
}

impl Row for MigrationRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("MIGRATION", Align::Left),
        ("GRAPH", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("STATUS", Align::Left),
        ("STAGE", Align::Left),
        ("DIRECTION", Align::Left),
        ("DONE", Align::Right),
        ("READS", Align::Left),
        ("WRITES", Align::Left),
        ("VOLUME", Align::Left),
        ("SOURCE", Align::Left),
        ("TARGET", Align::Left),
        ("WHY", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        let why = [self.reason.as_str(), self.reason_message.as_str()];
        vec![
            self.migration_id.clone(),
            or_dash(&self.graph_id),
            or_dash(&self.source_tier),
            or_dash(&self.target_tier),
            self.status.clone(),
            or_dash(&self.stage),
            or_dash(&self.direction),
            format!("{}.{} %", self.permille / 10, self.permille % 10),
            or_dash(&self.reads),
            or_dash(&self.writes),
            or_dash(&self.volume_id),
            or_dash(&self.source_instance_id),
            or_dash(&self.target_instance_id),
            why.iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(": "),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_graph_serves_decides_the_status() {
        let migration = |status: MigrationStatus, side: MigrationSide| Migration {
            status: status.into(),
            handed_over_side: side.into(),
            ..Default::default()
        };
        let none = MigrationSide::Unspecified;
        for (status, side, exit) in [
            (MigrationStatus::Succeeded, none, Exit::Succeeded),
            (MigrationStatus::HandedOver, MigrationSide::Target, Exit::Succeeded),
            (MigrationStatus::HandedOver, MigrationSide::Source, Exit::Failed),
            (MigrationStatus::RolledBack, none, Exit::Failed),
            (MigrationStatus::Tombstone, none, Exit::Failed),
            (MigrationStatus::Stuck, none, Exit::NeedsAttention),
            (MigrationStatus::Running, none, Exit::NeedsAttention),
        ] {
            assert_eq!(ending(&migration(status, side)), exit, "{status:?} {side:?}");
        }
    }

    #[test]
    fn a_tombstone_has_dashes_where_there_is_nothing() {
        let row = MigrationRow::of(Migration {
            migration_id: "chg_1".into(),
            status: MigrationStatus::Tombstone.into(),
            ..Default::default()
        });
        assert_eq!(row.cells()[..7], ["chg_1", "-", "-", "-", "tombstone", "-", "-"]);
        assert_eq!(row.cells().len(), MigrationRow::COLUMNS.len());
    }
}
