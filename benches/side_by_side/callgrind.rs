//! User instructions of proxies where perf has no counters: callgrind runs them and counts.
//!
//! It repeats, which CPU time on a busy machine does not, but it is not this processor: no vector
//! instructions beyond AVX2, one thread at a time, and nothing of the kernel. Where it counted, the
//! goals are judged by it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::Pid;

/// Begins the names of its files, which end with the process.
const FILES: &str = "callgrind.";

/// Whether it can be had; if not, why.
pub(crate) fn probe() -> Result<(), String> {
    for program in ["valgrind", "callgrind_control"] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        found.map_err(|_| format!("{program} is not installed"))?;
    }
    Ok(())
}

/// The C library copies and fills with `rep movsb` and `rep stosb` from a few kilobytes on: one
/// instruction each, which callgrind counts once a byte. Without them it counts what it should.
const NO_REP: &str =
    "glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000";

/// The same command under callgrind, which does not count yet. A process that it forks cannot be
/// told to count, so there must be none.
pub(crate) fn wrap(command: &Command, dir: &Path) -> Command {
    let mut wrapped = Command::new("valgrind");
    wrapped
        .env("GLIBC_TUNABLES", NO_REP)
        .args(["--tool=callgrind", "--instr-atstart=no", "--trace-children=yes", "--quiet"])
        .args(["--fair-sched=yes", "--max-threads=1000"])
        .arg(format!("--callgrind-out-file={}/{FILES}%p", dir.display()))
        // It counts each byte of a `rep movsb`, which is one instruction to a processor: no such
        // copies, then.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

/// Switches the counting of these processes.
pub(crate) fn count(pids: &[Pid], on: bool) -> anyhow::Result<()> {
    let state = if on { "--instr=on" } else { "--instr=off" };
    pids.iter().try_for_each(|pid| control(&[state], *pid))
}

/// What has been counted of them, together.
pub(crate) fn total(pids: &[Pid], dir: &Path) -> anyhow::Result<f64> {
    pids.iter().try_for_each(|pid| control(&["--dump"], *pid))?;
    let files = dumps(dir)?;
    ensure!(!files.is_empty(), "callgrind left no files");
    let counted = files.iter().map(|file| {
        let text = std::fs::read_to_string(file)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("totals:"));
        Ok(lines.filter_map(|line| line.trim().parse::<f64>().ok()).sum::<f64>())
    });
    counted.sum()
}

fn control(words: &[&str], pid: Pid) -> anyhow::Result<()> {
    // One that does not answer, such as a forked process, would be waited for without end.
    let mut command = Command::new("timeout");
    command.args(["60", "callgrind_control"]).args(words).arg(pid.as_raw_nonzero().to_string());
    let output = command.output().context("running callgrind_control")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let obeyed = output.status.success() && said.contains("OK");
    ensure!(obeyed, "callgrind_control {words:?} of {pid:?}: {said}");
    Ok(())
}

fn dumps(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILES) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
