//! The keys of a repository.

use restic_repo::Id;
use serde::Serialize;

use crate::report::table::Table;

/// What is shown of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Whether the repository was opened with it.
    pub current: bool,
    /// Its id.
    pub id: Id,
    /// Who made it.
    pub user_name: String,
    /// Where it was made.
    pub host_name: String,
    /// When it was made, in local time: `2026-11-22 20:21:30`.
    pub created: String,
}

/// The table of `key list`: the key in use has a star.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&[" ID", "User", "Host", "Created"]);
    for row in rows {
        let mark = if row.current { '*' } else { ' ' };
        table.row(vec![
            format!("{mark}{}", row.id.short()),
            row.user_name.clone(),
            row.host_name.clone(),
            row.created.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    fn row() -> Row {
        Row {
            current: true,
            id: Id::of(b""),
            user_name: "root".into(),
            host_name: "vm".into(),
            created: "2026-11-22 20:21:30".into(),
        }
    }

    #[test]
    fn the_table_is_restics() {
        assert_eq!(
            table(&[row(), Row { current: false, ..row() }]),
            " ID        User  Host  Created
------------------------------------------
*e3b0c442  root  vm    2026-11-22 20:21:30
 e3b0c442  root  vm    2026-11-22 20:21:30
------------------------------------------
"
        );
    }

    #[test]
    fn json_has_restics_names() {
        let id = Id::of(b"");
        assert_eq!(
            String::from_utf8(json::line(&[row()])).unwrap(),
            format!(
                "[{{\"current\":true,\"id\":\"{id}\",\"userName\":\"root\",\"hostName\":\"vm\",\
                 \"created\":\"2026-11-22 20:21:30\"}}]\n"
            )
        );
    }
}
