//! Reads `[listener.NAME.tls.acme]`: certificates that are asked for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::address;
use super::listener;
use super::names;
use super::pem;
use super::problem::Place;
use super::read::Section;
use super::value::Value;
use super::words::quoted;
use super::{Acme, Challenge};

pub(super) const KEYS: &[&str] =
    &["domains", "contact", "directory", "directory_ca", "challenge", "http_bind", "storage"];
pub(super) const CHALLENGES: &[(&str, Way)] =
    &[("tls-alpn-01", Way::TlsAlpn), ("http-01", Way::Http)];

/// Where an authority begins to ask.
const HTTP: u16 = 80;

/// A challenge, of which the addresses are a key of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    TlsAlpn,
    Http,
}

/// The table, if there is one.
pub(super) fn read(tls: &Section<'_>) -> Option<Acme> {
    tls.value("acme")?.table()?;
    let section = tls.section("acme").only(KEYS, &[]);
    let directory = section.value("directory").and_then(|value| directory(&value));
    Some(Acme {
        domains: domains(&section),
        contact: contact(&section),
        directory: directory.unwrap_or_else(|| super::defaults::ACME_DIRECTORY.to_owned()),
        directory_ca: section.value("directory_ca").and_then(|value| pem::authorities(&value)),
        challenge: challenge(&section),
        storage: storage(&section).unwrap_or_default(),
    })
}

