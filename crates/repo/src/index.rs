//! Which blob is in which pack.
