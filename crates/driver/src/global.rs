//! The options that every command takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use restic_repo::Compression;

use crate::access::Access;
use crate::duration;
use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::report::terminal::Verbosity;

/// The options as they are on the command line.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Where the repository is: a folder, or sftp:USER@HOST:PATH [env: RESTIC_REPOSITORY]
    #[arg(short, long, global = true, value_name = "REPOSITORY")]
    pub repo: Option<String>,

    /// File that holds the repository's location [env: RESTIC_REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub repository_file: Option<PathBuf>,

    /// File that holds the password [env: RESTIC_PASSWORD_FILE]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Command that prints the password [env: RESTIC_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,

    /// The repository has an empty password
    #[arg(long, global = true)]
    pub insecure_no_password: bool,

    /// Id of the key to try first [env: RESTIC_KEY_HINT]
    #[arg(long, global = true, value_name = "KEY")]
    pub key_hint: Option<String>,

    /// Write JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Write only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Write more; -vv or --verbose=2 for every file
    #[arg(short, long, global = true, action = ArgAction::Append, num_args = 0..=1,
          require_equals = true, default_missing_value = "+1", value_name = "LEVEL")]
    pub verbose: Vec<String>,

    /// Do not lock the repository; for reading from storage that cannot be written to
    #[arg(long, global = true)]
    pub no_lock: bool,

    /// How long to wait for others to release their locks, as in 5m or 2h
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub retry_lock: Option<Duration>,

    /// Send at most this many KiB/s
    #[arg(long, global = true, value_name = "RATE")]
    pub limit_upload: Option<i64>,

    /// Receive at most this many KiB/s
    #[arg(long, global = true, value_name = "RATE")]
    pub limit_download: Option<i64>,

    /// auto, off, fastest, better or max; in repositories of version 2 [env: RESTIC_COMPRESSION]
    #[arg(long, global = true, value_name = "MODE", value_parser = parse_compression)]
    pub compression: Option<Compression>,

    /// Size of pack files in MiB, from 4 to 128 [env: RESTIC_PACK_SIZE]
    #[arg(long, global = true, value_name = "SIZE")]
    pub pack_size: Option<u32>,

    /// Do not decode and compare data before it is stored
    #[arg(long, global = true)]
    pub no_extra_verify: bool,

    /// Keep no local copies of metadata
    #[arg(long, global = true)]
    pub no_cache: bool,

    /// Folder for local copies of metadata [env: RESTIC_CACHE_DIR]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,

    /// Remove local copies that have not been used for long
    #[arg(long, global = true)]
    pub cleanup_cache: bool,

    /// Option of the storage, as in sftp.connections=8
    #[arg(short, long, global = true, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub option: Vec<String>,

    /// How long a request may take before it is tried again
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse)]
    pub stuck_request_timeout: Option<Duration>,
}

fn parse_compression(word: &str) -> Result<Compression, String> {
    Ok(match word {
        "auto" => Compression::Auto,
        "off" => Compression::Off,
        "fastest" => Compression::Fastest,
        "better" => Compression::Better,
        "max" => Compression::Max,
        other => {
            return Err(format!(
                "there is no compression mode {other:?}, only auto, off, fastest, better and max"
            ));
        }
    })
}

/// The options as commands use them, with the environment and the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The repository and its password.
    pub access: Access,
    /// What is shown.
    pub verbosity: Verbosity,
    /// Whether output is JSON.
    pub json: bool,
    /// Whether to do without a lock.
    pub no_lock: bool,
    /// How long to wait for a lock.
    pub retry_lock: Duration,
    /// Bytes to send in a second, at most.
    pub limit_upload: Option<u64>,
    /// Bytes to receive in a second, at most.
    pub limit_download: Option<u64>,
    /// How hard to compress.
    pub compression: Compression,
    /// When a pack is full, in bytes; the library's default if not given.
    pub pack_size: Option<usize>,
    /// How many threads compute; as many as there are processors if not given.
    pub workers: Option<usize>,
    /// Whether data is decoded and compared before it is stored.
    pub verify: bool,
    /// Whether local copies of metadata are kept.
    pub cache: bool,
    /// Where, if not in the usual place.
    pub cache_folder: Option<PathBuf>,
    /// Whether old ones are removed.
    pub cleanup_cache: bool,
    /// How long a server may be silent while an answer is due; the storage's default if not given.
    pub stuck_request: Option<Duration>,
    /// Options of the storage, by their full names in small letters.
    pub options: BTreeMap<String, String>,
}

