//! The options that choose files by patterns, and the files that patterns are read from.

use std::path::{Path, PathBuf};

use clap::Args;
use restic_repo::filter::{Case, Filter, PatternList};

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::text_file;

/// What to leave out.
#[derive(Args, Clone, Debug, Default)]
pub struct ExcludeArgs {
    /// Leave out what this pattern matches
    #[arg(short, long, value_name = "PATTERN", help_heading = "What to leave out")]
    pub exclude: Vec<String>,

    /// The same, but upper and lower case are alike
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out")]
    pub iexclude: Vec<String>,

    /// Leave out what the patterns in this file match, one a line
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    pub exclude_file: Vec<PathBuf>,

    /// The same, but upper and lower case are alike
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    pub iexclude_file: Vec<PathBuf>,
}

/// What to take, and nothing else.
#[derive(Args, Clone, Debug, Default)]
pub struct IncludeArgs {
    /// Take only what this pattern matches
    #[arg(short, long, value_name = "PATTERN", help_heading = "What to take")]
    pub include: Vec<String>,

    /// The same, but upper and lower case are alike
    #[arg(long, value_name = "PATTERN", help_heading = "What to take")]
    pub iinclude: Vec<String>,

    /// Take only what the patterns in this file match, one a line
    #[arg(long, value_name = "FILE", help_heading = "What to take")]
    pub include_file: Vec<PathBuf>,

    /// The same, but upper and lower case are alike
    #[arg(long, value_name = "FILE", help_heading = "What to take")]
    pub iinclude_file: Vec<PathBuf>,
}

impl ExcludeArgs {
    /// The patterns, in the order in which they are tried; none if no option is given.
    pub fn lists(&self, environment: &Environment) -> Result<Vec<PatternList>> {
        let options = [
            Given::new("--iexclude", &self.iexclude, &self.iexclude_file, Case::Insensitive),
            Given::new("--exclude", &self.exclude, &self.exclude_file, Case::Sensitive),
        ];
        lists(options, environment)
    }

    /// The patterns that a snapshot remembers: those of `--exclude`.
    pub fn remembered(&self) -> Vec<String> {
        self.exclude.clone()
    }
}

impl IncludeArgs {
    /// The patterns, in the order in which they are tried; none if no option is given.
    pub fn lists(&self, environment: &Environment) -> Result<Vec<PatternList>> {
        let options = [
            Given::new("--iinclude", &self.iinclude, &self.iinclude_file, Case::Insensitive),
            Given::new("--include", &self.include, &self.include_file, Case::Sensitive),
        ];
        lists(options, environment)
    }
}

/// The filter that both kinds of options amount to. They exclude each other.
pub fn filter(
    exclude: &ExcludeArgs,
    include: &IncludeArgs,
    environment: &Environment,
) -> Result<Filter> {
    let (excluded, included) = (exclude.lists(environment)?, include.lists(environment)?);
    match (excluded.is_empty(), included.is_empty()) {
        (true, true) => Ok(Filter::Everything),
        (false, true) => Ok(Filter::Except(excluded)),
        (true, false) => Ok(Filter::Only(included)),
        (false, false) => Err(Failure::new(
            "patterns to leave out and patterns to take exclude each other; give one kind",
        )),
    }
}

/// The patterns of one option and of the files that go with it.
struct Given<'a> {
    option: &'static str,
    patterns: &'a [String],
    files: &'a [PathBuf],
    case: Case,
}

impl<'a> Given<'a> {
    fn new(option: &'static str, patterns: &'a [String], files: &'a [PathBuf], case: Case) -> Self {
        Self { option, patterns, files, case }
    }
}

