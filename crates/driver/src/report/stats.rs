//! Statistics of a repository.

use restic_repo::stats::Stats;

use crate::report::number;

/// The lines for people.
pub fn lines(stats: &Stats, mode: &str) -> String {
    let mut lines = vec![
        format!("Stats in {mode} mode:"),
        format!("     Snapshots processed:  {}", stats.snapshots_count),
    ];
    if stats.total_blob_count > 0 {
        lines.push(format!("        Total Blob Count:  {}", stats.total_blob_count));
    }
    if stats.total_file_count > 0 {
        lines.push(format!("        Total File Count:  {}", stats.total_file_count));
    }
    if stats.total_uncompressed_size > 0 {
        let size = number::bytes(stats.total_uncompressed_size);
        lines.push(format!(" Total Uncompressed Size:  {size:<5}"));
    }
    lines.push(format!("              Total Size:  {:<5}", number::bytes(stats.total_size)));
    if stats.compression_progress > 0.0 {
        lines.push(format!("    Compression Progress:  {:.2}%", stats.compression_progress));
    }
    if stats.compression_ratio > 0.0 {
        lines.push(format!("       Compression Ratio:  {:.2}x", stats.compression_ratio));
    }
    if stats.compression_space_saving > 0.0 {
        lines.push(format!("Compression Space Saving:  {:.2}%", stats.compression_space_saving));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_restics() {
        // The numbers of a sample of restic 0.19.1.
        let stats = Stats {
            total_size: 3438,
            total_uncompressed_size: 11293,
            compression_ratio: 3.2847585805700987,
            compression_progress: 100.0,
            compression_space_saving: 69.5563623483574,
            total_blob_count: 15,
            snapshots_count: 3,
            ..Stats::default()
        };
        assert_eq!(
            lines(&stats, "raw-data"),
            "Stats in raw-data mode:
     Snapshots processed:  3
        Total Blob Count:  15
 Total Uncompressed Size:  11.028 KiB
              Total Size:  3.357 KiB
    Compression Progress:  100.00%
       Compression Ratio:  3.28x
Compression Space Saving:  69.56%"
        );
    }
}
