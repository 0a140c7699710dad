//! What the service manager is told: ready, reloading, stopping, still alive, and who is next.
//!
//! Without one nothing is said. It is never waited for: a message that finds no room is lost, as the
//! next sign of life follows soon.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager that started this process, if one did; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says. `takes_over`: the process before an upgrade was told to show signs of
    /// life, and this one goes on with that.
    ///
    /// What is wrong with that environment is logged, and then nobody is told anything.
    pub fn from_env(takes_over: bool) -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |key| env::var(key).ok().and_then(|text: String| text.parse::<u64>().ok());
        let is_meant = |pid: u64| takes_over || pid == u64::from(std::process::id());
        let watchdog = number("WATCHDOG_USEC").filter(|time| *time > 0);
        let watchdog = watchdog.filter(|_| number("WATCHDOG_PID").is_none_or(is_meant));
        let socket = connect(&name).inspect_err(|error| {
            tracing::warn!(socket = %name.display(), %error, "NOTIFY_SOCKET cannot be reached");
        });
        Self { socket: socket.ok().map(Arc::new), watchdog: watchdog.map(Duration::from_micros) }
    }

    /// How often [`Self::alive`] must be said: twice in the time that is allowed. `None` = never.
    pub fn pulse(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|time| time / 2)
    }

    /// All listeners accept, or a reload is over, whatever became of it.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    /// A reload has begun; [`Self::ready`] is its end.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        let status = NotifyState::Status("reloading");
        match now {
            Ok(now) => self.say(&[NotifyState::Reloading, now, status]),
            Err(_) => self.say(&[NotifyState::Reloading, status]),
        }
    }

    /// A graceful stop has begun.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping, NotifyState::Status("stopping: sessions may end")]);
    }

    /// What people see in `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&[NotifyState::Status(&line(status))]);
    }

    /// The process that has taken over; what this one says from now on is no longer heard.
    pub fn main_pid(&self, pid: u32) {
        let status = format!("serving, after an upgrade to pid {pid}");
        let state = [NotifyState::Ready, NotifyState::MainPid(pid), NotifyState::Status(&status)];
        self.say(&state);
    }

    /// The supervisor is still alive.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.say(&[NotifyState::Watchdog]);
        }
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A status is one line.
fn line(status: &str) -> String {
    status.replace('\n', "; ")
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixDatagram, ServiceManager) {
        let (theirs, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (
            theirs,
            ServiceManager {
                socket: Some(Arc::new(ours)),
                watchdog: Some(Duration::from_secs(10)),
            },
        )
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_state_is_said_as_the_protocol_writes_it() {
        let (theirs, manager) = pair();
        manager.ready("2 listeners\nat work");
        assert_eq!(heard(&theirs), "READY=1\nSTATUS=2 listeners; at work\n");
        manager.reloading();
        let text = heard(&theirs);
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
        manager.stopping();
        assert!(heard(&theirs).starts_with("STOPPING=1\n"));
        manager.main_pid(7);
        assert!(heard(&theirs).contains("MAINPID=7\n"));
        manager.alive();
        assert_eq!(heard(&theirs), "WATCHDOG=1\n");
        assert_eq!(manager.pulse(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn nobody_is_waited_for() {
        let (_theirs, manager) = pair();
        (0..10_000).for_each(|_| manager.alive());
        let nobody = ServiceManager::default();
        nobody.ready("");
        assert_eq!(nobody.pulse(), None);
    }

    #[test]
    fn sockets_have_paths_or_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let theirs = UnixDatagram::bind(&path).unwrap();
        connect(path.as_os_str()).unwrap().send(b"x").unwrap();
        assert_eq!(heard(&theirs), "x");
        let name = format!("evenkeel-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let theirs = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"y").unwrap();
        assert_eq!(heard(&theirs), "y");
        assert!(connect(OsStr::new("relative")).is_err());
    }
}
