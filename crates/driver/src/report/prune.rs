//! What a prune is going to do, and what came of it.

use restic_repo::prune::{Amount, End, Outcome, Statistics};
use serde::Serialize;

use crate::report::number;
use crate::report::terminal::{Terminal, Verbosity};

/// Tells what is going to be done.
pub fn plan(terminal: &Terminal, statistics: &Statistics, dry_run: bool) {
    if terminal.is_json() {
        return terminal.print_json(&Summary::new(statistics));
    }
    if dry_run {
        terminal.note("\nWould have made the following changes:");
    }
    for (from, line) in lines(statistics) {
        terminal.say(from, line);
    }
}

/// Tells how it ended, as far as that is good news.
pub fn end(terminal: &Terminal, outcome: &Outcome) {
    match &outcome.end {
        End::Swept(swept) => {
            if swept.packs_rescued > 0 {
                let packs = swept.packs_rescued;
                terminal.note(format!(
                    "kept {packs} packs that new snapshots have come to need meanwhile"
                ));
            }
            terminal.note(format!(
                "removed {} packs; others were shut out for {:.1} of {:.1} seconds",
                swept.packs,
                outcome.exclusive.as_secs_f64(),
                outcome.elapsed.as_secs_f64()
            ));
            terminal.note("done");
        }
        End::Nothing => terminal.note("done"),
        _ => {}
    }
}

fn lines(statistics: &Statistics) -> Vec<(Verbosity, String)> {
    use Verbosity::{Normal, Verbose};
    let amount = |noun: &str, Amount { blobs, bytes }: Amount| {
        format!("{noun:<13} {blobs:>10} blobs / {}", number::bytes(bytes))
    };
    let only_bytes = |noun: &str, bytes| format!("{noun:<32} {}", number::bytes(bytes));
    let packs = |noun: &str, count: u64| format!("{noun:<13} {count:>10} packs");
    let total = statistics.total();
    let unused = statistics.unused.bytes + statistics.duplicate.bytes;
    let mut lines = vec![(Verbose, String::new()), (Verbose, amount("used:", statistics.used))];
    if statistics.duplicate.blobs > 0 {
        lines.push((Verbose, amount("duplicates:", statistics.duplicate)));
    }
    lines.push((Verbose, amount("unused:", statistics.unused)));
    if statistics.unreferenced_bytes > 0 {
        lines.push((Verbose, only_bytes("unreferenced:", statistics.unreferenced_bytes)));
    }
    lines.push((Verbose, amount("total:", total)));
    let percent = number::percent(unused, total.bytes);
    lines.push((Verbose, format!("unused size: {percent} of total size")));
    lines.push((Normal, String::new()));
    lines.push((Normal, amount("to repack:", statistics.repack)));
    lines.push((Normal, amount("this removes:", statistics.repack_removed)));
    let removed = statistics.removed.bytes + statistics.unreferenced_bytes;
    lines.push((Normal, amount("to delete:", Amount { bytes: removed, ..statistics.removed })));
    lines.push((Normal, amount("total prune:", statistics.total_removed())));
    if statistics.uncompressed_bytes > 0 {
        lines.push((Normal, only_bytes("not yet compressed:", statistics.uncompressed_bytes)));
    }
    let remaining = statistics.remaining();
    lines.push((Normal, amount("remaining:", remaining)));
    let unused = statistics.remaining_unused();
    let percent = number::percent(unused, remaining.bytes);
    lines.push((
        Normal,
        format!("unused size after prune: {} ({percent} of remaining size)", number::bytes(unused)),
    ));
    lines.push((Normal, String::new()));
    lines.push((Verbose, format!("totally used packs: {:>10}", statistics.packs_used)));
    lines.push((Verbose, format!("partly used packs:  {:>10}", statistics.packs_partly_used)));
    lines.push((Verbose, format!("unused packs:       {:>10}", statistics.packs_unused)));
    lines.push((Verbose, String::new()));
    lines.push((Verbose, packs("to keep:", statistics.packs_kept)));
    lines.push((Verbose, packs("to repack:", statistics.packs_repacked)));
    lines.push((Verbose, packs("to delete:", statistics.packs_removed)));
    if statistics.packs_unreferenced > 0 {
        let count = statistics.packs_unreferenced;
        lines.push((Verbose, format!("to delete:    {count:>10} unreferenced packs")));
    }
    lines
}

