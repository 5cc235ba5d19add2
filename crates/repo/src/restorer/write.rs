//! Fetching and writing the content of a batch of files.
//!
//! All blobs of all files come in one stream, in order, so that those which lie together in a pack are
//! fetched together. Each is written where the lengths of those before it say, the lengths that they
//! really have: a wrong one in the index does no harm. Threads write while more is fetched and decoded.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::blob::BlobHandle;
use crate::chunker;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::progress::{Phase, Progress};
use crate::reader::BlobStream;
use crate::repository::Repository;
use crate::restorer::output::{Content, OpenOutput};
use crate::restorer::prepare::claimed_lengths;
use crate::restorer::{RestoredFile, Site, State, Step, check_reachable, lock};

/// What is handed to a thread at once: so many bytes, unless a single blob is longer,
const LOAD_BYTES: usize = 4 << 20;
/// and so many pieces.
const LOAD_PIECES: usize = 256;
/// How many threads write, at most. More than a few stand in each other's way in the file system.
const WRITERS: usize = 4;

/// Writes all files that have to be written.
///
/// # Errors
/// Only that the repository cannot be reached any more, or the gate does not open.
pub(super) async fn write(
    site: &Arc<Site>,
    repository: &Repository,
    index: &Arc<Index>,
    steps: &mut [Step],
) -> Result<()> {
    let mut files: Vec<&mut RestoredFile> = steps
        .iter_mut()
        .filter_map(|step| match step {
            Step::File(file) if matches!(file.state, State::Wanted { .. }) => Some(file),
            _ => None,
        })
        .collect();
    let outputs: Vec<_> = files.iter_mut().map(|file| Arc::new(Output::new(file))).collect();
    let results = write_once(site, repository, index, &outputs).await?;
    let mut misplaced = Vec::new();
    for ((file, output), result) in files.into_iter().zip(outputs).zip(results) {
        let output = Arc::into_inner(output).expect("the stream and the threads have ended");
        match output.give_back(site, file, result) {
            true => {}
            false => misplaced.push(file),
        }
    }
    // What was kept of these is not where it should be: now all of them is written.
    if !misplaced.is_empty() {
        let outputs: Vec<_> =
            misplaced.iter_mut().map(|file| Arc::new(Output::new(file))).collect();
        let results = write_once(site, repository, index, &outputs).await?;
        for ((file, output), result) in misplaced.into_iter().zip(outputs).zip(results) {
            let output = Arc::into_inner(output).expect("the stream and the threads have ended");
            output.give_back(site, file, result);
        }
    }
    Ok(())
}

/// A file that is being written.
struct Output {
    path: PathBuf,
    content: Vec<Id>,
    /// The blobs that are there; none if it is empty.
    kept: Vec<bool>,
    exists: bool,
    open: Mutex<Option<Arc<OpenOutput>>>,
    /// How many pieces are still to be written, and one for those that are still to come.
    pending: AtomicUsize,
    /// How long it will be; known with the last piece.
    length: AtomicU64,
    fault: Mutex<Option<Error>>,
    /// Set where it makes no sense to go on with this file.
    abandoned: AtomicBool,
}

