//! Tables of text: columns as wide as they need to be, cells of several lines.

use unicode_width::UnicodeWidthStr;

/// A table with a header, rows and lines below it.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    footer: Vec<String>,
    spaced: bool,
}

impl Table {
    /// An empty table. Spaces at the end of a heading make the column at least that wide.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), ..Self::default() }
    }

    /// Adds a row: one cell for each heading, each of one or more lines.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Adds a line below the table.
    pub fn footer(&mut self, line: String) {
        self.footer.push(line);
    }

    /// Puts an empty line between rows from now on.
    pub fn space_rows(&mut self) {
        self.spaced = true;
    }

    /// The table, ready to be printed.
    pub fn render(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|heading| heading.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.lines().map(|line| line.width()).fold(*width, usize::max);
            }
        }
        let rule = "-".repeat(widths.iter().sum::<usize>() + GAP.len() * (widths.len().max(1) - 1));
        let mut text = String::new();
        render_row(&mut text, &self.header, &widths);
        text.push_str(&rule);
        text.push('\n');
        for (position, row) in self.rows.iter().enumerate() {
            if self.spaced && position > 0 {
                text.push('\n');
            }
            render_row(&mut text, row, &widths);
        }
        text.push_str(&rule);
        text.push('\n');
        for line in &self.footer {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// What stands between two columns.
const GAP: &str = "  ";

fn render_row(text: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let height = cells.iter().map(|cell| cell.as_ref().lines().count()).max().unwrap_or(0).max(1);
    for number in 0..height {
        let mut line = String::new();
        for (position, (cell, &width)) in cells.iter().zip(widths).enumerate() {
            let part = cell.as_ref().lines().nth(number).unwrap_or_default();
            if position > 0 {
                line.push_str(GAP);
            }
            line.push_str(part);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(part.width())));
        }
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_line() {
        let mut table = Table::new(&["ID", "Tags    ", "Size"]);
        table.row(vec!["1".into(), "a\nあああああ".into(), "5 B".into()]);
        table.row(vec!["22".into(), String::new(), "17 B".into()]);
        table.footer("2 rows".into());
        let lines: Vec<_> = table.render().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "ID  Tags        Size",
                "--------------------",
                "1   a           5 B",
                "    あああああ",
                "22              17 B",
                "--------------------",
                "2 rows",
            ]
        );
    }

    #[test]
    fn rows_can_be_set_apart() {
        let mut table = Table::new(&["X"]);
        table.row(vec!["1".into()]);
        table.row(vec!["2".into()]);
        table.space_rows();
        assert_eq!(table.render(), "X\n-\n1\n\n2\n-\n");
    }
}
