//! One entry of a folder, as a tree holds it.
