use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;

use super::super::oracle::{Oracle, POLYNOMIAL, Vectors, counter};
use super::super::{ReadSource, ZERO_CHUNK_ID};
use super::*;
use crate::id::Id;

static CHUNKER: LazyLock<Arc<Chunker>> =
    LazyLock::new(|| Arc::new(Chunker::new(POLYNOMIAL).unwrap()));

/// Offset, length and id of all chunks.
type Chunks = Vec<(u64, u64, Id)>;

fn chunks(chunk: &Chunk<'_>, mut offset: u64) -> Chunks {
    let (id, size, count) = match chunk {
        Chunk::Data(bytes) => (Id::of(bytes), bytes.len() as u64, 1),
        Chunk::Zeros(count) => (ZERO_CHUNK_ID, MIN_SIZE as u64, *count),
    };
    let mut chunks = Chunks::new();
    for _ in 0..count {
        chunks.push((offset, size, id));
        offset += size;
    }
    chunks
}

fn cut(source: impl Source, chunker: &Arc<Chunker>) -> Chunks {
    let mut cutter = Cutter::new(source, chunker.clone());
    let (mut buffer, mut all) = (Vec::new(), Chunks::new());
    loop {
        let offset = cutter.position();
        let Some(chunk) = cutter.next(&mut buffer).unwrap() else { return all };
        all.extend(chunks(&chunk, offset));
        assert_eq!(cutter.position(), offset + chunk.size());
    }
}

fn expected(data: &[u8]) -> Chunks {
    let mut offset = 0;
    let mut all = Chunks::new();
    for length in Oracle::new(POLYNOMIAL).lengths(data) {
        all.push((offset as u64, length as u64, Id::of(&data[offset..offset + length])));
        offset += length;
    }
    all
}

/// Bytes that arrive in reads of given sizes, round and round, with an interruption here and there.
struct Trickle<'a> {
    bytes: &'a [u8],
    sizes: &'a [usize],
    reads: usize,
}

impl<'a> Trickle<'a> {
    fn new(bytes: &'a [u8], sizes: &'a [usize]) -> Self {
        Self { bytes, sizes, reads: 0 }
    }
}

impl Source for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads % 100 == 99 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = self.sizes[self.reads % self.sizes.len()];
        let size = size.min(buffer.len()).min(self.bytes.len());
        buffer[..size].copy_from_slice(&self.bytes[..size]);
        self.bytes = &self.bytes[size..];
        Ok(size)
    }
}

/// A stretch of a sparse file.
#[derive(Clone, Debug)]
enum Stretch {
    Data(Vec<u8>),
    Hole(u64),
}

/// A sparse file that counts what is read of it.
struct Sparse {
    stretches: Vec<Stretch>,
    read: u64,
}

impl Sparse {
    fn new(mut stretches: Vec<Stretch>) -> Self {
        stretches.reverse();
        Self { stretches, read: 0 }
    }
}

impl Source for &mut Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stretch) = self.stretches.pop() else { return Ok(0) };
        let count = match stretch {
            Stretch::Data(mut bytes) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.stretches.push(Stretch::Data(bytes.split_off(count)));
                }
                count
            }
            Stretch::Hole(size) => {
                let count = size.min(buffer.len() as u64) as usize;
                buffer[..count].fill(0);
                if (count as u64) < size {
                    self.stretches.push(Stretch::Hole(size - count as u64));
                }
                count
            }
        };
        self.read += count as u64;
        Ok(count)
    }

    fn zeros(&mut self) -> io::Result<u64> {
        match self.stretches.last() {
            Some(Stretch::Hole(size)) => Ok(*size),
            _ => Ok(0),
        }
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let Some(Stretch::Hole(size)) = self.stretches.pop() else { panic!("not in a hole") };
        let rest = size.checked_sub(count).expect("skipped beyond the hole");
        if rest > 0 {
            self.stretches.push(Stretch::Hole(rest));
        }
        Ok(())
    }
}

#[test]
fn cuts_as_restic_did_however_the_bytes_arrive() {
    let vectors = Vectors::load();
    for name in vectors.streams.keys() {
        let bytes = vectors.stream(name);
        for (polynomial, cuts) in &vectors.chunks {
            let chunker = Arc::new(Chunker::new(*polynomial).unwrap());
            let expected = &cuts.files[name];
            let read = ReadSource(bytes.as_slice());
            assert_eq!(cut(read, &chunker), *expected, "{name}, {polynomial}");
            let trickle = Trickle::new(&bytes, &[1, 4099, usize::MAX, 70_000, 2, STEP + 1]);
            assert_eq!(cut(trickle, &chunker), *expected, "{name}, {polynomial}");
        }
    }
}

