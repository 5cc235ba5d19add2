//! Trees: the nodes of one folder, as JSON in a blob.
