//! From a node to its JSON.

use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{ExtendedAttribute, Node};
use crate::id::Id;
use crate::json;
use crate::time::{Rfc3339, Timestamp};

/// The JSON that a node was read from, kept only where we would write it in another way.
///
/// restic 0.14 quotes characters that newer Unicode tables know, and lost the bytes of link targets that
/// are not UTF-8; and a newer program may put new fields between the old. It never makes nodes differ.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spelling(Option<Box<str>>);

impl PartialEq for Spelling {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Spelling {}

impl Node {
    /// Appends the node's JSON.
    ///
    /// A node that was read and not altered is written as it was read, also where today's restic would
    /// write it in another way; see [`Tree::decode`](crate::tree::Tree::decode).
    pub fn encode_to(&self, json: &mut Vec<u8>) {
        match &self.spelling.0 {
            Some(spelling) if self.is_spelled(spelling) => {
                json.extend_from_slice(spelling.as_bytes())
            }
            _ => self.spell(json),
        }
    }

    /// Remembers the JSON that this node was read from, if it would be written in another way.
    pub(crate) fn remember_spelling(&mut self, json: &str) {
        let mut ours = Vec::with_capacity(json.len());
        self.spell(&mut ours);
        self.spelling = Spelling((ours != json.as_bytes()).then(|| json.into()));
    }

    /// Whether this JSON still says what the node says.
    fn is_spelled(&self, json: &str) -> bool {
        serde_json::from_str::<Self>(json).is_ok_and(|read| {
            let (mut then, mut now) = (Vec::new(), Vec::new());
            read.spell(&mut then);
            self.spell(&mut now);
            then == now
        })
    }

