//! Faults are injected under load, and no client waits longer for its backend than `check --explain`
//! printed for it, nor is a backend picked for longer.
//!
//! Each fault of each file has a network namespace, backends and a balancer of its own, and all
//! faults of a file run side by side. What was measured is printed as the rows of docs/failure.md:
//! `cargo it faults -- --nocapture`.

mod bench;
mod clients;
mod configs;

use std::thread;
use std::time::Duration;

use bench::Measured;
use configs::{DEFAULTS, FALLBACK, FAST, File, PASSIVE, PERSISTENT, QUEUE};

use crate::harness::client::{try_hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::namespace::{ip, leave};
use crate::harness::peers::Peer;
use crate::harness::wait::{PATIENCE, eventually};
use crate::real::installed;

/// What is allowed on top of a number for the machine.
const MACHINE: Duration = Duration::from_millis(500);

/// A machine that stalls, stalls not each time; a bound that is wrong is wrong each time.
const TRIES: usize = 3;

/// What is done to the victim.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// kill -9.
    Killed,
    /// SIGSTOP.
    Hangs,
    /// It accepts and resets.
    Resets,
    /// nftables answers each SYN with a reset.
    Refused,
    /// nftables drops each SYN.
    Gone,
    /// The same, for all backends.
    AllGone,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::Killed, Self::Hangs, Self::Resets, Self::Refused, Self::Gone, Self::AllGone];

    fn text(self) -> &'static str {
        match self {
            Self::Killed => "kill -9",
            Self::Hangs => "SIGSTOP",
            Self::Resets => "reset after accept",
            Self::Refused => "reset on connect",
            Self::Gone => "SYNs dropped",
            Self::AllGone => "SYNs to all dropped",
        }
    }

    /// The fact that bounds the wait of clients.
    fn wait(self) -> &'static str {
        match self {
            Self::Killed | Self::Refused => "wait_killed",
            Self::Hangs => "wait_hung",
            Self::Resets => "wait_reset",
            Self::Gone => "wait_host_gone",
            Self::AllGone => "wait_worst",
        }
    }

    /// The fact that bounds for how long the victim is picked.
    fn picked(self) -> &'static str {
        match self {
            Self::Killed | Self::Refused | Self::Gone | Self::AllGone => "dead",
            Self::Hangs => "hung",
            Self::Resets => "resetting",
        }
    }

    /// What nftables does with a SYN.
    fn verdict(self) -> Option<&'static str> {
        match self {
            Self::Refused => Some("reject with tcp reset"),
            Self::Gone | Self::AllGone => Some("drop"),
            Self::Killed | Self::Hangs | Self::Resets => None,
        }
    }
}

/// Measures every fault with this file, and holds each to what was printed.
fn hold_to_what_is_printed(file: &File, faults: &[Fault]) {
    let has_nft = installed("nft", &[]).is_some();
    thread::scope(|scope| {
        let faults = faults.iter().filter(|fault| fault.verdict().is_none() || has_nft);
        let all: Vec<_> = faults.map(|fault| scope.spawn(|| try_out(file, *fault))).collect();
        let rows: Vec<_> = all.into_iter().filter_map(|one| one.join().unwrap()).collect();
        rows.iter().for_each(|row| println!("{row}"));
    });
}

/// The row of a fault; none where it cannot be injected.
fn try_out(file: &File, fault: Fault) -> Option<String> {
    if leave().is_some() {
        ip("link set lo up");
    } else if fault.verdict().is_some() {
        return None;
    }
    for _ in 1..TRIES {
        let measured = Measured::take(file, fault);
        match measured.verdict() {
            Ok(()) => return Some(measured.row()),
            Err(why) => eprintln!("measured again: {}: {why}", measured.row()),
        }
    }
    let measured = Measured::take(file, fault);
    if let Err(why) = measured.verdict() {
        panic!("{}: {why}\n{}", measured.row(), measured.log);
    }
    Some(measured.row())
}

#[test]
fn with_the_defaults_nobody_waits_longer_than_printed() {
    hold_to_what_is_printed(&DEFAULTS, &Fault::ALL);
}

#[test]
fn with_fast_probes_and_two_attempts_nobody_waits_longer_than_printed() {
    hold_to_what_is_printed(&FAST, &Fault::ALL);
}

#[test]
fn without_probes_nobody_waits_longer_than_printed() {
    hold_to_what_is_printed(&PASSIVE, &Fault::ALL);
}

#[test]
fn with_a_queue_under_caps_nobody_waits_longer_than_printed() {
    hold_to_what_is_printed(&QUEUE, &Fault::ALL);
}

#[test]
fn with_a_backup_a_fallback_and_backoff_nobody_waits_longer_than_printed() {
    hold_to_what_is_printed(&FALLBACK, &Fault::ALL);
}

#[test]
fn the_lateness_of_the_clock_does_not_add_up_over_many_attempts() {
    hold_to_what_is_printed(&PERSISTENT, &[Fault::AllGone]);
}

#[test]
fn when_all_were_killed_the_first_client_after_one_is_back_is_served() {
    let mut peers = ["a", "b"].map(Peer::start);
    let list = format!("[{}, {}]", peers[0].entry(""), peers[1].entry(""));
    let mut proxy = Evenkeel::start(&file(&list, "", ""));
    assert!(["a", "b"].contains(&who(proxy.at()).as_str()));
    peers.iter_mut().for_each(Peer::kill);
    for peer in &peers {
        proxy.wait_health(&peer.name, "down");
    }
    assert!(try_hold(proxy.at()).is_err());
    eventually("the pool is down in the log", PATIENCE, || {
        proxy.events().iter().any(|event| event["message"] == "pool down")
    });
    peers[1].restart();
    proxy.wait_health("b", "up");
    assert_eq!(who(proxy.at()), "b");
    assert!(proxy.runs());
}
