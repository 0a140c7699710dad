//! HTTP requests: h2load makes them, and every one must be answered well.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::load::{Plan, finish, gate};
use crate::scenario::Work;

pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut command = Command::new("h2load");
    command
        .args(["-n", &plan.amount.to_string()])
        .args(["-c", &plan.width.to_string()])
        .args(["-m", &plan.depth.to_string()])
        .args(["--header", "accept: text/plain"])
        .arg(format!("http://{}/bench/what", plan.target(0)));
    if plan.work == Work::Requests {
        command.arg("--h1");
    }
    let start = gate()?;
    let output = command.output().context("h2load, of the package nghttp2-client")?;
    let took = start.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{} 2xx, 0 3xx, 0 4xx, 0 5xx", plan.amount);
    ensure!(said.contains(&wanted), "h2load: {said}{}", String::from_utf8_lossy(&output.stderr));
    finish(took)
}
