//! Storage for `restic-repo` over SSH/SFTP.
//!
//! # The map
//!
//! | layer | rooms |
//! |---|---|
//! | names | [`location`], [`user`], [`error`] |
//! | what `ssh_config` says | [`config`] |
//! | who the server is | [`known_hosts`], [`host_key`] |
//! | who we are | [`auth`] |
//! | an open connection | [`connect`] |

pub mod auth;
pub mod config;
pub mod connect;
pub mod error;
pub mod host_key;
pub mod known_hosts;
pub mod location;
mod pattern;
pub mod user;

pub use config::ConfigFiles;
pub use connect::{Connection, Connector, Facts};
pub use error::Error;
pub use location::Location;
pub use user::User;
