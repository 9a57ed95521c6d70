//! The statements of a session: prepared under their names when it begins, and executed by name, so that many go in one
//! message and none is planned twice. PostgreSQL runs the statements of a message one after the other, each with a snapshot of
//! its own, and stops at the first that is refused.
//!
//! By name, parameters are literals: [`literal`] writes them, and nothing else here puts text from outside into SQL. Lists are
//! not here: they are sent one at a time, with their parameters beside them (`read.rs`).

use super::read::instant;
use super::sqlstate::away;
use super::webhook::MARK;
use crate::store::sql::Dialect;
use crate::store::sql::batch::Deed;
use crate::store::sql::encode::{Column, Kind, Value};
use crate::store::sql::picture;
use crate::store::{Constraint, Fault, Key, Subject};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Either};
use std::sync::LazyLock;
use tiershift_core::UnixMs;

/// PostgreSQL's.
pub const DIALECT: Dialect = Dialect {
    column: |column| column.name.to_owned(),
    shown,
    object: "json_build_object",
    list: "json_agg",
    owe: &["INSERT INTO owed_effect (change_id, kind, effect, attempts, not_before) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (change_id, kind) DO UPDATE SET id = DEFAULT, effect = excluded.effect,
                attempts = excluded.attempts, not_before = excluded.not_before"],
    event: &["WITH next AS (UPDATE feed_counter SET feed = feed + 1 RETURNING feed),
                   first AS (UPDATE tier_change SET first_feed = next.feed FROM next
                             WHERE change_id = $1::text AND $2::bigint = 1)
              INSERT INTO change_event (change_id, seq, feed, org_id, body)
              SELECT $1, $2, next.feed, tier_change.org_id, $3::jsonb FROM next, tier_change WHERE change_id = $1
              RETURNING feed, org_id"],
    webhooks: &[MARK],
    // One statement: the counter's row is locked from here to COMMIT, and nothing but COMMIT, or another record of the same
    // transaction, follows. The record's own row is nobody else's: its graph is locked.
    access: &["WITH next AS (UPDATE access_counter SET version = version + 1, nonce = $1::bigint RETURNING version),
                    record AS (
                        INSERT INTO access_record (graph_id, org_id, revision, body)
                        SELECT $2::text, $3::text, version, jsonb_set($4::jsonb, '{revision}', to_jsonb(version)) FROM next
                        ON CONFLICT (graph_id) DO UPDATE SET revision = excluded.revision, body = excluded.body),
                    proof AS (INSERT INTO access_change (version, nonce, graph_id) SELECT version, $1, $2 FROM next)
               SELECT version FROM next"],
};

fn shown(column: &Column) -> String {
    match column.kind {
        Kind::Text | Kind::Number | Kind::Flag | Kind::Json => column.name.to_owned(),
        // Whole milliseconds, which a double holds: finer instants are not written here. `extract` would compute in decimals.
        Kind::Instant => format!("(date_part('epoch', {}) * 1000)::bigint", column.name),
    }
}

/// Locks. Also a graph that does not exist yet; two that share a hash wait for each other without need. A change never goes
/// to another graph, so that its graph may be read before the lock.
const LOCK_OF_GRAPH: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
const LOCK_OF_CHANGE: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended(graph_id, 0)) FROM tier_change WHERE change_id = $1";

/// Each of them finds its rows by the whole of an index's key, whatever it is given, so that it is planned once and never by
/// its parameters: left to itself, PostgreSQL plans the question anew each time, which takes longer than its answer.
const GENERIC: &str = "SET plan_cache_mode = 'force_generic_plan';";

/// Prepares all of them, and is said when a session begins.
pub static PREPARE: LazyLock<String> = LazyLock::new(|| {
    let mut all = vec![
        ("lock_of_graph", LOCK_OF_GRAPH.to_owned()),
        ("lock_of_change", LOCK_OF_CHANGE.to_owned()),
        ("picture_of_graph", picture::of_graph(&DIALECT)),
        ("picture_of_change", picture::of_change(&DIALECT)),
    ];
    // Each is one statement in this dialect.
    all.extend(Deed::ALL.iter().map(|deed| (deed.name(), deed.statements(&DIALECT).join(";"))));
    let all: Vec<String> = all.iter().map(|(name, sql)| format!("PREPARE {name} AS {sql};")).collect();
    format!("{GENERIC}{}", all.concat())
});

/// Statements that go in one message.
#[derive(Debug, Default)]
pub struct Message(String);

impl Message {
    /// One without parameters.
    pub fn say(&mut self, statement: &'static str) {
        self.0.push_str(statement);
        self.0.push(';');
    }

    /// One of the session's.
    pub fn execute(&mut self, name: &'static str, values: &[Value]) -> Result<(), Fault> {
        self.0.push_str("EXECUTE ");
        self.0.push_str(name);
        for (n, value) in values.iter().enumerate() {
            self.0.push_str(if n == 0 { "(" } else { "," });
            push(&mut self.0, value)?;
        }
        self.0.push_str(if values.is_empty() { ";" } else { ");" });
        Ok(())
    }

    /// The lock of a graph, to the end of the transaction.
    pub fn lock(&mut self, key: &Key) -> Result<(), Fault> {
        let (name, id) = match &key.subject {
            Subject::Graph(id) => ("lock_of_graph", id.as_str()),
            Subject::Change(id) => ("lock_of_change", id.as_str()),
        };
        self.execute(name, &[Value::Text(id.to_owned())])
    }

    /// The question for everything of a graph.
    pub fn picture(&mut self, key: &Key) -> Result<(), Fault> {
        let name = match &key.subject {
            Subject::Graph(_) => "picture_of_graph",
            Subject::Change(_) => "picture_of_change",
        };
        self.execute(name, &picture::parameters(key))
    }

    /// Sends it, and gives back the rows of each statement.
    pub async fn send(self, db: &mut PgConnection) -> Result<Vec<Vec<PgRow>>, Fault> {
        // Made of statements of ours and of literals.
        let mut answers = sqlx::raw_sql(AssertSqlSafe(self.0)).fetch_many(db);
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        while let Some(answer) = answers.try_next().await.map_err(away)? {
            match answer {
                Either::Right(row) => rows.push(row),
                Either::Left(_) => all.push(std::mem::take(&mut rows)),
            }
        }
        Ok(all)
    }
}

fn push(sql: &mut String, value: &Value) -> Result<(), Fault> {
    // All quoted: the parameter's type, and not the literal's form, says what it is.
    match value {
        Value::Null => sql.push_str("NULL"),
        Value::Text(text) => return literal(sql, text),
        Value::Number(number) => return literal(sql, &number.to_string()),
        Value::Flag(flag) => sql.push_str(if *flag { "TRUE" } else { "FALSE" }),
        Value::Instant(at) => return literal(sql, &written(*at)?),
    }
    Ok(())
}

/// Writes any text as a literal, as libpq's PQescapeLiteral does: quotes are doubled; where there are backslashes the literal
/// says that they escape, and they are doubled too, so that no setting of the session changes what it means. The encoding is
/// UTF-8 on both sides (sqlx asks for it), in which no other character contains these bytes.
fn literal(sql: &mut String, text: &str) -> Result<(), Fault> {
    // PostgreSQL's texts cannot hold it, and it would end the message.
    if text.contains('\0') {
        return Err(Fault::Constraint(Constraint::Other));
    }
    // The blank keeps an E from becoming a part of the word before it.
    sql.push_str(if text.contains('\\') { " E'" } else { "'" });
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            sql.push(character);
        }
        sql.push(character);
    }
    sql.push('\'');
    Ok(())
}

