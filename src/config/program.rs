//! What the file says about the program as a whole: a part of [`Config`](super::Config).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[process]`: what holds for the whole program.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// How long sessions may go on after a graceful stop.
    pub shutdown_timeout: Duration,
    /// How long the old process may keep its sessions after an upgrade; `None` = until the last one
    /// ends.
    pub upgrade_timeout: Option<Duration>,
    /// Whom names are asked of; empty = the system's.
    pub nameservers: Vec<SocketAddr>,
    /// Written when ready.
    pub pid_file: Option<PathBuf>,
    /// Cap over all listeners; 0 = derived from the open-file limit.
    pub max_sessions: u32,
    /// Dropped to after binding: a name or a number.
    pub user: Option<String>,
    /// Dropped to after binding: a name or a number.
    pub group: Option<String>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: Level,
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Where the access log goes.
    pub access: Access,
}

/// How much the program log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only what failed.
    Error,
    /// What an operator can act on.
    Warn,
    /// Changes of state.
    Info,
    /// One line a session.
    Debug,
    /// Everything.
    Trace,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to and reopened when told.
    File(PathBuf),
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where the admin interface listens.
    pub bind: AdminBind,
    /// File whose first line is the bearer token for calls that change something.
    pub token_file: Option<PathBuf>,
}

/// Where the admin interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminBind {
    /// Nowhere.
    Off,
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}
