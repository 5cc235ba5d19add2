//! Statistics of a repository.

use serde::Serialize;

use crate::report::number;

/// What was counted. Which fields mean something depends on the mode; the others are 0.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Bytes: of the restored files, or of what is stored for them.
    pub total_size: u64,
    /// Bytes before compression.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_uncompressed_size: u64,
    /// How many times smaller the compressed blobs are.
    #[serde(skip_serializing_if = "is_nothing")]
    pub compression_ratio: f64,
    /// The share of the data that is compressed, in per cent.
    #[serde(skip_serializing_if = "is_nothing")]
    pub compression_progress: f64,
    /// The share that compression saves, in per cent.
    #[serde(skip_serializing_if = "is_nothing")]
    pub compression_space_saving: f64,
    /// Files, folders and links.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_file_count: u64,
    /// Blobs.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_blob_count: u64,
    /// Snapshots.
    pub snapshots_count: u64,
}

impl Totals {
    /// Works out the shares. `compressed` and `uncompressed` are the bytes of the compressed blobs as
    /// they are stored, and as they would be without compression.
    pub fn compare(&mut self, compressed: u64, uncompressed: u64) {
        if compressed > 0 {
            self.compression_ratio = uncompressed as f64 / compressed as f64;
        }
        if self.total_uncompressed_size > 0 {
            let total = self.total_uncompressed_size as f64;
            self.compression_progress = uncompressed as f64 / total * 100.0;
            self.compression_space_saving = (1.0 - self.total_size as f64 / total) * 100.0;
        }
    }

    /// The lines for people.
    pub fn lines(&self, mode: &str) -> String {
        let mut lines = vec![
            format!("Stats in {mode} mode:"),
            format!("     Snapshots processed:  {}", self.snapshots_count),
        ];
        if self.total_blob_count > 0 {
            lines.push(format!("        Total Blob Count:  {}", self.total_blob_count));
        }
        if self.total_file_count > 0 {
            lines.push(format!("        Total File Count:  {}", self.total_file_count));
        }
        if self.total_uncompressed_size > 0 {
            let size = number::bytes(self.total_uncompressed_size);
            lines.push(format!(" Total Uncompressed Size:  {size:<5}"));
        }
        lines.push(format!("              Total Size:  {:<5}", number::bytes(self.total_size)));
        if self.compression_progress > 0.0 {
            lines.push(format!("    Compression Progress:  {:.2}%", self.compression_progress));
        }
        if self.compression_ratio > 0.0 {
            lines.push(format!("       Compression Ratio:  {:.2}x", self.compression_ratio));
        }
        if self.compression_space_saving > 0.0 {
            lines.push(format!("Compression Space Saving:  {:.2}%", self.compression_space_saving));
        }
        lines.join("\n")
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_nothing(share: &f64) -> bool {
    *share == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json;

    /// The numbers of a sample of restic 0.19.1.
    fn raw_data() -> Totals {
        let mut totals = Totals {
            total_size: 3438,
            total_uncompressed_size: 11293,
            total_blob_count: 15,
            snapshots_count: 3,
            ..Totals::default()
        };
        totals.compare(3438, 11293);
        totals
    }

    #[test]
    fn json_leaves_out_what_was_not_counted() {
        let totals = Totals {
            total_size: 15015,
            total_file_count: 24,
            snapshots_count: 3,
            ..Totals::default()
        };
        assert_eq!(
            json::line(&totals),
            b"{\"total_size\":15015,\"total_file_count\":24,\"snapshots_count\":3}\n"
        );
    }

    #[test]
    fn json_of_raw_data_is_restics() {
        assert_eq!(
            String::from_utf8(json::line(&raw_data())).unwrap(),
            "{\"total_size\":3438,\"total_uncompressed_size\":11293,\
             \"compression_ratio\":3.2847585805700987,\"compression_progress\":100,\
             \"compression_space_saving\":69.5563623483574,\"total_blob_count\":15,\
             \"snapshots_count\":3}\n"
        );
    }

    #[test]
    fn lines_are_restics() {
        assert_eq!(
            raw_data().lines("raw-data"),
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
