use std::path::PathBuf;

use super::*;
use crate::backend::fault::{Fault, Operation};
use crate::backend::mem::Mem;
use crate::backend::suite::Subject;
use crate::progress::Silent;
use crate::repository::Repository;
use crate::workshop::{Workshop, data, file, folder, noise, tree};

async fn subject() -> Subject {
    let place = tempfile::tempdir().unwrap();
    let folder = Base::new(place.path()).folder(Id::of(b"repository")).unwrap();
    Subject::new(Arc::new(Cached::new(Arc::new(Mem::new()), folder))).keeping(place)
}

crate::backend_suite!(subject);

/// A repository whose storage is watched, and a place for copies.
struct Scene {
    shop: Workshop,
    storage: Arc<Fault<Mem>>,
    place: tempfile::TempDir,
    snapshot: Id,
    tree: Id,
    data: Id,
}

impl Scene {
    async fn new() -> Self {
        let shop = Workshop::new().await;
        let piece = data(noise(1, 100_000));
        let below = tree(vec![file("a", &[&piece])]);
        let nodes = vec![folder("d", &below)];
        let (tree, data) = (below.handle.id, piece.handle.id);
        shop.index([shop.pack([piece]), shop.pack([below])]).await;
        let snapshot = shop.snapshot_of(nodes).await;
        let storage = Arc::new(Fault::new(shop.mem.clone()));
        Self { shop, storage, place: tempfile::tempdir().unwrap(), snapshot, tree, data }
    }

    /// The repository as another run of the program sees it.
    fn open(&self) -> Repository {
        let base = Base::new(self.place.path());
        let folder = base.folder(self.shop.repository.config().id).unwrap();
        let storage = Arc::clone(&self.storage) as _;
        self.shop.repository.with_backend(storage).with_cache(folder)
    }

    /// Reads the metadata, and a file. Returns how many files of each type were asked for.
    async fn read(&self) -> [usize; 3] {
        self.storage.reset();
        let repository = self.open();
        repository.load_snapshot(self.snapshot).await.unwrap();
        let index = repository.load_index(&Silent).await.unwrap();
        let tree = repository.load_tree(&index, self.tree).await.unwrap();
        assert_eq!(tree.nodes().len(), 1);
        let blob = crate::BlobHandle::data(self.data);
        assert_eq!(repository.load_blob(&index, blob).await.unwrap(), noise(1, 100_000));
        [FileType::Snapshot, FileType::Index, FileType::Pack]
            .map(|file_type| self.storage.count(Operation::Load, Some(file_type)))
    }

    fn copies(&self, file_type: FileType) -> Vec<PathBuf> {
        let id = self.shop.repository.config().id.to_hex();
        let folder = self.place.path().join(id).join(file_type.folder());
        let entries =
            |path: PathBuf| std::fs::read_dir(path).unwrap().map(|each| each.unwrap().path());
        entries(folder).flat_map(entries).collect()
    }
}

#[tokio::test]
async fn metadata_is_loaded_once_and_data_every_time() {
    let scene = Scene::new().await;
    // A tree pack whole, and the data.
    assert_eq!(scene.read().await, [1, 2, 2]);
    assert_eq!(scene.read().await, [0, 0, 1]);
    assert_eq!(scene.copies(FileType::Snapshot).len(), 1);
    assert_eq!(scene.copies(FileType::Index).len(), 2);
    assert_eq!(scene.copies(FileType::Pack).len(), 1);
    for copy in scene.copies(FileType::Pack) {
        let content = std::fs::read(&copy).unwrap();
        assert_eq!(copy.file_name().unwrap().to_str(), Some(&*Id::of(&content).to_hex()));
    }
}

#[tokio::test]
async fn a_damaged_copy_is_loaded_anew() {
    let scene = Scene::new().await;
    scene.read().await;
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[10] ^= 1,
        |bytes| bytes.truncate(20),
        Vec::clear,
        |bytes| bytes.extend(b"more"),
    ];
    for damage in damages {
        for file_type in [FileType::Snapshot, FileType::Index, FileType::Pack] {
            for copy in scene.copies(file_type) {
                let mut content = std::fs::read(&copy).unwrap();
                damage(&mut content);
                std::fs::write(copy, content).unwrap();
            }
        }
        assert_eq!(scene.read().await, [1, 2, 2]);
        assert_eq!(scene.read().await, [0, 0, 1]);
    }
}

