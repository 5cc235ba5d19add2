//! Plays a scene in every order.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use restic_repo::backend::mem::Mem;
use restic_repo::identity::Identity;
use restic_repo::key::{Password, ScryptParams};
use restic_repo::lock::{Gate, Lock, LockKind, LockOptions, SETTLE};
use restic_repo::repository::{InitOptions, Options, Repository};
use restic_repo::{Error, FileType, Handle};

use crate::table::{Label, Phase, State, Step, Table, Turns, Waiting};

/// One who takes part.
#[derive(Clone, Debug)]
pub struct Role {
    /// The locks that it takes, one after the other.
    pub locks: Vec<LockKind>,
    /// Whether it begins while the lock settles, as commands do.
    pub gated: bool,
    /// Whether it lets others in after its work, and goes on with a shared lock.
    pub shares: bool,
    /// Whether it takes an exclusive lock after its work, before it gives the other back.
    pub excludes: bool,
    /// How many times its lock is refreshed while it works.
    pub refreshes: usize,
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Scene {
    pub roles: Vec<Role>,
    /// Whether a listing takes time.
    pub slow_list: bool,
    /// How many may die at any moment.
    pub crashes: usize,
}

/// What came of playing.
#[derive(Debug, Default)]
pub struct Played {
    pub states: usize,
    pub runs: usize,
    /// How often it ended in which way: for each role how many locks it had, and whether it is done.
    pub ends: BTreeMap<String, usize>,
}

/// What happens in one turn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Step(usize, Step, usize),
    Crash(usize),
}

/// Plays a scene in every order. Panics, with the order, where a rule is broken.
pub fn play(scene: &Scene) -> Played {
    let mut stage = Stage::new(scene);
    let mut played = Played::default();
    let mut path: Vec<usize> = Vec::new();
    loop {
        let choices = stage.run(&path, &mut played);
        // The next path: the last choice that was not the last possible one is made otherwise.
        path.extend(std::iter::repeat_n(0, choices.len() - path.len().min(choices.len())));
        path.truncate(choices.len());
        let other = path.iter().zip(&choices).rposition(|(made, possible)| made + 1 < *possible);
        let Some(at) = other else { break };
        path.truncate(at + 1);
        path[at] += 1;
    }
    played.states = stage.known.len();
    played
}

/// Plays a scene in so many orders, chosen by chance, but always the same ones.
pub fn sample(scene: &Scene, runs: u64) -> Played {
    let mut stage = Stage::new(scene);
    let mut played = Played::default();
    for run in 0..runs {
        stage.known.clear();
        let chance = |turn: u64| {
            let mut hasher = DefaultHasher::new();
            (run, turn).hash(&mut hasher);
            hasher.finish() as usize
        };
        let path: Vec<usize> = (0..200).map(chance).collect();
        stage.run(&path, &mut played);
    }
    played
}

struct Stage<'s> {
    scene: &'s Scene,
    repository: Repository,
    files: BTreeMap<Handle, bytes::Bytes>,
    known: HashSet<u64>,
}

impl<'s> Stage<'s> {
    fn new(scene: &'s Scene) -> Self {
        let mem = Mem::new();
        let scrypt = Some(ScryptParams { n: 2, r: 1, p: 1 });
        let init = InitOptions { scrypt, ..InitOptions::new(Identity::current()) };
        let options = Options { verify: false, workers: 1, ..Options::default() };
        let password = Password::new("geheim");
        let made = Repository::init(Arc::new(mem.clone()), &password, init, options);
        let repository = runtime().block_on(made).unwrap();
        Self { scene, repository, files: mem.files(), known: HashSet::new() }
    }

