//! What a command answers on stdout: rows as a table for people, or as one JSON object a line for programs.

use crate::table::{Align, Table};
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// Something that is listed: an object for programs, cells for people.
pub trait Row: Serialize {
    /// Heads of the columns.
    const COLUMNS: &'static [(&'static str, Align)];

    /// One cell for each column.
    fn cells(&self) -> Vec<String>;
}

/// Where answers go, and in which form.
pub struct Output {
    json: bool,
    out: Box<dyn Write + Send>,
}

impl Output {
    /// The process's stdout.
    pub fn stdout(json: bool) -> Self {
        Self { json, out: Box::new(io::stdout()) }
    }

    /// Somewhere else.
    pub fn to(json: bool, out: impl Write + Send + 'static) -> Self {
        Self { json, out: Box::new(out) }
    }

    /// Whether programs read it.
    pub fn json(&self) -> bool {
        self.json
    }

    /// A list.
    pub fn rows<R: Row>(&mut self, rows: &[R]) -> io::Result<()> {
        if self.json {
            return rows.iter().try_for_each(|row| self.object(row));
        }
        let mut table = Table::new(R::COLUMNS);
        for row in rows {
            table.row(row.cells());
        }
        self.text(&table.render())
    }

    /// One thing: its object for programs; for people one line for each column.
    pub fn one<R: Row>(&mut self, row: &R) -> io::Result<()> {
        if self.json {
            return self.object(row);
        }
        let width = R::COLUMNS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for ((name, _), cell) in R::COLUMNS.iter().zip(row.cells()) {
            self.text(&format!("{:<width$}  {cell}\n", name.to_lowercase()))?;
        }
        Ok(())
    }

    /// One JSON object in a line of its own.
    pub fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Text for people, with its line feeds.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("json", &self.json).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::tests::Shared;

    #[derive(Serialize)]
    struct Pair {
        name: &'static str,
        size: u32,
    }

    impl Row for Pair {
        const COLUMNS: &'static [(&'static str, Align)] = &[("NAME", Align::Left), ("SIZE", Align::Right)];

        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), format!("{} GiB", self.size)]
        }
    }

    const PAIRS: [Pair; 2] = [Pair { name: "a", size: 1 }, Pair { name: "b", size: 20 }];

    #[test]
    fn people_get_tables_and_programs_one_object_a_line() {
        let shared = Shared::default();
        let mut people = Output::to(false, shared.clone());
        people.rows(&PAIRS).expect("written");
        people.one(&PAIRS[1]).expect("written");
        assert_eq!(shared.take(), "NAME    SIZE\na      1 GiB\nb     20 GiB\nname  b\nsize  20 GiB\n");
        let mut programs = Output::to(true, shared.clone());
        programs.rows(&PAIRS).expect("written");
        programs.one(&PAIRS[1]).expect("written");
        let line = "{\"name\":\"b\",\"size\":20}\n";
        assert_eq!(shared.take(), format!("{{\"name\":\"a\",\"size\":1}}\n{line}{line}"));
        programs.rows::<Pair>(&[]).expect("written");
        assert_eq!(shared.take(), "", "no rows are no lines");
    }
}
