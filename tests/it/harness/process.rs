//! Child processes: run to their end within a limit, signalled by pid, killed when dropped.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::wait::{PATIENCE, eventually, until};

/// What a command that ran to its end left behind.
pub(crate) struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// Both outputs.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails the test, showing the output, unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; the output was:\n{}", self.text());
        self
    }
}

/// Runs a command to its end; one that takes longer than `limit` is killed and fails the test.
#[track_caller]
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Finished {
    let what = format!("{command:?} ends");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Owned(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let stdout = drain(child.0.stdout.take().unwrap());
    let stderr = drain(child.0.stderr.take().unwrap());
    let status = child.exit(&what, limit);
    Finished { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a command that a test needs done and has no further interest in.
#[track_caller]
pub(crate) fn must(command: &mut Command) -> String {
    finish(command, Duration::from_secs(60)).expect_code(0).text()
}

/// A child that does not outlive the test.
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it where it stands, and waits until each of its threads has.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.0.id());
        let stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        eventually("the process is frozen", PATIENCE, || {
            std::fs::read_dir(&tasks).unwrap().all(|task| stopped(task.unwrap()))
        });
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn exit(&mut self, what: &str, limit: Duration) -> ExitStatus {
        until(what, limit, || self.0.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Killing what has ended already is no error; there is nobody to tell in a drop anyway.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Lets this process hold thousands of sockets.
pub(crate) fn raise_open_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    });
}
