//! Is everything there, and as it was written?