/// Where challenges are answered over http, with what says so.
pub(super) fn bound_at(listener: &Section<'_>, acme: &Acme) -> Vec<(SocketAddr, Place)> {
    let Challenge::Http01(addresses) = &acme.challenge else { return Vec::new() };
    let section = listener.section("tls").section("acme");
    let items = section.value("http_bind").map(|value| value.one_or_more()).unwrap_or_default();
    let by_default = section.value("challenge").map_or(section.place, |value| value.node.place);
    let place = |number| items.get(number).map_or(by_default, |item: &Value<'_>| item.node.place);
    addresses.iter().enumerate().map(|(number, at)| (*at, place(number))).collect()
}

/// An http listener in cleartext at port 80 answers for those tables that name no address.
pub(super) fn find_answerers(sections: &[(&str, Section<'_>)], listeners: &mut [listener::Read]) {
    let answering = listeners.iter().filter(|read| read.listener.answers_challenges());
    let bound = answering.flat_map(|read| &read.listener.bind).copied();
    let bound: Vec<SocketAddr> = bound.filter(|address| address.port() == HTTP).collect();
    if bound.is_empty() {
        return;
    }
    for (read, (_, section)) in listeners.iter_mut().zip(sections) {
        let acme = read.listener.tls.as_mut().and_then(|tls| tls.acme.as_mut());
        if let Some(Acme { challenge: Challenge::Http01(addresses), .. }) = acme
            && section.section("tls").section("acme").value("http_bind").is_none()
        {
            addresses.clone_from(&bound);
            read.answers_at.clear();
        }
    }
}

/// Notes each listener whose table differs from that of another one and would write the same files.
pub(super) fn clashes(sections: &[(&str, Section<'_>)], listeners: &[listener::Read]) {
    let tables: Vec<_> = listeners
        .iter()
        .zip(sections)
        .filter_map(|(read, section)| Some((section, read.listener.tls.as_ref()?.acme.as_ref()?)))
        .collect();
    let at =
        |acme: &Acme| (acme.storage.clone(), acme.directory.clone(), acme.domains.first().cloned());
    for (number, ((_, section), acme)) in tables.iter().enumerate() {
        let mut before = tables.iter().take(number);
        let clash = before.find(|(_, other)| at(other) == at(acme) && other != acme);
        if let Some(((name, _), _)) = clash
            && let Some(value) = section.section("tls").section("acme").value("storage")
        {
            let message = format!(
                "keeps the certificate of listener \"{name}\" too, and their tables differ"
            );
            value.refuse(&message, "make them equal to share it, or give each its own storage");
        }
    }
}

fn domains(section: &Section<'_>) -> Vec<String> {
    let Some(value) = section.required("domains", "[\"example.com\"]") else { return Vec::new() };
    let items = value.one_or_more();
    if items.is_empty() {
        value.refuse("is an empty list", "name at least one, as in \"example.com\"");
    }
    let mut domains = Vec::new();
    for item in items {
        let Some(domain) = domain(&item) else { continue };
        if domains.contains(&domain) {
            item.refuse(&format!("{} is in the list twice", quoted(&domain)), "remove one");
        }
        domains.push(domain);
    }
    domains
}

fn domain(item: &Value<'_>) -> Option<String> {
    let text = item.filled()?;
    if text.contains('*') {
        let message = format!("{} has a *, which only a DNS challenge could prove", quoted(text));
        item.refuse(&message, "list the names one by one");
        return None;
    }
    match names::name(text) {
        Ok(name) => Some(name),
        Err(bad) => {
            item.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn contact(section: &Section<'_>) -> Vec<String> {
    let items = section.value("contact").map(|value| value.one_or_more()).unwrap_or_default();
    let contact = |item: &Value<'_>| {
        let text = item.filled()?;
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let (user, host) = address.split_once('@').unwrap_or_default();
        let is_plain = address.chars().all(|c| c.is_ascii_graphic() && !",?<>".contains(c));
        if user.is_empty() || host.is_empty() || host.contains('@') || !is_plain {
            let message = format!("{} is not a mail address", quoted(text));
            item.refuse(&message, "write it as in \"ops@example.com\"");
            return None;
        }
        Some(format!("mailto:{address}"))
    };
    items.iter().filter_map(contact).collect()
}

fn directory(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    let host = text.strip_prefix("https://").map(|rest| rest.split(['/', ':', '?', '#']).next());
    let is_url = host.flatten().is_some_and(|host| !host.is_empty());
    if !is_url || !text.chars().all(|c| c.is_ascii_graphic()) {
        let message = format!("{} is not an https URL", quoted(text));
        value.refuse(&message, "write it as in \"https://acme.internal/directory\"");
        return None;
    }
    Some(text.to_owned())
}

fn challenge(section: &Section<'_>) -> Challenge {
    let way = section.choice("challenge", CHALLENGES, Way::TlsAlpn);
    let written = section.value("http_bind");
    if way == Way::TlsAlpn {
        if let Some(value) = written {
            let way_out = "remove it, or set challenge = \"http-01\"";
            value.refuse("belongs to challenge \"http-01\"", way_out);
        }
        return Challenge::TlsAlpn01;
    }
    Challenge::Http01(written.map_or_else(
        || vec![(Ipv4Addr::UNSPECIFIED, HTTP).into(), (Ipv6Addr::UNSPECIFIED, HTTP).into()],
        |value| binds(&value),
    ))
}

fn binds(value: &Value<'_>) -> Vec<SocketAddr> {
    let items = value.one_or_more();
    if items.is_empty() {
        value.refuse("is an empty list", "name at least one address, as in \"0.0.0.0:80\"");
    }
    let address = |item: &Value<'_>| match address::bind(item.text()?) {
        Ok(address) => Some(address),
        Err(bad) => {
            item.refuse(&bad.message, &bad.suggestion);
            None
        }
    };
    items.iter().filter_map(address).collect()
}

/// A folder, which is made at the start if it is missing.
fn storage(section: &Section<'_>) -> Option<PathBuf> {
    let value = section.required("storage", "\"/var/lib/evenkeel/acme\"")?;
    let path = value.path()?;
    if value.report.disk.is_some_and(|disk| disk.blocks_folder(&path)) {
        let message = format!("{} is not a folder", path.display());
        value.refuse(&message, "name a folder; it is made if it is missing");
    }
    Some(path)
}
