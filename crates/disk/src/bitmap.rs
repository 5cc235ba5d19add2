//! A set of numbers that says of each member how many are before it.

use std::collections::BTreeMap;

/// A set of numbers, which take about two bits each where they are dense. Empty stretches take nothing.
#[derive(Default)]
pub(crate) struct Bitmap {
    blocks: BTreeMap<u64, Block>,
}

/// How many words a block has. A block of clusters of 64 KiB stands for 512 MiB.
const WORDS: usize = 128;
const BLOCK: u64 = WORDS as u64 * 64;

struct Block {
    /// How many members are in the blocks before; only right once the set is complete.
    before: u64,
    words: [u64; WORDS],
}

impl Bitmap {
    /// Adds a number. Returns whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        let block = self.blocks.entry(number / BLOCK);
        let block = block.or_insert(Block { before: 0, words: [0; WORDS] });
        let (word, bit) = place(number);
        let new = block.words[word] & bit == 0;
        block.words[word] |= bit;
        new
    }

    /// Whether a number is a member.
    pub fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.blocks.get(&(number / BLOCK)).is_some_and(|block| block.words[word] & bit != 0)
    }

    /// To be called when the last number is in. Returns how many there are.
    pub fn complete(&mut self) -> u64 {
        let mut before = 0;
        for block in self.blocks.values_mut() {
            block.before = before;
            before += block.words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        before
    }

    /// How many members are smaller than this number, which is one. The set is complete.
    pub fn rank(&self, number: u64) -> u64 {
        let Some(block) = self.blocks.get(&(number / BLOCK)) else { return 0 };
        let (word, bit) = place(number);
        let words: u64 = block.words[..word].iter().map(|word| u64::from(word.count_ones())).sum();
        block.before + words + u64::from((block.words[word] & (bit - 1)).count_ones())
    }

    /// The members from this number on, in order.
    pub fn iter_from(&self, start: u64) -> impl Iterator<Item = u64> {
        let blocks = self.blocks.range(start / BLOCK..);
        let words = blocks.flat_map(|(number, block)| {
            let first = number * BLOCK;
            (first..).step_by(64).zip(block.words)
        });
        words.flat_map(|(first, word)| Bits { first, word }).skip_while(move |bit| *bit < start)
    }
}

/// Which word of its block a number is in, and which bit.
fn place(number: u64) -> (usize, u64) {
    ((number % BLOCK / 64) as usize, 1 << (number % 64))
}

struct Bits {
    first: u64,
    word: u64,
}

impl Iterator for Bits {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let bit = self.word.trailing_zeros();
        self.word &= self.word.checked_sub(1)?;
        Some(self.first + u64::from(bit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_that_counts(numbers in prop::collection::vec(0u64..40_000, 0..200), from in 0u64..50_000) {
            let (mut bitmap, mut set) = (Bitmap::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(bitmap.insert(number), set.insert(number));
            }
            prop_assert_eq!(bitmap.complete(), set.len() as u64);
            for (rank, number) in set.iter().enumerate() {
                prop_assert_eq!(bitmap.rank(*number), rank as u64);
            }
            for number in 0..50_000 {
                prop_assert_eq!(bitmap.contains(number), set.contains(&number));
            }
            let behind: Vec<_> = set.range(from..).copied().collect();
            prop_assert_eq!(bitmap.iter_from(from).collect::<Vec<_>>(), behind);
        }
    }
}
