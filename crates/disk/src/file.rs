//! A file of a chain, and the tables of all of them.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::{Error, Result};
use crate::source::{Source, within};

/// How many bytes of L2 tables are kept. 64 KiB of them are the way to 512 MiB of the disk, as a rule.
const KEPT_TABLES: u64 = 64 << 20;

/// A file, and which of the chain it is.
#[derive(Clone)]
pub(crate) struct SourceFile {
    pub number: usize,
    source: Arc<dyn Source>,
    length: u64,
}

impl SourceFile {
    pub fn new(number: usize, source: Arc<dyn Source>) -> Self {
        let length = source.len();
        Self { number, source, length }
    }

    /// In bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// `length` bytes from `offset` on; fewer only where the file ends.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let expected = within(self.length, offset, length);
        if expected == 0 {
            return Ok(Bytes::new());
        }
        let failed = |source| Error::Source { file: self.number, source };
        let mut bytes = self.source.read_at(offset, expected).await.map_err(failed)?;
        if bytes.len() < expected {
            let short = format!("{} of {expected} bytes at offset {offset} came", bytes.len());
            return Err(failed(short.into()));
        }
        bytes.truncate(expected);
        Ok(bytes)
    }

    /// The same where the file does not end.
    pub async fn read_exact(&self, offset: u64, length: usize) -> Result<Bytes> {
        let bytes = self.read(offset, length).await?;
        if bytes.len() < length {
            return Err(Error::damaged(self.number, "it ends too early"));
        }
        Ok(bytes)
    }
}

/// L2 tables that were read lately, by file and offset.
pub(crate) struct Tables(Cache<(usize, u64), Bytes, ByLength>);

#[derive(Clone)]
struct ByLength;

impl Weighter<(usize, u64), Bytes> for ByLength {
    fn weight(&self, _: &(usize, u64), table: &Bytes) -> u64 {
        table.len().max(1) as u64
    }
}

impl Tables {
    pub fn new() -> Self {
        Self(Cache::with_weighter(1024, KEPT_TABLES, ByLength))
    }

    /// A table: from memory, or out of the file.
    ///
    /// Nobody waits here for somebody else's read: that one may be part of a stream that is not asked to go
    /// on, and so would never end.
    pub async fn load(&self, file: &SourceFile, offset: u64, length: usize) -> Result<Bytes> {
        let key = (file.number, offset);
        if let Some(table) = self.0.get(&key) {
            return Ok(table);
        }
        let table = file.read_exact(offset, length).await?;
        // A slice of something large would keep all of it.
        let table = Bytes::copy_from_slice(&table);
        self.0.insert(key, table.clone());
        Ok(table)
    }
}
