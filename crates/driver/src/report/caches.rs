//! The copies of repositories' metadata on this machine.

use crate::report::number;
use crate::report::table::Table;

/// What is shown of the copies of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The beginning of the repository's id.
    pub name: String,
    /// How many days ago they were used.
    pub days: u64,
    /// Whether that is long ago.
    pub is_old: bool,
    /// How many bytes they have, if that is known.
    pub size: Option<u64>,
}

/// The table of `cache`.
pub fn table(rows: &[Row]) -> String {
    let has_size = rows.iter().any(|row| row.size.is_some());
    let mut header = vec!["Repo ID", "Last Used", "Old"];
    if has_size {
        header.push("Size");
    }
    let mut table = Table::new(&header);
    for row in rows {
        let old = if row.is_old { "yes" } else { "" };
        let mut cells = vec![row.name.clone(), format!("{} days ago", row.days), old.to_owned()];
        if has_size {
            cells.push(format!("{:>11}", row.size.map(number::bytes).unwrap_or_default()));
        }
        table.row(cells);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_restics() {
        let rows = [
            Row { name: "994ad3c684".into(), days: 0, is_old: false, size: Some(1668) },
            Row { name: "0a0f1e62b9".into(), days: 40, is_old: true, size: Some(4476) },
        ];
        assert_eq!(
            table(&rows),
            "Repo ID     Last Used    Old  Size
-----------------------------------------
994ad3c684  0 days ago          1.629 KiB
0a0f1e62b9  40 days ago  yes    4.371 KiB
-----------------------------------------
"
        );
    }
}
