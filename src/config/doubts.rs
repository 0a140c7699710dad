//! What is valid and seldom meant: warnings, each with the key and the way out.

use super::carried::Carried;
use super::explain::{most_ejected, takes_sessions};
use super::read::Section;
use super::units::write_duration;
use super::value::Value;
use super::{Closing, Policy, Pool, Probe};

/// Pools to which nothing leads.
pub(super) fn unused(sections: &[(&str, Section<'_>)], carried: &[Carried]) {
    for ((name, section), _) in sections.iter().zip(carried).filter(|(_, it)| it.nothing()) {
        let message = format!("pool \"{name}\" is used by no listener");
        section.report.warn(section.place, message, "name it as a listener's pool, or remove it");
    }
}

/// Whatever is doubtful about one pool of the file.
pub(super) fn of_pool(section: &Section<'_>, pool: &Pool, pools: &[Pool], carried: Carried) {
    // What is looked up may bring others.
    if let Some(value) = section.value("backends").filter(|_| pool.discover.is_none()) {
        weights(&value, pool);
        alone(&value, pool, pools);
    }
    desperate(section, pool);
    if !carried.only_datagrams() {
        in_vain(section, pool);
    }
    unwatched(section, pool, carried);
    of_tls(section, pool);
}

/// Certificates that nobody looks at.
fn of_tls(section: &Section<'_>, pool: &Pool) {
    let Some(tls) = &pool.tls else { return };
    let table = section.section("tls");
    if let Some(value) = table.value("verify").filter(|_| !tls.verify) {
        let message =
            "lets anybody in between answer for a backend: its certificate is not verified";
        value.warn(
            message,
            "name its authority with ca, or the name it is made for with server_name",
        );
    }
    if matches!(pool.health.probe, Probe::Tcp) && pool.health.port.is_none() {
        let message = format!(
            "{}: probe \"tcp\" sees no broken certificate: such a backend counts as up, and its \
             sessions fail",
            section.title
        );
        let place = section.section("health").value("probe").map(|value| value.node.place);
        let way_out = "set probe = \"tls\" in its health table";
        section.report.warn(place.unwrap_or(table.place), message, way_out);
    }
}

fn weights(value: &Value<'_>, pool: &Pool) {
    let zero = pool.members.iter().filter(|member| member.weight == 0).count();
    if zero > 0 && zero == pool.members.len() {
        value.warn("all have weight 0, so that none takes a session", "give one a weight");
    } else if zero > 0 && matches!(pool.policy, Policy::ConsistentHash { .. }) {
        let message = "include weights of 0, which have no place in the hash table";
        value.warn(message, "for a pause use state = \"drain\": it moves no other client");
    }
}

/// One backend, and nobody behind it.
fn alone(value: &Value<'_>, pool: &Pool, pools: &[Pool]) {
    let is_fallback = pools.iter().any(|other| {
        other.fallback.and_then(|at| pools.get(at)).is_some_and(|at| at.name == pool.name)
    });
    if pool.fallback.is_some() || is_fallback || value.one_or_more().len() != pool.members.len() {
        return;
    }
    let taking = pool.members.iter().filter(|member| takes_sessions(member)).count();
    if pool.members.len() == 1 {
        value.warn(
            "has one backend only and no backup: when it fails, nothing takes over",
            "add another, or a fallback",
        );
    } else if taking == 1 {
        value.warn(
            "has one backend only that takes sessions: when it fails, nothing takes over",
            "give another one a weight and state = \"ready\", or add a backup or a fallback",
        );
    }
}

/// `fail_open` where it does nothing, or where another key undoes it.
fn desperate(section: &Section<'_>, pool: &Pool) {
    let Some(value) = section.value("fail_open").filter(|_| pool.fail_open) else { return };
    let is_blind = matches!(pool.health.probe, Probe::None);
    let never_ejects = match &pool.discover {
        Some(_) => pool.passive.failures == 0,
        None => most_ejected(pool) == 0,
    };
    if is_blind && never_ejects {
        let message = "has no effect: nothing is probed or ejected, so that every backend is up";
        value.warn(message, "remove it");
    } else if !is_blind && pool.close.down == Closing::Now {
        value.warn(
            "lets clients try backends that are down, and close.down = \"now\" has just cut those \
             that were there: a probe that fails everywhere ends every session",
            "write close.down = \"keep\" or a time, or remove fail_open",
        );
    }
}

/// Retries that there is no time for: attempts that are not answered use up the window.
fn in_vain(section: &Section<'_>, pool: &Pool) {
    let retry = pool.retry;
    let each = pool.connect_timeout.saturating_add(retry.backoff);
    if retry.attempts < 2 || each.saturating_mul(retry.attempts - 1) < retry.window {
        return;
    }
    let rules = section.section("retry");
    let written = ["attempts", "window", "backoff"].iter().find_map(|key| rules.value(key));
    let Some(value) = section.value("connect_timeout").or(written) else { return };
    let begun = retry.window.as_nanos().div_ceil(each.as_nanos().max(1));
    let needed = each.saturating_mul(retry.attempts);
    let message = format!(
        "{}: of {} attempts only {begun} can begin while nobody answers: with connect_timeout {} \
         and backoff {} they use up the window of {}",
        section.title,
        retry.attempts,
        write_duration(pool.connect_timeout),
        write_duration(retry.backoff),
        write_duration(retry.window)
    );
    let way_out = format!(
        "set retry.window = \"{}\", or a shorter connect_timeout, or attempts = {begun}",
        write_duration(needed)
    );
    section.report.warn(value.node.place, message, way_out);
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
