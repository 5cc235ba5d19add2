//! What a file needs for itself, and no content may be written to.

use std::ops::Range;

use crate::chain::union;
use crate::qcow2::Qcow2;
use crate::qcow2::entry::OFFSET;

/// The parts of a qcow2 file in which its header and its tables are. A file that has content there is damaged,
/// and writing to it would make it worse.
pub(super) struct Guard(Vec<Range<u64>>);

impl Guard {
    /// The header and the tables of a file with these refcount blocks.
    pub fn of(base: &Qcow2, refcount_blocks: impl Iterator<Item = u64>) -> Self {
        let (header, size) = (&base.header, base.header.cluster_size());
        let part = |start: u64, length: u64| start..start.saturating_add(length);
        let mut parts = vec![
            part(0, size),
            part(header.l1_offset, header.l1_bytes()),
            part(header.refcount_table_offset, header.refcount_table_bytes()),
        ];
        parts.extend(
            base.l1.iter().filter(|entry| **entry != 0).map(|entry| part(entry & OFFSET, size)),
        );
        parts.extend(refcount_blocks.map(|start| part(start, size)));
        Self(union(parts))
    }

    /// Whether content may be in this part.
    pub fn allows(&self, part: Range<u64>) -> bool {
        let next = self.0.partition_point(|guarded| guarded.end <= part.start);
        self.0.get(next).is_none_or(|guarded| part.end <= guarded.start)
    }
}
