//! Chains with all that may be in one, made by chance.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use virtual_disk::{Chain, Error, Feature, Source, commit};

use super::qemu::{Disks, all, assert_same, collected, read};

/// What somebody does with a disk.
#[derive(Clone, Debug)]
enum Deed {
    Write { at: u64, length: u64, pattern: u8 },
    Compress { at: u64, pattern: u8 },
    Zero { at: u64, length: u64, unmap: bool },
    Discard { at: u64, length: u64 },
}

/// A file of a chain.
#[derive(Clone, Debug)]
struct File {
    /// In sectors.
    size: u64,
    options: String,
    cluster: u64,
    deeds: Vec<Deed>,
    /// Whether it is compressed once more, whole.
    packed: bool,
    /// Whether it keeps a snapshot of itself after half of the deeds.
    snapshot: bool,
    /// How much larger it gets when all is done, in sectors, and what is done then.
    grown: Option<(u64, Vec<Deed>)>,
}

/// Where something happens: anywhere, by sectors or by larger steps, so that it meets what is there.
fn place() -> impl Strategy<Value = u64> {
    (0..4096u64, select(vec![512, 4096, 65536])).prop_map(|(number, step)| number * step)
}

fn extent() -> impl Strategy<Value = u64> {
    (1..40u64, select(vec![512, 4096, 65536])).prop_map(|(number, step)| number * step)
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (place(), extent(), 1..255u8)
            .prop_map(|(at, length, pattern)| Deed::Write { at, length, pattern }),
        1 => (place(), 1..255u8).prop_map(|(at, pattern)| Deed::Compress { at, pattern }),
        2 => (place(), extent(), any::<bool>())
            .prop_map(|(at, length, unmap)| Deed::Zero { at, length, unmap }),
        1 => (place(), extent()).prop_map(|(at, length)| Deed::Discard { at, length }),
    ]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), 0..12)
}

/// Options for `qemu-img create`, and the cluster size that is among them.
fn options() -> impl Strategy<Value = (String, u64)> {
    let cluster = select(vec![512u64, 1024, 4096, 16384, 65536, 65536, 65536, 131_072, 2 << 20]);
    let counts = select(vec![1, 2, 8, 16, 16, 64]);
    (cluster, counts, 0..8u8).prop_map(|(cluster, counts, kind)| {
        let options = match kind {
            0 => "compat=0.10".to_owned(),
            1 if cluster >= 16384 => format!("extended_l2=on,refcount_bits={counts}"),
            2 => format!("compression_type=zstd,refcount_bits={counts}"),
            3 => "lazy_refcounts=on".to_owned(),
            _ => format!("refcount_bits={counts}"),
        };
        (format!("cluster_size={cluster},{options}"), cluster)
    })
}

fn file() -> impl Strategy<Value = File> {
    let size = (1..8192u64, any::<bool>()).prop_map(|(sectors, even)| match even {
        true => sectors.next_multiple_of(128),
        false => sectors,
    });
    let grown = prop::option::weighted(0.2, (1..4096u64, deeds()));
    let packed = prop::bool::weighted(0.1);
    let snapshot = prop::bool::weighted(0.15);
    (size, options(), deeds(), packed, snapshot, grown).prop_map(
        |(size, (options, cluster), deeds, packed, snapshot, grown)| {
            // It doubles the counts, and compressed clusters that share one of the file add to
            // them: QEMU makes no snapshot where 1 or 2 bits do not hold that. And not all
            // versions can grow then.
            let narrow = ["refcount_bits=1", "refcount_bits=2"];
            let narrow = narrow.iter().any(|bits| options.ends_with(bits));
            let snapshot = snapshot && !narrow && grown.is_none();
            File { size, options, cluster, deeds, packed, snapshot, grown }
        },
    )
}

/// Files of a chain, each at least as large as the one before: a disk does not shrink.
fn files() -> impl Strategy<Value = Vec<File>> {
    prop::collection::vec(file(), 1..5).prop_map(|mut files| {
        let mut size = 0;
        for (number, file) in files.iter_mut().enumerate() {
            // Most disks keep their size.
            if number > 0 && file.size % 3 != 0 {
                file.size = size;
            }
            file.size = file.size.max(size);
            size = file.size + file.grown.as_ref().map_or(0, |(more, _)| *more);
        }
        files
    })
}

/// What qemu-io is told to do in one run on a disk of so many bytes.
///
/// It compresses before all else, and each cluster once: QEMU 10.0 goes on compressing into a cluster
/// of the file after a later write gave that cluster back, finds a table there, and declares the disk
/// corrupt.
fn commands(deeds: &[Deed], size: u64, cluster: u64) -> Vec<String> {
    let fit = |at: u64, length: u64| {
        let at = at % size;
        (at, length.min(size - at))
    };
    let mut compressed = HashSet::new();
    let command = |deed: &Deed| match *deed {
        Deed::Write { at, length, pattern } => {
            let (at, length) = fit(at, length);
            Some(format!("write -P {pattern} {at} {length}"))
        }
        Deed::Compress { at, pattern } => {
            let (at, length) = fit(at % size / cluster * cluster, cluster);
            let fits = length == cluster && compressed.insert(at);
            fits.then(|| format!("write -c -P {pattern} {at} {length}"))
        }
        Deed::Zero { at, length, unmap } => {
            let (at, length) = fit(at, length);
            Some(format!("write -z {}{at} {length}", if unmap { "-u " } else { "" }))
        }
        Deed::Discard { at, length } => {
            let (at, length) = fit(at, length);
            Some(format!("discard {at} {length}"))
        }
    };
    let mut deeds: Vec<_> = deeds.iter().collect();
    deeds.sort_by_key(|deed| !matches!(deed, Deed::Compress { .. }));
    deeds.into_iter().filter_map(command).collect()
}

