//! Storage for `restic-repo` over SSH/SFTP, spoken directly: no `ssh` program is run.
//!
//! | room | what it knows |
//! |---|---|
//! | [`location`] | where a repository is: user, host, port, path |
//! | [`connect`] | how to open one authenticated SSH connection, again and again |
//! | [`wire`] | the bytes between us and one SFTP server: whether they move, and what in them needs mending |
//! | [`session`] | one SFTP session: requests, their answers, open files |
//! | [`transfer`] | many requests in flight for one file or folder |
//! | [`pool`] | the sessions of a backend: as many as are worth while, replaced when they break |
//! | [`layout`] | where files are, what temporary ones are called, who may read them |
//! | [`backend`] | [`Sftp`]: all of it as a [`Backend`](restic_repo::backend::Backend) |

pub use backend::{Event, Options, Sftp};
pub use config::ConfigFiles;
pub use connect::Connector;
pub use error::Error;
pub use failure::Failure;
pub use location::{Location, LocationError};
pub use user::User;

mod backend;
mod config;
mod connect;
mod error;
mod failure;
mod layout;
mod listing;
mod location;
mod pool;
mod saving;
mod session;
mod transfer;
mod user;
mod wire;
