//! `dump`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use restic_repo::index::Index;
use restic_repo::lock::Gate;
use restic_repo::node::{Node, NodeType};
use restic_repo::repository::Repository;
use restic_repo::{dump, walk};

use crate::exit::{Failure, Result};
use crate::gated_output::GatedOutput;
use crate::report::counters::Counters;
use crate::selection::SelectionArgs;
use crate::session::{Contents, Intent, Session, find_snapshot};

/// Writes a file, or a folder as an archive, to standard output.
#[derive(Args, Debug)]
pub struct Dump {
    /// The snapshot: the beginning of its id, or latest; a folder in it may follow, as in latest:srv
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// The file or folder; / for everything
    #[arg(value_name = "PATH")]
    file: Option<String>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// What to make of a folder
    #[arg(short, long, value_name = "FORMAT", default_value = "tar")]
    archive: Archive,

    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
}

/// A format for a folder with all that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Archive {
    /// tar, with extended attributes.
    Tar,
    /// zip.
    Zip,
}

impl Dump {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        let (Some(query), Some(path)) = (&self.snapshot, &self.file) else {
            return Err(Failure::new("a snapshot and a path in it are needed"));
        };
        if self.archive == Archive::Zip {
            return Err(Failure::new("zip archives are not made by this program; take tar"));
        }
        let filter = self.selection.clone().resolve(&session.environment);
        let repository = session.open().await?;
        let dump = async |gate: Gate| {
            let Contents { snapshots, index } = session.contents(&repository).await?;
            let index = Arc::new(index);
            let (entry, folder) = find_snapshot(&snapshots, &filter, query)?;
            let path = Path::new("/").join(folder).join(path.trim_start_matches('/'));
            let node = walk::find_path(&repository, &index, entry.1.tree, &path).await?;
            self.write(session, &repository, index, &path, &node, gate).await
        };
        session.gated(&repository, Intent::Read, dump).await
    }

    async fn write(
        &self,
        session: &Session,
        repository: &Repository,
        index: Arc<Index>,
        path: &Path,
        node: &Node,
        gate: Gate,
    ) -> Result {
        let out = self.output(gate).await?;
        let written = if node.node_type == NodeType::Dir {
            let tree = walk::subtree(node, path)?;
            let counters = Counters::new(Arc::clone(&session.terminal));
            dump::dump_tar(repository, index, tree, path, out, &counters)
                .await
                .map(|tarred| tarred.errors)
        } else {
            dump::dump_file(repository, index, path, node, out).await.map(|_| 0)
        };
        match written {
            Ok(0) => Ok(()),
            Ok(errors) => Err(Failure::new(format_args!(
                "{errors} files or folders could not be read and are not in the archive"
            ))),
            Err(error) => Err(GatedOutput::failure(error)),
        }
    }

    /// Standard output, or the target.
    async fn output(&self, gate: Gate) -> Result<GatedOutput> {
        match &self.target {
            None => GatedOutput::stdout(gate),
            Some(target) => {
                gate.pass().await?; // what is there is lost when the file is made
                GatedOutput::to(File::create(target), gate)
            }
        }
    }
}
