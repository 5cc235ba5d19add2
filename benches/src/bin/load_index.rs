//! Makes a repository with a large index, and measures how long loading it takes and how much memory.
//!
//! `load_index make FOLDER [FILES] [BLOBS IN A PACK]`, then `load_index load FOLDER`. The index is all
//! there is in the repository, whose password is `x`; `cat blob` with an id that it lacks loads it too,
//! also with restic.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use one_restic_benches::index::{Shape, id};
use one_restic_benches::usage::{cpu_seconds, mebibytes, peak};
use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::index::Index;
use restic_repo::key::Password;
use restic_repo::progress::Silent;
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::{BlobHandle, BlobType, FileType};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize, default| arguments.get(n).map_or(Ok(default), |text| text.parse());
    match arguments.first().map(String::as_str) {
        Some("make") => {
            make(&arguments[1], Shape::of_full_files(number(2, 80)?, number(3, 500)?)).await
        }
        Some("load") => load(&arguments[1]).await,
        _ => Err("make or load?".into()),
    }
}

async fn make(folder: &str, shape: Shape) -> Result<()> {
    let init = InitOptions::new(Identity::current());
    let (backend, password) = (Arc::new(Local::new(folder)), Password::new("x"));
    let repository = Repository::init(backend, &password, init, Options::default()).await?;
    for number in 0..shape.files {
        repository.save_unpacked(FileType::Index, &shape.file(number).encode()).await?;
    }
    Ok(())
}

async fn load(folder: &str) -> Result<()> {
    let (backend, password) = (Arc::new(Local::new(folder)), Password::new("x"));
    let repository =
        Repository::open(backend, &password, None, Options::default(), &Silent).await?;
    let before = peak()?;
    let begin = Begin::now();
    let index = repository.load_index(&Silent).await?;
    report("all", begin);
    eprintln!(
        "memory: {:.1} MiB said, peak {:.1} MiB, {:.1} MiB before (with what the key took)",
        mebibytes(index.memory_usage()),
        mebibytes(peak()?),
        mebibytes(before)
    );
    measure_use(&index);
    eprintln!("peak at end {:.1} MiB", mebibytes(peak()?));
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
