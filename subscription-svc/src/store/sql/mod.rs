//! What the SQL stores have in common: what rows mean and how they are written (`decode`, `encode`), what a transaction asks
//! and does as a whole (`picture`, `batch`), how it ends (`held`), and filtered lists (`lists`). The adapters say how a
//! [`Dialect`] differs and how statements are sent.
//!
//! A transaction is few messages: BEGIN, the lock and one question for everything of a graph; all of its writes; COMMIT, whose
//! answer nothing else is mixed with. The statements within a message are the ones that would be sent one by one, in the same
//! order, and each sees what those before it did.

pub mod batch;
pub mod decode;
pub mod encode;
pub mod held;
pub mod lists;
pub mod picture;
pub mod refresh;

use encode::{Column, Role, Table};

/// How a store says what every SQL store says. Parameters are `$1`, `$2` and so on, numbered for each piece of work anew.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What a column is called.
    pub column: fn(&Column) -> String,
    /// A column as a part of a JSON object: instants in Unix milliseconds, JSON as what it is.
    pub shown: fn(&Column) -> String,
    /// The function that makes a JSON object of names and values.
    pub object: &'static str,
    /// The aggregate that makes a JSON list.
    pub list: &'static str,
    /// Owes an effect behind all others, in the place of one of the same kind: change, kind, effect, attempts, instant.
    pub owe: &'static [&'static str],
    /// Appends an event with the next feed number, which the change keeps if it is its first: change, sequence, body. Answers
    /// with `feed` and `org_id`, or with nothing if there is no such change.
    pub event: &'static [&'static str],
    /// Notes what became of events of the payment provider: state, attempts, instant, note, ids as a JSON list.
    pub webhooks: &'static [&'static str],
    /// Takes the next version for a record: nonce, graph, organisation, body. Answers with `version`.
    pub access: &'static [&'static str],
}

impl Dialect {
    /// Inserts a row, or replaces what a later write replaces.
    fn put(&self, table: &Table) -> String {
        let names = |role: Option<Role>| -> Vec<String> {
            let wanted = table.columns.iter().filter(|column| role.is_none_or(|role| column.role == role));
            wanted.map(self.column).collect()
        };
        let parameters: Vec<String> = (1..=table.columns.len()).map(|n| format!("${n}")).collect();
        let (all, parameters) = (names(None).join(", "), parameters.join(", "));
        let insert = format!("INSERT INTO {} ({all}) VALUES ({parameters})", table.name);
        let set: Vec<String> = names(Some(Role::Set)).iter().map(|name| format!("{name} = excluded.{name}")).collect();
        if set.is_empty() {
            return insert;
        }
        let key = names(Some(Role::Key)).join(", ");
        format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
    }

    /// A row as a JSON object.
    fn row(&self, columns: &[Column]) -> String {
        let parts: Vec<String> = columns.iter().map(|c| format!("'{}', {}", c.name, (self.shown)(c))).collect();
        format!("{}({})", self.object, parts.join(", "))
    }
}

/// An instant's column of a hand-written statement.
const fn instant(name: &'static str) -> Column {
    Column { name, kind: encode::Kind::Instant, role: Role::Set }
}
