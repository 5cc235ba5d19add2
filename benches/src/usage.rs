//! What this process has used up.

use std::fs;
use std::io;

/// CPU time of all threads in seconds, to a hundredth.
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory it has had, in bytes.
///
/// # Errors
/// A system that does not tell.
pub fn peak() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    Ok(size.ok_or(io::ErrorKind::NotFound)? << 10)
}

/// Bytes as mebibytes.
pub fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
