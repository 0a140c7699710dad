//! Reads `[pool.NAME.health]`: which probe, how often, and that no key is given to the wrong probe.

use std::time::Duration;

use super::address;
use super::carried::Carried;
use super::credentials;
use super::dns_probe;
use super::http_probe;
use super::later;
use super::pending;
use super::read::Section;
use super::units::write_duration;
use super::words::{did_you_mean, quoted};
use super::{ClientTls, Health, Probe};

pub(super) const KEYS: &[&str] = &[
    "probe",
    "interval",
    "timeout",
    "rise",
    "fall",
    "port",
    "address",
    "path",
    "host",
    "method",
    "headers",
    "expect_status",
    "expect_body",
    "role",
    "send",
    "expect",
    "query",
    "query_type",
    "expect_rcode",
    "command",
    "service",
    "tls",
];

/// The probes of this version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Tls,
    Http,
    Https,
    SendExpect,
    Dns,
    Grpc,
    Exec,
    None,
}

pub(super) const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("tls", Kind::Tls),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("send-expect", Kind::SendExpect),
    ("dns", Kind::Dns),
    ("grpc", Kind::Grpc),
    ("exec", Kind::Exec),
    ("none", Kind::None),
];

const HTTP: &[&str] = &["http", "https"];
const ANY_BUT_NONE: &[&str] =
    &["tcp", "tls", "http", "https", "send-expect", "dns", "grpc", "exec"];

/// Keys that not every probe has, with the probes that do.
const OWNERS: &[(&str, &[&str])] = &[
    ("port", ANY_BUT_NONE),
    ("address", ANY_BUT_NONE),
    ("path", HTTP),
    ("host", HTTP),
    ("method", HTTP),
    ("headers", HTTP),
    ("expect_status", HTTP),
    ("expect_body", HTTP),
    ("role", HTTP),
    ("send", &["send-expect"]),
    ("expect", &["send-expect"]),
    ("query", &["dns"]),
    ("query_type", &["dns"]),
    ("expect_rcode", &["dns"]),
    ("command", &["exec"]),
    ("service", &["grpc"]),
    ("tls", &["tls", "https", "grpc"]),
];

/// `tls` is the pool's own, by which a probe goes that says nothing else.
pub(super) fn read(section: Section<'_>, carried: Carried, tls: Option<&ClientTls>) -> Health {
    let section = section.only(KEYS, later::HEALTH);
    let default = Health::default();
    let interval = section.duration("interval", default.interval);
    let timeout = section.duration("timeout", default.timeout);
    let health = Health {
        probe: probe(&section, carried, tls).unwrap_or(default.probe),
        interval,
        timeout,
        rise: section.integer("rise", 1..=1000, default.rise),
        fall: section.integer("fall", 1..=1000, default.fall),
        address: address(&section),
        port: port(&section),
    };
    if !matches!(health.probe, Probe::None) {
        check_pace(&section, interval, timeout);
    }
    health
}

/// A probe never overlaps its predecessor, so a slow one delays the next.
fn check_pace(section: &Section<'_>, interval: Duration, timeout: Duration) {
    let written = section.value("interval").or_else(|| section.value("timeout"));
    if let Some(value) = written.filter(|_| interval < timeout) {
        let (interval, timeout) = (write_duration(interval), write_duration(timeout));
        let message =
            format!("{}: interval {interval} is shorter than timeout {timeout}", section.title);
        let way_out = format!("set timeout to at most \"{interval}\", or a longer interval");
        section.report.warn(value.node.place, message, way_out);
    }
}

fn probe(section: &Section<'_>, carried: Carried, tls: Option<&ClientTls>) -> Option<Probe> {
    let kind = kind(section, carried)?;
    let name = KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name);
    for (key, owners) in OWNERS {
        if let Some(value) = section.value(key)
            && !owners.contains(&name)
        {
            let message =
                format!("belongs to probe \"{}\", not \"{name}\"", owners.join("\" or \""));
            value.refuse(&message, &format!("remove it, or set probe = \"{}\"", owners[0]));
        }
    }
    match kind {
        Kind::Tcp => Some(Probe::Tcp),
        Kind::Tls => Some(Probe::Tls(credentials::of_probe(section, tls))),
        Kind::None => Some(Probe::None),
        Kind::Http => Some(Probe::Http(Box::new(http_probe::plain(section)))),
        Kind::Https => Some(Probe::Http(Box::new(http_probe::over_tls(section, tls)))),
        Kind::SendExpect => send_expect(section, carried),
        Kind::Dns => Some(Probe::Dns(dns_probe::read(section, carried))),
        Kind::Grpc => Some(grpc(section, tls)),
        Kind::Exec => exec(section),
    }
}

