//! Gives up root once the addresses are bound.

use nix::unistd::{Gid, Group, Uid, User, setgid, setgroups, setuid};

/// What keeps the process from becoming another user.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// No such user or group.
    #[error(
        "process.{key} = \"{name}\": there is no such {key} on this host; create it or name another"
    )]
    Unknown {
        /// `user` or `group`.
        key: &'static str,
        /// What the file says.
        name: String,
    },
    /// The kernel says no.
    #[error("cannot become {key} \"{name}\": {source}; start as root, or remove process.{key}")]
    Refused {
        /// `user` or `group`.
        key: &'static str,
        /// What the file says.
        name: String,
        /// Why.
        source: nix::Error,
    },
}

/// Becomes `group` and `user`, each a name or a number; a user alone brings its own group.
///
/// # Errors
/// An unknown name, or too few rights.
pub fn drop_to(user: Option<&str>, group: Option<&str>) -> Result<(), PrivilegeError> {
    let account = user.map(find_user).transpose()?;
    let gid = match group {
        Some(name) => Some((name, "group", find_group(name)?)),
        None => user.zip(account).map(|(name, (_, gid))| (name, "user", gid)),
    };
    if let Some((name, key, gid)) = gid {
        let refused = |source| PrivilegeError::Refused { key, name: name.to_owned(), source };
        setgroups(&[gid]).map_err(refused)?;
        setgid(gid).map_err(refused)?;
    }
    if let Some((name, (uid, _))) = user.zip(account) {
        let refused =
            |source| PrivilegeError::Refused { key: "user", name: name.to_owned(), source };
        setuid(uid).map_err(refused)?;
    }
    Ok(())
}

fn find_user(name: &str) -> Result<(Uid, Gid), PrivilegeError> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    let unknown = || PrivilegeError::Unknown { key: "user", name: name.to_owned() };
    found.ok().flatten().map(|user| (user.uid, user.gid)).ok_or_else(unknown)
}

fn find_group(name: &str) -> Result<Gid, PrivilegeError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let unknown = || PrivilegeError::Unknown { key: "group", name: name.to_owned() };
    Group::from_name(name).ok().flatten().map(|group| group.gid).ok_or_else(unknown)
}
