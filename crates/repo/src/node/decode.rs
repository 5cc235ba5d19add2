//! From JSON to a node.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{ExtendedAttribute, Name, Node, NodeType};
use crate::json::Text;

/// As Go reads a node: fields in any order, each of which may be missing or null. Of a field that comes
/// twice the last counts.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut node = Node::default();
        let mut raw_target = None;
        while let Some(Text(field)) = map.next_key()? {
            match &*field {
                "name" => node.name = value::<QuotedName, _>(&mut map)?.0,
                "type" => node.node_type = value(&mut map)?,
                "mode" => node.mode = value(&mut map)?,
                "mtime" => node.mtime = value(&mut map)?,
                "atime" => node.atime = value(&mut map)?,
                "ctime" => node.ctime = value(&mut map)?,
                "uid" => node.uid = value(&mut map)?,
                "gid" => node.gid = value(&mut map)?,
                "user" => node.user = value(&mut map)?,
                "group" => node.group = value(&mut map)?,
                "inode" => node.inode = value(&mut map)?,
                "device_id" => node.device_id = value(&mut map)?,
                "size" => node.size = value(&mut map)?,
                "links" => node.links = value(&mut map)?,
                "linktarget" => node.link_target = value::<String, _>(&mut map)?.into(),
                "linktarget_raw" => raw_target = map.next_value::<Option<Base64>>()?,
                "extended_attributes" => node.extended_attributes = value(&mut map)?,
                "generic_attributes" => node.generic_attributes = value(&mut map)?,
                "device" => node.device = value(&mut map)?,
                "content" => node.content = map.next_value()?,
                "subtree" => node.subtree = map.next_value()?,
                "error" => node.error = value(&mut map)?,
                _ => node.unknown.push((field.into_owned(), map.next_value()?)),
            }
        }
        if let Some(Base64(target)) = raw_target {
            node.link_target = OsString::from_vec(target);
        }
        Ok(node)
    }
}

/// A value, or what stands for none where it is null.
fn value<'de, T, A>(map: &mut A) -> Result<T, A::Error>
where
    T: Deserialize<'de> + Default,
    A: MapAccess<'de>,
{
    map.next_value::<Option<T>>().map(Option::unwrap_or_default)
}

#[derive(Default)]
struct QuotedName(Name);

impl<'de> Deserialize<'de> for QuotedName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(quoted) = Text::deserialize(deserializer)?;
        Name::from_quoted(&quoted).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for NodeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|Text(word)| (&*word).into())
    }
}

#[derive(Default)]
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        BASE64.decode(&*text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ExtendedAttribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            name: String,
            value: Option<Base64>,
        }
        let Wire { name, value } = Wire::deserialize(deserializer)?;
        Ok(Self { name: name.into(), value: value.unwrap_or_default().0 })
    }
}