impl Settings {
    /// Fills in what the command line leaves open. An option goes before its environment variable.
    pub fn resolve(args: GlobalArgs, environment: &Environment) -> Result<Self> {
        let path = |given: Option<PathBuf>, name| {
            given.or_else(|| environment.value(name).map(PathBuf::from))
        };
        let text = |given: Option<String>, name| given.or_else(|| environment.text(name));
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let verbose = verbose_level(&args.verbose)?;
        let verbosity = match (args.quiet, verbose) {
            (true, 1..) => {
                return Err(Failure::new("--quiet and --verbose contradict each other; give one"));
            }
            (true, 0) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, 2..) => Verbosity::Debug,
        };
        let access = Access {
            location: text(args.repo, "RESTIC_REPOSITORY").filter(|text| !text.is_empty()),
            location_file: path(args.repository_file, "RESTIC_REPOSITORY_FILE"),
            password: None,
            password_file: path(args.password_file, "RESTIC_PASSWORD_FILE"),
            password_command: text(args.password_command, "RESTIC_PASSWORD_COMMAND"),
            password_variable: "RESTIC_PASSWORD",
            key_hint: Some(text(args.key_hint, "RESTIC_KEY_HINT")).filter(given).flatten(),
            without_password: args.insecure_no_password,
            option_names: ["--repo", "--repository-file"],
        };
        Ok(Self {
            access,
            verbosity,
            json: args.json,
            no_lock: args.no_lock,
            retry_lock: args.retry_lock.unwrap_or_default(),
            limit_upload: bytes_per_second(args.limit_upload),
            limit_download: bytes_per_second(args.limit_download),
            compression: compression(args.compression, environment)?,
            pack_size: pack_size(args.pack_size, environment)?,
            workers: None,
            verify: !args.no_extra_verify,
            cache: !args.no_cache,
            cache_folder: path(args.cache_dir, "RESTIC_CACHE_DIR"),
            cleanup_cache: args.cleanup_cache,
            stuck_request: args.stuck_request_timeout.filter(|span| !span.is_zero()),
            options: options(&args.option)?,
        })
    }
}

/// `+1` counts up, a number sets the level.
fn verbose_level(values: &[String]) -> Result<u32> {
    values.iter().try_fold(0u32, |level, value| match value.as_str() {
        "+1" => Ok(level.saturating_add(1)),
        number => number.parse().map_err(|_| {
            Failure::new(format_args!("{number:?} is no level of verbosity; give 0, 1 or 2"))
        }),
    })
}

/// As with restic, what is not positive is no limit.
fn bytes_per_second(kibibytes: Option<i64>) -> Option<u64> {
    let kibibytes = u64::try_from(kibibytes?).ok().filter(|&rate| rate > 0)?;
    Some(kibibytes.saturating_mul(1024))
}

fn compression(given: Option<Compression>, environment: &Environment) -> Result<Compression> {
    match (given, environment.text("RESTIC_COMPRESSION")) {
        (Some(mode), _) => Ok(mode),
        (None, None) => Ok(Compression::Auto),
        (None, Some(word)) => parse_compression(&word)
            .map_err(|error| Failure::new(format_args!("RESTIC_COMPRESSION: {error}"))),
    }
}

fn pack_size(given: Option<u32>, environment: &Environment) -> Result<Option<usize>> {
    let mebibytes = match (given, environment.text("RESTIC_PACK_SIZE")) {
        (Some(size), _) => size,
        (None, None) => 0,
        (None, Some(text)) => text.parse().map_err(|_| {
            Failure::new(format_args!("RESTIC_PACK_SIZE is {text:?}; a number of MiB is needed"))
        })?,
    };
    match mebibytes {
        0 => Ok(None),
        4..=128 => Ok(Some(mebibytes as usize * 1024 * 1024)),
        size => Err(Failure::new(format_args!(
            "a pack size of {size} MiB is not possible; it can be from 4 to 128 MiB"
        ))),
    }
}

