//! The table at which participants wait for their turns, and storage whose every operation takes one.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use restic_repo::backend::mem::Mem;
use restic_repo::backend::{Backend, BackendError, BackendErrorKind, Extent, FileInfo, Properties};
use restic_repo::lock::LockKind;
use restic_repo::{FileType, Handle, Id};
use tokio::sync::oneshot;

/// A lock file: whose it is, and which of his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub who: usize,
    pub number: usize,
}

/// What a participant does next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Begins to list, while these files are there.
    BeginList,
    /// Ends listing; these files were there when it began.
    EndList(BTreeSet<Label>),
    Load(Label),
    Stat(Label),
    Save,
    Remove(Label),
    /// Does what it took the lock for.
    Work,
}

/// How far a participant is with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Acquiring,
    Working(bool),
    Leaving,
    /// Did not get it.
    GaveWay,
    /// Did all it wanted to do.
    Done,
    Crashed,
}

/// Somebody who waits for his turn.
pub struct Waiting {
    pub who: usize,
    pub step: Step,
    /// How many turns there were when he came.
    pub since: usize,
    pub wake: oneshot::Sender<usize>,
}

/// All that is shared.
#[derive(Clone)]
pub struct Table(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub waiting: Vec<Waiting>,
    pub phases: Vec<Phase>,
    pub labels: HashMap<Id, Label>,
    /// The turn in which each file was stored.
    pub saved: HashMap<Label, usize>,
    /// What each has seen so far, which decides what he does next.
    pub seen: Vec<u64>,
    pub turns: usize,
    pub violation: Option<String>,
}

impl State {
    /// What a participant comes to know.
    pub fn learn(&mut self, who: usize, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.seen[who], what).hash(&mut hasher);
        self.seen[who] = hasher.finish();
    }

    fn label(&self, id: &Id) -> Label {
        self.labels[id]
    }
}

impl Table {
    pub fn new(participants: usize) -> Self {
        let phases = vec![Phase::Acquiring; participants];
        let seen = vec![0; participants];
        Self(Arc::new(Mutex::new(State { phases, seen, ..State::default() })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; comes back with what was chosen where there is a choice.
    pub async fn turn(&self, who: usize, step: Step) -> usize {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.state();
            let since = state.turns;
            state.waiting.push(Waiting { who, step, since, wake });
        }
        match woken.await {
            Ok(chosen) => chosen,
            Err(_) => std::future::pending().await,
        }
    }

    /// One is at work from now on. Nobody may be who is not to be at the same time.
    pub fn enter(&self, who: usize, kind: LockKind) {
        let mut state = self.state();
        let exclusive = kind == LockKind::Exclusive;
        for (other, phase) in state.phases.clone().into_iter().enumerate() {
            if let Phase::Working(other_exclusive) = phase
                && other != who
                && (exclusive || other_exclusive)
            {
                state.violation = Some(format!("{who} is at work together with {other}"));
            }
        }
        state.phases[who] = Phase::Working(exclusive);
    }

    pub fn becomes(&self, who: usize, phase: Phase) {
        self.state().phases[who] = phase;
    }
}

/// One participant's way to the storage.
#[derive(Clone)]
pub struct Turns {
    pub mem: Mem,
    pub table: Table,
    pub who: usize,
    /// Whether a listing takes time, in which others come and go.
    pub slow_list: bool,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turns({})", self.who)
    }
}

impl Turns {
    fn there(&self) -> BTreeSet<Label> {
        let state = self.table.state();
        let files = self.mem.files();
        let locks = files.keys().filter(|handle| handle.file_type == FileType::Lock);
        locks.map(|handle| state.label(&handle.id)).collect()
    }

    async fn list_locks(&self) -> Vec<FileInfo> {
        self.table.turn(self.who, Step::BeginList).await;
        let mut shown = self.there();
        if self.slow_list {
            let chosen = self.table.turn(self.who, Step::EndList(shown.clone())).await;
            let now = self.there();
            // Who came or went meanwhile is shown or not, as chance will have it.
            let unsure: Vec<Label> = shown.symmetric_difference(&now).copied().collect();
            shown = shown.intersection(&now).copied().collect();
            let chance = |(bit, _): &(usize, &Label)| chosen >> bit & 1 == 1;
            shown.extend(unsure.iter().enumerate().filter(chance).map(|(_, label)| *label));
        }
        let mut state = self.table.state();
        state.learn(self.who, &shown);
        let id = |label: &Label| state.labels.iter().find(|(_, known)| *known == label);
        let ids = shown.iter().filter_map(id).map(|(id, _)| *id);
        ids.map(|id| FileInfo { id, size: 1 }).collect()
    }
}

#[async_trait]
impl Backend for Turns {
    fn properties(&self) -> Properties {
        self.mem.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.mem.create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let label = self.table.state().label(&handle.id);
        self.table.turn(self.who, Step::Load(label)).await;
        let loaded = self.mem.load(handle, extent).await;
        self.table.state().learn(self.who, (label, loaded.is_ok()));
        loaded
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        self.table.turn(self.who, Step::Save).await;
        {
            let mut state = self.table.state();
            let number = state.labels.values().filter(|label| label.who == self.who).count();
            let label = Label { who: self.who, number };
            state.labels.insert(handle.id, label);
            let turn = state.turns;
            state.saved.insert(label, turn);
            state.learn(self.who, label);
        }
        self.mem.save(handle, data).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        let label = self.table.state().label(&handle.id);
        self.table.turn(self.who, Step::Stat(label)).await;
        let found = self.mem.stat(handle).await;
        self.table.state().learn(self.who, ("stat", found.is_ok()));
        found
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        match file_type {
            FileType::Lock => Ok(self.list_locks().await),
            _ => Err(BackendError::new(BackendErrorKind::Permanent, "list")),
        }
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        let label = self.table.state().label(&handle.id);
        self.table.turn(self.who, Step::Remove(label)).await;
        self.table.state().learn(self.who, ("remove", label));
        self.mem.remove(handle).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        Ok(None)
    }
}
