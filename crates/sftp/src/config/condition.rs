//! The conditions of `Match`.

use crate::pattern::{host_list_fits, list_fits};

/// What conditions are about.
pub(super) struct Facts<'a> {
    /// The name that was asked for.
    pub original_host: &'a str,
    /// The name to connect to, as far as it is known by now.
    pub host: &'a str,
    /// Whom to log in as, as far as it is known by now.
    pub user: &'a str,
    /// Who runs this program.
    pub local_user: &'a str,
    /// What a `Tag` said.
    pub tag: &'a str,
    /// The files are read for the second time.
    pub final_pass: bool,
}

/// Whether all conditions hold.
///
/// A condition that is not known is an error only if those before it hold, for else `ssh` would not look
/// at it either.
pub(super) fn holds(words: &[String], facts: &Facts<'_>) -> Result<bool, String> {
    if words.is_empty() {
        return Err("Match has no conditions".to_owned());
    }
    let mut holds = true;
    let mut seen = 0;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (word, mut argument) = match word.split_once('=') {
            Some((word, argument)) => (word, Some(argument)),
            None => (word.as_str(), None),
        };
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name.to_ascii_lowercase()),
            None => (false, word.to_ascii_lowercase()),
        };
        match name.as_str() {
            "all" => {
                // OpenSSH lets one other condition stand in front of it, meant for `final`.
                if seen > 1 || words.next().is_some() {
                    return Err("Match all has to stand alone".to_owned());
                }
                return Ok(holds && !negated);
            }
            "final" | "canonical" => {
                seen += 1;
                holds &= facts.final_pass != negated;
                continue;
            }
            _ => seen += 1,
        }
        if argument.is_none() {
            argument = words.next().map(String::as_str);
        }
        let list = argument.ok_or_else(|| format!("Match {name} says nothing to compare with"))?;
        let fits = match name.as_str() {
            "host" => host_list_fits(facts.host, list),
            "originalhost" => host_list_fits(facts.original_host, list),
            "user" => list_fits(facts.user, list.split(',')),
            "localuser" => list_fits(facts.local_user, list.split(',')),
            "tagged" => list_fits(facts.tag, list.split(',')),
            _ if !holds => continue,
            _ => return Err(format!("Match {name} is not known to this program")),
        };
        holds &= fits != negated;
    }
    Ok(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_together_and_can_be_turned_round() {
        let facts = Facts {
            original_host: "store",
            host: "store.example.org",
            user: "backup",
            local_user: "oneadmin",
            tag: "",
            final_pass: false,
        };
        for (text, expected) in [
            ("all", Ok(true)),
            ("host store", Ok(false)),
            ("host store.*", Ok(true)),
            ("host STORE.*,x", Ok(true)),
            ("host=store.*", Ok(true)),
            ("originalhost store", Ok(true)),
            ("!originalhost store", Ok(false)),
            ("user backup localuser oneadmin", Ok(true)),
            ("user backup localuser root", Ok(false)),
            ("user *,!backup", Ok(false)),
            ("USER backup", Ok(true)),
            ("final", Ok(false)),
            ("!final", Ok(true)),
            ("final all", Ok(false)),
            ("user root exec true", Ok(false)),
            ("user backup exec true", Err(())),
            ("user", Err(())),
            ("", Err(())),
            ("user backup all", Ok(true)),
            ("!all", Ok(false)),
            ("user backup host x all", Err(())),
        ] {
            let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            assert_eq!(holds(&words, &facts).map_err(|_| ()), expected, "{text}");
        }
    }
}
