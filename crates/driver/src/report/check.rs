//! What a check found.

use restic_repo::Id;
use serde::Serialize;

/// The last line of `check --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Always `summary`.
    pub message_type: &'static str,
    /// How many errors were found.
    pub num_errors: u64,
    /// Packs that hold damaged blobs.
    #[serde(serialize_with = "null_if_empty")]
    pub broken_packs: Vec<Id>,
    /// Whether the index should be rebuilt.
    pub suggest_repair_index: bool,
    /// Whether there is something that prune would tidy up.
    pub suggest_prune: bool,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            message_type: "summary",
            num_errors: 0,
            broken_packs: Vec::new(),
            suggest_repair_index: false,
            suggest_prune: false,
        }
    }
}

fn null_if_empty<S: serde::Serializer>(ids: &[Id], serializer: S) -> Result<S::Ok, S::Error> {
    (!ids.is_empty()).then_some(ids).serialize(serializer)
}

/// An error as a line of JSON.
#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    message_type: &'static str,
    message: &'a str,
}

impl<'a> Finding<'a> {
    /// The line for this error.
    pub fn new(message: &'a str) -> Self {
        Self { message_type: "error", message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    #[test]
    fn the_summary_is_restics() {
        assert_eq!(
            json::line(&Summary::default()),
            b"{\"message_type\":\"summary\",\"num_errors\":0,\"broken_packs\":null,\
              \"suggest_repair_index\":false,\"suggest_prune\":false}\n"
        );
        let broken = Summary { broken_packs: vec![Id::of(b"")], ..Summary::default() };
        let text = String::from_utf8(json::line(&broken)).unwrap();
        assert!(text.contains(&format!("\"broken_packs\":[\"{}\"]", Id::of(b""))));
    }

    #[test]
    fn errors_are_lines_of_their_own() {
        assert_eq!(
            json::line(&Finding::new("pack is missing")),
            b"{\"message_type\":\"error\",\"message\":\"pack is missing\"}\n"
        );
    }
}