impl Output {
    fn new(file: &mut RestoredFile) -> Self {
        let (kept, exists) = match &mut file.state {
            State::Wanted { kept, exists } => (std::mem::take(kept), *exists),
            _ => (Vec::new(), true),
        };
        Self {
            path: file.path.clone(),
            content: std::mem::take(&mut file.content),
            kept,
            exists,
            open: Mutex::default(),
            pending: AtomicUsize::new(1),
            length: AtomicU64::new(0),
            fault: Mutex::default(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Tells the file what became of it. False if it has to be written again.
    fn give_back(self, site: &Site, file: &mut RestoredFile, lengths: Option<Vec<u64>>) -> bool {
        file.content = self.content;
        if let Some(error) = lock(&self.fault).take() {
            site.not_restored(&file.path, &error);
            file.state = State::Failed;
            return true;
        }
        let Some(lengths) = lengths else {
            file.state = State::Wanted { kept: Vec::new(), exists: true };
            return false;
        };
        let length = lengths.iter().copied().fold(0, u64::saturating_add);
        if length != file.node.size {
            // The content was verified, so it is the size that is wrong. Somebody should know.
            let detail = format!("it has {length} bytes, not {}", file.node.size);
            site.not_restored(&file.path, &Error::mismatch(&file.path, detail));
        }
        file.state = State::Written { lengths, existed: self.exists };
        true
    }

    fn is_kept(&self, blob: usize) -> bool {
        self.kept.get(blob).copied().unwrap_or(false)
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// The first fault is the cause; others follow from it.
    fn fail(&self, error: Error) {
        lock(&self.fault).get_or_insert(error);
    }

    fn abandon(&self, error: Error) {
        self.fail(error);
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Writes a piece, and after the last one closes the file.
    fn write(&self, site: &Site, piece: &Piece) {
        if !self.is_abandoned() && !site.stopped() {
            let written = self
                .open(site)
                .and_then(|open| open.write(piece.offset, &piece.content, site.options.sparse));
            if let Err(error) = written {
                self.abandon(Error::io("write", site.target.path_of(&self.path), error));
            }
        }
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let length = self.length.load(Ordering::Acquire);
            if let Some(open) = lock(&self.open).take()
                && !self.is_abandoned()
                && let Err(error) = open.finish(length)
            {
                self.abandon(Error::io("write", site.target.path_of(&self.path), error));
            }
        }
    }

    fn open(&self, site: &Site) -> std::io::Result<Arc<OpenOutput>> {
        let mut open = lock(&self.open);
        if let Some(open) = &*open {
            return Ok(Arc::clone(open));
        }
        let keep = !self.kept.is_empty();
        let opened = Arc::new(OpenOutput::open(site, &self.path, self.exists, keep)?);
        *open = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

/// Something to be written.
struct Piece {
    output: Arc<Output>,
    offset: u64,
    content: Content,
}

/// Names the blobs that are to be fetched, and remembers which they were.
struct Wanted {
    outputs: Vec<Arc<Output>>,
    /// The next one: the file, and the blob in it.
    next: (usize, usize),
    asked: Arc<Mutex<VecDeque<(usize, usize)>>>,
}

impl Iterator for Wanted {
    type Item = BlobHandle;

    fn next(&mut self) -> Option<BlobHandle> {
        loop {
            let (file, blob) = self.next;
            let output = self.outputs.get(file)?;
            match output.content.get(blob) {
                Some(id) if !output.is_abandoned() => {
                    self.next.1 += 1;
                    if !output.is_kept(blob) {
                        lock(&self.asked).push_back((file, blob));
                        return Some(BlobHandle::data(*id));
                    }
                }
                _ => self.next = (file + 1, 0),
            }
        }
    }
}

/// Writes these files. For each the lengths of its blobs; nothing where what was kept is misplaced.
async fn write_once(
    site: &Arc<Site>,
    repository: &Repository,
    index: &Arc<Index>,
    outputs: &[Arc<Output>],
) -> Result<Vec<Option<Vec<u64>>>> {
    let asked = Arc::new(Mutex::new(VecDeque::new()));
    let wanted = Wanted { outputs: outputs.to_vec(), next: (0, 0), asked: Arc::clone(&asked) };
    let mut blobs = BlobStream::new(repository, Arc::clone(index), wanted);
    let progress = &*site.progress;
    let (done, lengths, offset) = (Vec::new(), Vec::new(), 0);
    let mut layout = Layout { progress, index, outputs, done, lengths, offset };
    let mut writers = Writers::new(site);
    blobs.begin();
    site.options.gate.pass().await?;
    while let Some(arrived) = blobs.next().await {
        let asked_for = lock(&asked).pop_front();
        let Some((file, blob)) = asked_for else { break };
        while layout.done.len() < file {
            writers.end(&outputs[layout.done.len()], layout.end_file()).await;
        }
        layout.skip_kept(blob);
        let output = &outputs[file];
        let id = output.content[blob];
        let length = match arrived {
            Ok(plaintext) => {
                let length = plaintext.len() as u64;
                let content = match id {
                    chunker::ZERO_CHUNK_ID => Content::Zeros(length),
                    _ => Content::Data(plaintext),
                };
                writers.write(output, layout.offset, content).await;
                length
            }
            Err(error) => {
                let error = check_reachable(repository, error).await?;
                // The rest of the file may be good, and is worth having.
                match claimed_lengths(index, &[id])[..] {
                    [length] if length != u64::MAX => {
                        output.fail(error);
                        length
                    }
                    _ => {
                        output.abandon(error);
                        0
                    }
                }
            }
        };
        layout.add(length);
    }
    while let Some(output) = outputs.get(layout.done.len()) {
        writers.end(output, layout.end_file()).await;
    }
    writers.finish().await;
    Ok(layout.done)
}

/// Where the blobs of one file after the other are.
struct Layout<'a> {
    progress: &'a dyn Progress,
    index: &'a Index,
    outputs: &'a [Arc<Output>],
    /// The lengths of the blobs of each file that is done.
    done: Vec<Option<Vec<u64>>>,
    /// Those of the file that is being written, as far as it is.
    lengths: Vec<u64>,
    offset: u64,
}

impl Layout<'_> {
    fn add(&mut self, length: u64) {
        self.lengths.push(length);
        self.offset = self.offset.saturating_add(length);
    }

    /// Passes over the blobs before this one: they are there.
    fn skip_kept(&mut self, blob: usize) {
        let content = &self.outputs[self.done.len()].content;
        if let Some(skipped) = content.get(self.lengths.len()..blob) {
            for length in claimed_lengths(self.index, skipped) {
                self.progress.advance(Phase::RestoreBytes, length);
                self.add(length);
            }
        }
    }

    /// The file is done. Gives its length.
    fn end_file(&mut self) -> u64 {
        let output = &self.outputs[self.done.len()];
        if !output.is_abandoned() {
            self.skip_kept(output.content.len());
        }
        let lengths = std::mem::take(&mut self.lengths);
        // What was kept was found where the index says that it is.
        let is_misplaced =
            output.kept.contains(&true) && claimed_lengths(self.index, &output.content) != lengths;
        self.done.push(if is_misplaced { None } else { Some(lengths) });
        std::mem::take(&mut self.offset)
    }
}

/// The threads that write.
struct Writers {
    site: Arc<Site>,
    load: Vec<Piece>,
    load_bytes: usize,
    running: JoinSet<()>,
}

impl Writers {
    fn new(site: &Arc<Site>) -> Self {
        let site = Arc::clone(site);
        Self { site, load: Vec::new(), load_bytes: 0, running: JoinSet::new() }
    }

    async fn write(&mut self, output: &Arc<Output>, offset: u64, content: Content) {
        if let Content::Zeros(more) = content
            && let Some(Piece { output: last, offset: start, content: Content::Zeros(zeros) }) =
                self.load.last_mut()
            && Arc::ptr_eq(last, output)
            && start.saturating_add(*zeros) == offset
        {
            *zeros = zeros.saturating_add(more);
            return;
        }
        output.pending.fetch_add(1, Ordering::Relaxed);
        self.push(Piece { output: Arc::clone(output), offset, content }).await;
    }

    /// Nothing more of this file will come.
    async fn end(&mut self, output: &Arc<Output>, length: u64) {
        output.length.store(length, Ordering::Release);
        let nothing = Content::Data(Bytes::new());
        self.push(Piece { output: Arc::clone(output), offset: 0, content: nothing }).await;
    }

    async fn push(&mut self, piece: Piece) {
        self.load_bytes += piece.content.weight();
        self.load.push(piece);
        if self.load_bytes >= LOAD_BYTES || self.load.len() >= LOAD_PIECES {
            self.start().await;
        }
    }

    async fn start(&mut self) {
        while self.running.len() >= self.site.workers.min(WRITERS) {
            self.join().await;
        }
        self.load_bytes = 0;
        let (site, load) = (Arc::clone(&self.site), std::mem::take(&mut self.load));
        self.running.spawn_blocking(move || {
            for piece in load {
                piece.output.write(&site, &piece);
                site.progress.advance(Phase::RestoreBytes, piece.content.length());
            }
        });
    }

    async fn join(&mut self) {
        if let Some(Err(error)) = self.running.join_next().await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Writes what is left.
    async fn finish(mut self) {
        self.start().await;
        while !self.running.is_empty() {
            self.join().await;
        }
    }
}
