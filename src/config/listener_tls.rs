//! Reads `[listener.NAME.tls]`: TLS that ends here, or an upgrade that is answered for TLS that
//! goes on.

use super::acme;
use super::credentials;
use super::defaults;
use super::pem;
use super::read::Section;
use super::tree::Kind;
use super::value::Value;
use super::words::quoted;
use super::{ClientAuth, Identity, ListenerTls, Protocol, StartTls, TlsVersion};

pub(super) const KEYS: &[&str] =
    &["certificates", "min_version", "alpn", "client_ca", "client_auth", "starttls", "acme"];
pub(super) const CERTIFICATE_KEYS: &[&str] = &["cert", "key"];

pub(super) const VERSIONS: &[(&str, TlsVersion)] =
    &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
pub(super) const STARTTLS: &[(&str, StartTls)] = &[("postgres", StartTls::Postgres)];
/// With the question whether a client without a certificate is refused.
pub(super) const CLIENT_AUTH: &[(&str, bool)] = &[("required", true), ("optional", false)];

const EXAMPLE: &str = "[{ cert = \"fullchain.pem\", key = \"privkey.pem\" }]";
/// No longer name fits into the extension (RFC 7301, 3.1).
const LONGEST_PROTOCOL: usize = 255;
/// RFC 8737, 3.
const ACME_PROTOCOL: &str = "acme-tls/1";

/// The table, if the listener has one.
pub(super) fn read(listener: &Section<'_>, protocol: Protocol) -> Option<ListenerTls> {
    listener.value("tls")?.table()?;
    let section = listener.section("tls").only(KEYS, &[]);
    let starttls = starttls(&section, protocol);
    let acme = acme::read(&section);
    if section.value("certificates").is_none() && section.value("acme").is_none() {
        check_unended(&section, protocol);
    }
    Some(ListenerTls {
        certificates: certificates(&section),
        acme,
        min_version: section
            .value("min_version")
            .and_then(|value| version(&value))
            .unwrap_or(TlsVersion::V1_2),
        alpn: alpn(&section, starttls, protocol),
        client_auth: client_auth(&section),
        starttls,
    })
}

fn starttls(section: &Section<'_>, protocol: Protocol) -> Option<StartTls> {
    let starttls = credentials::starttls(section);
    if let Some(value) = section.value("starttls").filter(|_| protocol == Protocol::Http) {
        value.refuse("is for databases, and this listener is http", "remove it");
        return None;
    }
    starttls
}

/// Of a table without a certificate to show: what it can say, and what it can not.
fn check_unended(section: &Section<'_>, protocol: Protocol) {
    if section.value("starttls").is_none() || protocol == Protocol::Http {
        let message = format!("{} has no certificates to end TLS with", section.title);
        let through = match protocol {
            Protocol::Http => "",
            _ => "; routes by sni or alpn need no tls table, they pass TLS through",
        };
        let way_out = format!("write certificates = {EXAMPLE}, or add an acme table{through}");
        section.report.absence(section.place, message, way_out);
        return;
    }
    for key in ["min_version", "alpn", "client_ca", "client_auth"] {
        if let Some(value) = section.value(key) {
            let message = "holds for TLS that ends here, and without certificates it goes on \
                           to the backends unread";
            value.refuse(message, "remove the key, or add certificates");
        }
    }
}

fn certificates(section: &Section<'_>) -> Vec<Identity> {
    let Some(value) = section.value("certificates") else { return Vec::new() };
    let items = value.list("certificate");
    if value.is_list() && items.is_empty() {
        value.refuse("is an empty list", &format!("name at least one, as in {EXAMPLE}"));
    }
    items.iter().filter_map(certificate).collect()
}

fn certificate(item: &Value<'_>) -> Option<Identity> {
    if !item.is_table() {
        item.wrong_type("a table", "{ cert = \"fullchain.pem\", key = \"privkey.pem\" }");
        return None;
    }
    let section = item.as_section("").only(CERTIFICATE_KEYS, &[]);
    let cert = section.required("cert", "\"fullchain.pem\"");
    let key = section.required("key", "\"privkey.pem\"");
    let (cert, key) = pem::identity(&cert?, &key?)?;
    Some(Identity { cert, key })
}

fn version(value: &Value<'_>) -> Option<TlsVersion> {
    if let Kind::Text(text) = &value.node.kind
        && ["1", "1.0", "1.1"].contains(&text.as_str())
    {
        let message = format!("{} is broken by now (RFC 8996) and not spoken", quoted(text));
        value.refuse(&message, "write \"1.2\" or \"1.3\"");
        return None;
    }
    value.choice(VERSIONS)
}

fn client_auth(section: &Section<'_>) -> Option<ClientAuth> {
    let mode = section.value("client_auth");
    let required = mode.as_ref().and_then(|value| value.choice(CLIENT_AUTH)).unwrap_or(true);
    let Some(value) = section.value("client_ca") else {
        if let Some(mode) = mode {
            let way_out = "write client_ca = \"clients.pem\", or remove the key";
            mode.refuse("is there without client_ca, which clients are verified with", way_out);
        }
        return None;
    };
    pem::authorities(&value).map(|ca| ClientAuth { ca, required })
}

fn alpn(section: &Section<'_>, starttls: Option<StartTls>, protocol: Protocol) -> Vec<String> {
    let Some(value) = section.value("alpn") else {
        if protocol == Protocol::Http {
            return defaults::HTTP_ALPN.iter().map(ToString::to_string).collect();
        }
        // A client of PostgreSQL that begins with TLS goes on only if its protocol is confirmed.
        return starttls.map(|StartTls::Postgres| "postgresql".to_owned()).into_iter().collect();
    };
    let items = value.one_or_more();
    let taken = items.iter().filter_map(|item| {
        let name = self::protocol(item)?;
        if name == ACME_PROTOCOL {
            let message = "is of a challenge, which the acme table answers by itself";
            item.refuse(message, "remove it");
        } else if protocol == Protocol::Http && !defaults::HTTP_ALPN.contains(&name.as_str()) {
            let message = format!("{} is not spoken by a listener of http", quoted(&name));
            item.refuse(&message, "name \"h2\", \"http/1.1\" or both");
        }
        Some(name)
    });
    taken.collect()
}

/// The name of an application protocol.
pub(super) fn protocol(item: &Value<'_>) -> Option<String> {
    let text = item.text()?;
    if text.is_empty() || text.len() > LONGEST_PROTOCOL {
        let message = format!("{} does not have 1 to {LONGEST_PROTOCOL} bytes", quoted(text));
        item.refuse(&message, "write it as in \"h2\", \"http/1.1\" or \"postgresql\"");
        return None;
    }
    Some(text.to_owned())
}
