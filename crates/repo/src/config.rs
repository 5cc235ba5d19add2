//! The config file: version, id and chunker polynomial.
