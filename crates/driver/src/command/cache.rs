//! `cache`

use std::time::Duration;

use clap::Args;
use restic_repo::backend::cache::RepositoryCache;

use crate::cache;
use crate::exit::{Failure, Result};
use crate::report::caches::{Row, table};
use crate::session::Session;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lists or removes the copies of repositories' metadata on this machine.
#[derive(Args, Debug)]
pub struct Cache {
    /// Remove copies that have not been used for long
    #[arg(long)]
    cleanup: bool,

    /// After how many days without use they are old
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    max_age: u32,

    /// Do not count how large they are
    #[arg(long)]
    no_size: bool,

    #[arg(hide = true)]
    others: Vec<String>,
}

impl Cache {
    /// Does it.
    pub async fn run(self, session: &Session) -> Result {
        if !self.others.is_empty() {
            return Err(Failure::new("the cache command expects no arguments, only options"));
        }
        if !session.settings.cache {
            return Err(Failure::new("Refusing to do anything, the cache is disabled"));
        }
        let base = cache::base(&session.settings, &session.environment)?;
        let place = base.path().display();
        let cannot_list = |error| Failure::new(format_args!("cannot list {place}: {error}"));
        let all = base.repositories().map_err(cannot_list)?;
        let terminal = &session.terminal;
        if self.cleanup || session.settings.cleanup_cache {
            self.clean_up(session, all);
        } else if all.is_empty() {
            terminal.print(format!("no cache dirs found, basedir is {place}"));
        } else {
            let rows: Vec<Row> = all.iter().map(|cache| self.row(cache)).collect();
            terminal.print(table(&rows));
            terminal.print(format!("{} cache dirs in {place}", rows.len()));
        }
        Ok(())
    }

    fn clean_up(&self, session: &Session, mut all: Vec<RepositoryCache>) {
        let terminal = &session.terminal;
        all.retain(|cache| cache.is_older_than(self.max_age()));
        if all.is_empty() {
            terminal.note("no old cache dirs found");
            return;
        }
        terminal.note(format!("remove {} old cache directories", all.len()));
        for cache in all {
            if let Err(error) = cache.remove() {
                terminal.error(format!("unable to remove {}: {error}", cache.path.display()));
            }
        }
    }

    fn row(&self, cache: &RepositoryCache) -> Row {
        let is_of_check = cache.name.starts_with("restic-check-cache-");
        let name = if is_of_check { &cache.name[..] } else { &cache.name[..10] };
        Row {
            name: name.to_owned(),
            days: cache.age().as_secs() / DAY.as_secs(),
            is_old: cache.is_older_than(self.max_age()),
            size: (!self.no_size).then(|| cache.size()),
        }
    }

    fn max_age(&self) -> Duration {
        DAY * self.max_age
    }
}
