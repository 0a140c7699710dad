//! Instructions and cycles of other processes, through `perf stat`.
//!
//! perf starts with its counters off and switches them on and off when told to through a pipe, and
//! answers: what is counted is the measured phase and nothing else. Virtual machines without
//! hardware counters, and systems without perf, are measured by CPU time alone.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, Mode};
use rustix::process::{Pid, Signal};

use crate::children::{Child, PROMPT, readable};

const EVENTS: &str = "instructions:u,instructions:k,cycles";

/// Totals of one measured phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counts {
    pub(crate) user: f64,
    pub(crate) kernel: f64,
    pub(crate) cycles: f64,
}

impl Counts {
    pub(crate) fn instructions(self) -> f64 {
        self.user + self.kernel
    }
}

/// Whether perf counts here; if not, why.
pub(crate) fn probe() -> Result<(), String> {
    let output = Command::new("perf")
        .args(["stat", "-x,", "-e", EVENTS, "true"])
        .output()
        .map_err(|_| "perf is not installed".to_owned())?;
    match parse(&String::from_utf8_lossy(&output.stderr)) {
        Some(_) => Ok(()),
        None => Err("this machine offers perf no hardware counters".to_owned()),
    }
}

/// perf, attached and counting.
pub(crate) struct Counting {
    perf: Child,
    control: File,
    answers: File,
}

impl Counting {
    pub(crate) fn start(pids: &[Pid], dir: &Path) -> anyhow::Result<Self> {
        let (control, answers) = (dir.join("perf.control"), dir.join("perf.answers"));
        let pids: Vec<_> = pids.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        let mut command = Command::new("perf");
        command
            .args(["stat", "-x,", "-e", EVENTS, "--delay=-1", "-p", &pids.join(",")])
            .arg(format!("--control=fifo:{},{}", control.display(), answers.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (control, answers) = (pipe(&control)?, pipe(&answers)?);
        let perf = Child::spawn(&mut command, "perf")?;
        let mut counting = Self { perf, control, answers };
        counting.order("enable")?;
        Ok(counting)
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<Counts> {
        self.order("disable")?;
        self.perf.signal(Signal::INT);
        ensure!(self.perf.ended(), "perf did not end");
        let report = self.perf.complaint();
        parse(&report).with_context(|| format!("perf counted nothing: {report}"))
    }

    fn order(&mut self, order: &str) -> anyhow::Result<()> {
        writeln!(self.control, "{order}")?;
        let until = Instant::now() + PROMPT;
        let mut answer = [0; 16];
        ensure!(readable(&self.answers, until)?, "perf did not answer to {order}");
        let length = self.answers.read(&mut answer)?;
        ensure!(answer[..length].starts_with(b"ack"), "perf refused to {order}");
        Ok(())
    }
}

/// Open for both, so that neither side waits for the other to come.
fn pipe(path: &Path) -> anyhow::Result<File> {
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
    Ok(OpenOptions::new().read(true).write(true).open(path)?)
}

/// The lines of `perf stat -x,`: value, unit, event, and more.
fn parse(report: &str) -> Option<Counts> {
    let value = |event: &str| {
        report.lines().find_map(|line| {
            let mut fields = line.split(',');
            let value = fields.next()?.parse::<f64>().ok()?;
            (fields.nth(1)?.trim() == event).then_some(value)
        })
    };
    Some(Counts {
        user: value("instructions:u")?,
        kernel: value("instructions:k")?,
        cycles: value("cycles")?,
    })
}