#[test]
fn cuts_the_same_when_single_bytes_arrive() {
    let vectors = Vectors::load();
    for name in ["mixed", "min-1", "min", "min+1", "max+1"] {
        let bytes = vectors.stream(name);
        let trickle = Trickle::new(&bytes, &[1]);
        let expected = &vectors.chunks[&POLYNOMIAL].files[name];
        assert_eq!(cut(trickle, &CHUNKER), *expected, "{name}");
    }
}

#[test]
fn nothing_has_no_chunks() {
    let mut cutter = Cutter::new(ReadSource(io::empty()), CHUNKER.clone());
    for _ in 0..2 {
        assert_eq!(cutter.next(&mut Vec::new()).unwrap(), None);
    }
    assert_eq!(cutter.position(), 0);
}

#[test]
fn a_tail_of_zeros_is_data() {
    let zeros = vec![0; 2 * MIN_SIZE + 1];
    let mut cutter = Cutter::new(ReadSource(zeros.as_slice()), CHUNKER.clone());
    let mut buffer = Vec::new();
    assert_eq!(cutter.next(&mut buffer).unwrap(), Some(Chunk::Zeros(1)));
    assert_eq!(cutter.next(&mut buffer).unwrap(), Some(Chunk::Zeros(1)));
    assert_eq!(cutter.next(&mut buffer).unwrap(), Some(Chunk::Data(&[0])));
    assert_eq!(cutter.next(&mut buffer).unwrap(), None);
}

#[test]
fn a_hole_is_not_read() {
    let hole = 1 << 50;
    let mut sparse = Sparse::new(vec![
        Stretch::Data(counter("before", 700_001)),
        Stretch::Hole(hole),
        Stretch::Data(counter("after", 700_001)),
        Stretch::Hole(hole),
    ]);
    let mut cutter = Cutter::new(&mut sparse, CHUNKER.clone());
    let (mut buffer, mut zeros) = (Vec::new(), 0);
    while let Some(chunk) = cutter.next(&mut buffer).unwrap() {
        if let Chunk::Zeros(count) = chunk {
            zeros += count;
        }
    }
    assert_eq!(cutter.position(), 2 * (hole + 700_001));
    // Around each piece of data, at most one chunk begins and one ends in a hole.
    let most = 2 * hole / MIN_SIZE as u64;
    assert!(zeros >= most - 4, "{zeros} of {most}");
    let read = sparse.read;
    assert!(read < 2 * 700_001 + 4 * MIN_SIZE as u64, "{read}");
}

#[test]
fn zeros_already_read_and_the_hole_behind_them_are_one_run() {
    // A cut soon after the data; the rest of that read, all zeros, lies before the hole's end.
    let data = vec![1; 3 * STEP + MIN_SIZE];
    let mut sparse = Sparse::new(vec![Stretch::Data(data), Stretch::Hole(64 << 20)]);
    let mut cutter = Cutter::new(&mut sparse, CHUNKER.clone());
    let mut buffer = Vec::new();
    let Some(Chunk::Data(_)) = cutter.next(&mut buffer).unwrap() else { panic!() };
    let Some(Chunk::Zeros(count)) = cutter.next(&mut buffer).unwrap() else { panic!() };
    assert_eq!(count, (64 << 20) / MIN_SIZE as u64 - 1);
}

#[test]
fn data_already_read_is_not_lost_to_the_hole_behind_it() {
    // restic's first cut in this stream is at 701,433; what follows was read with it.
    let data = counter("chunker-vector", 701_433 + 1_000);
    let dense = [data.as_slice(), &vec![0; 2 << 20]].concat();
    let mut sparse = Sparse::new(vec![Stretch::Data(data), Stretch::Hole(2 << 20)]);
    let found = cut(&mut sparse, &CHUNKER);
    assert_eq!(found[0].1, 701_433);
    assert_eq!(found, expected(&dense));
}

