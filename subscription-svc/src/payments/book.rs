//! A durable book of what was done under which key: one JSON object a line, appended and synced before it counts.
//!
//! It belongs to the embedded adapters, as a provider's own books do, and not to our store: a lost transaction of
//! ours must not take it along. A last line that was cut by a crash was never acknowledged and is dropped.

use super::{Body, Invoice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tiershift_core::ids::ChangeId;

/// Why the book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be opened, read or written.
    #[error("cannot use the book {0}")]
    File(PathBuf, #[source] io::Error),
    /// A line in the middle cannot be read.
    #[error("line {line} of the book {path} cannot be read")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The idempotency key.
    pub key: String,
    /// The change; none for an invoice of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// Taken, in cents; negative was given.
    pub amount_cents: i64,
    /// The price from then on, if it was set.
    pub price_cents: Option<i64>,
    /// The exact bytes, so that a key with other bytes is seen.
    pub bytes: String,
}

impl Entry {
    /// What a request does.
    pub fn of(key: String, change: &ChangeId, bytes: &str, body: &Body) -> Self {
        Self {
            key,
            change: Some(change.clone()),
            amount_cents: body.amount_cents,
            price_cents: body.price_cents,
            bytes: bytes.to_owned(),
        }
    }

    /// The invoice of a period.
    pub fn invoice(key: String, invoice: &Invoice) -> Self {
        Self {
            key,
            change: None,
            amount_cents: invoice.amount_cents,
            price_cents: None,
            // Plain values always have a JSON form.
            bytes: serde_json::to_string(invoice).unwrap_or_default(),
        }
    }
}

/// The book.
#[derive(Debug)]
pub struct Book {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    file: Option<File>,
}

impl Book {
    /// A book in memory.
    pub fn in_memory() -> Self {
        Self { inner: Mutex::new(Inner { entries: BTreeMap::new(), file: None }) }
    }

    /// Opens, or begins, a book in a file.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let io = |error| Fault::File(path.to_owned(), error);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut entries = BTreeMap::new();
        for (n, line) in text[..whole].lines().enumerate() {
            let entry: Entry = serde_json::from_str(line).map_err(|source| Fault::Line {
                path: path.to_owned(),
                line: n + 1,
                source,
            })?;
            entries.insert(entry.key.clone(), entry);
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).map_err(io)?;
        Ok(Self { inner: Mutex::new(Inner { entries, file: Some(file) }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // An entry is in the map only after its line is synced; a panic in between leaves both as they were.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done under a key.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.lock().entries.get(key).cloned()
    }

    /// Does it, once: a key that is there stays as it is. It counts when this returns.
    pub fn enter(&self, entry: Entry) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.entries.contains_key(&entry.key) {
            return Ok(());
        }
        if let Some(file) = &mut inner.file {
            let mut line = serde_json::to_string(&entry)?;
            line.push('\n');
            file.write_all(line.as_bytes())?;
            file.sync_data()?;
        }
        inner.entries.insert(entry.key.clone(), entry);
        Ok(())
    }

    /// What a change took in all, in cents: what was taken less what was given back (invariant 7).
    pub fn net_cents(&self, change: &ChangeId) -> i64 {
        self.lock().entries.values().filter(|e| e.change.as_ref() == Some(change)).map(|e| e.amount_cents).sum()
    }

    /// Everything that stands in it, by key.
    pub fn all(&self) -> Vec<Entry> {
        self.lock().entries.values().cloned().collect()
    }

    /// Everything that was done for a change, by key.
    pub fn entries(&self, change: &ChangeId) -> Vec<Entry> {
        self.lock().entries.values().filter(|e| e.change.as_ref() == Some(change)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, amount_cents: i64) -> Entry {
        let change = ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed");
        Entry { key: key.to_owned(), change: Some(change), amount_cents, price_cents: None, bytes: "{}".to_owned() }
    }

    #[test]
    fn what_was_entered_is_there_after_a_crash_and_a_cut_line_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book.jsonl");
        let book = Book::open(&path).expect("a book");
        book.enter(entry("a", 700)).expect("entered");
        book.enter(entry("a", 9)).expect("ignored");
        book.enter(entry("b", -700)).expect("entered");
        drop(book);
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        file.write_all(b"{\"key\":\"c\",\"amo").expect("a cut line");
        let book = Book::open(&path).expect("a book");
        let change = entry("a", 0).change.expect("of a change");
        assert_eq!((book.entries(&change).len(), book.net_cents(&change)), (2, 0));
        book.enter(entry("c", 1)).expect("entered");
        drop(book);
        assert_eq!(Book::open(&path).expect("a book").net_cents(&change), 1, "the cut line was replaced");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_and_not_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book.jsonl");
        std::fs::write(&path, "nonsense\n").expect("written");
        assert!(matches!(Book::open(&path), Err(Fault::Line { line: 1, .. })));
    }
}
