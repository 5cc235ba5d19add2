//! Storage for `restic-repo` over SSH/SFTP.
