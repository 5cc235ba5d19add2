//! One blob in 45 bytes.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::blob::{BlobEntry, BlobHandle, BlobLocation, BlobType};
use crate::id::Id;

/// A blob and its place, packed: 32 bytes of id, then 28 bits of pack number, 28 bits of offset,
/// 24 bits of stored length and 24 bits of plaintext length, big endian. The type is the table's.
///
/// Nothing is aligned, so nothing is wasted. Rows sort by id, then by pack, and two rows are equal
/// exactly if they say the same. The rare span that does not fit has all ones for its length, and a
/// number in [`LargeSpans`] for its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row([u8; Self::WIDTH]);

const ID: usize = 32;
const PLACE: usize = 13;

const PACK_BITS: u32 = 28;
const OFFSET_BITS: u32 = 28;
const LENGTH_BITS: u32 = 24;
const SPAN_BITS: u32 = OFFSET_BITS + 2 * LENGTH_BITS;
const LARGE: u32 = ones(LENGTH_BITS);

const fn ones(bits: u32) -> u32 {
    (1 << bits) - 1
}

impl Row {
    /// Bytes a row takes.
    pub(super) const WIDTH: usize = ID + PLACE;

    /// How many packs can be told apart: 268 million.
    pub(super) const PACKS: usize = 1 << PACK_BITS;

    /// A row for `blob` in the pack of this number, which is below [`Self::PACKS`]. Nothing if its span
    /// does not fit.
    #[inline]
    pub(super) fn new(blob: &BlobEntry, pack: u32) -> Option<Self> {
        Some(Self::with_span(blob, pack, Span::of(blob).fitting()?))
    }

    /// A row for any blob. Nothing if there are too many large spans; there is room for 268 million.
    pub(super) fn with_large(blob: &BlobEntry, pack: u32, large: &mut LargeSpans) -> Option<Self> {
        Self::new(blob, pack).or_else(|| {
            let number = large.number(Span::of(blob))?;
            Some(Self::with_span(blob, pack, Span::large(number)))
        })
    }

    fn with_span(blob: &BlobEntry, pack: u32, span: Span) -> Self {
        let mut row = Self([0; Self::WIDTH]);
        row.0[..ID].copy_from_slice(blob.handle.id.as_bytes());
        row.set_place(pack, span);
        row
    }

    /// The blob's id.
    pub(super) fn id(&self) -> &[u8; ID] {
        self.0.first_chunk().expect("a row is longer than an id")
    }

    /// The first eight bytes of the id, as a number that sorts as the id does.
    pub(super) fn prefix(&self) -> u64 {
        prefix(self.id())
    }

    /// The number of the pack.
    pub(super) fn pack(&self) -> u32 {
        (self.place() >> SPAN_BITS) as u32
    }

    /// What the row says.
    pub(super) fn entry(&self, blob_type: BlobType, large: &LargeSpans) -> BlobEntry {
        let Span { offset, length, uncompressed_length } = self.span(large);
        let handle = BlobHandle { blob_type, id: Id::from_bytes(*self.id()) };
        BlobEntry { handle, offset, length, uncompressed_length }
    }

    /// What the row says, with the pack's name.
    pub(super) fn location(
        &self,
        blob_type: BlobType,
        packs: &[Id],
        large: &LargeSpans,
    ) -> BlobLocation {
        let pack = packs[self.pack() as usize];
        BlobLocation { pack, entry: self.entry(blob_type, large) }
    }

    /// Gives the pack another number.
    pub(super) fn set_pack(&mut self, pack: u32) {
        self.set_place(pack, Span::unpack(self.place()));
    }

    fn span(&self, large: &LargeSpans) -> Span {
        let span = Span::unpack(self.place());
        if span.length == LARGE { large.spans[span.offset as usize] } else { span }
    }

    fn place(&self) -> u128 {
        let mut bytes = [0; 16];
        bytes[16 - PLACE..].copy_from_slice(&self.0[ID..]);
        u128::from_be_bytes(bytes)
    }