    /// Plays in the order of the path, and then goes on with the first choice each time, until the end
    /// or a state that is known. Returns how many choices there were each time.
    fn run(&mut self, path: &[usize], played: &mut Played) -> Vec<usize> {
        played.runs += 1;
        let runtime = runtime();
        let local = tokio::task::LocalSet::new();
        let mem = Mem::from_files(self.files.clone());
        let table = Table::new(self.scene.roles.len());
        for (who, role) in self.scene.roles.iter().enumerate() {
            let slow_list = self.scene.slow_list;
            let turns = Turns { mem: mem.clone(), table: table.clone(), who, slow_list };
            let repository = self.repository.with_backend(Arc::new(turns));
            local.spawn_local(act(who, role.clone(), repository, table.clone()));
        }
        let mut choices = Vec::new();
        let mut order = Vec::new();
        let mut refreshes: Vec<usize> =
            self.scene.roles.iter().map(|role| role.refreshes).collect();
        let mut crashes = self.scene.crashes;
        runtime.block_on(local.run_until(async {
            loop {
                settle().await;
                let possible = self.possible(&table, &mem, &refreshes, crashes);
                if let Some(violation) = &table.state().violation {
                    panic!("{violation}, after {order:#?}");
                }
                if possible.is_empty() {
                    self.end(&table, &mem, &order, played);
                    return;
                }
                if choices.len() >= path.len() && !self.known.insert(key(&table, &mem)) {
                    return;
                }
                let made = path.get(choices.len()).copied().unwrap_or(0) % possible.len();
                choices.push(possible.len());
                let turn = possible[made].clone();
                order.push(turn.clone());
                match turn {
                    Turn::Crash(who) => {
                        crashes -= 1;
                        let mut state = table.state();
                        state.phases[who] = Phase::Crashed;
                        state.turns += 1;
                    }
                    Turn::Step(who, step, chosen) => {
                        let waiting = take(&table, who, &step);
                        if matches!(step, Step::Stat(_)) {
                            refreshes[who] = refreshes[who].saturating_sub(1);
                        }
                        let _ = waiting.wake.send(chosen);
                    }
                }
            }
        }));
        choices
    }

    /// What may happen next.
    fn possible(&self, table: &Table, mem: &Mem, refreshes: &[usize], crashes: usize) -> Vec<Turn> {
        let state = table.state();
        let mut turns = Vec::new();
        for (who, phase) in state.phases.iter().enumerate() {
            if *phase == Phase::Crashed {
                continue;
            }
            let mine = || state.waiting.iter().filter(|waiting| waiting.who == who);
            let first_load =
                mine().map(|waiting| &waiting.step).filter(|step| matches!(step, Step::Load(_)));
            let first_load = first_load.min().cloned();
            for Waiting { step, .. } in mine() {
                let may = match step {
                    // A lock is refreshed while it is in use; and where one is to be released at the
                    // moment of its refresh, that comes to its end.
                    Step::Stat(_) => match phase {
                        Phase::Working(false) if self.scene.roles[who].shares => true,
                        Phase::Working(_) => refreshes[who] > 0,
                        _ => mine().count() == 1,
                    },
                    Step::Load(_) => Some(step) == first_load.as_ref(),
                    // Between storing the new file and removing the old one there is more time than a
                    // listing takes.
                    Step::Remove(label) => {
                        let newer = state
                            .saved
                            .iter()
                            .filter(|(new, _)| new.who == who && new.number > label.number);
                        let newest = newer.map(|(_, turn)| *turn).max();
                        !state.waiting.iter().any(|other| {
                            matches!(other.step, Step::EndList(_))
                                && state.phases[other.who] != Phase::Crashed
                                && newest.is_some_and(|newest| other.since <= newest)
                        })
                    }
                    _ => true,
                };
                let options = match step {
                    Step::EndList(before) => 1usize << self.unsure(&state, mem, before),
                    _ => 1,
                };
                if may {
                    turns.extend((0..options).map(|n| Turn::Step(who, step.clone(), n)));
                }
            }
            if crashes > 0 && !matches!(phase, Phase::Done | Phase::GaveWay) {
                turns.push(Turn::Crash(who));
            }
        }
        turns.sort();
        turns.dedup();
        turns
    }

    /// How many files came or went since a listing began.
    fn unsure(&self, state: &State, mem: &Mem, before: &BTreeSet<Label>) -> usize {
        let files = mem.files();
        let locks = files.keys().filter(|handle| handle.file_type == FileType::Lock);
        let now = locks.map(|handle| state.labels[&handle.id]).collect();
        before.symmetric_difference(&now).count()
    }

    /// Nobody can do anything any more: then all must be at their ends.
    fn end(&self, table: &Table, mem: &Mem, order: &[Turn], played: &mut Played) {
        let state = table.state();
        for (who, phase) in state.phases.iter().enumerate() {
            let ended = matches!(phase, Phase::Done | Phase::GaveWay | Phase::Crashed);
            assert!(ended, "{who} is stuck ({phase:?}), after {order:#?}");
        }
        for handle in mem.files().keys().filter(|handle| handle.file_type == FileType::Lock) {
            let whose = state.labels[&handle.id].who;
            let left = state.phases[whose] == Phase::Crashed;
            assert!(left, "{whose} left a lock behind, after {order:#?}");
        }
        *played.ends.entry(format!("{:?}", state.phases)).or_default() += 1;
    }
}