/// Makes the chain. Returns the names of its files.
fn make(disks: &Disks, files: &[File]) -> Vec<String> {
    let names: Vec<_> = (0..files.len()).map(|number| format!("{number}.qcow2")).collect();
    for (number, file) in files.iter().enumerate() {
        let (name, size) = (&names[number], file.size * 512);
        match number.checked_sub(1) {
            None => disks.create(name, size, &file.options),
            Some(before) => disks.create_on(&names[before], name, size, &file.options),
        }
        let (before, after) = file.deeds.split_at(file.deeds.len() / 2);
        disks.io(name, &commands(before, size, file.cluster));
        if file.snapshot {
            disks.img(["snapshot", "-c", "kept", name]);
        }
        disks.io(name, &commands(after, size, file.cluster));
        if file.packed && !file.snapshot && number == 0 {
            disks.img(["convert", "-O", "qcow2", "-c", "-o", &file.options, name, "packed"]);
            std::fs::rename(disks.path("packed"), disks.path(name)).unwrap();
        }
        if let Some((more, deeds)) = &file.grown {
            let size = size + more * 512;
            disks.img(["resize", "-q", "-f", "qcow2", name, &size.to_string()]);
            disks.io(name, &commands(deeds, size, file.cluster));
        }
    }
    names
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_reads_as_qemu_reads_it(
        files in files(),
        reads in prop::collection::vec((0..8u64 << 20, 0..300_000usize), 0..20),
    ) {
        let disks = Disks::new();
        let names = make(&disks, &files);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let last = names[names.len() - 1];
        let content = disks.content(last);

        runtime().block_on(async {
            let chain = disks.chain(&names).await;
            assert_eq!(chain.virtual_size(), content.len() as u64);
            assert_same(&all(&chain).await, &content);
            for (offset, length) in reads {
                let start = content.len().min(offset as usize);
                let end = content.len().min(start + length);
                assert_same(&chain.read_at(offset, length).await.unwrap(), &content[start..end]);
            }

            disks.stream(&chain, "streamed.qcow2").await;
            disks.assert_clean("streamed.qcow2");
            assert_same(&disks.content("streamed.qcow2"), &content);
            disks.img(["compare", "-f", "qcow2", "-F", "qcow2", last, "streamed.qcow2"]);
            let again = collected(&disks.chain(&names).await).await;
            assert_same(&read(&disks.path("streamed.qcow2")), &again);
        });
    }

    #[test]
    fn a_commit_gives_what_qemu_img_commit_gives(files in files()) {
        let disks = Disks::new();
        let names = make(&disks, &files);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let last = names[names.len() - 1];
        let content = disks.content(last);
        let snapshot = files[0].snapshot.then(|| disks.snapshot("0.qcow2", "kept"));

        runtime().block_on(async {
            let chain = disks.chain(&names).await;
            let planned = commit::plan(&chain).await;
            let sized = !files[0].options.contains("compat=0.10");
            if snapshot.is_some() && !sized && content.len() as u64 > files[0].size * 512 {
                let what = Feature::SnapshotsWithoutSize;
                assert!(matches!(planned, Err(Error::Unsupported { file: 0, what: w }) if w == what));
                return;
            }
            let plan = planned.unwrap();
            disks.apply(&plan, "0.qcow2", "committed.qcow2").await;
            disks.assert_clean("committed.qcow2");
            assert_same(&disks.content("committed.qcow2"), &content);
            if let Some(snapshot) = &snapshot {
                // QEMU reads as far as the disk goes now.
                let kept = disks.snapshot("committed.qcow2", "kept");
                assert_same(&kept[..snapshot.len()], snapshot);
            }

            // It is a file that can be read, and in any pieces.
            let committed = read(&disks.path("committed.qcow2"));
            assert_eq!(Source::len(&plan), committed.len() as u64);
            for start in (0..committed.len()).step_by(1_000_003) {
                let end = (start + 1_000_003).min(committed.len());
                let piece = plan.read_at(start as u64, 1_000_003).await.unwrap();
                assert_same(&piece, &committed[start..end]);
            }
            let again = Chain::open(vec![Arc::new(plan)]).await.unwrap();
            assert_same(&all(&again).await, &content);
        });

        if names.len() > 1 && snapshot.is_none() {
            disks.img(["commit", "-q", "-f", "qcow2", "-b", "0.qcow2", last]);
            assert_same(&disks.content("0.qcow2"), &content);
        }
    }
}