/// An instant as PostgreSQL reads it, whatever the session's style of dates.
fn written(at: UnixMs) -> Result<String, Fault> {
    let utc = instant(at)?;
    let (year, month, day) = utc.to_calendar_date();
    if year < 1 {
        return Err(Fault::Corrupt(format!("{} is before all years", at.0)));
    }
    let (hour, minute, second, ms) = utc.to_hms_milli();
    Ok(format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}+00", u8::from(month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal_of(text: &str) -> String {
        let mut sql = String::new();
        literal(&mut sql, text).expect("it can be written");
        sql
    }

    #[test]
    fn a_literal_ends_where_its_text_ends() {
        assert_eq!(literal_of("plain"), "'plain'");
        assert_eq!(literal_of("it's"), "'it''s'");
        assert_eq!(literal_of(r"a\'; DROP TABLE graph; --"), r" E'a\\''; DROP TABLE graph; --'");
        assert!(literal(&mut String::new(), "a\0b").is_err());
    }

    #[test]
    fn instants_are_written_to_the_millisecond() {
        assert_eq!(written(UnixMs(1_768_435_200_007)).expect("an instant"), "2026-01-15 00:00:00.007+00");
        assert_eq!(written(UnixMs(-1)).expect("an instant"), "1969-12-31 23:59:59.999+00");
        assert!(written(UnixMs(i64::MAX)).is_err() && written(UnixMs(-70_000_000_000_000)).is_err());
    }

    #[test]
    fn each_piece_of_work_is_one_statement() {
        for deed in Deed::ALL {
            assert_eq!(deed.statements(&DIALECT).len(), 1, "{deed:?}");
        }
    }
}
