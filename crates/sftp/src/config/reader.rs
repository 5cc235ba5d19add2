//! Goes through the files line by line, and keeps what holds for the host.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keyword::Keyword;
use super::{Asked, ConfigError, ConfigFiles, Place, condition, expand, keyword, line};
use crate::pattern::{fits, list_fits};
use crate::user::User;

/// How deep files may include one another; as in OpenSSH.
const DEPTH_LIMIT: usize = 16;
/// How many files may be read for one host.
const FILE_LIMIT: usize = 256;
/// How long a file may be, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// The words of a line that holds, and where it is.
#[derive(Debug)]
pub(super) struct Value {
    pub words: Vec<String>,
    pub place: Place,
}

/// What holds for a host, as written.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// The first of each keyword.
    pub first: HashMap<&'static str, Value>,
    /// All of those that add up.
    pub each: Vec<(&'static str, Value)>,
    /// The first line with a keyword that is refused, for each of these.
    pub refused: Vec<(String, Value)>,
    /// The first of `ProxyJump` and `ProxyCommand`.
    pub way: Option<(&'static str, Value)>,
}

impl Values {
    pub(super) fn word(&self, keyword: &str) -> Option<(&str, &Place)> {
        let value = self.first.get(keyword)?;
        Some((value.words.first()?.as_str(), &value.place))
    }
}

/// Where a file comes from, which decides what its relative paths mean and who may write to it.
#[derive(Clone)]
struct Origin {
    /// The folder of the names that it includes.
    folder: PathBuf,
    /// Others may not write to it.
    private: bool,
    depth: usize,
}

pub(super) struct Reader<'a> {
    asked: &'a Asked<'a>,
    me: &'a User,
    values: Values,
    ignored: Vec<String>,
    files_read: usize,
    /// What `Host` compares with.
    host: String,
    final_pass: bool,
    final_wanted: bool,
    can_include: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, me: &'a User) -> Self {
        Self {
            asked,
            me,
            values: Values::default(),
            ignored: Vec::new(),
            files_read: 0,
            host: asked.host.to_owned(),
            final_pass: false,
            final_wanted: false,
            can_include: true,
        }
    }

    pub(super) fn read(&mut self, files: &ConfigFiles) -> Result<(), ConfigError> {
        let users = self.me.ssh_folder();
        let origin =
            |folder: &Path, private| Origin { folder: folder.to_owned(), private, depth: 0 };
        match files {
            ConfigFiles::Usual => {
                self.file(&users.join("config"), &origin(&users, true), true, false)?;
                let system = Path::new("/etc/ssh");
                self.file(&system.join("ssh_config"), &origin(system, false), true, false)
            }
            ConfigFiles::Only(path) if path.as_os_str() == "none" => Ok(()),
            ConfigFiles::Only(path) => self.file(path, &origin(&users, false), true, true),
        }
    }

    pub(super) fn read_text(&mut self, text: &str) -> Result<(), ConfigError> {
        self.can_include = false;
        let origin = Origin { folder: PathBuf::new(), private: false, depth: 0 };
        self.text(text, Path::new("ssh_config"), &origin, true)
    }

    /// Whether some `Match final` wants everything to be read once more.
    pub(super) fn wants_final_pass(&self) -> bool {
        self.final_wanted
    }

    /// From now on `Host` compares with the name to connect to.
    pub(super) fn begin_final_pass(&mut self) -> Result<(), ConfigError> {
        self.host = self.host_by_now()?;
        self.final_pass = true;
        self.files_read = 0;
        Ok(())
    }

    pub(super) fn finish(self) -> Values {
        self.values
    }

    fn file(
        &mut self,
        path: &Path,
        origin: &Origin,
        active: bool,
        must_exist: bool,
    ) -> Result<(), ConfigError> {
        let error = |problem: String| ConfigError { file: path.to_owned(), line: 0, problem };
        self.files_read += 1;
        if self.files_read > FILE_LIMIT {
            return Err(error(format!("more than {FILE_LIMIT} files are included")));
        }
        let text = match read(path, origin.private.then_some(self.me.uid)) {
            Ok(text) => text,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound && !must_exist => {
                return Ok(());
            }
            Err(problem) => return Err(error(format!("it cannot be read: {problem}"))),
        };
        self.text(&text, path, origin, active)
    }

    /// Reads the lines of a file. If it is included where nothing holds, nothing in it does, and it is
    /// read for its errors alone.
    fn text(
        &mut self,
        text: &str,
        path: &Path,
        origin: &Origin,
        outer: bool,
    ) -> Result<(), ConfigError> {
        let file: Arc<Path> = path.into();
        let mut active = outer;
        for (at, text) in text.split('\n').enumerate() {
            let place = Place { file: file.clone(), line: at + 1 };
            let Some(line) = line::split(text).map_err(|problem| place.error(problem))? else {
                continue;
            };
            let Some(keyword) = keyword::look_up(&line.keyword) else {
                if list_fits(&line.keyword, self.ignored.iter().map(String::as_str)) {
                    continue;
                }
                let problem = format!(
                    "{} is not a keyword that this program knows: correct it, or let it be passed over \
                     by an IgnoreUnknown in a line above",
                    line.keyword
                );
                return Err(place.error(problem));
            };
            match keyword {
                Keyword::Host => active = outer && self.is_for_host(&line.words),
                Keyword::Match => active = outer && self.matches(&line.words, &place)?,
                Keyword::Include => self.include(&line.words, origin, active, &place)?,
                Keyword::IgnoreUnknown if active && self.ignored.is_empty() => {
                    let names = line.words.iter().flat_map(|word| word.split(','));
                    self.ignored = names.map(str::to_ascii_lowercase).collect();
                }
                Keyword::IgnoreUnknown => {}
                _ if active => self.keep(keyword, line, place)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_for_host(&self, patterns: &[String]) -> bool {
        list_fits(&self.host, patterns.iter().map(String::as_str))
    }

    fn matches(&mut self, words: &[String], place: &Place) -> Result<bool, ConfigError> {
        self.final_wanted |=
            words.iter().any(|word| word.trim_start_matches('!').eq_ignore_ascii_case("final"));
        let host = self.host_by_now()?;
        let word = |keyword| self.values.word(keyword).map(|(word, _)| word);
        let facts = condition::Facts {
            original_host: self.asked.host,
            host: &host,
            user: self.asked.user.or(word("user")).unwrap_or(&self.me.name),
            local_user: &self.me.name,
            tag: word("tag").unwrap_or_default(),
            final_pass: self.final_pass,
        };
        condition::holds(words, &facts).map_err(|problem| place.error(problem))
    }

    /// The name to connect to, going by what was read up to here.
    fn host_by_now(&self) -> Result<String, ConfigError> {
        let Some((name, place)) = self.values.word("hostname") else {
            return Ok(self.host.clone());
        };
        let tokens = expand::Tokens { host: Some(self.asked.host), ..Default::default() };
        tokens.expand(name).map_err(|problem| place.error(problem))
    }

    fn keep(
        &mut self,
        keyword: Keyword,
        line: line::Line,
        place: Place,
    ) -> Result<(), ConfigError> {
        let name = line.keyword.as_str();
        let single = !matches!(keyword, Keyword::List | Keyword::PassedOver | Keyword::Refused(_))
            && name != "proxycommand";
        if single && line.words.len() != 1 {
            let problem = match line.words.len() {
                0 => format!("there is nothing behind {name}"),
                _ => format!("there is more than one value behind {name}"),
            };
            return Err(place.error(problem));
        }
        let value = Value { words: line.words, place };
        match keyword {
            Keyword::One | Keyword::List => {
                let name = static_name(name);
                self.values.first.entry(name).or_insert(value);
            }
            Keyword::Each => self.values.each.push((static_name(name), value)),
            Keyword::Way => {
                self.values.way.get_or_insert((static_name(name), value));
            }
            Keyword::Refused(harmless) => self.keep_refused(name, harmless, value),
            _ => {}
        }
        Ok(())
    }

    /// The first value counts, also if it is a harmless one, which leaves no words behind.
    fn keep_refused(&mut self, name: &str, harmless: &[&str], mut value: Value) {
        if self.values.refused.iter().any(|(known, _)| known == name) {
            return;
        }
        let is =
            |word: &String| harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(word));
        if value.words.first().is_some_and(is) {
            value.words.clear();
        }
        self.values.refused.push((name.to_owned(), value));
    }

    fn include(
        &mut self,
        words: &[String],
        origin: &Origin,
        active: bool,
        place: &Place,
    ) -> Result<(), ConfigError> {
        if !self.can_include {
            return Err(place.error("Include is not possible in a text"));
        }
        if origin.depth >= DEPTH_LIMIT {
            return Err(
                place.error(format!("files include one another more than {DEPTH_LIMIT} deep"))
            );
        }
        let inner = Origin { depth: origin.depth + 1, ..origin.clone() };
        for word in words {
            let tokens = expand::Tokens { me: Some(self.me), ..Default::default() };
            let pattern = origin
                .folder
                .join(tokens.expand_path(word).map_err(|problem| place.error(problem))?);
            for path in files_of(&pattern).map_err(|problem| place.error(problem))? {
                self.file(&path, &inner, active, false)?;
            }
        }
        Ok(())
    }
}

/// The keyword as it is in the program, so that it need not be kept as a text of its own.
fn static_name(name: &str) -> &'static str {
    const NAMES: &[&str] = &[
        "addressfamily",
        "bindaddress",
        "casignaturealgorithms",
        "certificatefile",
        "ciphers",
        "connecttimeout",
        "globalknownhostsfile",
        "hashknownhosts",
        "hostkeyalgorithms",
        "hostkeyalias",
        "hostname",
        "identitiesonly",
        "identityagent",
        "identityfile",
        "kexalgorithms",
        "macs",
        "port",
        "preferredauthentications",
        "proxycommand",
        "proxyjump",
        "pubkeyacceptedalgorithms",
        "requiredrsasize",
        "serveralivecountmax",
        "serveraliveinterval",
        "stricthostkeychecking",
        "tag",
        "user",
        "userknownhostsfile",
    ];
    match name {
        // The name it had until OpenSSH 8.5.
        "pubkeyacceptedkeytypes" => "pubkeyacceptedalgorithms",
        _ => NAMES.iter().find(|&&known| known == name).copied().unwrap_or("?"),
    }
}

fn read(path: &Path, owner: Option<u32>) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if let Some(uid) = owner
        && ((metadata.uid() != 0 && metadata.uid() != uid) || metadata.mode() & 0o022 != 0)
    {
        return Err(io::Error::other(
            "others than its user may write to it (chmod 600 it, and chown it if needed)",
        ));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::other(format!("it is longer than {SIZE_LIMIT} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that a path with `*` and `?` stands for, sorted.
fn files_of(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str();
        let name = part.to_string_lossy();
        if name.contains('[') {
            return Err(
                "[ ] in the name of an included file is not known to this program".to_owned()
            );
        }
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut deeper = Vec::new();
        for folder in &found {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let entry = entry.file_name();
                let text = entry.to_string_lossy();
                if (!text.starts_with('.') || name.starts_with('.')) && fits(&text, &name) {
                    deeper.push(folder.join(entry));
                }
            }
            if deeper.len() > FILE_LIMIT {
                return Err(format!("more than {FILE_LIMIT} files are included"));
            }
        }
        deeper.sort();
        found = deeper;
    }
    Ok(found)
}
