//! Reads a table of TLS towards backends: `[pool.NAME.tls]` and `[pool.NAME.health.tls]`.

use rustls::pki_types::ServerName;

use super::listener_tls::STARTTLS;
use super::pem;
use super::read::Section;
use super::value::Value;
use super::words::quoted;
use super::{ClientTls, StartTls};

pub(super) const TLS_KEYS: &[&str] = &["server_name", "ca", "cert", "key", "verify", "starttls"];

/// The `tls` table of a pool, if it has one.
pub(super) fn of_pool(pool: &Section<'_>) -> Option<ClientTls> {
    pool.value("tls")?.table()?;
    Some(table(pool))
}

/// What a probe over TLS goes by: the `tls` table of `health`, which stands alone, or else the
/// pool's.
pub(super) fn of_probe(health: &Section<'_>, of_pool: Option<&ClientTls>) -> ClientTls {
    if health.value("tls").is_some() {
        return table(health);
    }
    of_pool.cloned().unwrap_or_default()
}

fn table(owner: &Section<'_>) -> ClientTls {
    let section = owner.section("tls").only(TLS_KEYS, &[]);
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if let (Some(value), None) = (section.value(one), section.value(other)) {
            value.refuse(&format!("is there without {other}"), "name both, or neither");
        }
    }
    let pair = section.value("cert").zip(section.value("key"));
    ClientTls {
        server_name: section.value("server_name").and_then(|value| server_name(&value)),
        ca: section.value("ca").and_then(|value| pem::authorities(&value)),
        identity: pair.and_then(|(cert, key)| pem::identity(&cert, &key)),
        verify: section.flag("verify", true),
        starttls: starttls(&section),
    }
}

/// The protocol that upgrades to TLS, on either side.
pub(super) fn starttls(section: &Section<'_>) -> Option<StartTls> {
    section.value("starttls").and_then(|value| value.choice(STARTTLS))
}

/// A name that a certificate can be verified for.
fn server_name(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    if ServerName::try_from(text).is_err() {
        let message = format!("{} is not a host name", quoted(text));
        value.refuse(&message, "write a name without a port, as in \"db.internal\"");
        return None;
    }
    Some(text.to_owned())
}

/// A name to ask for.
pub(super) fn host(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    if !text.chars().all(|c| c.is_ascii_graphic() && c != '/') {
        let message = format!("{} is not a host name", quoted(text));
        value.refuse(&message, "write a name, as in \"db.internal\"");
        return None;
    }
    Some(text.to_owned())
}
