//! The slow way through an index file: any JSON of the right shape.
//!
//! Keys in any order, white space, keys that restic does not know (rustic writes some), `null` for an
//! empty list: as Go's decoder takes them. It is stricter in three points: a key that is missing or
//! comes twice is an error, and ids and keys are in lower case.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scan::Sink;
use crate::blob::{BlobEntry, BlobHandle, BlobType};
use crate::id::Id;

/// Reads an index file from `json` to its end.
pub(super) fn parse<'de, R, S>(json: R, sink: &mut S) -> Result<(), serde_json::Error>
where
    R: serde_json::de::Read<'de>,
    S: Sink,
{
    let mut deserializer = serde_json::Deserializer::new(json);
    deserializer.deserialize_map(File(sink))?;
    deserializer.end()
}

#[derive(Deserialize)]
struct Pack {
    id: Id,
    blobs: Option<Vec<Blob>>,
}

#[derive(Deserialize)]
struct Blob {
    id: Id,
    #[serde(rename = "type")]
    blob_type: BlobType,
    offset: u32,
    length: u32,
    #[serde(default)]
    uncompressed_length: u32,
}

impl From<Blob> for BlobEntry {
    fn from(blob: Blob) -> Self {
        let Blob { id, blob_type, offset, length, uncompressed_length } = blob;
        Self { handle: BlobHandle { blob_type, id }, offset, length, uncompressed_length }
    }
}

struct File<'s, S>(&'s mut S);

impl<'de, S: Sink> Visitor<'de> for File<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Key {
            Packs,
            #[serde(other)]
            Unknown,
        }

        let mut seen = false;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Packs if seen => return Err(A::Error::duplicate_field("packs")),
                Key::Packs => map.next_value_seed(Packs(self.0))?,
                Key::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
            seen |= matches!(key, Key::Packs);
        }
        if seen { Ok(()) } else { Err(A::Error::missing_field("packs")) }
    }
}

/// The list of packs, handed on pack by pack, so that no file is in memory as a whole.
struct Packs<'s, S>(&'s mut S);

impl<'de, S: Sink> DeserializeSeed<'de> for Packs<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Packs<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of packs")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut packs: A) -> Result<(), A::Error> {
        while let Some(pack) = packs.next_element::<Pack>()? {
            self.0.pack(pack.id);
            for blob in pack.blobs.unwrap_or_default() {
                self.0.blob(blob.into());
            }
        }
        Ok(())
    }
}