/// The fields that restic's own summary has from 0.20 on.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    blobs: Blobs,
    bytes: Bytes,
    packfiles: Packs,
}

#[derive(Serialize)]
struct Blobs {
    used: u64,
    duplicate: u64,
    unused: u64,
    total: u64,
    repack: u64,
    repack_remove: u64,
    remove: u64,
    remove_total: u64,
    remaining: u64,
}

#[derive(Serialize)]
struct Bytes {
    used: u64,
    duplicate: u64,
    unused: u64,
    unreferenced: u64,
    uncompressed: u64,
    total: u64,
    repack: u64,
    repack_remove: u64,
    remove: u64,
    remove_total: u64,
    remaining: u64,
    remaining_unused: u64,
}

#[derive(Serialize)]
struct Packs {
    used: u64,
    unused: u64,
    partly_used: u64,
    unreferenced: u64,
    total: u64,
    keep: u64,
    repack: u64,
    remove: u64,
    remove_total: u64,
}

impl Summary {
    fn new(statistics: &Statistics) -> Self {
        let (total, removed) = (statistics.total(), statistics.total_removed());
        let remaining = statistics.remaining();
        let Statistics { used, duplicate, unused, repack, repack_removed, .. } = *statistics;
        let packs = statistics.packs_used
            + statistics.packs_unused
            + statistics.packs_partly_used
            + statistics.packs_unreferenced;
        Self {
            message_type: "summary",
            blobs: Blobs {
                used: used.blobs,
                duplicate: duplicate.blobs,
                unused: unused.blobs,
                total: total.blobs,
                repack: repack.blobs,
                repack_remove: repack_removed.blobs,
                remove: statistics.removed.blobs,
                remove_total: removed.blobs,
                remaining: remaining.blobs,
            },
            bytes: Bytes {
                used: used.bytes,
                duplicate: duplicate.bytes,
                unused: unused.bytes,
                unreferenced: statistics.unreferenced_bytes,
                uncompressed: statistics.uncompressed_bytes,
                total: total.bytes,
                repack: repack.bytes,
                repack_remove: repack_removed.bytes,
                remove: statistics.removed.bytes,
                remove_total: removed.bytes,
                remaining: remaining.bytes,
                remaining_unused: statistics.remaining_unused(),
            },
            packfiles: Packs {
                used: statistics.packs_used,
                unused: statistics.packs_unused,
                partly_used: statistics.packs_partly_used,
                unreferenced: statistics.packs_unreferenced,
                total: packs,
                keep: statistics.packs_kept,
                repack: statistics.packs_repacked,
                remove: statistics.packs_removed,
                remove_total: statistics.packs_unreferenced + statistics.packs_removed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_restics() {
        let statistics = Statistics {
            used: Amount { blobs: 12, bytes: 5 << 20 },
            unused: Amount { blobs: 4, bytes: 3 << 20 },
            repack: Amount { blobs: 8, bytes: 4 << 20 },
            repack_removed: Amount { blobs: 2, bytes: 1 << 20 },
            removed: Amount { blobs: 2, bytes: 2 << 20 },
            unreferenced_bytes: 1 << 20,
            ..Statistics::default()
        };
        let normal: Vec<_> = lines(&statistics)
            .into_iter()
            .filter(|(from, _)| *from == Verbosity::Normal)
            .map(|(_, line)| line)
            .collect();
        assert_eq!(
            normal.join("\n"),
            "
to repack:             8 blobs / 4.000 MiB
this removes:          2 blobs / 1.000 MiB
to delete:             2 blobs / 3.000 MiB
total prune:           4 blobs / 4.000 MiB
remaining:            12 blobs / 5.000 MiB
unused size after prune: 0 B (0.00% of remaining size)
"
        );
    }
}
