//! One small repository in thirty states: whole, damaged, locked, littered.
//!
//! It has three snapshots of `/srv/golden/dsrc`, each with two files more than the one before. The oldest
//! holds `f0`, the newest also `f2`; each file is one blob. Every snapshot brought its own data pack,
//! tree pack and index file.

use crate::golden::unpack;
use crate::scratch::{Repo, Scratch};

/// The oldest snapshot, with the file [`F0`].
pub const OLDEST: &str = "ebe0a1c68aa2fa8d637f875314c6e13acfca43f8024751d11f5f1523ee49ae06";
/// The newest snapshot, with the files [`F0`] and [`F2`].
pub const NEWEST: &str = "ef387c3f";
/// A file in all snapshots; most damage is done to it.
pub const F0: &str = "/srv/golden/dsrc/f0";
/// A file in the newest snapshot alone.
pub const F2: &str = "/srv/golden/dsrc/f2";
/// The length of both files.
pub const FILE_LENGTH: usize = 20001;
/// The blob that is `f0`: the SHA-256 of the file.
pub const F0_BLOB: &str = "b5f2d4bbaa454ba6bcbffcc3a144029483bda8dda14d8cc02e8798eb2e2c0420";
/// The blob that is `f2`: the SHA-256 of the file.
pub const F2_BLOB: &str = "84dcb963008a65119480f36bd1359b72d7ccc58a09c303e96423b4bf2947d009";
/// The pack that holds the blob of `f0`.
pub const F0_PACK: &str = "5aa3585ae13d4bf5da80707362bd2f7b0af5c9d7ec85adfa24b24a154f09c903";
/// The pack that holds the blob of `f2`.
pub const F2_PACK: &str = "c4ba2864add9ca328255cc131ab8415b43c1b970f972dbf37d43106b699636c5";
/// The pack that holds the trees of the oldest snapshot.
pub const OLDEST_TREE_PACK: &str =
    "0fa6df6c0296a817f0661019757856509fe42c73f347ede930baf1c6fbc9b176";
/// The index file that lists [`F0_PACK`] and [`OLDEST_TREE_PACK`].
pub const OLDEST_INDEX: &str = "6a4a8523284c4316279333d6d1bd91876353f4227599ddfdcdf189ce291017fb";

/// A state of the repository, what it means, and what restic made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The folder's name in the archive.
    pub name: &'static str,
    /// What was done to it.
    pub what: &'static str,
    /// What keeps everybody out, if something does.
    pub door: Door,
    /// How many of the three snapshots can be loaded once the repository is open.
    pub snapshots: usize,
    /// The file `f0` by way of the oldest snapshot.
    pub f0: Content,
    /// The file `f2` by way of the newest snapshot, named by its id.
    pub f2: Content,
    /// The exit codes of restic 0.18.0, in the order of [`COMMANDS`].
    pub restic_0_18: [u8; 8],
    /// The exit codes of restic 0.19.1 for the first five [`COMMANDS`].
    pub restic_0_19: [u8; 5],
}

/// What was run on a fresh copy of each variant, always with `--no-cache`.
/// `latest` is not an id: restic gives up on it once a snapshot cannot be loaded.
pub const COMMANDS: [&[&str]; 8] = [
    &["check"],
    &["check", "--read-data"],
    &["snapshots", "-c"],
    &["dump", OLDEST, F0],
    &["dump", "latest", F2],
    &["ls", "latest"],
    &["prune", "--dry-run"],
    // Of a folder with the content of the newest snapshot.
    &["backup", "--dry-run", "/srv/golden/dsrc"],
];

/// What keeps everybody out of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nothing.
    Open,
    /// Somebody's exclusive lock. Whoever goes in without a lock finds all whole.
    Locked,
    /// No key that the password fits.
    WrongPassword,
    /// There is no config file.
    NoRepository,
    /// The config or the only key is damaged.
    Damaged,
}

/// Whether a file can still be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It must come back, byte for byte.
    Whole,
    /// It cannot come back: whoever asks for it gets an error, never other bytes.
    Lost,
    /// Its bytes are there, but what leads to them is not as it was written: a snapshot under another
    /// name, an index file that is gone or cannot be read. All bytes or an error, never other bytes.
    Astray,
}

impl Variant {
    /// The variant of this name. Panics if there is none.
    pub fn named(name: &str) -> &'static Self {
        VARIANTS
            .iter()
            .find(|variant| variant.name == name)
            .unwrap_or_else(|| panic!("there is no damaged repository {name}"))
    }

    /// Unpacks it into the scratch folder.
    pub fn unpack(&self, scratch: &Scratch) -> Repo {
        unpack("damaged.tar.zst", scratch.path(), |name| name == self.name);
        scratch.repo(self.name)
    }

    /// Whether the structure is sound: what `check` says.
    pub const fn passes_check(&self) -> bool {
        self.restic_0_18[0] == 0
    }

    /// Whether all that is stored is sound: what `check --read-data` says.
    pub const fn passes_check_of_data(&self) -> bool {
        self.restic_0_18[1] == 0
    }

    /// Whether one may prune; if not, pruning has to refuse.
    pub const fn may_prune(&self) -> bool {
        self.restic_0_18[6] == 0
    }
}

macro_rules! variants {
    ($($name:literal, $door:ident, $snapshots:literal, $f0:ident, $f2:ident,
        $r18:expr, $r19:expr, $what:literal;)*) => {
        /// All of them; the undamaged `base` comes first.
        pub const VARIANTS: &[Variant] = &[$(Variant {
            name: $name,
            what: $what,
            door: Door::$door,
            snapshots: $snapshots,
            f0: Content::$f0,
            f2: Content::$f2,
            restic_0_18: $r18,
            restic_0_19: $r19,
        }),*];
    };
}

