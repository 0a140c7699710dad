//! Real servers from the distribution behind the balancer, each with its own clients.

mod acme;
mod backend_tls;
mod chromium;
mod chromium_dashboard;
mod deploy;
mod dns;
mod dns_changes;
mod haproxy;
mod names;
mod nginx;
mod pebble;
mod postgres;
mod promtool;
mod quic;
mod redis;
mod sni;
mod syslog;
mod terminate;
mod tls;
mod web;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// Where a program is, or a note that the test is skipped; on a build server it has to be there.
pub(crate) fn installed(name: &str, places: &[&str]) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let places = places.iter().copied().chain(path.split(':')).chain(["/usr/sbin", "/sbin"]);
    let found = places.map(|place| Path::new(place).join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{name} is not installed");
        eprintln!("skipped: {name} not installed");
    }
    found
}

/// A command as another user, where this is root and may not do it itself.
fn as_user(user: &str, program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups", "--"]);
    command.arg(program);
    command
}
