//! Parses the command line as restic does.
//!
//! clap and restic's parser differ in a few habits that scripts rely on: `--json=true` and
//! `--json=false` are allowed for switches, the value of an option may begin with a dash, an option that
//! is given twice counts as given last, and a wrong command line ends with exit code 1.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use crate::command::Command;
use crate::exit::{Failure, Result};
use crate::global::GlobalArgs;

/// Back up and restore files; restic's commands, and its repositories
///
/// Reads and writes the same repositories as restic, also at the same time. The options and their
/// meaning are restic's.
#[derive(Debug, Parser)]
#[command(
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct CommandLine {
    /// The options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// To run a command.
    Run(Box<CommandLine>),
    /// To show this text.
    Help(String),
}

/// Parses a command line. The first argument is the name under which the program was called.
pub fn parse(arguments: &[OsString]) -> Result<Request> {
    let mut parser = like_restic(CommandLine::command());
    let (name, rest) =
        arguments.split_first().map_or(("one-restic".into(), &[][..]), |(name, rest)| {
            let name = std::path::Path::new(name).file_name().unwrap_or(name);
            (name.to_string_lossy().into_owned(), rest)
        });
    parser = parser.bin_name(name.clone());
    let mut plain = vec![OsString::from(&name)];
    plain.extend(without_switch_values(&switches(&parser), rest)?);
    let parsed = parser.try_get_matches_from_mut(plain).and_then(|mut matches| {
        CommandLine::from_arg_matches_mut(&mut matches).map(|line| Request::Run(Box::new(line)))
    });
    parsed.or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Ok(Request::Help(error.render().to_string()))
        }
        _ => Err(Failure::new(describe(&error, &name))),
    })
}

/// Whether JSON is asked for, in a command line that may be wrong otherwise.
pub fn asks_for_json(arguments: &[OsString]) -> bool {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    options.into_iter().any(|argument| argument == "--json" || argument == "--json=true")
}

/// Gives a parser restic's habits.
fn like_restic(parser: clap::Command) -> clap::Command {
    parser
        .args_override_self(true)
        .mut_args(|argument| {
            let is_option = argument.get_long().is_some() || argument.get_short().is_some();
            let has_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
            if is_option && has_value { argument.allow_hyphen_values(true) } else { argument }
        })
        .mut_subcommands(like_restic)
}

/// The names of all options that take no value.
fn switches(parser: &clap::Command) -> HashSet<String> {
    let own = parser.get_arguments().filter(|argument| {
        matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
    });
    let mut names: HashSet<String> =
        own.filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
    for command in parser.get_subcommands() {
        names.extend(switches(command));
    }
    names
}

/// Takes `=true` off the switches, and drops those with `=false`.
fn without_switch_values(
    switches: &HashSet<String>,
    arguments: &[OsString],
) -> Result<Vec<OsString>> {
    let mut plain = Vec::with_capacity(arguments.len());
    let mut options_are_over = false;
    for argument in arguments {
        options_are_over |= argument == "--";
        let parts = argument.to_str().and_then(|text| text.strip_prefix("--")?.split_once('='));
        match parts {
            Some((name, value)) if !options_are_over && switches.contains(name) => match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => {
                    plain.push(format!("--{name}").into())
                }
                "0" | "f" | "F" | "false" | "FALSE" | "False" => {}
                _ => {
                    return Err(Failure::new(format_args!(
                        "invalid value {value:?} for --{name}: it is true or false"
                    )));
                }
            },
            _ => plain.push(argument.clone()),
        }
    }
    Ok(plain)
}

/// One sentence for what is wrong with a command line.
fn describe(error: &clap::Error, name: &str) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match (error.kind(), context(ContextKind::InvalidArg), context(ContextKind::InvalidSubcommand))
    {
        (ErrorKind::UnknownArgument, Some(flag), _) if flag.starts_with('-') => {
            format!("unknown flag: {flag}; see `{name} help`")
        }
        (ErrorKind::InvalidSubcommand, _, Some(command)) => {
            format!("unknown command {command:?} for {name:?}; see `{name} help`")
        }
        _ => {
            let text = error.render().to_string();
            let lines = text.lines().take_while(|line| !line.is_empty());
            let sentence = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        std::iter::once("/usr/bin/restic")
            .chain(text.split_whitespace())
            .map(OsString::from)
            .collect()
    }

    fn run(text: &str) -> Box<CommandLine> {
        match parse(&arguments(text)) {
            Ok(Request::Run(line)) => line,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        match parse(&arguments(text)) {
            Err(failure) => failure.message().to_owned(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_parser_is_well_formed() {
        like_restic(CommandLine::command()).debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for text in ["-r /srv/r --json snapshots -q", "snapshots --json -q --repo=/srv/r"] {
            let line = run(text);
            assert_eq!(line.global.repo.as_deref(), Some("/srv/r"), "{text}");
            assert!(line.global.json && line.global.quiet, "{text}");
        }
    }

    #[test]
    fn verbosity_is_written_in_four_ways() {
        for (text, values) in [
            ("-v snapshots", &["+1"][..]),
            ("-vv snapshots", &["+1", "+1"]),
            ("snapshots --verbose --verbose", &["+1", "+1"]),
            ("snapshots --verbose=2", &["2"]),
            ("snapshots -v=2", &["2"]),
            ("-vq snapshots", &["+1"]),
        ] {
            assert_eq!(run(text).global.verbose, values, "{text}");
        }
    }

    #[test]
    fn switches_can_be_set_to_true_or_false() {
        assert!(run("snapshots --json=true").global.json);
        assert!(!run("snapshots --json=0").global.json);
        assert!(refused("snapshots --json=maybe").contains("it is true or false"));
        assert!(matches!(run("backup -- --json=maybe").command, Command::Backup(_)));
    }

    #[test]
    fn values_may_begin_with_a_dash_and_the_last_one_counts() {
        let line = run("--repo a snapshots --repo b --password-file -x");
        assert_eq!(line.global.repo.as_deref(), Some("b"));
        assert_eq!(line.global.password_file, Some("-x".into()));
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(
            refused("snapshots --nonsense"),
            "Fatal: unknown flag: --nonsense; see `restic help`"
        );
        assert_eq!(
            refused("frob"),
            "Fatal: unknown command \"frob\" for \"restic\"; see `restic help`"
        );
        assert_eq!(
            refused("snapshots --retry-lock 5"),
            "Fatal: invalid value '5' for '--retry-lock <DURATION>': \"5\" is not a duration: a \
             value like 30s, 5m or 1h30m is needed"
        );
    }

    #[test]
    fn help_is_no_failure() {
        for text in ["", "help", "--help", "help backup", "backup -h", "key", "key list --help"] {
            match parse(&arguments(text)) {
                Ok(Request::Help(help)) => {
                    assert!(help.contains("Usage: restic"), "{text}: {help}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn json_is_noticed_in_a_wrong_command_line() {
        assert!(asks_for_json(&arguments("snapshots --nonsense --json")));
        assert!(!asks_for_json(&arguments("backup -- --json")));
    }
}
