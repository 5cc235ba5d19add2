//! A file of a chain, and the tables of all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream::{Stream, TryStreamExt};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::{Error, Result};
use crate::source::{Parts, Source, within};

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

    /// Parts of the file, one after the other, in pieces. All of them are in the file.
    pub fn forward(&self, parts: Parts) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let number = self.number;
        let pieces = Arc::clone(&self.source).forward(parts);
        pieces.map_err(move |source| Error::Source { file: number, source })
    }
}

/// Which table: the number of the file, and where it is in it.
type Key = (usize, u64);

/// A table that is being read. Nothing if that failed.
type Coming = Shared<BoxFuture<'static, Option<Bytes>>>;

/// L2 tables that were read lately, or are just being read.
pub(crate) struct Tables {
    kept: Cache<Key, Bytes, ByLength>,
    coming: Mutex<HashMap<Key, Coming>>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<Key, Bytes> for ByLength {
    fn weight(&self, _: &Key, table: &Bytes) -> u64 {
        table.len().max(1) as u64
    }
}

impl Tables {
    pub fn new() -> Self {
        let kept = Cache::with_weighter(1024, KEPT_TABLES, ByLength);
        Self { kept, coming: Mutex::default() }
    }

    /// A table: from memory, or out of the file.
    ///
    /// Who waits for a read that somebody else began also drives it on: the other one may be a stream that
    /// nobody asks to go on.
    pub async fn load(&self, file: &SourceFile, offset: u64, length: usize) -> Result<Bytes> {
        let key = (file.number, offset);
        if let Some(table) = self.kept.get(&key) {
            return Ok(table);
        }
        let coming = {
            let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || {
                let file = file.clone();
                // A slice of something large would keep all of it.
                let read = async move {
                    let table = file.read_exact(offset, length).await.ok()?;
                    Some(Bytes::copy_from_slice(&table))
                };
                read.boxed().shared()
            };
            coming.entry(key).or_insert_with(begin).clone()
        };
        let table = coming.await;
        if let Some(table) = &table {
            self.kept.insert(key, table.clone());
        }
        self.coming.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        match table {
            Some(table) => Ok(table),
            // An error is nobody else's; this one finds its own.
            None => file.read_exact(offset, length).await,
        }
    }
}