#[tokio::test]
async fn what_the_repository_lacks_is_removed_and_what_others_write_is_not() {
    let scene = Scene::new().await;
    scene.read().await;
    let repository = scene.open();
    let index = repository.load_index(&Silent).await.unwrap();
    drop(index);
    let all = |scene: &Scene| {
        [FileType::Snapshot, FileType::Index, FileType::Pack].map(|each| scene.copies(each).len())
    };
    // Somebody else removes a snapshot, and somebody is just storing a copy.
    let snapshot = scene.copies(FileType::Snapshot).pop().unwrap();
    std::fs::write(snapshot.with_file_name("tmp-123"), "half").unwrap();
    scene.shop.repository.remove(FileType::Snapshot, scene.snapshot).await.unwrap();
    repository.list(FileType::Snapshot).await.unwrap();
    assert!(!snapshot.exists() && snapshot.with_file_name("tmp-123").exists());
    // A pack of trees that no index names any more.
    for file in repository.list(FileType::Index).await.unwrap() {
        repository.remove(FileType::Index, file.id).await.unwrap();
    }
    assert_eq!(all(&scene), [1, 0, 1]);
    repository.load_index(&Silent).await.unwrap();
    assert_eq!(all(&scene), [1, 0, 0]);
}

#[tokio::test]
async fn what_is_saved_need_not_be_loaded() {
    let scene = Scene::new().await;
    let repository = scene.open();
    let index = Arc::new(repository.load_index(&Silent).await.unwrap());
    let pieces = [tree(vec![file("new", &[])]), data("new")];
    let packer = Arc::new(crate::packer::Packer::new(&repository, index, false));
    let handles: Vec<_> = pieces.iter().map(|piece| piece.handle).collect();
    let saver = Arc::clone(&packer);
    let mut encoder = repository.encoder().unwrap();
    spawn_blocking(move || {
        for piece in pieces {
            saver.save(&mut encoder, piece.handle, &piece.plaintext, &mut Vec::new()).unwrap();
        }
    })
    .await
    .unwrap();
    Arc::into_inner(packer).unwrap().finish().await.unwrap();
    assert_eq!(scene.copies(FileType::Pack).len(), 1);
    let repository = scene.open();
    let index = repository.load_index(&Silent).await.unwrap();
    scene.storage.reset();
    for handle in handles {
        repository.load_blob(&index, handle).await.unwrap();
    }
    assert_eq!(scene.storage.count(Operation::Load, None), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_does_no_harm() {
    let scene = Scene::new().await;
    let repository = scene.open();
    let id = scene.shop.repository.config().id.to_hex();
    std::fs::remove_dir_all(scene.place.path().join(&id)).unwrap();
    std::fs::write(scene.place.path().join(id), "no folder").unwrap();
    let index = repository.load_index(&Silent).await.unwrap();
    repository.load_tree(&index, scene.tree).await.unwrap();
    repository.load_snapshot(scene.snapshot).await.unwrap();
    repository.save_unpacked(FileType::Snapshot, b"{}").await.unwrap();
}

#[tokio::test]
async fn a_pack_that_is_damaged_in_the_repository_is_not_kept() {
    let scene = Scene::new().await;
    let index = scene.shop.repository.load_index(&Silent).await.unwrap();
    let pack = index.lookup(&crate::BlobHandle::tree(scene.tree)).next().unwrap().pack;
    // Behind the blob: the tree itself is sound.
    scene.shop.alter_pack(pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let repository = scene.open();
    let index = repository.load_index(&Silent).await.unwrap();
    repository.load_tree(&index, scene.tree).await.unwrap();
    assert_eq!(scene.copies(FileType::Pack).len(), 0);
}