variants! {
    "base", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "undamaged";

    "trunc-data-pack", Open, 3, Whole, Whole, [1, 1, 0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0],
        "the last 10 bytes of the data pack of f0 are cut off";
    "flip-data-blob", Open, 3, Lost, Whole, [0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0],
        "one bit is flipped in the blob of f0";
    "flip-tree-blob", Open, 3, Lost, Whole, [1, 1, 0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0],
        "one bit is flipped in the root tree of the oldest snapshot";
    "flip-pack-header", Open, 3, Whole, Whole, [0, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0],
        "one bit is flipped in the sealed header of the data pack of f0";
    "missing-data-pack", Open, 3, Lost, Whole, [1, 1, 0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0],
        "the data pack of f0 is gone";
    "blob-wrong-hash", Open, 3, Lost, Whole, [0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0],
        "pack and index agree, but other content is sealed under the id of f0";
    "blob-wrong-length", Open, 3, Lost, Whole, [0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0],
        "the blob of f0 decodes to 100 bytes less than header and index say";
    "blob-zip-bomb", Open, 3, Lost, Whole, [0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0],
        "the blob of f0 is a zstd frame of 512 MiB of zeros; header and index say otherwise";

    "missing-one-index", Open, 3, Astray, Whole, [1, 1, 0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0],
        "the index of the oldest snapshot's packs is gone";
    "missing-all-index", Open, 3, Astray, Astray, [1, 1, 0, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1],
        "all index files are gone";
    "flip-index", Open, 3, Astray, Astray, [1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1],
        "one bit is flipped in the index of the oldest snapshot's packs";
    "duplicate-index", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "one index is there a second time, sealed anew under another name";
    "index-missing-pack-unneeded", Open, 3, Whole, Whole, [1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0],
        "one more index lists a pack that is not there, and that nothing needs";

    "flip-snapshot", Open, 2, Lost, Whole, [1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1],
        "one bit is flipped in the oldest snapshot";
    "renamed-snapshot", Open, 2, Astray, Whole, [1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1],
        "the oldest snapshot is stored under another id: 64 times the digit 1";

    // restic succeeds here only where the folder happens to list the right key first.
    "garbage-key-hashname", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "keys/ holds one more file: random bytes, named by their SHA-256";
    "garbage-key-nohex", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "keys/ holds files whose names are no ids";
    "only-key-corrupt", Damaged, 3, Astray, Astray, [1; 8], [1; 5],
        "one bit is flipped in the data of the only key";
    "key-other-password", WrongPassword, 3, Astray, Astray, [12; 8], [12; 5],
        "the only key has another password";

    "config-zero", Damaged, 3, Astray, Astray, [1; 8], [1; 5],
        "config has no bytes";
    "config-missing", NoRepository, 3, Astray, Astray, [10; 8], [10; 5],
        "config is gone";
    "config-bad-pol", Damaged, 3, Astray, Astray, [1; 8], [1; 5],
        "config is sealed well, but its polynomial 2000000000000a is reducible";

    "stale-lock", Locked, 3, Whole, Whole, [11, 11, 11, 11, 11, 11, 11, 0], [11; 5],
        "an exclusive lock of another host, years old";
    "active-foreign-lock-exclusive", Locked, 3, Whole, Whole, [11, 11, 11, 11, 11, 11, 11, 0], [11; 5],
        "an exclusive lock of another host, dated 2100";
    // restic 0.14 ends in a panic here.
    "zero-lock", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "a lock file without bytes, under the name that is the SHA-256 of nothing";

    "stray-files", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "temporary files and litter in every folder";
    "missing-data-dirs", Open, 3, Whole, Whole, [0; 8], [0; 5],
        "the empty folders in data/, and locks/, are gone";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Program, Version};

    #[test]
    fn every_variant_is_in_the_archive() {
        let scratch = Scratch::new();
        unpack("damaged.tar.zst", scratch.path(), |_| true);
        for variant in VARIANTS {
            assert!(scratch.path().join(variant.name).join("data").is_dir(), "{}", variant.name);
        }
        // One folder is the scratch folder's home.
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), VARIANTS.len() + 1);
    }

    #[test]
    fn restic_says_again_what_was_recorded() {
        let scratch = Scratch::new();
        let restic = Program::restic(Version::V0_18);
        for name in ["flip-snapshot", "config-missing"] {
            let variant = Variant::named(name);
            let repo = variant.unpack(&scratch);
            for (command, code) in COMMANDS.iter().zip(variant.restic_0_18).take(5) {
                restic.run(&repo, [&["--no-cache"], *command].concat()).exits(i32::from(code));
            }
        }
    }

    #[test]
    fn restic_reads_what_is_called_whole_and_nothing_that_is_called_lost() {
        let scratch = Scratch::new();
        let restic = Program::restic(Version::V0_19);
        for name in ["flip-snapshot", "blob-wrong-hash"] {
            let variant = Variant::named(name);
            let repo = variant.unpack(&scratch);
            for (content, snapshot, file) in [(variant.f0, OLDEST, F0), (variant.f2, NEWEST, F2)] {
                let outcome = restic.run(&repo, ["--no-cache", "dump", snapshot, file]);
                assert_eq!(content == Content::Whole, outcome.code == Some(0), "{outcome}");
                assert!(matches!(outcome.stdout.len(), 0 | FILE_LENGTH), "{outcome}");
            }
        }
    }
}
