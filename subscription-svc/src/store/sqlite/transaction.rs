//! A transaction's statements, sent together: each hand-over to the thread that owns the connection costs more than the
//! statement itself. SQLite runs them one after the other and stops at the first that is refused.
//!
//! Which rule refused it is known by the statement, because no code tells it. Lists are `read.rs`.

use super::webhook::MARK;
use super::{Connection, away, refused_by};
use crate::store::sql::Dialect;
use crate::store::sql::batch::{Batch, Deed};
use crate::store::sql::encode::{Column, Kind, Value};
use crate::store::sql::picture;
use crate::store::{Act, Committed, Constraint, Fault, Key, Loaded, Subject};
use futures_util::TryStreamExt as _;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Executor as _, Sqlite};
use std::sync::LazyLock;

/// SQLite's.
pub const DIALECT: Dialect = Dialect {
    column,
    shown,
    object: "json_object",
    list: "json_group_array",
    owe: &["INSERT OR REPLACE INTO owed_effect (change_id, kind, effect, attempts, not_before_ms)
            VALUES ($1, $2, $3, $4, $5)"],
    event: &[
        "UPDATE feed_counter SET feed = feed + 1",
        "INSERT INTO change_event (change_id, seq, feed, org_id, body)
         SELECT $1, $2, feed, org_id, $3 FROM feed_counter, tier_change WHERE change_id = $1
         RETURNING feed, org_id",
        "UPDATE tier_change SET first_feed = (SELECT feed FROM feed_counter) WHERE change_id = $1 AND $2 = 1",
    ],
    webhooks: &[MARK],
    // The IMMEDIATE transaction holds the only write lock, so what the first two read is still the version of the third.
    access: &[
        "INSERT INTO access_record (graph_id, org_id, revision, body)
         SELECT $2, $3, version + 1, json_set($4, '$.revision', version + 1) FROM access_counter WHERE TRUE
         ON CONFLICT (graph_id) DO UPDATE SET revision = excluded.revision, body = excluded.body",
        "INSERT INTO access_change (version, nonce, graph_id) SELECT version + 1, $1, $2 FROM access_counter",
        "UPDATE access_counter SET version = version + 1, nonce = $1 RETURNING version",
    ],
};

fn column(column: &Column) -> String {
    match column.kind {
        Kind::Instant => format!("{}_ms", column.name),
        Kind::Text | Kind::Number | Kind::Flag | Kind::Json => column.name.to_owned(),
    }
}

fn shown(shown: &Column) -> String {
    match shown.kind {
        Kind::Json => format!("json({})", shown.name),
        Kind::Text | Kind::Number | Kind::Flag | Kind::Instant => column(shown),
    }
}

/// The questions, with and without the lock before them.
struct Pictures {
    of_graph: String,
    of_change: String,
    locked_of_graph: String,
    locked_of_change: String,
}

static PICTURES: LazyLock<Pictures> = LazyLock::new(|| {
    let (of_graph, of_change) = (picture::of_graph(&DIALECT), picture::of_change(&DIALECT));
    // The lock is taken by BEGIN, and the snapshot behind it by the first statement that reads.
    let locked = |question: &str| format!("BEGIN IMMEDIATE; {question}");
    Pictures { locked_of_graph: locked(&of_graph), locked_of_change: locked(&of_change), of_graph, of_change }
});

/// Everything of a graph; one statement, so one snapshot.
pub async fn load(db: &mut Connection, key: &Key) -> Result<Loaded, Fault> {
    let question = match &key.subject {
        Subject::Graph(_) => &PICTURES.of_graph,
        Subject::Change(_) => &PICTURES.of_change,
    };
    ask(db, question, key).await
}

/// From BEGIN to the last write; None: there is nothing to write.
pub async fn work(db: &mut Connection, key: &Key, act: Act<'_>) -> Result<Option<Committed>, Fault> {
    let question = match &key.subject {
        Subject::Graph(_) => &PICTURES.locked_of_graph,
        Subject::Change(_) => &PICTURES.locked_of_change,
    };
    let writes = act(&ask(&mut *db, question, key).await?);
    if writes.is_empty() {
        return Ok(None);
    }
    let batch = Batch::of(writes)?;
    let answers = apply(db, &batch).await?;
    batch.committed(&answers).map(Some)
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

async fn ask(db: &mut Connection, question: &'static str, key: &Key) -> Result<Loaded, Fault> {
    let question = picture::parameters(key).into_iter().fold(sqlx::query(question), bind);
    picture::loaded(&question.fetch_one(db).await.map_err(away)?, key)
}

fn bind(statement: Statement<'_>, value: Value) -> Statement<'_> {
    match value {
        Value::Null => statement.bind(None::<i64>),
        Value::Text(text) => statement.bind(text),
        Value::Number(number) => statement.bind(number),
        Value::Flag(flag) => statement.bind(flag),
        Value::Instant(at) => statement.bind(at.0),
    }
}

/// The statements of each deed, in the order of [`Deed::ALL`].
static STATEMENTS: LazyLock<Vec<(Deed, Vec<String>)>> =
    LazyLock::new(|| Deed::ALL.iter().map(|deed| (*deed, deed.statements(&DIALECT))).collect());

/// The rows of each step.
async fn apply(db: &mut Connection, batch: &Batch) -> Result<Vec<Vec<SqliteRow>>, Fault> {
    let mut sql = String::new();
    // Of each statement, the number of its step.
    let mut step_of = Vec::new();
    let mut parameters = 0;
    for (n, step) in batch.steps.iter().enumerate() {
        let found = STATEMENTS.iter().find(|(deed, _)| *deed == step.deed);
        for statement in found.iter().flat_map(|(_, statements)| statements) {
            renumbered(&mut sql, statement, parameters);
            sql.push(';');
            step_of.push(n);
        }
        parameters += step.values.len();
    }
    // Made of statements of ours. The same deeds are the same text, so that it is prepared once.
    let statement = sqlx::query(AssertSqlSafe(sql));
    let values = batch.steps.iter().flat_map(|step| &step.values).cloned();
    // sqlx's SQLite takes many statements with their parameters behind each other; the store's suite would see it end.
    let mut answers = db.fetch_many(values.fold(statement, bind));
    let mut rows: Vec<Vec<SqliteRow>> = batch.steps.iter().map(|_| Vec::new()).collect();
    let mut done = step_of.iter();
    let mut step = done.next();
    loop {
        match answers.try_next().await {
            Ok(Some(Either::Right(row))) => {
                if let Some(rows) = step.and_then(|step| rows.get_mut(*step)) {
                    rows.push(row);
                }
            }
            Ok(Some(Either::Left(_))) => step = done.next(),
            Ok(None) => return Ok(rows),
            Err(error) => {
                let refused = step.and_then(|step| batch.steps.get(*step)).map(|step| step.deed.refused_by());
                return Err(refused_by(refused.unwrap_or(Constraint::Other))(error));
            }
        }
    }
}

/// Adds a statement whose parameters come behind so many others.
fn renumbered(sql: &mut String, statement: &str, before: usize) {
    let mut pieces = statement.split('$');
    sql.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        sql.push('$');
        // What is no number is JSON's path.
        match number.parse::<usize>() {
            Ok(number) => sql.push_str(&(number + before).to_string()),
            Err(_) => sql.push_str(number),
        }
        sql.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_over_all_statements() {
        let mut sql = String::new();
        renumbered(&mut sql, "UPDATE t SET a = $1, b = json_set($12, '$.revision', $1)", 30);
        assert_eq!(sql, "UPDATE t SET a = $31, b = json_set($42, '$.revision', $31)");
    }
}
