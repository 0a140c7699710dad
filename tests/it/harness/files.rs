//! The configuration files that most tests start from.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::evenkeel::evenkeel;
use crate::harness::process::Finished;

/// An entry for `backends`, with further keys such as `weight = 2`.
pub(crate) fn entry(address: SocketAddr, name: &str, keys: &str) -> String {
    let comma = if keys.is_empty() { "" } else { ", " };
    format!("{{ address = \"{address}\", name = \"{name}\"{comma}{keys} }}")
}

/// One listener `l` on one pool `p` that probes ten times a second, with more keys for each.
pub(crate) fn file(backends: &str, listener: &str, pool: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{listener}\n{}",
        self::pool("p", backends, pool)
    )
}

/// A pool that probes ten times a second. A probe has time enough: a machine that stalls must not
/// look like a backend that is down.
pub(crate) fn pool(name: &str, backends: &str, keys: &str) -> String {
    format!(
        "[pool.{name}]\nbackends = {backends}\n{keys}\n[pool.{name}.health]\n\
         interval = \"100ms\"\ntimeout = \"10s\"\n"
    )
}

/// As [`file`], but without probes, so that only the sessions under test reach the backends.
pub(crate) fn unprobed(backends: &str, listener: &str, pool: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{listener}\n[pool.p]\n\
         backends = {backends}\n{pool}\n[pool.p.health]\nprobe = \"none\"\n"
    )
}

/// A file that commands are asked about.
pub(crate) struct Written {
    _dir: TempDir,
    pub(crate) path: PathBuf,
}

impl Written {
    pub(crate) fn new(toml: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("evenkeel.toml");
        fs::write(&path, toml).unwrap();
        Self { _dir: dir, path }
    }

    /// Runs a command on it, with more arguments.
    #[track_caller]
    pub(crate) fn command(&self, args: &[&str]) -> Finished {
        let mut all = vec![args[0], "-c", self.path.to_str().unwrap()];
        all.extend(&args[1..]);
        evenkeel(&all)
    }
}

/// Fails unless every one of `words` is in `text`.
#[track_caller]
pub(crate) fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}