/// `None` when the value is wrong; then nothing is said about keys of the wrong probe.
fn kind(section: &Section<'_>, carried: Carried) -> Option<Kind> {
    let Some(value) = section.value("probe") else {
        // Few servers of datagrams take connections on the same port.
        return Some(if carried.only_datagrams() { Kind::None } else { Kind::Tcp });
    };
    let text = value.text()?;
    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == text) {
        return Some(*kind);
    }
    if later::PROBES.contains(&text) {
        let message = format!("\"{text}\" is not available in this version: it is not built yet");
        let way_out = match text {
            "redis" => "use \"send-expect\" with send = \"PING\\r\\n\" and expect = \"PONG\"",
            "postgres" => "use \"tcp\", or \"http\" against the server's own health endpoint",
            _ => "use \"tcp\", \"http\", \"grpc\", \"send-expect\", \"dns\" or \"exec\"",
        };
        value.refuse(&message, way_out);
        return None;
    }
    let way_out = did_you_mean(text, "valid values", KINDS.iter().map(|(name, _)| *name));
    value.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
    None
}

fn address(section: &Section<'_>) -> Option<String> {
    let value = section.value("address")?;
    match address::host(value.text()?) {
        Ok(host) => {
            if host.parse::<std::net::IpAddr>().is_err() {
                pending::host(section.report, value.node.place, &section.title, &host);
            }
            Some(host)
        }
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn port(section: &Section<'_>) -> Option<u16> {
    let port = section.value("port")?.integer(1..=65_535)?;
    u16::try_from(port).ok()
}

fn send_expect(section: &Section<'_>, carried: Carried) -> Option<Probe> {
    let bytes = |key| section.value(key).and_then(|value| value.text()).unwrap_or_default();
    let (send, expect) = (bytes("send"), bytes("expect"));
    if section.value("expect").is_none() {
        let message = format!("{}: probe \"send-expect\" has no expect", section.title);
        let way_out = "write expect = \"…\" (\"\" is met by any answer)";
        section.report.absence(section.place, message, way_out);
    }
    Some(Probe::SendExpect { send: send.into(), expect: expect.into(), over: carried.over() })
}

/// Over TLS if the probe or the pool has a table that says so.
fn grpc(section: &Section<'_>, tls: Option<&ClientTls>) -> Probe {
    let is_over_tls = section.value("tls").is_some() || tls.is_some();
    let service = section.value("service").and_then(|value| value.text());
    Probe::Grpc {
        service: service.unwrap_or_default().to_owned(),
        tls: is_over_tls.then(|| http_probe::tls(section, tls)),
    }
}

fn exec(section: &Section<'_>) -> Option<Probe> {
    let value = section.required("command", "[\"/usr/local/bin/check\", \"db\"]")?;
    if !value.is_list() {
        let way_out =
            "write a list, program first: [\"/usr/local/bin/check\", \"db\"]; there is no shell";
        value.refuse("must be a list of words", way_out);
        return None;
    }
    let mut words = Vec::new();
    for item in value.list("an entry") {
        let text = item.text()?;
        if text.contains('\0') {
            item.refuse("holds a NUL character", "write the word without it");
        }
        words.push(text.to_owned());
    }
    match words.first_mut() {
        Some(program) if !program.is_empty() => {
            if program.contains('/') {
                let path = section.report.resolve(value.node.place.file, program);
                *program = path.to_string_lossy().into_owned();
            }
            Some(Probe::Exec(words))
        }
        _ => {
            value.refuse("names no program", "write the program as the first word");
            None
        }
    }
}
