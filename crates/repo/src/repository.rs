//! An open repository: loads and saves single things.
