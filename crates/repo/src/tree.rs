//! Trees: the nodes of one folder, as JSON in a blob.
//!
//! A tree's id is the hash of its JSON. Where a tree is only moved, as by copy and prune, its bytes must
//! be moved and not the decoded tree. Where it is altered, compare [`Tree::encode`] with the bytes that
//! [`Tree::decode`] was given: if they differ although nothing was altered, the tree holds what this
//! program cannot write, and an altered copy would lose it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{self, Text};
use crate::node::{Name, Node};

/// The entries of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Whether the names ascend and none comes twice, so that a name can be found by halving.
    ordered: bool,
}

impl Tree {
    /// A tree of these nodes, which are put in order.
    pub fn from_nodes(mut nodes: Vec<Node>) -> Result<Self, TreeError> {
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        match nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(TreeError::DuplicateName(pair[0].name.clone())),
            None => Ok(Self { nodes, ordered: true }),
        }
    }

    /// Reads a tree's plaintext.
    ///
    /// As restic up to 0.18, this takes trees that no restic would write: `null` for no nodes, nodes out
    /// of order, several nodes of one name, fields that nobody knows. It refuses a tree that says
    /// nothing of its nodes, or says it twice.
    ///
    /// A node may be spelled in several ways, since restic's releases quote differently. Such a node
    /// remembers its spelling, and [`encode`](Self::encode) gives it back as long as the node is not
    /// altered.
    pub fn decode(json: &[u8]) -> Result<Self, TreeError> {
        let json = std::str::from_utf8(json)?;
        let Wire(mut nodes) = serde_json::from_str::<Wire<Node>>(json)?;
        let is_known = |node: &Node| node.unknown.is_empty();
        if !json::is_plain(json) || !nodes.iter().all(is_known) {
            let Wire(spellings) = serde_json::from_str::<Wire<&RawValue>>(json)?;
            for (node, spelling) in nodes.iter_mut().zip(spellings) {
                if !json::is_plain(spelling.get()) || !is_known(node) {
                    node.remember_spelling(spelling.get());
                }
            }
        }
        let ordered = nodes.is_sorted_by(|one, next| one.name < next.name);
        Ok(Self { nodes, ordered })
    }

    /// The tree's plaintext, with the newline at its end. The nodes keep their order.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = PREFIX.to_vec();
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            node.encode_to(&mut json);
        }
        json.extend_from_slice(SUFFIX);
        json
    }

    /// The nodes in the tree's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, to alter them and to make another tree.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Whether the names ascend by their bytes and none comes twice. restic 0.19 cannot use other trees.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The node of this name; the first if there are several.
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        if self.ordered {
            let index = self.nodes.binary_search_by(|node| node.name.as_bytes().cmp(name)).ok()?;
            self.nodes.get(index)
        } else {
            self.nodes.iter().find(|node| node.name.as_bytes() == name)
        }
    }

    /// Puts a node in its place. For many, [`from_nodes`](Self::from_nodes) is faster.
    pub fn insert(&mut self, node: Node) -> Result<(), TreeError> {
        if self.find(node.name.as_bytes()).is_some() {
            return Err(TreeError::DuplicateName(node.name));
        }
        let index = self.nodes.partition_point(|other| other.name < node.name);
        self.nodes.insert(index, node);
        Ok(())
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Vec::new(), ordered: true }
    }
}

/// Writes a tree node by node, in order, without holding the nodes in memory.
#[derive(Debug)]
pub struct TreeBuilder {
    json: Vec<u8>,
    last: Name,
    count: usize,
}

impl TreeBuilder {
    /// A tree without nodes.
    pub fn new() -> Self {
        Self { json: PREFIX.to_vec(), last: Name::default(), count: 0 }
    }

