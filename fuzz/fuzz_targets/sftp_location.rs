#![no_main]

#[path = "../src/sftp_targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::sftp_location(bytes));
