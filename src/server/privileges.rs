//! Gives up root once the addresses are bound.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

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
    #[error("cannot become {key} \"{name}\": {why}; start as root, or remove process.{key}")]
    Refused {
        /// `user` or `group`.
        key: &'static str,
        /// What the file says.
        name: String,
        /// Why.
        why: nix::Error,
    },
}

/// Whom the process becomes once it needs root no more.
#[derive(Debug)]
pub struct Account {
    user: Option<(String, Uid)>,
    /// With the key that asked for it.
    group: Option<(String, &'static str, Gid)>,
}

impl Account {
    /// Looks up `user` and `group`, each a name or a number; a user alone brings its own group.
    ///
    /// # Errors
    /// An unknown name.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let account = user.map(|name| Ok((name, find_user(name)?))).transpose()?;
        let group = match group {
            Some(name) => Some((name.to_owned(), "group", find_group(name)?)),
            None => account.map(|(name, (_, gid))| (name.to_owned(), "user", gid)),
        };
        Ok(Self { user: account.map(|(name, (uid, _))| (name.to_owned(), uid)), group })
    }

    /// Gives a file to the account: root made it, and only the account will be there to use it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        let uid = self.user.as_ref().map(|(_, uid)| uid.as_raw());
        let gid = self.group.as_ref().map(|(_, _, gid)| gid.as_raw());
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        std::os::unix::fs::chown(path, uid, gid)
    }

    /// False if the account could not read the file once it is assumed, as far as owners and
    /// permissions tell.
    pub fn may_read(&self, path: &Path) -> bool {
        let (Some((_, user)), Some((_, _, group))) = (&self.user, &self.group) else { return true };
        // Folders are passed on the way that is written and on the way that links make of it.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folders = path.ancestors().skip(1).chain(real.ancestors().skip(1));
        let may = |path: &Path, wanted| allows(path, *user, *group, wanted);
        user.is_root() || (may(&real, READ) && folders.into_iter().all(|at| may(at, PASS)))
    }

    /// True if the process is the account already, as one that was started by it is.
    fn is_assumed(&self) -> bool {
        let is_user = self.user.as_ref().is_none_or(|(_, uid)| *uid == Uid::current());
        let is_group = self.group.as_ref().is_none_or(|(_, _, gid)| *gid == Gid::current());
        // Root may have groups that it must give up.
        is_user && is_group && !Uid::current().is_root()
    }

    /// Becomes the account, in all threads of the process.
    ///
    /// # Errors
    /// Too few rights.
    pub fn assume(&self) -> Result<(), PrivilegeError> {
        if let Some((name, key, gid)) = &self.group.as_ref().filter(|_| !self.is_assumed()) {
            let refused = |why| PrivilegeError::Refused { key, name: name.clone(), why };
            setgroups(&[*gid]).map_err(refused)?;
            setgid(*gid).map_err(refused)?;
        }
        if let Some((name, uid)) = &self.user {
            let refused = |why| PrivilegeError::Refused { key: "user", name: name.clone(), why };
            setuid(*uid).map_err(refused)?;
        }
        Ok(())
    }
}

/// As permissions write them.
const READ: u32 = 4;
const PASS: u32 = 1;

/// True also of what cannot be looked at.
fn allows(path: &Path, user: Uid, group: Gid, wanted: u32) -> bool {
    let Ok(found) = fs::metadata(path) else { return true };
    let class = match () {
        () if found.uid() == user.as_raw() => 6,
        () if found.gid() == group.as_raw() => 3,
        () => 0,
    };
    (found.mode() >> class) & wanted == wanted
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