fn options(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
        if key.is_empty() {
            return Err(Failure::new(
                "an option of the storage (-o) has no name; write it as name=value",
            ));
        }
        if options.get(&key).is_some_and(|known| *known != value) {
            return Err(Failure::new(format_args!(
                "the option {key:?} of the storage is given twice, with different values"
            )));
        }
        options.insert(key, value);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: GlobalArgs, variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::resolve(args, &Environment::of(variables))
    }

    fn with(change: impl FnOnce(&mut GlobalArgs)) -> GlobalArgs {
        let mut args = GlobalArgs::default();
        change(&mut args);
        args
    }

    #[test]
    fn an_option_goes_before_its_variable() {
        let variables = [
            ("RESTIC_REPOSITORY", "/env"),
            ("RESTIC_COMPRESSION", "max"),
            ("RESTIC_PACK_SIZE", "64"),
            ("RESTIC_KEY_HINT", "ab"),
        ];
        let settings = resolve(GlobalArgs::default(), &variables).unwrap();
        assert_eq!(settings.access.location.as_deref(), Some("/env"));
        assert_eq!(settings.access.key_hint.as_deref(), Some("ab"));
        assert_eq!(settings.compression, Compression::Max);
        assert_eq!(settings.pack_size, Some(64 << 20));
        let args = with(|args| {
            args.repo = Some("/flag".into());
            args.compression = Some(Compression::Off);
            args.pack_size = Some(8);
            args.key_hint = Some(String::new());
        });
        let settings = resolve(args, &variables).unwrap();
        assert_eq!(settings.access.location.as_deref(), Some("/flag"));
        assert_eq!(settings.access.key_hint, None);
        assert_eq!(settings.compression, Compression::Off);
        assert_eq!(settings.pack_size, Some(8 << 20));
    }

    #[test]
    fn verbosity_is_counted_or_set() {
        let verbosity = |values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            resolve(with(|args| args.verbose = values), &[]).map(|settings| settings.verbosity)
        };
        assert_eq!(verbosity(&[]), Ok(Verbosity::Normal));
        assert_eq!(verbosity(&["+1"]), Ok(Verbosity::Verbose));
        assert_eq!(verbosity(&["+1", "+1", "+1"]), Ok(Verbosity::Debug));
        assert_eq!(verbosity(&["2"]), Ok(Verbosity::Debug));
        assert_eq!(verbosity(&["+1", "0"]), Ok(Verbosity::Normal));
        assert!(verbosity(&["much"]).is_err());
        let quiet = with(|args| args.quiet = true);
        assert_eq!(resolve(quiet.clone(), &[]).unwrap().verbosity, Verbosity::Quiet);
        let both = GlobalArgs { verbose: vec!["+1".into()], ..quiet };
        assert!(resolve(both, &[]).is_err());
    }

    #[test]
    fn limits_are_in_kib_and_zero_is_none() {
        let limit =
            |rate| resolve(with(|args| args.limit_upload = Some(rate)), &[]).unwrap().limit_upload;
        assert_eq!(limit(100), Some(102_400));
        assert_eq!(limit(0), None);
        assert_eq!(limit(-1), None);
    }

    #[test]
    fn variables_that_make_no_sense_are_refused() {
        for variable in [("RESTIC_PACK_SIZE", "big"), ("RESTIC_COMPRESSION", "zip")] {
            let failure = resolve(GlobalArgs::default(), &[variable]).unwrap_err();
            assert!(failure.message().contains(variable.0), "{failure}");
        }
        for size in [3, 129] {
            assert!(resolve(with(|args| args.pack_size = Some(size)), &[]).is_err());
        }
        assert_eq!(resolve(with(|args| args.pack_size = Some(0)), &[]).unwrap().pack_size, None);
    }

    #[test]
    fn storage_options_are_names_with_values() {
        let options = |pairs: &[&str]| {
            let pairs = pairs.iter().map(|&pair| pair.to_owned()).collect();
            resolve(with(|args| args.option = pairs), &[]).map(|settings| settings.options)
        };
        let found = options(&["SFTP.Connections = 8", "sftp.args=-p 22=x", "flag"]).unwrap();
        assert_eq!(found["sftp.connections"], "8");
        assert_eq!(found["sftp.args"], "-p 22=x");
        assert_eq!(found["flag"], "");
        assert!(options(&["=x"]).is_err());
        assert!(options(&["a=1", "a=2"]).is_err());
        assert!(options(&["a=1", "a=1"]).is_ok());
    }
}
