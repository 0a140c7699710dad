//! Reads the whole: every table in turn, then what only shows when they are seen together.

use std::net::SocketAddr;

use super::acme;
use super::carried::{self, Carried};
use super::datagrams;
use super::doubtful_routes;
use super::doubts;
use super::explain;
use super::listener::{self, pool_name};
use super::pool;
use super::problem::{Place, Report};
use super::process;
use super::read::Section;
use super::requests;
use super::tree::Table;
use super::{Admin, AdminBind, Config, Listener, Origin, Pool, Process, Protocol};

pub(super) const KEYS: &[&str] = &["include", "process", "log", "admin", "listener", "pool"];

/// The configuration counts only if the report has no error afterwards.
pub(super) fn read(report: &Report, root: &Table, origin: Origin) -> Config {
    let root = Section::root(report, root).only(KEYS, &[]);
    let process = process::process(&root);
    let log = process::log(&root);
    let admin = process::admin(&root);

    let sections = root.named("pool");
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let frontends = root.named("listener");
    let mut listeners: Vec<listener::Read> = frontends
        .iter()
        .map(|(name, section)| listener::read(name, section.clone(), &names))
        .collect();
    let carried = carried::of_all(&sections, &names, &listeners);
    let (pools, is_read): (Vec<Pool>, Vec<bool>) = sections
        .iter()
        .zip(&carried)
        .map(|((name, section), carried)| {
            let before = report.errors();
            let pool = pool::read(name, section.clone(), &names, *carried);
            (pool, report.errors() == before)
        })
        .unzip();

    if listeners.is_empty() {
        let way_out = "add [listener.NAME] with bind and pool";
        report.absence(root.place, "the file has no listener".to_owned(), way_out);
    }
    acme::find_answerers(&frontends, &mut listeners);
    addresses(report, &root, &listeners, &admin);
    acme::clashes(&frontends, &listeners);
    cycles(&sections, &pools);
    datagrams::check(&sections, &pools, &listeners);
    if !report.has_errors() {
        doubts::unused(&sections, &carried);
    }
    let each = sections.iter().zip(&pools).zip(&carried).zip(&is_read);
    for ((((_, section), pool), carried), is_read) in each {
        // With a value that was refused, the default in its place would be reckoned with.
        if *is_read {
            asserted(section, pool, *carried);
        }
        requests::check(section, pool, *carried);
        doubts::of_pool(section, pool, &pools, *carried);
        promised_by_pool(section, pool, *carried);
    }
    if !report.has_errors() {
        for (read, (_, section)) in listeners.iter().zip(&frontends) {
            doubtful_routes::of_listener(section, read, &pools);
        }
    }
    promised(&root, &process, &frontends, &listeners);
    let listeners = listeners.into_iter().map(|read| read.listener).collect();
    Config { process, log, admin, listeners, pools, origin }
}

/// An address and what is taken there: connections, as [`Protocol::Tcp`], or datagrams.
type Seat = (SocketAddr, Protocol);

fn transport(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Tcp | Protocol::Http => Protocol::Tcp,
        Protocol::Udp => Protocol::Udp,
    }
}

/// The same address twice for one transport; port 0 is another port each time.
fn addresses(report: &Report, root: &Section<'_>, listeners: &[listener::Read], admin: &Admin) {
    let mut taken: Vec<(Seat, String, Option<Place>)> = Vec::new();
    if let AdminBind::Tcp(address) = admin.bind {
        let place = root.section("admin").value("bind").map(|value| value.node.place);
        taken.push(((address, Protocol::Tcp), "the admin interface".to_owned(), place));
    }
    let check = |taken: &[(Seat, String, Option<Place>)], seat: Seat, place, what: &str| {
        let before = taken.iter().find(|(other, _, _)| *other == seat && seat.0.port() != 0);
        if let Some((_, owner, there)) = before {
            let there = there.map(|place| format!(" ({})", report.name_of(place)));
            let there = there.unwrap_or_else(|| " (by default)".to_owned());
            let message = format!("{what} \"{}\" is taken by {owner}{there}", seat.0);
            report.error(place, message, "give each its own address or port");
        }
    };
    for read in listeners {
        for (address, place) in read.listener.bind.iter().zip(&read.bound_at) {
            let name = format!("listener \"{}\"", read.listener.name);
            let seat = (*address, transport(read.listener.protocol));
            check(&taken, seat, *place, &format!("{name}: bind"));
            taken.push((seat, name, Some(*place)));
        }
    }
    // Whoever asks there may mean any of the listeners: they may share it, also with an http listener
    // that answers for them, and with nobody else.
    let answers = |at: &SocketAddr| {
        let answering = listeners.iter().filter(|read| read.listener.answers_challenges());
        answering.flat_map(|read| &read.listener.bind).any(|bound| bound == at)
    };
    for read in listeners {
        for (address, place) in read.answers_at.iter().filter(|(at, _)| !answers(at)) {
            let name = format!("listener \"{}\", tls, acme: http_bind", read.listener.name);
            check(&taken, (*address, Protocol::Tcp), *place, &name);
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

/// A time that the pool's own settings cannot keep.
fn asserted(section: &Section<'_>, pool: &Pool, carried: Carried) {
    let Some(value) = section.value("max_failover") else { return };
    if let Err(broken) = explain::assert(pool, !carried.only_datagrams()) {
        value.refuse(&broken.message, &broken.way_out);
    }
}

/// A backend's cap above what there can be of sessions: it protects nobody.
fn promised_by_pool(section: &Section<'_>, pool: &Pool, carried: Carried) {
    let each = if carried.only_datagrams() { 1 } else { 2 };
    let promise = |section: &Section<'_>, cap: u32| {
        if let Some(value) = section.value("max_sessions") {
            value.promise(u64::from(cap) * each);
        }
    };
    promise(section, pool.max_sessions);
    let items = section.value("backends").map(|value| value.one_or_more()).unwrap_or_default();
    for (item, member) in items.iter().zip(&pool.members).filter(|(item, _)| item.is_table()) {
        promise(&item.as_section(""), member.max_sessions);
    }
}

/// What the caps of process and listeners may take, should it be more than there is.
fn promised(
    root: &Section<'_>,
    process: &Process,
    sections: &[(&str, Section<'_>)],
    listeners: &[listener::Read],
) {
    let each = |protocol| if protocol == Protocol::Udp { 1 } else { 2 };
    let most = listeners.iter().map(|read| each(read.listener.protocol)).max();
    if let Some(value) = root.section("process").value("max_sessions") {
        value.promise(u64::from(process.max_sessions) * most.unwrap_or(2));
    }
    for (read, (_, section)) in listeners.iter().zip(sections) {
        let Listener { max_sessions, protocol, .. } = read.listener;
        if let Some(value) = section.value("max_sessions") {
            value.promise(u64::from(max_sessions) * each(protocol));
        }
    }
}
