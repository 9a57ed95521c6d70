//! Tables for people: aligned columns, two spaces between, no lines.

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
#[derive(Clone, Debug)]
pub struct Table {
    columns: &'static [(&'static str, Align)],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &'static [(&'static str, Align)]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells that are missing are empty; cells beyond the columns are dropped.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// The whole table, each line with its line feed; without rows, one line that says so.
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return "none\n".to_owned();
        }
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| lines().map(|cells| cells.get(i).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0))
            .collect();
        lines().map(|cells| self.line(cells, &widths)).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .zip(self.columns)
            .map(|((cell, width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[(&str, Align)] = &[("GRAPH", Align::Left), ("PRICE", Align::Right), ("NOTE", Align::Left)];

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(COLUMNS);
        table.row(vec!["kg1".into(), "99.00".into(), "ä".into()]);
        table.row(vec!["kg000001".into(), "1249.00".into()]);
        table.row(vec!["übergraf".into(), "1".into(), "x".into(), "dropped".into()]);
        assert_eq!(
            table.render(),
            "GRAPH       PRICE  NOTE\n\
             kg1         99.00  ä\n\
             kg000001  1249.00\n\
             übergraf        1  x\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(COLUMNS).render(), "none\n");
    }
}
