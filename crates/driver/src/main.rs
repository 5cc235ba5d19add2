//! One binary: restic commands for operators, datastore actions for OpenNebula.

#[cfg(not(target_env = "musl"))]
use std::alloc::System;
use std::ffi::OsString;
use std::io::Write;
use std::process::exit;

use one_restic::large_pages::LargePages;

/// musl's own gives every large buffer back to the system at once, which costs more than what is done with
/// it: measured with the packaged program, restoring a chain took 9.1 s, 7.5 of them in the kernel.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: LargePages<mimalloc::MiMalloc> = LargePages(mimalloc::MiMalloc);

#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: LargePages<System> = LargePages(System);

fn main() {
    one_restic::arenas::keep_few();
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