    fn set_place(&mut self, pack: u32, span: Span) {
        let place = u128::from(pack) << SPAN_BITS
            | u128::from(span.offset) << (2 * LENGTH_BITS)
            | u128::from(span.length) << LENGTH_BITS
            | u128::from(span.uncompressed_length);
        self.0[ID..].copy_from_slice(&place.to_be_bytes()[16 - PLACE..]);
    }
}

impl Ord for Row {
    /// Compares as bytes, which eight of them nearly always decide.
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix().cmp(&other.prefix()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first eight bytes of an id, as a number that sorts as the id does.
pub(super) fn prefix(id: &[u8; ID]) -> u64 {
    u64::from_be_bytes(*id.first_chunk().expect("an id is longer than eight bytes"))
}

/// Where in its pack a blob is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    offset: u32,
    length: u32,
    uncompressed_length: u32,
}

impl Span {
    fn of(blob: &BlobEntry) -> Self {
        let BlobEntry { offset, length, uncompressed_length, .. } = *blob;
        Self { offset, length, uncompressed_length }
    }

    /// The span, if it fits into a row.
    fn fitting(self) -> Option<Self> {
        let fits = self.offset <= ones(OFFSET_BITS)
            && self.length < LARGE
            && self.uncompressed_length <= ones(LENGTH_BITS);
        fits.then_some(self)
    }

    /// What stands in a row for the large span of this number.
    fn large(number: u32) -> Self {
        Self { offset: number, length: LARGE, uncompressed_length: 0 }
    }

    fn unpack(place: u128) -> Self {
        Self {
            offset: (place >> (2 * LENGTH_BITS)) as u32 & ones(OFFSET_BITS),
            length: (place >> LENGTH_BITS) as u32 & ones(LENGTH_BITS),
            uncompressed_length: place as u32 & ones(LENGTH_BITS),
        }
    }
}

/// The spans that do not fit into a row: offsets from 256 MiB on, lengths from 16 MiB on. Packs of
/// more than twice restic's largest size have them, and folders with very many files. Each is kept
/// once, so that equal rows have equal numbers.
#[derive(Default)]
pub(super) struct LargeSpans {
    spans: Vec<Span>,
    numbers: HashMap<Span, u32>,
}

impl LargeSpans {
    /// Bytes in use.
    pub(super) fn memory_usage(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
            + self.numbers.capacity() * (size_of::<(Span, u32)>() + 1) * 8 / 7
    }

    fn number(&mut self, span: Span) -> Option<u32> {
        if let Some(&number) = self.numbers.get(&span) {
            return Some(number);
        }
        let number = u32::try_from(self.spans.len()).ok().filter(|n| *n <= ones(OFFSET_BITS))?;
        self.spans.push(span);
        self.numbers.insert(span, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers around every limit of a row, and any other.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![
            Just(0),
            Just(u32::MAX),
            (0u32..32, 0u32..3).prop_map(|(bit, off)| (1 << bit) - 1 + off),
            any::<u32>(),
        ]
    }

    proptest! {
        #[test]
        fn a_row_says_what_was_put_into_it(
            id: [u8; 32], pack in 0..Row::PACKS as u32,
            offset in number(), length in number(), uncompressed_length in number(),
        ) {
            let handle = BlobHandle::tree(Id::from_bytes(id));
            let entry = BlobEntry { handle, offset, length, uncompressed_length };
            let mut large = LargeSpans::default();
            let mut row = Row::with_large(&entry, pack, &mut large).unwrap();
            prop_assert_eq!(row.pack(), pack);
            prop_assert_eq!(row.entry(BlobType::Tree, &large), entry);
            prop_assert!(Row::new(&entry, pack).is_none_or(|small| small == row));
            prop_assert_eq!(Row::with_large(&entry, pack, &mut large), Some(row));

            row.set_pack(77);
            prop_assert_eq!(row.pack(), 77);
            prop_assert_eq!(row.entry(BlobType::Tree, &large), entry);
        }
    }
}
