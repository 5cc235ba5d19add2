//! One binary: restic commands for operators, datastore actions for OpenNebula.

use std::ffi::OsString;
use std::io::Write;
use std::process::exit;

use one_restic::allocator::{Allocator, keep_few_arenas};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() {
    keep_few_arenas();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let outcome = one_restic::run(&arguments);
    if let Err(failure) = outcome {
        let text = failure.render(one_restic::arguments::asks_for_json(&arguments));
        // Where standard error cannot be written to, the exit code says it all.
        let _ = std::io::stderr().lock().write_all(&text);
        exit(failure.code() as i32);
    }
    // Threads that wait for input would keep the program from ending by itself.
    exit(0);
}