#[test]
fn cuts_on_the_edges_of_reads_are_found() {
    let asks_for_a_cut = &counter("chunker-vector", 701_433)[701_433 - 64..];
    for end in [
        MIN_SIZE,
        MIN_SIZE + 1,
        MIN_SIZE + STEP,
        MIN_SIZE + STEP + 1,
        MAX_SIZE - STEP,
        MAX_SIZE - STEP + 1,
        MAX_SIZE - 1,
        MAX_SIZE,
    ] {
        let mut bytes = vec![1; MAX_SIZE + 100];
        bytes[end - 64..end].copy_from_slice(asks_for_a_cut);
        let found = cut(ReadSource(bytes.as_slice()), &CHUNKER);
        assert_eq!(found[0].1, end as u64);
        assert_eq!(found, expected(&bytes));
    }
}

#[test]
fn threads_take_turns() {
    let bytes = counter("threads", 12 << 20);
    let cutter = Mutex::new(Cutter::new(ReadSource(bytes.as_slice()), CHUNKER.clone()));
    let all = Mutex::new(Chunks::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let mut cutter = cutter.lock().unwrap();
                    let offset = cutter.position();
                    let next = cutter.next(&mut buffer).unwrap();
                    drop(cutter);
                    let Some(chunk) = next else { break };
                    all.lock().unwrap().extend(chunks(&chunk, offset));
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort_unstable();
    assert_eq!(all, expected(&bytes));
}

#[test]
fn a_failure_is_never_taken_for_the_end() {
    struct Failing;
    impl Source for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let mut cutter = Cutter::new(Failing, CHUNKER.clone());
    for _ in 0..3 {
        let error = cutter.next(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn a_source_that_overstates_is_an_error() {
    struct Overstating;
    impl Source for Overstating {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(buffer.len() + 1)
        }
    }
    assert!(Cutter::new(Overstating, CHUNKER.clone()).next(&mut Vec::new()).is_err());

    struct Endless;
    impl Source for Endless {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn zeros(&mut self) -> io::Result<u64> {
            Ok(u64::MAX)
        }
        fn skip(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let mut cutter = Cutter::new(Endless, CHUNKER.clone());
    let mut buffer = Vec::new();
    for _ in 0..2 {
        let next = cutter.next(&mut buffer).unwrap();
        assert_eq!(next, Some(Chunk::Zeros(u64::MAX / MIN_SIZE as u64)));
    }
    assert_eq!(cutter.position(), u64::MAX);
}

/// Lengths that fall on, and just beside, what matters.
fn length() -> impl Strategy<Value = usize> {
    let near = |size: usize| size.saturating_sub(70)..size + 70;
    prop_oneof![
        0..1_500_000usize,
        near(0),
        near(STEP),
        near(MIN_SIZE),
        near(MIN_SIZE + STEP),
        near(2 * MIN_SIZE),
        Just(MIN_SIZE),
        Just(4096),
    ]
}

fn stretch() -> impl Strategy<Value = Stretch> {
    prop_oneof![
        3 => length().prop_map(|size| Stretch::Hole(size as u64)),
        2 => (any::<u32>(), length())
            .prop_map(|(seed, size)| Stretch::Data(counter(&seed.to_string(), size))),
        1 => length().prop_map(|size| Stretch::Data(vec![0; size])),
        1 => length().prop_map(|size| Stretch::Data(vec![9; size])),
    ]
    // A read of nothing is the end.
    .prop_filter("empty", |stretch| match stretch {
        Stretch::Data(bytes) => !bytes.is_empty(),
        Stretch::Hole(size) => *size > 0,
    })
}

fn dense(stretches: &[Stretch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for stretch in stretches {
        match stretch {
            Stretch::Data(data) => bytes.extend_from_slice(data),
            Stretch::Hole(size) => bytes.resize(bytes.len() + *size as usize, 0),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn holes_are_cut_as_zeros_are(stretches in prop::collection::vec(stretch(), 0..8)) {
        let dense = dense(&stretches);
        prop_assert_eq!(cut(&mut Sparse::new(stretches), &CHUNKER), expected(&dense));
    }

    #[test]
    fn a_sparse_file_is_cut_as_its_bytes_are(
        stretches in prop::collection::vec(stretch(), 0..8),
    ) {
        use std::os::unix::fs::FileExt;

        let dense = dense(&stretches);
        let file = tempfile::tempfile().unwrap();
        file.set_len(dense.len() as u64).unwrap();
        let mut offset = 0;
        for stretch in &stretches {
            match stretch {
                Stretch::Data(data) => {
                    file.write_all_at(data, offset).unwrap();
                    offset += data.len() as u64;
                }
                Stretch::Hole(size) => offset += size,
            }
        }
        let source = super::super::FileSource::new(file);
        prop_assert_eq!(cut(source, &CHUNKER), expected(&dense));
    }
}
