//! A line of `ssh_config`: a keyword and words.

/// A line taken apart. The keyword is in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub keyword: String,
    pub words: Vec<String>,
    /// What follows the keyword, as written: for what is a command.
    pub rest: String,
}

/// Takes a line apart; nothing if it is empty or a comment.
///
/// `Keyword words`, `Keyword=words` and `Keyword = words` are the same. Words in single or double quotes
/// may have spaces in them; a backslash keeps a quote, a backslash or (outside of quotes) a space; a `#`
/// where a word could begin is a comment.
pub(super) fn split(text: &str) -> Result<Option<Line>, &'static str> {
    let text = text.trim_matches([' ', '\t', '\r', '\n', '\x0c']);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("the quotes are not closed")?,
        None => text.split_at(text.find([' ', '\t', '=', '"']).unwrap_or(text.len())),
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches([' ', '\t']);
    if keyword.is_empty() {
        return Err("there is no keyword");
    }
    if rest.is_empty() {
        return Err("there is nothing behind the keyword");
    }
    let keyword = keyword.to_ascii_lowercase();
    Ok(Some(Line { keyword, words: words(rest)?, rest: rest.to_owned() }))
}

fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|&c| c == ' ' || c == '\t').is_some() {}
        match rest.peek() {
            None | Some('#') => return Ok(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = rest.next() {
            match (c, quote) {
                ('\\', _) => {
                    let kept = rest.next_if(|&next| {
                        matches!(next, '\'' | '"' | '\\') || (next == ' ' && quote.is_none())
                    });
                    word.push(kept.unwrap_or('\\'));
                }
                (' ' | '\t', None) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(end)) if c == end => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("the quotes are not closed");
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart_as_in_openssh() {
        for (text, keyword, expected) in [
            ("Host a b", "host", vec!["a", "b"]),
            ("  Port\t22  ", "port", vec!["22"]),
            ("Port=22", "port", vec!["22"]),
            ("Port = 22", "port", vec!["22"]),
            ("Port ==22", "port", vec!["=22"]),
            ("IdentityFile \"a b\" # which", "identityfile", vec!["a b"]),
            ("IdentityFile 'a \"b'", "identityfile", vec!["a \"b"]),
            ("IdentityFile a\\ b", "identityfile", vec!["a b"]),
            ("IdentityFile \"a\\ b\"", "identityfile", vec!["a\\ b"]),
            ("IdentityFile a\\nb", "identityfile", vec!["a\\nb"]),
            ("IdentityFile a#b", "identityfile", vec!["a#b"]),
            ("IdentityFile=\"\"", "identityfile", vec![""]),
            ("\"Port\" 22", "port", vec!["22"]),
        ] {
            let line = split(text).unwrap().unwrap();
            assert_eq!(
                (line.keyword.as_str(), line.words),
                (keyword, expected.iter().map(|word| (*word).to_owned()).collect()),
                "{text}"
            );
        }
        assert_eq!(split("# x"), Ok(None));
        assert_eq!(split(" \t\r"), Ok(None));
        assert!(split("Port").is_err());
        assert!(split("Port \"22").is_err());
        assert!(split("= 22").is_err());
    }
}
