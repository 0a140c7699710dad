//! Network namespaces that belong to a thread each: what a thread opens or starts after leaving the
//! common namespace, threads and processes among it, is in its new one.

use std::fs;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::process::must;

/// Takes this thread to a network namespace of its own, whose name for `ip` is returned; without the
/// right to there is a note that the test is skipped.
pub(crate) fn leave() -> Option<String> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: no right to make a network namespace: {error}");
        return None;
    }
    let me = fs::read_link("/proc/thread-self").unwrap();
    Some(me.file_name().unwrap().to_str().unwrap().to_owned())
}

/// `ip` with these words.
#[track_caller]
pub(crate) fn ip(line: &str) {
    must(Command::new("ip").args(line.split(' ')));
}
