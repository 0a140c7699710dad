//! The balancer as a whole told what to do: by command, by call, and by a service manager.

mod calls;
mod plan;
mod service;
mod unit;

use std::fs;

use crate::harness::evenkeel::Evenkeel;

/// Writes the balancer's own file anew.
#[track_caller]
fn rewrite(proxy: &Evenkeel, changes: &[(&str, &str)]) {
    let mut text = fs::read_to_string(proxy.file()).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    fs::write(proxy.file(), text).unwrap();
}

#[track_caller]
fn reloads(proxy: &Evenkeel, outcome: &str) -> u64 {
    proxy.metrics().count("reloads_total", &[("outcome", outcome)])
}
