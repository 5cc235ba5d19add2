//! Criterion benches live beside this file; what they measure is made here.

pub mod data;
pub mod index;
pub mod usage;
