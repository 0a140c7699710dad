//! Reads the whole: every table in turn, then what only shows when they are seen together.

use std::net::SocketAddr;

use super::carried::{self, Carried};
use super::datagrams;
use super::listener::{self, pool_name};
use super::pool;
use super::problem::{Place, Report};
use super::process;
use super::read::Section;
use super::tree::Table;
use super::{Admin, AdminBind, Config, Origin, Policy, Pool, Probe, Protocol};

pub(super) const KEYS: &[&str] = &["include", "process", "log", "admin", "listener", "pool"];

/// The configuration counts only if the report has no error afterwards.
pub(super) fn read(report: &Report, root: &Table, origin: Origin) -> Config {
    let root = Section::root(report, root).only(KEYS, &[]);
    let process = process::process(&root);
    let log = process::log(&root);
    let admin = process::admin(&root);

    let sections = root.named("pool");
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let listeners: Vec<listener::Read> = root
        .named("listener")
        .into_iter()
        .map(|(name, section)| listener::read(name, section, &names))
        .collect();
    let carried = carried::of_all(&sections, &names, &listeners);
    let pools: Vec<Pool> = sections
        .iter()
        .zip(&carried)
        .map(|((name, section), carried)| pool::read(name, section.clone(), &names, *carried))
        .collect();

    if listeners.is_empty() {
        let way_out = "add [listener.NAME] with bind and pool";
        report.absence(root.place, "the file has no listener".to_owned(), way_out);
    }
    addresses(report, &root, &listeners, &admin);
    cycles(&sections, &pools);
    datagrams::check(&sections, &pools, &listeners);
    if !report.has_errors() {
        unused(&sections, &carried);
    }
    for (((_, section), pool), carried) in sections.iter().zip(&pools).zip(&carried) {
        questionable(section, pool, &pools);
        unwatched(section, pool, *carried);
    }
    let listeners = listeners.into_iter().map(|read| read.listener).collect();
    Config { process, log, admin, listeners, pools, origin }
}

/// The same address twice for one transport; port 0 is another port each time.
fn addresses(report: &Report, root: &Section<'_>, listeners: &[listener::Read], admin: &Admin) {
    let mut taken: Vec<((SocketAddr, Protocol), String, Option<Place>)> = Vec::new();
    if let AdminBind::Tcp(address) = admin.bind {
        let place = root.section("admin").value("bind").map(|value| value.node.place);
        taken.push(((address, Protocol::Tcp), "the admin interface".to_owned(), place));
    }
    for read in listeners {
        for (address, place) in read.listener.bind.iter().zip(&read.bound_at) {
            let name = format!("listener \"{}\"", read.listener.name);
            let seat = (*address, read.listener.protocol);
            let before = taken.iter().find(|(other, _, _)| *other == seat && address.port() != 0);
            if let Some((_, owner, there)) = before {
                let there = there.map(|place| format!(" ({})", report.name_of(place)));
                let there = there.unwrap_or_else(|| " (by default)".to_owned());
                let message = format!("{name}: bind \"{address}\" is taken by {owner}{there}");
                report.error(*place, message, "give each its own address or port");
            }
            taken.push((seat, name, Some(*place)));
        }
    }
}

/// A fallback that leads back: each cycle once, at the first of its pools in the file.
fn cycles(sections: &[(&str, Section<'_>)], pools: &[Pool]) {
    for start in 0..pools.len() {
        let mut seen = vec![start];
        let mut at = start;
        while let Some(next) = pools.get(at).and_then(|pool| pool.fallback) {
            if next == start {
                if seen.iter().min() == Some(&start) {
                    report_cycle(sections, pools, &seen);
                }
                break;
            }
            if seen.contains(&next) {
                break;
            }
            seen.push(next);
            at = next;
        }
    }
}

fn report_cycle(sections: &[(&str, Section<'_>)], pools: &[Pool], cycle: &[usize]) {
    let Some(first) = cycle.first() else { return };
    let Some((_, section)) = sections.get(*first) else { return };
    let Some(value) = section.value("fallback") else { return };
    let names: Vec<&str> = cycle.iter().chain([first]).map(|at| pool_name(pools, *at)).collect();
    let message = format!("leads back to this pool: {}", names.join(" -> "));
    value.refuse(&message, "remove the fallback of the last one");
}

fn unused(sections: &[(&str, Section<'_>)], carried: &[Carried]) {
    for ((name, section), _) in sections.iter().zip(carried).filter(|(_, it)| it.nothing()) {
        let message = format!("pool \"{name}\" is used by no listener");
        section.report.warn(section.place, message, "name it as a listener's pool, or remove it");
    }
}

/// A connect to a dead backend fails; a datagram to one is just lost.
fn unwatched(section: &Section<'_>, pool: &Pool, carried: Carried) {
    if carried.udp && matches!(pool.health.probe, Probe::None) {
        let message = format!(
            "{} has no probe: that a backend is dead is noticed only if ICMP says port unreachable",
            section.title
        );
        let way_out = "set probe = \"dns\", \"send-expect\" or \"exec\" in its health table, or \
                       \"tcp\" or \"http\" with another port";
        section.report.warn(section.place, message, way_out);
    }
}

/// What is valid and seldom meant.
fn questionable(section: &Section<'_>, pool: &Pool, pools: &[Pool]) {
    let Some(value) = section.value("backends") else { return };
    let zero = pool.members.iter().filter(|member| member.weight == 0).count();
    if zero > 0 && zero == pool.members.len() {
        value.warn("all have weight 0, so that none takes a session", "give one a weight");
    } else if zero > 0 && matches!(pool.policy, Policy::ConsistentHash { .. }) {
        let message = "include weights of 0, which have no place in the hash table";
        value.warn(message, "for a pause use state = \"drain\": it moves no other client");
    }
    let is_fallback = pools.iter().any(|other| {
        other.fallback.and_then(|at| pools.get(at)).is_some_and(|at| at.name == pool.name)
    });
    let is_alone = pool.members.len() == 1 && value.one_or_more().len() == 1;
    if is_alone && pool.fallback.is_none() && !is_fallback {
        value.warn(
            "has one entry only: when it fails, nothing takes over",
            "add another, or a fallback",
        );
    }
    if let Some(value) = section.value("fail_open")
        && pool.fail_open
        && matches!(pool.health.probe, Probe::None)
        && (pool.passive.failures == 0 || pool.passive.max_ejected == 0)
    {
        let message = "has no effect: nothing is probed or ejected, so that every backend is up";
        value.warn(message, "remove it");
    }
}
