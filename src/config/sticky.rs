//! Reads `[pool.NAME.sticky]`: clients that keep their backend, known by address or by cookie.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fields::is_token;
use super::process::admin_token;
use super::read::Section;
use super::value::Value;
use super::words::quoted;
use super::{SameSite, Sticky, StickyCookie};

pub(super) const KEYS: &[&str] = &[
    "client_ip",
    "max_entries",
    "cookie",
    "secure",
    "http_only",
    "same_site",
    "ttl",
    "secret_file",
];
pub(super) const SAME_SITE: &[(&str, SameSite)] =
    &[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];

/// Keys of the cookie alone.
const OF_COOKIE: &[&str] = &["secure", "http_only", "same_site", "secret_file"];

/// A shorter secret can be found by trying.
const SHORTEST_SECRET: usize = 16;

/// What stands in the table.
#[derive(Default)]
pub(super) struct Read {
    pub(super) sticky: Option<Sticky>,
    pub(super) cookie: Option<StickyCookie>,
}

pub(super) fn read(pool: &Section<'_>) -> Read {
    if pool.value("sticky").is_none_or(|value| value.table().is_none()) {
        return Read::default();
    }
    let section = pool.section("sticky").only(KEYS, &[]);
    let by_address = section.value("client_ip");
    let is_by_address = section.flag("client_ip", false);
    let Some(value) = section.value("cookie") else {
        for key in OF_COOKIE {
            if let Some(value) = section.value(key) {
                value.refuse("is about a cookie, and there is none", "add cookie = \"NAME\"");
            }
        }
        if by_address.is_none() {
            let message = format!("{} does not say what a client is known by", section.title);
            let way_out =
                "write client_ip = true, or cookie = \"NAME\" for http, or remove the table";
            section.report.absence(section.place, message, way_out);
        }
        let default = Sticky::default();
        let sticky = Sticky {
            ttl: section.duration("ttl", default.ttl),
            max_entries: section.integer("max_entries", 1..=u32::MAX, default.max_entries),
        };
        return Read { sticky: is_by_address.then_some(sticky), cookie: None };
    };
    if is_by_address {
        let way_out = "remove one of them: a cookie is surer, and follows who changes the address";
        value.refuse("stands beside client_ip: a client is known one way", way_out);
    }
    if let Some(value) = section.value("max_entries") {
        value.refuse("belongs to client_ip: a cookie is kept by the client", "remove it");
    }
    Read { sticky: None, cookie: cookie(&section, &value) }
}

fn cookie(section: &Section<'_>, value: &Value<'_>) -> Option<StickyCookie> {
    let name = value.filled()?;
    if !is_token(name) {
        let message = format!("{} is not the name of a cookie", quoted(name));
        value.refuse(&message, "use letters, digits, - and _");
        return None;
    }
    let cookie = StickyCookie {
        name: Arc::from(name),
        secure: section.flag("secure", false),
        http_only: section.flag("http_only", true),
        same_site: section.value("same_site").and_then(|value| value.choice(SAME_SITE)),
        ttl: section.some_duration("ttl"),
        secret_file: section.value("secret_file").and_then(|value| secret_file(&value)),
    };
    if let Some(value) = section.value("ttl")
        && cookie.ttl.is_some_and(|ttl| ttl < Duration::from_secs(1))
    {
        let message = "is shorter than a second, in which cookies are told to last";
        value.refuse(message, "write \"1s\" or longer");
    }
    if !cookie.secure {
        dropped(section, value, &cookie);
    }
    Some(cookie)
}

/// What browsers do not keep without `Secure`.
fn dropped(section: &Section<'_>, value: &Value<'_>, cookie: &StickyCookie) {
    let way_out = "set secure = true, which needs clients to come over https";
    if cookie.name.starts_with("__Host-") || cookie.name.starts_with("__Secure-") {
        let message = "has a name that browsers refuse without secure";
        value.warn(message, &format!("{way_out}, or choose another name"));
    }
    if let Some(value) = section.value("same_site")
        && cookie.same_site == Some(SameSite::None)
    {
        value.warn("is \"none\", which browsers refuse without secure", way_out);
    }
}

fn secret_file(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    let Some(disk) = value.report.disk else { return Some(path) };
    match disk.read(&path) {
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            value.refuse(&message, "create it with a secret as its first line");
        }
        Ok(bytes) => {
            if let Err(why) = cookie_secret(&bytes) {
                let message = format!("{} is of no use: {why}", path.display());
                value
                    .refuse(&message, "write a random line there, as `openssl rand -hex 32` makes");
            }
        }
    }
    Some(path)
}

/// The secret that a file holds: its first line, trimmed; or why that is none.
pub fn cookie_secret(bytes: &[u8]) -> Result<String, &'static str> {
    let secret = admin_token(bytes)?;
    if secret.len() < SHORTEST_SECRET {
        return Err("its first line is shorter than 16 characters");
    }
    Ok(secret)
}
