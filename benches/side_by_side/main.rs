//! Evenkeel beside HAProxy, nginx, Envoy and no proxy at all, on loopback, in one run.
//!
//! The machine's speed drifts within seconds, so rounds are interleaved and each proxy is judged by
//! its best one, per unit of work. The load and the backends are this program again, in processes
//! of their own, so that the counters see the proxy alone. `make bench` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot measure should say where and stop"
)]
#![allow(missing_docs, reason = "a program, not a library")]

mod backend;
mod callgrind;
mod children;
mod datagrams;
mod identity;
mod load;
mod machine;
mod peers;
mod perf;
mod report;
mod requests;
mod run;
mod scenario;
mod secure;
mod tables;
mod usage;
mod wire;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::peers::{Installed, Peer};
use crate::run::Bench;
use crate::scenario::{Scale, Scenario, Work};

/// Evenkeel beside HAProxy, nginx, Envoy and no proxy, per unit of work
#[derive(Parser)]
#[command(name = "side_by_side", args_conflicts_with_subcommands = true)]
struct Args {
    /// How often everything is measured; the best round of each proxy counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these proxies
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// A tenth of the work
    #[arg(long)]
    quick: bool,
    /// Where to write the report; without it a whole run goes to docs/benchmarks.md, a partial one nowhere
    #[arg(long)]
    out: Option<PathBuf>,
    /// What `cargo bench` adds, and `cargo test --all-targets` does not
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a child of the benchmark does.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Backend(backend::Plan),
    #[command(hide = true)]
    Load(load::Plan),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Backend(plan)) => backend::run(plan),
        Some(Role::Load(plan)) => load::run(plan),
        None if args.bench => side_by_side(&args),
        None => {
            println!("side_by_side takes minutes: `cargo bench --bench side_by_side` runs it");
            Ok(())
        }
    }
}

fn side_by_side(args: &Args) -> anyhow::Result<()> {
    let files = usage::raise_file_limit();
    let scale = Scale { part: if args.quick { 10 } else { 1 }, files };
    let scenarios = or_all(&args.scenario);
    let (peers, missing) = Installed::find(&or_all(&args.only));
    let bench = Bench::new(scale)?;
    let facts = machine::facts(&bench, &peers, args.rounds);

    let mut results = rounds(&bench, args.rounds, &scenarios, &peers);
    count(&bench, &scenarios, &peers, &mut results);
    let report = report::Report { facts, missing, results, scenarios };
    print!("{}", report.text());

    let partial = args.quick || !args.only.is_empty() || !args.scenario.is_empty();
    let out = match (&args.out, partial) {
        (Some(out), _) => out.clone(),
        (None, false) => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md")),
        (None, true) => return Ok(()),
    };
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&out, report.text()).with_context(|| format!("writing {}", out.display()))?;
    eprintln!("written to {}", out.display());
    Ok(())
}

/// Every proxy in every scenario, again in every round, each round starting with another proxy.
fn rounds(
    bench: &Bench,
    count: u32,
    scenarios: &[Scenario],
    peers: &[Installed],
) -> tables::Results {
    let mut results = tables::Results::default();
    for round in 0..count as usize {
        for &scenario in scenarios {
            for turn in 0..peers.len() {
                let peer = &peers[(round + turn) % peers.len()];
                if !peer.peer.takes(scenario) || results.is_hopeless(scenario, peer.peer) {
                    continue;
                }
                let outcome = bench.measure(scenario, peer);
                eprintln!("round {} {}", round + 1, outcome_line(scenario, peer.peer, &outcome));
                results.add(scenario, peer.peer, outcome);
            }
        }
    }
    results
}

/// What perf could not count of TLS and HTTP, callgrind does, once for each.
fn count(
    bench: &Bench,
    scenarios: &[Scenario],
    peers: &[Installed],
    results: &mut tables::Results,
) {
    let is_wanted = |s: &&Scenario| s.is_http() || s.tls().is_some() && s.work() != Work::Hold;
    let wanted = scenarios.iter().filter(is_wanted);
    for &scenario in wanted.filter(|_| bench.counters.is_err() && callgrind::probe().is_ok()) {
        for peer in peers.iter().filter(|peer| peer.peer.takes(scenario)) {
            match bench.count(scenario, peer) {
                Ok(count) => {
                    eprintln!(
                        "callgrind {:9} {:14} {count:>12.0}",
                        scenario.key(),
                        peer.peer.key()
                    );
                    results.counted(scenario, peer.peer, count);
                }
                Err(error) => eprintln!("callgrind of {}: {error:#}", peer.peer.key()),
            }
        }
    }
}

fn outcome_line(scenario: Scenario, peer: Peer, outcome: &anyhow::Result<run::Sample>) -> String {
    let said = match outcome {
        Ok(sample) => sample.to_string(),
        Err(error) => format!("failed: {error:#}"),
    };
    format!("{:9} {:14} {said}", scenario.key(), peer.key())
}

fn or_all<T: clap::ValueEnum + Copy>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}
