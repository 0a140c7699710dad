//! The unit files of `deploy/`, as systemd reads them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::evenkeel::program;
use crate::harness::process::must;

/// What `systemd-analyze security` may say at most, of 10.
const MOST_EXPOSURE: f64 = 2.5;

#[test]
fn the_units_are_valid_and_expose_little() {
    if !Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_ok_and(|it| it.status.success())
    {
        assert!(std::env::var_os("CI").is_none(), "systemd is missing: tests/install-peers.sh");
        return;
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in ["evenkeel.service", "evenkeel.socket"] {
        let text = fs::read_to_string(deploy.join(name)).unwrap();
        // The user and the program are where they are installed.
        let text = text.replace("/usr/bin/evenkeel", program()).replace("=evenkeel\n", "=daemon\n");
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        units.push(path);
    }
    let said = must(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units));
    let ours: Vec<_> = said.lines().filter(|line| line.contains("evenkeel.s")).collect();
    assert!(ours.is_empty(), "{said}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager"]).arg(&units[0]);
    let said = must(&mut security);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let level = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(level.parse::<f64>().unwrap() <= MOST_EXPOSURE, "{said}");
}
