//! What OpenNebula and its drivers say to each other.
//!
//! The daemon starts one program for each action of a datastore. What to do comes as XML on standard
//! input ([`action_data`]), with the whole [`datastore`], the backup [`image`] and the [`vm`] in it; what
//! came of it goes back on standard output. A backup is one or more [`increments`], and a disk in it has
//! a [`url`].
//!
//! Nothing in here does any work on a repository: that is [`crate::action`]'s.

pub mod action_data;
pub mod attribute;
pub mod datastore;
pub mod element;
pub mod image;
pub mod increments;
pub mod installation;
pub mod url;
pub mod vm;
