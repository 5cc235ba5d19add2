//! Makes the files of a large index, and measures how long loading takes and how much memory.
//!
//! `load_index make FOLDER [FILES] [BLOBS IN A PACK]`, then `load_index load FOLDER [THREADS]`.
//! Loading reads, hashes, decompresses and parses the files, as a repository does; only decryption is
//! missing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, fs, io, thread};

use one_restic_benches::index::{Shape, id};
use restic_repo::index::{Builder, Index};
use restic_repo::{BlobHandle, BlobType, Id};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize, default| arguments.get(n).map_or(Ok(default), |text| text.parse());
    match arguments.first().map(String::as_str) {
        Some("make") => {
            make(Path::new(&arguments[1]), Shape::of_full_files(number(2, 80)?, number(3, 500)?))
        }
        Some("load") => load(Path::new(&arguments[1]), number(2, 2)? as usize),
        _ => Err("make or load?".into()),
    }
}

fn make(folder: &Path, shape: Shape) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..shape.files {
        let plaintext = shape.file(number).encode();
        // As restic does it: the default level, and a window of 512 KiB.
        let mut encoder = zstd::Encoder::new(Vec::new(), 3)?;
        encoder.window_log(19)?;
        io::copy(&mut plaintext.as_slice(), &mut encoder)?;
        let stored = encoder.finish()?;
        fs::write(folder.join(Id::of(&stored).to_hex()), stored)?;
    }
    Ok(())
}

fn load(folder: &Path, threads: usize) -> Result<()> {
    let files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let before = peak()?;
    let begin = Begin::now();
    let builder = Builder::new(2);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        add(&builder, path)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    report("files", begin);
    let loaded_peak = peak()?;
    let sorting = Begin::now();
    let index = builder.finish();
    report("finish", sorting);
    report("all", begin);
    eprintln!(
        "memory: {:.1} MiB said, peak {:.1} MiB before finish, {:.1} MiB after, {:.1} MiB at start",
        mebibytes(index.memory_usage()),
        mebibytes(loaded_peak),
        mebibytes(peak()?),
        mebibytes(before)
    );
    measure_use(&index);
    eprintln!("peak at end {:.1} MiB", mebibytes(peak()?));
    Ok(())
}

fn add(builder: &Builder, path: &Path) -> Result<()> {
    let stored = fs::read(path)?;
    let id = Id::of(&stored);
    builder.add_stream(id, || zstd::Decoder::with_buffer(stored.as_slice()))?;
    Ok(())
}

fn measure_use(index: &Index) {
    let count = index.loaded_count(BlobType::Data) + index.loaded_count(BlobType::Tree);
    let begin = Begin::now();
    let missing =
        (0..1 << 20).filter(|&n| index.contains(&BlobHandle::data(id(u64::MAX / 4 - n)))).count();
    report(&format!("2^20 lookups that miss ({missing} found)"), begin);
    let begin = Begin::now();
    let sizes: u64 = index.pack_sizes().map(|pack| pack.size).sum();
    report(&format!("pack sizes ({sizes} bytes, {count} blobs)"), begin);
    let begin = Begin::now();
    let blobs: usize = index.packs().iter().map(|pack| pack.blobs.len()).sum();
    report(&format!("all packs ({blobs} blobs)"), begin);
}

fn report(what: &str, begin: Begin) {
    let (wall, cpu) = (begin.wall.elapsed().as_secs_f64(), cpu_seconds() - begin.cpu);
    eprintln!("{what}: {wall:.3} s, {cpu:.2} s of all cores");
}

#[derive(Clone, Copy)]
struct Begin {
    wall: Instant,
    cpu: f64,
}

impl Begin {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }
}

/// What this process has used up, to a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory this process has had, in bytes.
fn peak() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
