//! `probe = "exec"`: a command that exits with 0 says that the backend is up.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::config::Member;
use crate::health::probe::{Answer, Miss, Peer, shortage};

/// A command, run without a shell.
#[derive(Debug)]
pub(in crate::health) struct Run {
    pool: Arc<str>,
    backend: Arc<str>,
    argv: Vec<String>,
}

impl Run {
    pub(super) fn new(pool: &Arc<str>, member: &Member, argv: &[String]) -> Self {
        Self { pool: Arc::clone(pool), backend: Arc::clone(&member.name), argv: argv.to_owned() }
    }

    pub(super) async fn ask(&self, peer: Peer) -> Result<Answer, Miss> {
        let mut child = self.spawn(peer).map_err(|error| self.not_spawned(&error))?;
        let mut group = Group::of(&child);
        let ended = child.wait().await;
        group.release();
        match ended {
            Ok(status) if status.success() => Ok(Answer::up("exit code 0")),
            Ok(status) => Err(Miss::Failed(why(status))),
            Err(error) => Err(Miss::Failed(format!("lost sight of the command: {error}"))),
        }
    }

    fn spawn(&self, peer: Peer) -> io::Result<Child> {
        let (program, arguments) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Command::new(program)
            .args(arguments)
            .env("EVENKEEL_POOL", &*self.pool)
            .env("EVENKEEL_BACKEND", &*self.backend)
            .env("EVENKEEL_ADDRESS", peer.address.ip().to_string())
            .env("EVENKEEL_PORT", peer.address.port().to_string())
            // Meant for the balancer alone, in case it was started by another one.
            .env_remove("EVENKEEL_UPGRADE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn not_spawned(&self, error: &io::Error) -> Miss {
        // A process limit is reached, which says nothing about the backend.
        if Errno::from_io_error(error) == Some(Errno::AGAIN) {
            return Miss::Short(error.to_string());
        }
        shortage(error).unwrap_or_else(|| {
            let program = self.argv.first().map_or("", String::as_str);
            Miss::Failed(format!("cannot run {program:?}: {error}"))
        })
    }
}

fn why(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    }
}

/// A command's process group: dropped before the command has ended, it takes all of it along.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// The command has ended, and its number may soon be another's.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}
