//! Storage for `restic-repo` over SSH/SFTP, spoken directly: no `ssh` program is run.
//!
//! ```no_run
//! # async fn example() -> Result<(), restic_sftp::Error> {
//! use restic_sftp::{ConfigFiles, Connector, Location, Options, Sftp, User};
//!
//! let location = Location::parse("sftp:backup@vault.example.org:repo")?;
//! let connector = Connector::new(&location, &ConfigFiles::Usual, &User::current()?)?;
//! let backend = Sftp::connect(&location, connector, Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! | layer | rooms |
//! |---|---|
//! | names | [`location`], [`user`], [`error`], `failure` |
//! | what `ssh_config` says | [`config`] |
//! | who the server is | [`known_hosts`], [`host_key`] |
//! | who we are | [`auth`] |
//! | an open connection | [`connect`] |
//! | a command on the server | `command`: [`Command`] |
//! | one SFTP session: the bytes and what in them needs mending; requests, answers, open files | `wire`, `session` |
//! | many requests under way for one file or folder | `transfer`, `listing` |
//! | the sessions: as many as are worth while, replaced when they break | `pool` |
//! | who may move something now | `turns` |
//! | restic's folders, names and permissions; how a file is read, and stored | `layout`, `loading`, `saving` |
//! | all of it as a [`Backend`](restic_repo::backend::Backend) | `backend`: [`Sftp`] |
//! | what there is to know of a server | `survey` |

pub mod auth;
mod backend;
mod command;
pub mod config;
pub mod connect;
pub mod error;
mod failure;
pub mod host_key;
pub mod known_hosts;
mod layout;
mod listing;
mod loading;
pub mod location;
mod pattern;
mod pool;
mod saving;
mod session;
mod space;
mod survey;
mod transfer;
mod turns;
pub mod user;
mod wire;

pub use backend::{Event, Options, Sftp};
pub use command::{Command, End};
pub use config::ConfigFiles;
pub use connect::{Connection, Connector, Facts};
pub use error::Error;
pub use failure::Failure;
pub use location::Location;
pub use space::Space;
pub use survey::Survey;
pub use user::User;
