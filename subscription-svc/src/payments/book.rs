//! A durable book of what was done under which key: one JSON object a line, appended and synced before it counts.
//!
//! It belongs to the embedded adapters, as a provider's own books do, and not to our store: a lost transaction of
//! ours must not take it along. A last line that was cut by a crash was never acknowledged and is dropped. Several processes
//! on one machine may have it open: each reads what the others wrote, under a lock of the file, before it looks or writes.

use super::{Body, Invoice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
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
    file: Option<Lines>,
}

/// The file, and how much of it was read.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
    count: usize,
}

impl Lines {
    /// Reads what others wrote since. A line without an end is one of a crash, for who writes holds the lock.
    fn news(&mut self) -> Result<Vec<Entry>, Fault> {
        let io = |error| Fault::File(self.path.clone(), error);
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(self.bytes)).map_err(io)?;
        self.file.read_to_string(&mut text).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut entries = Vec::new();
        for (line, entry) in (self.count + 1..).zip(text[..whole].lines()) {
            let broken = |source| Fault::Line { path: self.path.clone(), line, source };
            entries.push(serde_json::from_str(entry).map_err(broken)?);
        }
        self.count += entries.len();
        self.bytes += u64::try_from(whole).unwrap_or(u64::MAX);
        if text.len() > whole {
            self.file.set_len(self.bytes).map_err(|error| Fault::File(self.path.clone(), error))?;
        }
        Ok(entries)
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_string(entry)?;
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.count += 1;
        Ok(())
    }
}

impl Inner {
    /// Up to date with the file, which nobody else writes until `act` is done.
    fn with<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(lines) = &mut self.file else { return act(self) };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| Fault::File(path, error)
        };
        lines.file.lock().map_err(io(&lines.path))?;
        let done = lines.news().and_then(|news| {
            self.entries.extend(news.into_iter().map(|entry| (entry.key.clone(), entry)));
            act(self)
        });
        if let Some(lines) = &self.file {
            lines.file.unlock().map_err(io(&lines.path))?;
        }
        done
    }
}

impl Book {
    /// A book in memory.
    pub fn in_memory() -> Self {
        Self { inner: Mutex::new(Inner { entries: BTreeMap::new(), file: None }) }
    }

    /// Opens, or begins, a book in a file.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let opened = OpenOptions::new().create(true).append(true).read(true).open(path);
        let file = opened.map_err(|error| Fault::File(path.to_owned(), error))?;
        let lines = Lines { path: path.to_owned(), file, bytes: 0, count: 0 };
        let mut inner = Inner { entries: BTreeMap::new(), file: Some(lines) };
        inner.with(|_| Ok(()))?;
        Ok(Self { inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // An entry is in the map only after its line is synced; a panic in between leaves both as they were.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done under a key.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, Fault> {
        self.lock().with(|inner| Ok(inner.entries.get(key).cloned()))
    }

    /// Does it, once: a key that is there stays as it is. It counts when this returns.
    pub fn enter(&self, entry: Entry) -> Result<(), Fault> {
        self.lock().with(|inner| {
            if inner.entries.contains_key(&entry.key) {
                return Ok(());
            }
            if let Some(lines) = &mut inner.file {
                lines.append(&entry).map_err(|error| Fault::File(lines.path.clone(), error))?;
            }
            inner.entries.insert(entry.key.clone(), entry);
            Ok(())
        })
    }

    /// What a change took in all, in cents: what was taken less what was given back (invariant 7). As far as this process has
    /// read.
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
    fn what_another_process_entered_is_known_and_not_done_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book.jsonl");
        let (one, other) = (Book::open(&path).expect("a book"), Book::open(&path).expect("a book"));
        one.enter(entry("a", 700)).expect("entered");
        assert_eq!(other.get("a").expect("read"), Some(entry("a", 700)));
        other.enter(entry("a", 9)).expect("ignored");
        other.enter(entry("b", -700)).expect("entered");
        one.enter(entry("b", 9)).expect("ignored");
        let amounts = |book: &Book| book.all().iter().map(|e| e.amount_cents).collect::<Vec<_>>();
        assert_eq!((amounts(&one), amounts(&other)), (vec![700, -700], vec![700, -700]));
        assert_eq!(amounts(&Book::open(&path).expect("a book")), [700, -700]);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_and_not_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("book.jsonl");
        std::fs::write(&path, "nonsense\n").expect("written");
        assert!(matches!(Book::open(&path), Err(Fault::Line { line: 1, .. })));
    }
}
