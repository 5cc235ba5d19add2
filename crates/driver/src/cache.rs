//! Copies of repositories' metadata on this machine: where they are, and who uses them.

use std::path::PathBuf;

use restic_repo::backend::cache::{Base, MAX_AGE};
use restic_repo::repository::Repository;

use crate::environment::Environment;
use crate::exit::{Failure, Result};
use crate::global::Settings;
use crate::session::Session;

/// The folder that all copies are in: where the options or `RESTIC_CACHE_DIR` say, else `restic` in
/// the folder that the system has for such things.
pub fn base(settings: &Settings, environment: &Environment) -> Result<Base> {
    if let Some(folder) = &settings.cache_folder {
        return Ok(Base::new(folder));
    }
    let path = |name| environment.value(name).map(PathBuf::from);
    let folder = match (path("XDG_CACHE_HOME"), path("HOME")) {
        (Some(folder), _) if folder.is_absolute() => folder,
        (Some(_), _) => {
            return Err(Failure::new("XDG_CACHE_HOME is not an absolute path"));
        }
        (None, Some(home)) => home.join(".cache"),
        (None, None) => {
            return Err(Failure::new(
                "neither XDG_CACHE_HOME nor HOME says where the cache is; name a folder with \
                 --cache-dir",
            ));
        }
    };
    Ok(Base::new(folder.join("restic")))
}

/// The repository with copies of its metadata on this machine, unless the options say otherwise. It
/// works without, too.
pub fn attach(session: &Session, repository: Repository) -> Repository {
    if !session.settings.cache {
        return repository;
    }
    let terminal = &session.terminal;
    let opened = base(&session.settings, &session.environment)
        .map_err(|failure| failure.cause().to_owned())
        .and_then(|base| {
            let folder = base.folder(repository.config().id);
            let describe = |error| format!("{}: {error}", base.path().display());
            folder.map(|folder| (base.clone(), folder)).map_err(describe)
        });
    let (base, folder) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            terminal.error(format!("unable to open cache: {error}"));
            return repository;
        }
    };
    if folder.is_new() {
        terminal.hint(format!("created new cache in {}", base.path().display()));
    }
    remove_old(session, &base);
    repository.with_cache(folder)
}

/// Removes the copies of repositories that were not used for long, or says that there are some.
fn remove_old(session: &Session, base: &Base) {
    let terminal = &session.terminal;
    let mut old = base.repositories().unwrap_or_default();
    old.retain(|cache| cache.is_older_than(MAX_AGE));
    if old.is_empty() {
        return;
    }
    let (count, place) = (old.len(), base.path().display());
    if !session.settings.cleanup_cache {
        terminal.hint(format!(
            "found {count} old cache directories in {place}, run `restic cache --cleanup` to remove \
             them"
        ));
        return;
    }
    terminal.hint(format!("removing {count} old cache dirs from {place}"));
    for cache in old {
        if let Err(error) = cache.remove() {
            terminal.error(format!("unable to remove {}: {error}", cache.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::GlobalArgs;

    fn place(cache_dir: Option<&str>, variables: &[(&str, &str)]) -> Option<PathBuf> {
        let environment = Environment::of(variables);
        let args = GlobalArgs { cache_dir: cache_dir.map(PathBuf::from), ..GlobalArgs::default() };
        let settings = Settings::resolve(args, &environment).unwrap();
        base(&settings, &environment).ok().map(|base| base.path().to_owned())
    }

    #[test]
    fn the_folder_is_where_restic_has_it() {
        let home = ("HOME", "/home/one");
        let xdg = ("XDG_CACHE_HOME", "/var/cache");
        let variable = ("RESTIC_CACHE_DIR", "/fast");
        for (option, variables, path) in [
            (None, &[home][..], Some("/home/one/.cache/restic")),
            (None, &[home, xdg], Some("/var/cache/restic")),
            (None, &[home, xdg, variable], Some("/fast")),
            (Some("/given"), &[home, variable], Some("/given")),
            (None, &[("XDG_CACHE_HOME", "relative"), home], None),
            (None, &[], None),
        ] {
            assert_eq!(place(option, variables), path.map(PathBuf::from), "{variables:?}");
        }
    }
}
