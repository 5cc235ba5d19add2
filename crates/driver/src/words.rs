//! Splits a command line into words, as restic does it for `--password-command`.

/// The words of a command: split at white space, with single and double quotes around what belongs
/// together. A backslash takes the meaning from a quote after it; outside of quotes it also ends a word.
///
/// The error says what is wrong, without the text, which may hold a secret.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut last = ' ';
    for character in text.chars() {
        let is_quote = last != '\\'
            && match quote {
                Some(open) => character == open,
                None => matches!(character, '\'' | '"'),
            };
        if is_quote {
            quote = if quote.is_some() { None } else { Some(character) };
        } else {
            last = character;
        }
        let ends_word =
            is_quote || quote.is_none() && (character == '\\' || character.is_whitespace());
        if !ends_word {
            word.push(character);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    match quote {
        Some('\'') => Err("a single quote is not closed"),
        Some(_) => Err("a double quote is not closed"),
        None if words.is_empty() => Err("the command is empty"),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        for (text, words) in [
            ("pass", &["pass"][..]),
            ("  pass show\tbackup ", &["pass", "show", "backup"]),
            ("'pass' show", &["pass", "show"]),
            ("sh -c 'echo  \"a b\"'", &["sh", "-c", "echo  \"a b\""]),
            ("\"it's\" x", &["it's", "x"]),
            // Odd, but restic's: a quote ends a word, and so does a backslash.
            ("a'b'c", &["a", "b", "c"]),
            ("\\\"a b", &["\"a", "b"]),
            ("a\\ b", &["a", "b"]),
            ("'a\\'b'", &["a\\'b"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn open_quotes_and_empty_commands_are_refused() {
        assert_eq!(split("a 'b"), Err("a single quote is not closed"));
        assert_eq!(split("a\""), Err("a double quote is not closed"));
        assert_eq!(split(" "), Err("the command is empty"));
        assert_eq!(split("''"), Err("the command is empty"));
    }
}