fn lists(options: [Given<'_>; 2], environment: &Environment) -> Result<Vec<PatternList>> {
    let mut lists = Vec::new();
    for Given { option, patterns, files, case } in options {
        let mut all: Vec<Vec<u8>> = patterns.iter().map(|text| text.clone().into()).collect();
        for file in files {
            all.extend(read(file, environment)?);
        }
        if !all.is_empty() {
            lists.push(
                PatternList::parse(&all, case)
                    .map_err(|error| Failure::new(format_args!("{option}: {error}")))?,
            );
        }
    }
    Ok(lists)
}

/// The patterns in a file: one a line, without white space around it; empty lines and those that begin
/// with `#` are passed over. `$NAME` and `${NAME}` stand for environment variables, `$$` for a dollar.
fn read(file: &Path, environment: &Environment) -> Result<Vec<Vec<u8>>> {
    let text = text_file::read(file).map_err(|error| {
        Failure::new(format_args!("cannot read the patterns in {}: {error}", file.display()))
    })?;
    let lines = text_file::lines(&text).map(text_file::trim);
    let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    Ok(patterns.map(|line| expand(line, environment)).collect())
}

/// Replaces environment variables in a text as Go's `os.Expand` does.
fn expand(text: &[u8], environment: &Environment) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.iter().position(|&byte| byte == b'$') {
        let (before, after) = rest.split_at(dollar);
        expanded.extend_from_slice(before);
        let (name, length) = variable_name(&after[1..]);
        rest = &after[1 + length..];
        match name {
            b"$" => expanded.push(b'$'),
            b"" if length == 0 => expanded.push(b'$'),
            name => {
                let name = String::from_utf8_lossy(name);
                let value = environment.value(&name).unwrap_or_default();
                expanded.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(&*value));
            }
        }
    }
    expanded.extend_from_slice(rest);
    expanded
}

/// The name of a variable behind a dollar, and how many bytes it takes.
fn variable_name(text: &[u8]) -> (&[u8], usize) {
    const SPECIAL: &[u8] = b"*#$@!?-0123456789";
    match text {
        [] => (b"", 0),
        [b'{', special, b'}', ..] if SPECIAL.contains(special) => (&text[1..2], 3),
        [b'{', rest @ ..] => match rest.iter().position(|&byte| byte == b'}') {
            // `${}`, and a brace that is never closed: Go eats what is certainly wrong.
            Some(0) => (b"", 2),
            Some(end) => (&rest[..end], end + 2),
            None => (b"", 1),
        },
        [special, ..] if SPECIAL.contains(special) => (&text[..1], 1),
        text => {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = text.iter().take_while(|byte| is_name(byte)).count();
            (&text[..length], length)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn environment() -> Environment {
        Environment::of(&[("HOME", "/home/one"), ("N_1", "x")])
    }

    #[test]
    fn variables_are_expanded_as_go_does() {
        for (text, expanded) in [
            ("plain", "plain"),
            ("$HOME/a", "/home/one/a"),
            ("${HOME}a$N_1", "/home/oneax"),
            ("$$HOME", "$HOME"),
            ("$unknown/a", "/a"),
            ("a$", "a$"),
            ("$.a", "$.a"),
            ("${}a", "a"),
            ("${HOME", "HOME"),
            ("$1a", "a"),
            ("${$}x", "$x"),
        ] {
            let found = expand(text.as_bytes(), &environment());
            assert_eq!(String::from_utf8(found).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn pattern_files_have_comments_and_variables() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\xef\xbb\xbf# comment\r\n  *.raw \r\n\n$HOME/tmp\n!*.keep").unwrap();
        let patterns = read(file.path(), &environment()).unwrap();
        assert_eq!(patterns, [&b"*.raw"[..], b"/home/one/tmp", b"!*.keep"]);
    }

    #[test]
    fn options_and_files_make_one_filter() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"!b.raw\n").unwrap();
        let exclude = ExcludeArgs {
            exclude: vec!["*.raw".into()],
            exclude_file: vec![file.path().into()],
            iexclude: vec!["*.TMP".into()],
            ..ExcludeArgs::default()
        };
        let none = IncludeArgs::default();
        let chosen = filter(&exclude, &none, &environment()).unwrap();
        let selects = |path: &str| chosen.choose(Path::new(path), false).selected;
        assert!(!selects("/a.raw") && !selects("/a.tmp"));
        assert!(selects("/b.raw") && selects("/c"));
        assert_eq!(exclude.remembered(), ["*.raw"]);

        let include = IncludeArgs { include: vec!["/a".into()], ..IncludeArgs::default() };
        assert!(filter(&exclude, &include, &environment()).is_err());
        assert!(matches!(
            filter(&ExcludeArgs::default(), &none, &environment()),
            Ok(Filter::Everything)
        ));
    }

    #[test]
    fn a_bad_pattern_is_told_with_its_option() {
        let exclude = ExcludeArgs { iexclude: vec!["a[".into()], ..ExcludeArgs::default() };
        let failure = exclude.lists(&environment()).unwrap_err();
        assert_eq!(failure.message(), "Fatal: --iexclude: not a valid pattern: \"a[\"");
    }
}
