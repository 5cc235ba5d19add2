//! Makes a repository with very many blobs, to measure what `prune` and `check` make of it.
//!
//! `vast make FOLDER [MILLIONS OF BLOBS] [BLOBS IN A PACK]`. Its password is `x`. One snapshot needs every
//! other pack of data, as a whole. These packs are hollow: files of the right size without content, so
//! `prune` with `--repack-cacheable-only` can remove half of them, but nothing can be read from them.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use one_restic_benches::index::Shape;
use restic_repo::backend::local::Local;
use restic_repo::identity::Identity;
use restic_repo::index::{Index, IndexFile};
use restic_repo::key::Password;
use restic_repo::node::{Node, NodeType};
use restic_repo::packer::Packer;
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::snapshot::Snapshot;
use restic_repo::time::Timestamp;
use restic_repo::tree::Tree;
use restic_repo::{BlobHandle, BlobType, FileType, Id};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How many blobs a file has; each is the only one in a folder of its own.
const BLOBS_A_FILE: usize = 5000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default| arguments.get(n).map_or(Ok(default), |text| text.parse());
    match arguments.first().map(String::as_str) {
        Some("make") => make(Path::new(&arguments[1]), number(2, 10)?, number(3, 16)?).await,
        _ => Err("make?".into()),
    }
}

async fn make(folder: &Path, millions: u32, blobs_a_pack: u32) -> Result<()> {
    let shape = Shape::of_full_files(millions * 20, blobs_a_pack);
    let init = InitOptions::new(Identity::current());
    let (backend, password) = (Arc::new(Local::new(folder)), Password::new("x"));
    let repository = Repository::init(backend, &password, init, Options::default()).await?;
    let mut needed: Vec<Id> = Vec::new();
    for number in 0..shape.files {
        let file: IndexFile = shape.file(number);
        for (position, pack) in file.packs.iter().enumerate() {
            let name = pack.pack.to_hex();
            let hollow = File::create(folder.join("data").join(&name[..2]).join(&name))?;
            hollow.set_len(pack.file_size())?;
            let is_data = pack.blobs.iter().all(|blob| blob.handle.blob_type == BlobType::Data);
            if is_data && position % 2 == 0 {
                needed.extend(pack.blobs.iter().map(|blob| blob.handle.id));
            }
        }
        repository.save_unpacked(FileType::Index, &file.encode()).await?;
    }
    let packer = Packer::new(&repository, Arc::new(Index::default()), false);
    let stored = tokio::task::spawn_blocking({
        let repository = repository.clone();
        move || Result::Ok((store_trees(&repository, &packer, &needed)?, packer))
    });
    let (root, packer) = stored.await??;
    packer.finish().await?;
    let snapshot = Snapshot::new(Timestamp::now(), root, vec!["/vast".to_owned()]);
    repository.save_snapshot(&snapshot).await?;
    eprintln!("{} packs", fs::read_dir(folder.join("data"))?.count());
    Ok(())
}

fn store_trees(repository: &Repository, packer: &Packer, needed: &[Id]) -> Result<Id> {
    let mut encoder = repository.encoder()?;
    let mut scratch = Vec::new();
    let mut store = |nodes: Vec<Node>| -> Result<Id> {
        let json = Tree::from_nodes(nodes)?.encode();
        let id = Id::of(&json);
        packer.save(&mut encoder, BlobHandle::tree(id), &json, &mut scratch)?;
        Ok(id)
    };
    let mut folders = Vec::new();
    for (number, blobs) in needed.chunks(BLOBS_A_FILE).enumerate() {
        let mut file = Node::new("file", NodeType::File);
        file.content = Some(blobs.to_vec());
        let mut folder = Node::new(format!("{number:06}").as_str(), NodeType::Dir);
        folder.subtree = Some(store(vec![file])?);
        folders.push(folder);
    }
    store(folders)
}
