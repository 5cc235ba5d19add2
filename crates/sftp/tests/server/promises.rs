//! The contract of a backend, for several kinds of servers.

/// The whole suite for a server with these options.
macro_rules! promises_of {
    ($name:ident, $options:expr) => {
        mod $name {
            use restic_oracle::SshdOptions;
            use restic_repo::backend::suite::Subject;

            use crate::testbed::Testbed;

            async fn subject() -> Subject {
                Testbed::with(&$options).subject().await
            }

            restic_repo::backend_suite!(subject);
            restic_repo::backend_folder_suite!(subject);
        }
    };
}

promises_of!(internal, SshdOptions::internal(""));
promises_of!(external, SshdOptions::external(""));
// Without these, files are replaced, measured and synced in other ways, or not at all.
promises_of!(without_extensions, SshdOptions::external("-P posix-rename,fsync,statvfs,limits"));
