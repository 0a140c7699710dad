//! Columns for people.

/// Between two columns.
const GAP: &str = "  ";

/// Rows of cells, the first of which is the head.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads. A head that starts with `>` aligns its column right.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row. What would steer a terminal is shown as `?`.
    pub(crate) fn row(&mut self, cells: &[String]) {
        let plain = |cell: &String| {
            cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>()
        };
        self.rows.push(cells.iter().map(plain).collect());
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Some(heads) = self.rows.first() else { return Vec::new() };
        let right: Vec<_> = heads.iter().map(|head| head.starts_with('>')).collect();
        let bare = |cell: &String| cell.strip_prefix('>').unwrap_or(cell).to_owned();
        let rows: Vec<Vec<_>> =
            self.rows.iter().map(|row| row.iter().map(bare).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..right.len()).map(width).collect();
        rows.iter().map(|row| line(row, &widths, &right)).collect()
    }
}

fn line(row: &[String], widths: &[usize], right: &[bool]) -> String {
    let cells = row.iter().zip(widths).zip(right).map(|((cell, width), right)| {
        if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME", ">N", "WHY"]);
        table.row(&["a".into(), "1000".into(), "x\u{1b}[2J\ny".into()]);
        table.row(&["längst".into(), "7".into(), String::new()]);
        assert_eq!(table.lines(), ["NAME       N  WHY", "a       1000  x?[2J?y", "längst     7"]);
    }
}
