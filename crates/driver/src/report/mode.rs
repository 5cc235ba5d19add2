//! File modes as Go writes them, which is how they are in trees and in listings.

/// Go's letters for the bits above the permissions, from the highest bit down.
const LETTERS: &[u8] = b"dalTLDpSugct?";

/// `drwxr-xr-x`, `-rw-------`, `urwxr-xr-x` (setuid), `dtrwxrwxrwx` (a sticky folder).
pub fn format(mode: u32) -> String {
    let mut text: String = LETTERS
        .iter()
        .enumerate()
        .filter(|(position, _)| mode & (1 << (31 - position)) != 0)
        .map(|(_, &letter)| char::from(letter))
        .collect();
    if text.is_empty() {
        text.push('-');
    }
    for (position, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (1 << (8 - position)) != 0 { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_restics_listings() {
        for (mode, text) in [
            (2_148_532_735, "dtrwxrwxrwx"),
            (2_147_484_141, "drwxr-xr-x"),
            (420, "-rw-r--r--"),
            (1 << 23 | 0o755, "urwxr-xr-x"),
            (134_218_239, "Lrwxrwxrwx"),
            (69_206_016 | 0o600, "Dcrw-------"),
            (1 << 25 | 0o644, "prw-r--r--"),
            (0, "----------"),
        ] {
            assert_eq!(format(mode), text, "{mode}");
        }
    }
}
