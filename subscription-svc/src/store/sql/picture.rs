//! Everything of one graph by one question, which gives each table's part as JSON: so that it costs one round trip, and so
//! that without a lock it is one snapshot.
//!
//! Not here: the lock. A question that waited for a lock itself would answer with what was there before it waited (READ
//! COMMITTED takes a statement's snapshot when the statement begins): lock and question are two statements, always.

use super::decode::{self, Columns};
use super::encode::{Column, Kind, Role, Row as _, Value, text};
use super::{Dialect, instant};
use crate::store::rows::{Graph, PaymentRequest, Request, Subgraph, Subscription};
use crate::store::{Fault, Key, Loaded, Subject};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tiershift_core::UnixMs;
use tiershift_core::ids::{AnyGraphId, RequestId, UserId};

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, role: Role::Set }
}

/// Of `owed_effect`, what is read.
const OWED: [Column; 5] = [
    column("id", Kind::Number),
    column("change_id", Kind::Text),
    column("effect", Kind::Json),
    column("attempts", Kind::Number),
    instant("not_before"),
];

/// Of `access_record`, what is read.
const ACCESS: [Column; 3] = [column("graph_id", Kind::Text), column("org_id", Kind::Text), column("body", Kind::Json)];

/// The question about a graph, with the change that runs, or else the newest.
pub fn of_graph(dialect: &Dialect) -> String {
    question(dialect, "WHERE graph_id = $1 ORDER BY active DESC, change_id DESC LIMIT 1", "$1")
}

/// The question about a change, with its graph.
pub fn of_change(dialect: &Dialect) -> String {
    question(dialect, "WHERE change_id = $1", "(SELECT graph_id FROM chosen)")
}

/// What they are given.
pub fn parameters(key: &Key) -> [Value; 4] {
    let subject = match &key.subject {
        Subject::Graph(id) => id.as_str(),
        Subject::Change(id) => id.as_str(),
    };
    let request = key.request.as_ref();
    [
        text(subject),
        text(key.subgraph.as_ref().map(AnyGraphId::as_str)),
        text(request.map(|key| &key.user).map(UserId::as_str)),
        text(request.map(|key| &key.id).map(RequestId::as_str)),
    ]
}

fn question(dialect: &Dialect, chosen: &str, graph_id: &str) -> String {
    // JSON of a table's first row; each is found by an index.
    let one = |name: &str, columns: &[Column], wanted: &str| {
        format!("(SELECT CAST({} AS TEXT) FROM {name} WHERE {wanted})", dialect.row(columns))
    };
    let all = |name: &str, columns: &[Column]| {
        let (list, row) = (dialect.list, dialect.row(columns));
        format!("(SELECT CAST({list}({row}) AS TEXT) FROM {name} WHERE change_id = (SELECT change_id FROM chosen))")
    };
    let live = format!("graph_id = {graph_id} ORDER BY live DESC, subscription_id DESC LIMIT 1");
    format!(
        "WITH chosen AS (SELECT change_id, graph_id, body FROM tier_change {chosen})
         SELECT version, nonce, calm_ms, changing_ms, epoch,
                (SELECT CAST(body AS TEXT) FROM chosen) AS change,
                (SELECT count(*) FROM subgraph WHERE graph_id = {graph_id} AND {deleted} IS NULL) AS subgraphs,
                {graph} AS graph, {subgraph} AS subgraph, {subscription} AS subscription, {owed} AS owed,
                {payments} AS payments, {access} AS access, {request} AS request
         FROM access_counter, store_epoch",
        deleted = (dialect.column)(&instant("deleted")),
        graph = one("graph", Graph::TABLE.columns, &format!("graph_id = {graph_id}")),
        subgraph = one("subgraph", Subgraph::TABLE.columns, "subgraph_id = $2"),
        subscription = one("subscription", Subscription::TABLE.columns, &live),
        owed = all("owed_effect", &OWED),
        payments = all("payment_request", PaymentRequest::TABLE.columns),
        access = one("access_record", &ACCESS, &format!("graph_id = {graph_id}")),
        request = one("request", Request::TABLE.columns, "user_id = $3 AND request_id = $4"),
    )
}

/// The answer.
pub fn loaded(answer: &impl Columns, key: &Key) -> Result<Loaded, Fault> {
    let part = |name: &str| answer.optional_text(name);
    let mut owed = all("owed", part("owed")?.as_deref(), decode::owed)?;
    owed.sort_by_key(|owed| owed.id);
    let request = match &key.request {
        Some(key) => one("request", part("request")?.as_deref(), |row| decode::request(row, key))?,
        None => None,
    };
    Ok(Loaded {
        graph: one("graph", part("graph")?.as_deref(), decode::graph)?,
        subgraphs: answer.number("subgraphs")?,
        subgraph: one("subgraph", part("subgraph")?.as_deref(), decode::subgraph)?,
        subscription: one("subscription", part("subscription")?.as_deref(), decode::subscription)?,
        change: part("change")?.map(|body| parsed("change", &body)).transpose()?,
        owed,
        payments: all("payments", part("payments")?.as_deref(), decode::payment)?,
        access: one("access", part("access")?.as_deref(), decode::access)?,
        request,
        leases: decode::leases(answer)?.1,
        epoch: answer.number("epoch")?,
    })
}

fn one<'t, T>(
    part: &str,
    row: Option<&'t str>,
    read: impl Fn(&Part<'t>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    row.map(|row| read(&Part(parsed(part, row)?))).transpose()
}

fn all<'t, T>(
    part: &str,
    rows: Option<&'t str>,
    read: impl Fn(&Part<'t>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let Some(rows) = rows else { return Ok(Vec::new()) };
    let rows: Vec<BTreeMap<&str, &RawValue>> = parsed(part, rows)?;
    rows.into_iter().map(|row| read(&Part(row))).collect()
}

fn parsed<'a, T: serde::Deserialize<'a>>(column: &str, text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Corrupt(format!("{column}: {error}")))
}

/// A row as a JSON object.
struct Part<'a>(BTreeMap<&'a str, &'a RawValue>);

impl Part<'_> {
    fn get<'t, T: serde::Deserialize<'t>>(&'t self, column: &str) -> Result<T, Fault> {
        let value = self.0.get(column).ok_or_else(|| Fault::Corrupt(format!("{column} is not there")))?;
        parsed(column, value.get())
    }
}

impl Columns for Part<'_> {
    fn text(&self, column: &str) -> Result<String, Fault> {
        self.get(column)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, Fault> {
        self.get(column)
    }

    fn number(&self, column: &str) -> Result<i64, Fault> {
        self.get(column)
    }

    fn flag(&self, column: &str) -> Result<bool, Fault> {
        // SQLite has none of its own.
        match self.get::<&RawValue>(column)?.get() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(Fault::Corrupt(format!("{column}: neither yes nor no: {other}"))),
        }
    }

    fn instant(&self, column: &str) -> Result<UnixMs, Fault> {
        self.get(column).map(UnixMs)
    }

    fn optional_instant(&self, column: &str) -> Result<Option<UnixMs>, Fault> {
        let ms: Option<i64> = self.get(column)?;
        Ok(ms.map(UnixMs))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Fault> {
        self.get(column)
    }

    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Fault> {
        self.get(column)
    }
}