    /// Appends the node's JSON as restic 0.19 would write it.
    fn spell(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(br#"{"name":""#);
        self.name.write_json(json);
        json.extend_from_slice(br#"","type":"#);
        json::write_text(json, self.node_type.as_str());
        write_unless_zero(json, "mode", self.mode.bits().into());
        write_time(json, "mtime", &self.mtime);
        write_time(json, "atime", &self.atime);
        write_time(json, "ctime", &self.ctime);
        write_member(json, "uid");
        json::write_number(json, self.uid.into());
        write_member(json, "gid");
        json::write_number(json, self.gid.into());
        write_unless_empty(json, "user", &self.user);
        write_unless_empty(json, "group", &self.group);
        write_unless_zero(json, "inode", self.inode);
        write_unless_zero(json, "device_id", self.device_id);
        write_unless_zero(json, "size", self.size);
        write_unless_zero(json, "links", self.links);
        self.spell_link_target(json);
        self.spell_attributes(json);
        write_unless_zero(json, "device", self.device);
        write_member(json, "content");
        match &self.content {
            None => json.extend_from_slice(b"null"),
            Some(ids) => write_list(json, ids, write_id),
        }
        if let Some(subtree) = &self.subtree {
            write_member(json, "subtree");
            write_id(json, subtree);
        }
        write_unless_empty(json, "error", &self.error);
        for (name, value) in &self.unknown {
            json.push(b',');
            json::write_text(json, name);
            json.push(b':');
            json.extend_from_slice(value.as_str().as_bytes());
        }
        json.push(b'}');
    }

    fn spell_link_target(&self, json: &mut Vec<u8>) {
        let target = self.link_target.as_bytes();
        if target.is_empty() {
            return;
        }
        write_member(json, "linktarget");
        json::write_lossy(json, target);
        if std::str::from_utf8(target).is_err() {
            write_member(json, "linktarget_raw");
            write_base64(json, target);
        }
    }

    fn spell_attributes(&self, json: &mut Vec<u8>) {
        if !self.extended_attributes.is_empty() {
            write_member(json, "extended_attributes");
            write_list(
                json,
                &self.extended_attributes,
                |json, ExtendedAttribute { name, value }| {
                    json.extend_from_slice(br#"{"name":"#);
                    json::write_lossy(json, name.as_bytes());
                    json.extend_from_slice(br#","value":"#);
                    write_base64(json, value);
                    json.push(b'}');
                },
            );
        }
        if !self.generic_attributes.is_empty() {
            write_member(json, "generic_attributes");
            json.extend_from_slice(&json::to_vec(&self.generic_attributes));
        }
    }
}

/// Begins a member that is not the first. Its name needs no escapes.
fn write_member(json: &mut Vec<u8>, name: &str) {
    json.extend_from_slice(b",\"");
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
}

fn write_unless_zero(json: &mut Vec<u8>, name: &str, number: u64) {
    if number != 0 {
        write_member(json, name);
        json::write_number(json, number);
    }
}

fn write_unless_empty(json: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        write_member(json, name);
        json::write_text(json, text);
    }
}

fn write_time(json: &mut Vec<u8>, name: &str, time: &Timestamp) {
    write_member(json, name);
    json.push(b'"');
    json.extend_from_slice(Rfc3339::of(time).as_str().as_bytes());
    json.push(b'"');
}

fn write_list<T>(json: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    json.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write(json, item);
    }
    json.push(b']');
}

fn write_id(json: &mut Vec<u8>, id: &Id) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'"'; Id::HEX_LENGTH + 2];
    for (pair, byte) in text[1..].chunks_exact_mut(2).zip(id.as_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    json.extend_from_slice(&text);
}

fn write_base64(json: &mut Vec<u8>, bytes: &[u8]) {
    json.push(b'"');
    json.extend_from_slice(BASE64.encode(bytes).as_bytes());
    json.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Raw;
    use crate::node::{Mode, Name, NodeType};
    use crate::time::Zone;

    fn text(node: &Node) -> String {
        let mut json = Vec::new();
        node.encode_to(&mut json);
        String::from_utf8(json).unwrap()
    }

    fn bytes(bytes: &[u8]) -> std::ffi::OsString {
        std::ffi::OsStr::from_bytes(bytes).to_owned()
    }

    #[test]
    fn all_fields_stand_in_restics_order() {
        let id = Id::of(b"");
        let time: Timestamp = "2024-01-01T00:00:00.5+01:00".parse().unwrap();
        let raw: Raw = serde_json::from_str("{\"b\": 1}").unwrap();
        let node = Node {
            mode: Mode::from_unix(0o100_644),
            mtime: time,
            atime: time,
            ctime: time,
            uid: 1,
            gid: 2,
            user: "<u>".to_owned(),
            group: "g".to_owned(),
            inode: u64::MAX,
            device_id: 3,
            size: 4,
            links: 5,
            link_target: bytes(b"t\xff"),
            extended_attributes: vec![
                ExtendedAttribute { name: bytes(b"user.b\xff"), value: b"\0\xff".to_vec() },
                ExtendedAttribute { name: bytes(b"user.a"), value: vec![] },
            ],
            generic_attributes: [
                ("windows.b".to_owned(), raw.clone()),
                ("a".to_owned(), raw.clone()),
            ]
            .into(),
            device: 6,
            content: Some(vec![id, id]),
            subtree: Some(id),
            error: "e".to_owned(),
            unknown: vec![("z".to_owned(), raw.clone()), ("y".to_owned(), raw)],
            ..Node::new("n", NodeType::File)
        };
        let expected = [
            r#"{"name":"n","type":"file","mode":420"#,
            r#""mtime":"2024-01-01T00:00:00.5+01:00""#,
            r#""atime":"2024-01-01T00:00:00.5+01:00""#,
            r#""ctime":"2024-01-01T00:00:00.5+01:00""#,
            r#""uid":1,"gid":2,"user":"\u003cu\u003e","group":"g""#,
            r#""inode":18446744073709551615,"device_id":3,"size":4,"links":5"#,
            r#""linktarget":"t\ufffd","linktarget_raw":"dP8=""#,
            r#""extended_attributes":[{"name":"user.b\ufffd","value":"AP8="},{"name":"user.a","value":""}]"#,
            r#""generic_attributes":{"a":{"b": 1},"windows.b":{"b": 1}}"#,
            &format!(r#""device":6,"content":["{id}","{id}"],"subtree":"{id}","error":"e""#),
            r#""z":{"b": 1},"y":{"b": 1}}"#,
        ];
        assert_eq!(text(&node), expected.join(","));
        let read: Node = serde_json::from_str(&text(&node)).unwrap();
        assert_eq!(read.link_target, node.link_target);
        assert_eq!(read.generic_attributes, node.generic_attributes);
        assert_eq!(read.unknown, node.unknown);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let times = r#""mtime":"0001-01-01T00:00:00Z","atime":"0001-01-01T00:00:00Z","ctime":"0001-01-01T00:00:00Z""#;
        assert_eq!(
            text(&Node::new("f", NodeType::File)),
            format!(r#"{{"name":"f","type":"file",{times},"uid":0,"gid":0,"content":[]}}"#)
        );
        assert_eq!(
            text(&Node::new("d", NodeType::Dir)),
            format!(r#"{{"name":"d","type":"dir",{times},"uid":0,"gid":0,"content":null}}"#)
        );
    }

    #[test]
    fn fields_may_be_missing_null_or_twice() {
        assert_eq!(serde_json::from_str::<Node>("{}").unwrap(), Node::default());
        let nulls = [
            "name",
            "type",
            "mode",
            "mtime",
            "atime",
            "ctime",
            "uid",
            "gid",
            "user",
            "group",
            "inode",
            "device_id",
            "size",
            "links",
            "linktarget",
            "linktarget_raw",
            "extended_attributes",
            "generic_attributes",
            "device",
            "content",
            "subtree",
            "error",
        ];
        let json = format!("{{{}}}", nulls.map(|field| format!("\"{field}\":null")).join(","));
        assert_eq!(serde_json::from_str::<Node>(&json).unwrap(), Node::default());
        let twice: Node = serde_json::from_str(r#"{"size":1,"size":2}"#).unwrap();
        assert_eq!(twice.size, 2);
    }

    #[test]
    fn the_raw_target_of_a_link_counts() {
        let target = |json| serde_json::from_str::<Node>(json).unwrap().link_target;
        assert_eq!(target(r#"{"linktarget_raw":"dP8=","linktarget":"t"}"#), bytes(b"t\xff"));
        assert_eq!(target(r#"{"linktarget_raw":null,"linktarget":"t"}"#), bytes(b"t"));
    }

    prop_compose! {
        fn any_node()(
            name: Vec<u8>,
            word in "(file|dir|symlink|dev|chardev|fifo|door|)",
            mode: u32,
            times: [(i64, u32); 3],
            ids: (u32, u32),
            names: (String, String),
            numbers: [u64; 5],
            target: Vec<u8>,
            attributes: Vec<(String, Vec<u8>)>,
            content: Option<Vec<[u8; 32]>>,
            subtree: Option<[u8; 32]>,
            error: String,
        ) -> Node {
            let berlin = Zone::named("Europe/Berlin").unwrap();
            let [mtime, atime, ctime] = times.map(|(seconds, nanoseconds)| {
                // Offsets are whole minutes since 1950; others lose their seconds in writing.
                let seconds = seconds.rem_euclid(200_000_000_000);
                Timestamp::from_unix_in(seconds, nanoseconds % 1_000_000_000, &berlin)
            });
            let [inode, device_id, size, links, device] = numbers;
            Node {
                name: Name::from(&*name),
                node_type: (&*word).into(),
                mode: Mode::from_bits(mode),
                mtime, atime, ctime,
                uid: ids.0,
                gid: ids.1,
                user: names.0,
                group: names.1,
                inode, device_id, size, links, device,
                link_target: bytes(&target),
                extended_attributes: attributes
                    .into_iter()
                    .map(|(name, value)| ExtendedAttribute { name: name.into(), value })
                    .collect(),
                content: content.map(|ids| ids.into_iter().map(Id::from_bytes).collect()),
                subtree: subtree.map(Id::from_bytes),
                error,
                ..Node::default()
            }
        }
    }

    proptest! {
        #[test]
        fn any_node_survives(node in any_node()) {
            let json = text(&node);
            let mut read: Node = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read, &node);
            prop_assert_eq!(text(&read), json.clone());
            read.remember_spelling(&json);
            prop_assert!(read.spelling.0.is_none());
            prop_assert!(json.is_ascii() || !json::is_plain(&json));
        }

        #[test]
        fn no_json_panics(json in r#"\{("(name|mode|mtime|content|linktarget_raw|x)":([0-9]|"[A-Za-z0-9=]*"|null|\[\]),?){0,4}\}"#) {
            let _ = serde_json::from_str::<Node>(&json);
        }
    }
}