/// Does what a role does.
async fn act(who: usize, role: Role, repository: Repository, table: Table) {
    let mut options = LockOptions::new(Identity::current());
    // A refresh is due at any moment; or never.
    options.refresh =
        if role.refreshes > 0 { Duration::ZERO } else { Duration::from_secs(1 << 30) };
    for kind in &role.locks {
        table.becomes(who, Phase::Acquiring);
        let at_work = async || {
            table.enter(who, *kind);
            table.turn(who, Step::Work).await;
            table.becomes(who, Phase::Leaving);
        };
        let worked = if role.gated {
            let work = async |gate: Gate| {
                gate.pass().await?;
                at_work().await;
                Ok(())
            };
            Lock::work(&repository, *kind, &options, work).await
        } else {
            match Lock::acquire(&repository, *kind, &options).await {
                Ok(lock) => {
                    at_work().await;
                    if role.shares {
                        lock.share();
                        table.enter(who, LockKind::Shared);
                        table.turn(who, Step::Work).await;
                        table.becomes(who, Phase::Leaving);
                    }
                    if role.excludes {
                        table.enter(who, *kind);
                        exclude(who, lock, &repository, &options, &table).await
                    } else {
                        lock.release().await
                    }
                }
                Err(error) => Err(error),
            }
        };
        match worked {
            Ok(()) => {}
            Err(Error::Locked { .. }) => return table.becomes(who, Phase::GaveWay),
            Err(error) => {
                table.state().violation = Some(format!("{who} fails: {error}"));
                return;
            }
        }
    }
    table.becomes(who, Phase::Done);
}

/// Works alone after it worked with others, without a moment in which it has no lock.
async fn exclude(
    who: usize,
    lock: Lock,
    repository: &Repository,
    options: &LockOptions,
    table: &Table,
) -> Result<(), Error> {
    let alone = lock.acquire_another(repository, LockKind::Exclusive, options).await;
    if alone.is_err() {
        table.becomes(who, Phase::Leaving);
    }
    lock.release().await?;
    let alone = alone?;
    table.enter(who, LockKind::Exclusive);
    table.turn(who, Step::Work).await;
    table.becomes(who, Phase::Leaving);
    alone.release().await
}

/// Lets everybody go on until he waits for his turn. Whoever waits for a time to pass has it pass at
/// once: his next step waits for its turn, however long.
async fn settle() {
    for _ in 0..3 {
        for _ in 0..24 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(2 * SETTLE).await;
    }
    for _ in 0..24 {
        tokio::task::yield_now().await;
    }
}

fn take(table: &Table, who: usize, step: &Step) -> Waiting {
    let mut state = table.state();
    state.turns += 1;
    let found = |waiting: &Waiting| waiting.who == who && waiting.step == *step;
    let at = state.waiting.iter().position(found).unwrap();
    state.waiting.remove(at)
}

/// What tells this state from others: what there is, and what each knows.
fn key(table: &Table, mem: &Mem) -> u64 {
    let state = table.state();
    let mut hasher = DefaultHasher::new();
    let files = mem.files();
    let locks = files.keys().filter(|handle| handle.file_type == FileType::Lock);
    let mut there: Vec<_> = locks.map(|handle| state.labels[&handle.id]).collect();
    there.sort_unstable();
    let mut waiting: Vec<_> =
        state.waiting.iter().map(|waiting| (waiting.who, &waiting.step)).collect();
    waiting.sort();
    // Whether a listing began before a file was stored.
    let mut orders: Vec<_> = state
        .waiting
        .iter()
        .filter(|waiting| matches!(waiting.step, Step::EndList(_)))
        .flat_map(|waiting| {
            let saved = state.saved.iter();
            saved.map(move |(label, turn)| (waiting.who, *label, waiting.since <= *turn))
        })
        .collect();
    orders.sort_unstable();
    (there, waiting, orders, &state.phases, &state.seen).hash(&mut hasher);
    hasher.finish()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}
