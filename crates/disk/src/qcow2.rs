//! A qcow2 file: where in it the content of the disk is.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::extent::{Extent, Place, push};
use crate::file::{SourceFile, Tables};
use entry::{Entry, OFFSET, SUBCLUSTERS};
use header::{Header, READ_LENGTH, u64_at};

pub(crate) mod compressed;
pub(crate) mod entry;
pub(crate) mod header;

/// A qcow2 file of a chain. Its header and its L1 table are in memory; L2 tables are read as they are needed,
/// and kept in [`Tables`] that all files of the chain share.
pub(crate) struct Qcow2 {
    pub header: Header,
    /// The L1 table as it is stored: where the L2 tables are, with flags.
    pub l1: Vec<u64>,
    file: SourceFile,
    tables: Arc<Tables>,
}

impl Qcow2 {
    /// Whether a file that begins so is qcow2.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&header::MAGIC)
    }

    /// Reads the header, of which `beginning` is all that can be of interest, and the L1 table.
    pub async fn open(file: SourceFile, beginning: &[u8], tables: Arc<Tables>) -> Result<Self> {
        let number = file.number;
        let beginning = &beginning[..beginning.len().min(READ_LENGTH)];
        let header = Header::parse(number, beginning, file.len())?;
        let stored = match header.l1_bytes() {
            0 => Bytes::new(),
            length => file.read_exact(header.l1_offset, length as usize).await?,
        };
        let l1: Vec<u64> = stored.chunks_exact(8).map(|entry| u64_at(entry, 0)).collect();
        let mut offsets: Vec<_> =
            l1.iter().map(|entry| entry & OFFSET).filter(|at| *at != 0).collect();
        let fits = |at: u64| {
            let aligned = at & (header.cluster_size() - 1) == 0;
            aligned && at.checked_add(header.cluster_size()).is_some_and(|end| end <= file.len())
        };
        if !offsets.iter().all(|at| fits(*at)) {
            return Err(Error::damaged(number, "an L2 table is not in the file"));
        }
        // So no more tables are read than the file has room for, whatever the L1 table says.
        offsets.sort_unstable();
        if offsets.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::damaged(number, "two entries of its L1 table are the same"));
        }
        Ok(Self { header, l1, file, tables })
    }

    /// Where the L2 table is that entry `index` of the L1 table names, if there is one.
    pub fn l2_offset(&self, index: u64) -> Option<u64> {
        let entry = usize::try_from(index).ok().and_then(|index| self.l1.get(index))?;
        Some(entry & OFFSET).filter(|at| *at != 0)
    }

    /// The parts of the disk for which there are L2 tables, in order.
    pub fn touched(&self) -> impl Iterator<Item = Range<u64>> {
        let reach = self.header.l1_reach();
        let present = (0u64..).zip(&self.l1).filter(|(_, entry)| *entry & OFFSET != 0);
        present.map(move |(index, _)| {
            let start = index.saturating_mul(reach);
            start..start.saturating_add(reach)
        })
    }

    /// The L2 table at this offset.
    pub async fn table(&self, offset: u64) -> Result<Bytes> {
        self.tables.load(&self.file, offset, self.header.cluster_size() as usize).await
    }

    /// Where a part of the disk is, which lies within its virtual size.
    pub async fn extents(&self, range: Range<u64>, found: &mut Vec<Extent>) -> Result<()> {
        let reach = self.header.l1_reach();
        let mut start = range.start;
        while start < range.end {
            let index = start / reach;
            let end = ((index + 1).saturating_mul(reach)).min(range.end);
            match self.l2_offset(index) {
                None => {
                    push(found, Extent { offset: start, length: end - start, place: Place::Hole })
                }
                Some(offset) => {
                    let table = self.table(offset).await?;
                    self.extents_of(&table, start..end, found)?;
                }
            }
            start = end;
        }
        Ok(())
    }

    /// The same for a part of the disk that one L2 table is about.
    fn extents_of(&self, table: &[u8], range: Range<u64>, found: &mut Vec<Extent>) -> Result<()> {
        let (header, size) = (&self.header, self.header.cluster_size());
        let mut start = range.start;
        while start < range.end {
            let cluster = start >> header.cluster_bits << header.cluster_bits;
            let end = (cluster + size).min(range.end);
            let within = start - cluster;
            let mut add = |place| push(found, Extent { offset: start, length: end - start, place });
            let index = (start >> header.cluster_bits) % header.l2_entries();
            match Entry::of(header, table, index) {
                Entry::Unallocated => add(Place::Hole),
                Entry::Zero { .. } => add(Place::Zero),
                Entry::Stored { host, .. } => {
                    self.expect_in_file(host, "a cluster")?;
                    add(Place::Stored { file: self.file.number, host: host + within });
                }
                Entry::Compressed { host, length } => {
                    self.expect_in_file(host, "a compressed cluster")?;
                    let file = self.file.number;
                    add(Place::Compressed { file, host, length: length as u32, within });
                }
                Entry::Parts { host, stored, zero, .. } => {
                    let host = host.unwrap_or(0);
                    if stored != 0 {
                        self.expect_in_file(host, "a cluster")?;
                    }
                    let part = size / u64::from(SUBCLUSTERS);
                    let mut at = start;
                    while at < end {
                        let number = (at - cluster) / part;
                        let until = (cluster + (number + 1) * part).min(end);
                        let place = if stored >> number & 1 != 0 {
                            Place::Stored { file: self.file.number, host: host + (at - cluster) }
                        } else if zero >> number & 1 != 0 {
                            Place::Zero
                        } else {
                            Place::Hole
                        };
                        push(found, Extent { offset: at, length: until - at, place });
                        at = until;
                    }
                }
                Entry::Invalid => {
                    let what = format!("its L2 entry for offset {cluster} is impossible");
                    return Err(Error::damaged(self.file.number, what));
                }
            }
            start = end;
        }
        Ok(())
    }

    /// A cluster may reach beyond the end of the file, where zeros are; but it does not begin there.
    fn expect_in_file(&self, host: u64, what: &str) -> Result<()> {
        if host < self.file.len() {
            return Ok(());
        }
        let what = format!("{what} is behind the end of the file; is it cut off?");
        Err(Error::damaged(self.file.number, what))
    }
}
