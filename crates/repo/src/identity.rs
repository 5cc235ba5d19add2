//! Who is at work: what locks, keys and snapshots say of their maker.

/// A user on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; empty where it is not known.
    pub username: String,
    /// The host's name as the kernel tells it, domain and all if it has one: restic compares it, to
    /// tell whether a lock's process can be looked for here.
    pub hostname: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's group.
    pub gid: u32,
}

impl Identity {
    /// The user this process runs as, on this host.
    pub fn current() -> Self {
        let uid = rustix::process::getuid();
        let name = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid.as_raw()));
        Self {
            username: name.ok().flatten().map(|user| user.name).unwrap_or_default(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            uid: uid.as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }
}
