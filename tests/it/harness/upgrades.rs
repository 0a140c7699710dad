//! A balancer that is replaced by another process of itself, once or again and again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::evenkeel::Evenkeel;
use super::reloads::Way;
use super::wait::{PATIENCE, eventually};

impl Evenkeel {
    /// The process that serves now, as it says itself.
    #[track_caller]
    pub(crate) fn serving(&self) -> u32 {
        let pid = self.status()["pid"].as_u64().unwrap();
        u32::try_from(pid).unwrap()
    }

    /// All processes of it, those of before an upgrade too.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes_of(&self.file())
    }

    /// Lets another process take over, asked for in one of several ways; returns when that serves.
    #[track_caller]
    pub(crate) fn upgrade_by(&self, way: Way) {
        let before = self.serving();
        match way {
            Way::Call => {
                let answer = self.post("/api/v1/upgrade");
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            Way::Command => drop(self.order(&["upgrade"]).expect_code(0)),
            Way::Signal => signal(before, Signal::USR2),
        }
        eventually("another process serves", PATIENCE, || self.serving() != before);
    }

    /// Waits until one process is left, which serves.
    #[track_caller]
    pub(crate) fn wait_alone(&self) {
        eventually("the processes of before have ended", PATIENCE, || {
            self.processes() == [self.serving()]
        });
    }
}

/// Sends a signal to one of the processes.
pub(crate) fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    // It may have ended meanwhile.
    kill_process(pid, signal).unwrap_or_default();
}

/// Ends those who have this file, which nobody else's test has.
pub(super) fn end_all(file: &Path) {
    for process in processes_of(file) {
        signal(process, Signal::KILL);
    }
}

/// Those that run with this file and have not ended; who only asks about it is none of them.
fn processes_of(file: &Path) -> Vec<u32> {
    let wanted = file.as_os_str();
    let has_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has = |wanted: &OsStr| {
            line.split(|byte| *byte == 0).any(|word| OsStr::from_bytes(word) == wanted)
        };
        has(wanted) && has(OsStr::new("run"))
    };
    let names = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter(has_it).collect()
}
