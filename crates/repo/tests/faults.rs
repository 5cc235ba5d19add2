//! Whatever changes a repository may be broken off at any storage operation, and nothing that was there
//! is lost.
//!
//! On a small repository in memory, each operation is run again and again; each time something goes
//! wrong at another of its storage operations. Then the repository opens, a check with all data finds
//! nothing worse than packs that nobody refers to, all that could be brought back before comes back byte
//! for byte, and the operation can be done again.
//!
//! By default some storage operations are tried. For all of them:
//! `ONE_RESTIC_ALL_FAULTS=1 cargo test -p restic-repo --test faults`
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use restic_oracle::{Program, Repo, Scratch, Version};
use restic_repo::backend::Backend;
use restic_repo::backend::fault::Fault;
use restic_repo::backend::mem::Mem;
use restic_repo::checker::{Hint, Problem, Report};
use restic_repo::progress::Silent;
use restic_repo::{FileType, repair};

use deed::Deed;
use effect::Effect;
use stage::{Files, PASSWORDS, Stage, check, contents, open};

#[path = "faults/deed.rs"]
mod deed;
#[path = "faults/effect.rs"]
mod effect;
#[path = "faults/stage.rs"]
mod stage;

/// How many of an operation's storage operations are tried for each effect, unless all are.
const TRIED: u64 = 6;

/// Breaks an operation off in every way.
async fn survives(name: &str) {
    let deed = deed::ALL.into_iter().find(|deed| deed.name == name).unwrap();
    let mut stage = Stage::new().await;
    (deed.prepare)(&mut stage);
    let before = contents(&open(Arc::new(Mem::from_files(stage.files.clone()))).await).await;

    // Without any fault: it works, and this is what it asks of the storage.
    let storage = Mem::from_files(stage.files.clone());
    let fault = Arc::new(Fault::new(storage.clone()));
    let repository = open(Arc::new(storage.clone())).await;
    let faulty = repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
    (deed.run)(&stage, faulty).await.unwrap();
    let after = open(Arc::new(storage)).await;
    assert!(check(&after).await.is_sound());
    let at_best = contents(&after).await;
    assert!(has_all(&at_best, &before));
    assert!(!before.is_empty(), "there is nothing that could be lost");

    for effect in Effect::ALL {
        let calls = fault.calls();
        let total = calls.iter().filter(|call| effect.concerns(call.operation)).count() as u64;
        for n in chosen(total) {
            let scene = Scene { deed: &deed, stage: &stage, before: &before, effect, n };
            scene.play().await;
        }
    }
}

/// All operations, or some of them: the first, the last, and others in between.
fn chosen(total: u64) -> Vec<u64> {
    if std::env::var_os("ONE_RESTIC_ALL_FAULTS").is_some() || total <= TRIED {
        return (1..=total).collect();
    }
    (0..TRIED).map(|number| 1 + number * (total - 1) / (TRIED - 1)).collect()
}

/// One operation, with one thing that goes wrong.
struct Scene<'s> {
    deed: &'s Deed,
    stage: &'s Stage,
    before: &'s [Vec<u8>],
    effect: Effect,
    n: u64,
}

impl Scene<'_> {
    async fn play(&self) {
        let storage = Mem::from_files(self.stage.files.clone());
        let fault = Arc::new(Fault::new(storage.clone()));
        let repository = open(Arc::new(storage.clone())).await;
        self.effect.inject(self.n, &fault);
        let faulty = repository.with_backend(Arc::clone(&fault) as Arc<dyn Backend>);
        let done = (self.deed.run)(self.stage, faulty).await;
        let told = self.told();
        if self.effect == Effect::Delay {
            assert!(done.is_ok(), "{told}: {done:?}");
        }

        let survivor = open(Arc::new(storage.clone())).await;
        if self.effect == Effect::Tear {
            // That is damage, which is repaired first.
            let options = repair::index::Options::default();
            repair::index::repair(&survivor, options, Arc::new(Silent)).await.unwrap();
        }
        if self.deed.begins_sound || done.is_ok() {
            self.assert_sound(&check(&survivor).await);
        }
        assert!(has_all(&contents(&survivor).await, self.before), "{told}: something is lost");
        if self.effect == Effect::Kill && (self.n == 1 || self.n.is_power_of_two()) {
            self.ask_restic(&storage.files());
        }
        if self.effect == Effect::Tear {
            return;
        }

        let again = (self.deed.run)(self.stage, survivor).await;
        assert!(again.is_ok(), "{told}, first {done:?}, then: {again:?}");
        let again = open(Arc::new(storage)).await;
        self.assert_sound(&check(&again).await);
        assert!(has_all(&contents(&again).await, self.before), "{told}: something is lost later");
    }

    fn told(&self) -> String {
        format!("{}: {:?} at {}", self.deed.name, self.effect, self.n)
    }

    /// Nothing is worse than things that nobody refers to, or that are there twice.
    fn assert_sound(&self, report: &Report) {
        let torn = |problem: &Problem| {
            self.effect == Effect::Tear && matches!(problem, Problem::SnapshotUnreadable { .. })
        };
        let harmless =
            |hint: &Hint| matches!(hint, Hint::OrphanedPack { .. } | Hint::DuplicateIndex { .. });
        let told = self.told();
        assert!(report.problems.iter().all(torn), "{told}: {:?}", report.problems);
        assert!(report.hints.iter().all(harmless), "{told}: {:?}", report.hints);
    }

    /// restic finds nothing wrong either.
    fn ask_restic(&self, files: &Files) {
        if !self.deed.begins_sound {
            return;
        }
        let scratch = Scratch::new();
        let repo = lay_out(files, &scratch);
        let restic = Program::restic(Version::V0_19);
        let check = ["--no-cache", "check", "--read-data"];
        let outcome = restic.run(&repo, check);
        if outcome.code == Some(12) {
            let repo = scratch.repo_at(&repo.location, PASSWORDS[1]);
            restic.run(&repo, check).success();
        } else {
            outcome.success();
        }
    }
}

fn has_all(contents: &[Vec<u8>], wanted: &[Vec<u8>]) -> bool {
    wanted.iter().all(|content| contents.contains(content))
}

/// Writes a repository into a folder.
fn lay_out(files: &Files, scratch: &Scratch) -> Repo {
    let repo = scratch.repo("repo");
    for (handle, content) in files {
        let name = handle.id.to_hex();
        let path = match handle.file_type {
            FileType::Config => "config".to_owned(),
            FileType::Key => format!("keys/{name}"),
            FileType::Lock => format!("locks/{name}"),
            FileType::Snapshot => format!("snapshots/{name}"),
            FileType::Index => format!("index/{name}"),
            FileType::Pack => format!("data/{}/{name}", &name[..2]),
        };
        let path = repo.location.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    repo
}

macro_rules! survives {
    ($($test:ident: $name:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            survives($name).await;
        })*

        #[test]
        fn no_operation_is_left_out() {
            assert_eq!(deed::ALL.map(|deed| deed.name), [$($name),*]);
        }
    };
}

survives! {
    a_backup_costs_nothing: "backup";
    a_change_of_password_costs_nothing: "passwd";
    a_repair_of_the_index_costs_nothing: "index";
    a_new_index_costs_nothing: "reindex";
    a_repair_of_packs_costs_nothing: "packs";
    a_change_of_tags_costs_nothing: "tag";
    a_revision_costs_nothing: "revise";
    a_copy_costs_nothing: "copy";
    a_prune_costs_nothing: "prune";
}
