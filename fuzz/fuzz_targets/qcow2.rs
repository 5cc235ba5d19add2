#![no_main]

#[path = "../src/disk_targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::qcow2(bytes));