    /// Adds a node. Its name must be behind all names before it, by bytes; so it cannot be empty.
    pub fn push(&mut self, node: &Node) -> Result<(), TreeError> {
        if node.name <= self.last {
            return Err(TreeError::OutOfOrder { name: node.name.clone(), last: self.last.clone() });
        }
        if self.count > 0 {
            self.json.push(b',');
        }
        node.encode_to(&mut self.json);
        self.last = node.name.clone();
        self.count += 1;
        Ok(())
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no nodes yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tree's plaintext.
    pub fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(SUFFIX);
        self.json
    }
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// What is wrong with a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is no text.
    #[error("not a tree: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// It cannot be read.
    #[error("not a tree: {0}")]
    Json(#[from] serde_json::Error),
    /// A name must come once.
    #[error("the name {0} comes twice in a folder")]
    DuplicateName(Name),
    /// Names must ascend.
    #[error("the name {name} comes behind {last} in a folder, but sorts before it or is equal")]
    OutOfOrder {
        /// The later one.
        name: Name,
        /// The one before.
        last: Name,
    },
}

const PREFIX: &[u8] = br#"{"nodes":["#;

/// restic's first releases wrote trees through an encoder that ends each line, so all do.
const SUFFIX: &[u8] = b"]}\n";

/// A tree's object around nodes of any form.
struct Wire<N>(Vec<N>);

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Wire<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WireVisitor<N>(std::marker::PhantomData<N>);
        impl<'de, N: Deserialize<'de>> Visitor<'de> for WireVisitor<N> {
            type Value = Wire<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tree")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<N>, A::Error> {
                let mut nodes = None;
                while let Some(Text(key)) = map.next_key()? {
                    if key != "nodes" {
                        map.next_value::<IgnoredAny>()?;
                    } else if nodes.is_none() {
                        nodes = Some(map.next_value::<Option<Vec<N>>>()?.unwrap_or_default());
                    } else {
                        return Err(A::Error::duplicate_field("nodes"));
                    }
                }
                nodes.map(Wire).ok_or_else(|| A::Error::missing_field("nodes"))
            }
        }
        deserializer.deserialize_map(WireVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeType;

    fn names(tree: &Tree) -> Vec<String> {
        tree.nodes().iter().map(|node| node.name.to_string()).collect()
    }

    fn file(name: &str) -> Node {
        Node::new(name, NodeType::File)
    }

    fn nodes(names: &[&str]) -> String {
        let nodes: Vec<_> = names.iter().map(|name| format!("{{\"name\":\"{name}\"}}")).collect();
        format!("{{\"nodes\":[{}]}}\n", nodes.join(","))
    }

    #[test]
    fn an_empty_tree_is_a_list_of_no_nodes() {
        assert_eq!(Tree::default().encode(), b"{\"nodes\":[]}\n");
        assert_eq!(TreeBuilder::new().finish(), b"{\"nodes\":[]}\n");
        assert_eq!(Tree::decode(b"{\"nodes\":[]}\n").unwrap(), Tree::default());
    }

    #[test]
    fn what_older_and_newer_programs_write_is_read() {
        for json in
            [r#"{"nodes":null}"#, r#" { "version" : [[{}]] , "nodes" : [] , "signature" : "x" } "#]
        {
            assert_eq!(Tree::decode(json.as_bytes()).unwrap(), Tree::default(), "{json}");
        }
        assert_eq!(
            names(&Tree::decode(nodes(&["b", "a", "b"]).as_bytes()).unwrap()),
            ["b", "a", "b"]
        );
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"nodes":{}}"#,
            r#"{"nodes":[],"nodes":[]}"#,
            r#"{"nodes":[null]}"#,
            r#"{"nodes":[1]}"#,
            r#"{"nodes":[]"#,
            r#"{"nodes":[]} x"#,
            r#"{"nodes":[{"name":"\\"}]}"#,
            r#"{"nodes":[{"name":"\\x4"}]}"#,
            r#"{"nodes":[{"size":-1}]}"#,
            r#"{"nodes":[{"size":1.5}]}"#,
            r#"{"nodes":[{"uid":4294967296}]}"#,
            r#"{"nodes":[{"mtime":"yesterday"}]}"#,
            r#"{"nodes":[{"content":["00"]}]}"#,
            r#"{"nodes":[{"linktarget_raw":"?"}]}"#,
            r#"{"time":"2024-01-01T00:00:00Z","paths":[]}"#,
        ] {
            assert!(Tree::decode(json.as_bytes()).is_err(), "{json}");
        }
        assert!(Tree::decode(b"{\"nodes\":[{\"name\":\"\xff\"}]}").is_err());
    }

    #[test]
    fn deep_nesting_neither_crashes_nor_hangs() {
        for field in ["x", "content", "name", "generic_attributes", "extended_attributes"] {
            let deep = "[".repeat(1_000_000);
            let open = format!(r#"{{"nodes":[{{"{field}":{deep}"#);
            assert!(Tree::decode(open.as_bytes()).is_err());
        }
        let depth = 100_000;
        let nested = format!(r#"{{"nodes":[{{"x":{}{}}}]}}"#, "[".repeat(depth), "]".repeat(depth));
        let tree = Tree::decode(nested.as_bytes()).unwrap();
        assert_eq!(tree.clone().encode(), tree.encode());
    }

    #[test]
    fn names_are_found_in_any_order() {
        for names in [["a", "b", "c"], ["c", "a", "b"]] {
            let tree = Tree::decode(nodes(&names).as_bytes()).unwrap();
            assert_eq!(tree.is_ordered(), names[0] == "a");
            for name in names {
                assert_eq!(tree.find(name.as_bytes()).unwrap().name, name.into());
            }
            assert_eq!(tree.find(b"bb"), None);
            assert_eq!(tree.find(b""), None);
        }
        assert!(!Tree::decode(nodes(&["a", "a"]).as_bytes()).unwrap().is_ordered());
    }

    #[test]
    fn nodes_are_put_in_the_order_of_their_bytes() {
        let unordered = ["b", "a\\", "ä", "a]", "a"];
        let ordered = ["a", r"a\\", "a]", "b", "ä"];
        let tree = Tree::from_nodes(unordered.map(file).to_vec()).unwrap();
        assert_eq!(names(&tree), ordered);

        let mut grown = Tree::default();
        for name in unordered {
            grown.insert(file(name)).unwrap();
        }
        assert_eq!(grown, tree);
    }

    #[test]
    fn a_name_cannot_come_twice() {
        let twice = vec![file("a"), file("b"), file("a")];
        assert!(matches!(Tree::from_nodes(twice), Err(TreeError::DuplicateName(_))));
        let mut tree = Tree::from_nodes(vec![file("a")]).unwrap();
        assert!(matches!(tree.insert(file("a")), Err(TreeError::DuplicateName(_))));
        let mut builder = TreeBuilder::new();
        builder.push(&file("b")).unwrap();
        for name in ["", "a", "b"] {
            assert!(matches!(builder.push(&file(name)), Err(TreeError::OutOfOrder { .. })));
        }
        assert_eq!(builder.len(), 1);
    }

    #[test]
    fn what_cannot_be_written_again_shows() {
        for json in [
            r#"{"nodes":null}"#,
            r#"{"nodes":[]}"#,
            "{\"nodes\":[], \"x\":1}\n",
            &nodes(&["a"]),
            // A number of seconds that we would write without its zero.
            &spelled(r#""mtime":"2024-01-01T00:00:00.10Z""#),
            &spelled(r#""mtime":"2024-01-01T00:00:00+00:00""#),
        ] {
            assert_ne!(Tree::decode(json.as_bytes()).unwrap().encode(), json.as_bytes(), "{json}");
        }
    }

    /// A tree of one node that restic could have written but for one field.
    fn spelled(field: &str) -> String {
        let fields = [
            r#""name":"a""#,
            r#""type":"symlink""#,
            r#""mtime":"2024-01-01T00:00:00Z""#,
            r#""atime":"0001-01-01T00:00:00Z""#,
            r#""ctime":"0001-01-01T00:00:00Z""#,
            r#""uid":0"#,
            r#""gid":0"#,
            r#""linktarget":"b""#,
            r#""content":null"#,
        ];
        let key = field.split(':').next().unwrap();
        let known = fields.iter().any(|other| other.starts_with(key));
        let extra = if known { None } else { Some(field) };
        let fields: Vec<_> = fields
            .iter()
            .map(|other| if other.starts_with(key) { field } else { other })
            .chain(extra)
            .collect();
        format!("{{\"nodes\":[{{{}}}]}}\n", fields.join(","))
    }

    #[test]
    fn other_spellings_are_kept_until_a_node_is_altered() {
        for field in [
            r#""name":"uni15-\\U0001fae8""#,
            r#""name":"\\x61""#,
            r#""name":"a<b""#,
            r#""linktarget":"\ufffd""#,
            r#""linktarget":"\u0008""#,
            r#""linktarget":"ä\u00e4""#,
            r#""uid":0,"birth":{"a": 1.0}"#,
            r#""flags":[1,  2]"#,
        ] {
            let json = spelled(field);
            let tree = Tree::decode(json.as_bytes()).unwrap();
            assert_eq!(tree.encode(), json.as_bytes(), "{json}");

            let mut nodes = tree.into_nodes();
            nodes[0].size = 1;
            let altered = Tree::from_nodes(nodes).unwrap().encode();
            let altered = String::from_utf8(altered).unwrap();
            assert!(altered.contains(r#""size":1"#), "{altered}");
            // A new field goes behind all others, but it goes with them.
            assert_eq!(altered.contains("birth"), json.contains("birth"));
            assert_eq!(altered.contains("flags"), json.contains("flags"));
        }
    }
}
