//! Processes that this benchmark started, and the promise that they end with it.

use std::io::{Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::usage;

/// How long a child may take over any one answer: minutes, for a slow machine's bulk transfer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How long a proxy may take to open its port, and any child to end when told to.
pub(crate) const PROMPT: Duration = Duration::from_secs(15);

/// A child that is stopped when this is dropped.
pub(crate) struct Child {
    inner: std::process::Child,
    name: String,
}

impl Child {
    /// A child that is spoken with through its standard input and output.
    pub(crate) fn talking(command: &mut Command, name: &str) -> anyhow::Result<Self> {
        Self::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()), name)
    }

    pub(crate) fn spawn(command: &mut Command, name: &str) -> anyhow::Result<Self> {
        let inner = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { inner, name: name.to_owned() })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.inner)
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.inner.try_wait().ok().flatten()
    }

    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.inner.stdin.as_mut().context("this child takes no orders")?;
        writeln!(stdin, "{line}").with_context(|| format!("telling {} to {line}", self.name))
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let until = Instant::now() + PATIENCE;
        let stdout = self.inner.stdout.as_mut().context("this child says nothing")?;
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            ensure!(readable(&*stdout, until)?, "{} said nothing in time", self.name);
            if stdout.read(&mut byte)? == 0 {
                bail!("{} ended early", self.name);
            }
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // One that is gone already needs no signal.
        kill_process(self.pid(), signal).ok();
    }

    /// Waits for the end; false when it does not come in time.
    pub(crate) fn ended(&mut self) -> bool {
        self.inner.stdin = None;
        wait_until(PROMPT, || self.exited()).is_some()
    }

    /// What it said on standard error, once it has ended.
    pub(crate) fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.inner.stderr.take() {
            stderr.read_to_string(&mut text).ok();
        }
        text
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exited().is_some() {
            return;
        }
        // nginx's workers are not ours to wait for, but ours to end should their master fail to.
        let family = usage::family(self.pid());
        self.signal(Signal::TERM);
        if !self.ended() {
            for pid in family {
                kill_process(pid, Signal::KILL).ok();
            }
            self.inner.wait().ok();
        }
    }
}

/// Whether there is something to read before the time is up.
pub(crate) fn readable(source: impl rustix::fd::AsFd, until: Instant) -> anyhow::Result<bool> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut fds = [PollFd::new(&source, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&left))? > 0)
}

/// Asks every few milliseconds until there is an answer, or the time is up.
#[expect(clippy::disallowed_methods, reason = "no runtime here: the pause between two questions")]
pub(crate) fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= until {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
