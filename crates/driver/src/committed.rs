//! A disk with its increments in it, as the new content of its oldest file.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use restic_repo::Error;
use restic_repo::patch::Changed;
use virtual_disk::commit::Commit;

/// What putting increments into a disk changes in its file.
#[derive(Debug)]
pub struct Committed {
    /// The changes.
    pub commit: Commit,
    /// The file, for messages.
    pub path: PathBuf,
}

#[async_trait]
impl Changed for Committed {
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let read = self.commit.read_at(offset, length).await;
        read.map_err(|error| unreadable(error, &self.path))
    }
}

/// An error of a disk as one of the repository that it is in: what a repository says of its own file is that
/// error itself.
pub fn unreadable(error: virtual_disk::Error, path: impl Into<PathBuf>) -> Error {
    let error = match error {
        virtual_disk::Error::Source { file, source } => match source.downcast::<Error>() {
            Ok(error) => return *error,
            Err(source) => virtual_disk::Error::Source { file, source },
        },
        error => error,
    };
    Error::io("merge the increments of", path, std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_repository_says_reaches_the_operator_as_it_is() {
        let source = Box::new(Error::WrongPassword);
        let error = virtual_disk::Error::Source { file: 1, source };
        assert!(matches!(unreadable(error, "/disk.0.0"), Error::WrongPassword));
        let error = unreadable(virtual_disk::Error::NotQcow2 { file: 2 }, "/disk.0.0");
        assert_eq!(
            error.to_string(),
            "merge the increments of \"/disk.0.0\": file 2 of the chain is not a qcow2 file"
        );
    }
}
