//! What OpenNebula and its drivers say to each other.
//!
//! The daemon starts one program for each action of a datastore. What to do comes as XML on standard
//! input ([`action_data`]), with the whole [`datastore`], the backup [`image`] and the [`vm`] in it; what
//! came of it goes back on standard output. A backup is one or more [`increments`], and a disk in it has
//! a [`url`]. A backup has a [`description`] of the VM, of which a restore makes a [`template`]; it asks for
//! that through the [`api`].
//!
//! Nothing in here does any work on a repository: that is [`crate::action`]'s.

pub mod action_data;
pub mod api;
pub mod attribute;
pub mod auth;
pub mod datastore;
pub mod description;
pub mod disk_file;
pub mod element;
pub mod image;
pub mod increments;
pub mod installation;
pub mod place;
pub mod restored;
pub mod template;
pub mod url;
pub mod vm;
pub mod xmlrpc;
