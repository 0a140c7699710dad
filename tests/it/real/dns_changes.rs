//! Name servers behind the balancer while it takes other files, and while another process takes over:
//! dnsperf notices nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::dns::{complete, file, perf, stage};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::reloads::Way;
use crate::harness::wait::{PATIENCE, eventually};

/// Five seconds of it.
const LOAD: [&str; 8] = ["-n", "10", "-Q", "1000", "-c", "10", "-t", "2"];

/// Does something again and again while dnsperf runs.
fn under_load(proxy: &Evenkeel, least: usize, mut change: impl FnMut(usize)) {
    let is_over = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        let run = scope.spawn(|| {
            let report = perf(proxy, &LOAD);
            is_over.store(true, Ordering::SeqCst);
            report
        });
        let seen = || proxy.metrics().count("udp_datagrams_total", &[("direction", "in")]);
        eventually("queries are under way", PATIENCE, || {
            seen() > 100 || is_over.load(Ordering::SeqCst)
        });
        let mut step = 0;
        while !is_over.load(Ordering::SeqCst) && step < 50 {
            step += 1;
            change(step);
        }
        let report = run.join().unwrap();
        assert!(report.is_none() || step >= least, "only {step} while it ran");
        report
    });
    if let Some(report) = report {
        complete(&report);
    }
}

#[test]
fn dnsperf_loses_nothing_while_the_balancer_takes_other_files() {
    let Some((servers, proxy)) = stage("") else { return };
    under_load(&proxy, 5, |step| {
        let keys = format!("idle_timeout = \"{}s\"", 40 + step);
        let toml = file(&servers, &keys).replace("round-robin", ["random", "first"][step % 2]);
        proxy.reload_by(Way::turn(step), &toml);
    });
    assert!(proxy.reloads("ok") >= 5);
}

#[test]
fn dnsperf_loses_nothing_while_other_processes_take_over() {
    let Some((_servers, proxy)) = stage("") else { return };
    under_load(&proxy, 2, |step| proxy.upgrade_by(Way::turn(step)));
    proxy.wait_alone();
}
