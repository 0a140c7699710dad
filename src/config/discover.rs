//! Reads `[pool.NAME.discover]`: where a pool's backends are looked up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::BackendAddr;

use super::address;
use super::members;
use super::pending;
use super::read::Section;
use super::value::Value;
use super::words::quoted;
use super::{Discover, DiscoverSource};

pub(super) const KEYS: &[&str] = &["dns", "srv", "file", "refresh"];

/// The keys of which there is one.
const SOURCES: [&str; 3] = ["dns", "srv", "file"];

/// Whoever asks more often than this asks too much, and the answers hold so long in any case.
const SHORTEST: Duration = Duration::from_secs(1);

/// `max_sessions` is the pool's.
pub(super) fn read(pool: &Section<'_>, max_sessions: u32) -> Option<Discover> {
    pool.value("discover")?.table()?;
    let section = pool.section("discover").only(KEYS, &[]);
    let refresh = section.value("refresh").and_then(|value| refresh(&value));
    let named: Vec<_> =
        SOURCES.iter().filter_map(|key| Some((*key, section.value(key)?))).collect();
    let [(key, value)] = named.as_slice() else {
        match named.get(1) {
            Some((second, value)) => {
                let first = named.first().map_or("", |(key, _)| key);
                let message =
                    format!("is there beside {first}: backends are looked up in one place");
                value.refuse(&message, &format!("remove {first} or {second}"));
            }
            // A slip of the pen has been spoken of already.
            None if section.keys().any(|entry| !KEYS.contains(&&*entry.key)) => {}
            None => {
                let message = format!("{} says not where", section.title);
                let way_out = "write dns = \"db.internal:5432\", srv = \"_postgres._tcp.db.internal\" \
                               or file = \"backends.json\"";
                section.report.absence(section.place, message, way_out);
            }
        }
        return None;
    };
    let source = match *key {
        "dns" => dns(value)?,
        "srv" => srv(value)?,
        _ => DiscoverSource::File(file(value, max_sessions)?),
    };
    Some(Discover { source, refresh })
}

fn refresh(value: &Value<'_>) -> Option<Duration> {
    let time = value.duration()?;
    if time < SHORTEST {
        value.refuse("is shorter than a second", "write \"1s\" or more, or remove the key");
        return None;
    }
    Some(time)
}

fn dns(value: &Value<'_>) -> Option<DiscoverSource> {
    let text = value.text()?;
    match address::backend(text) {
        Ok(BackendAddr::Host(host, port)) => {
            pending::host(value.report, value.node.place, &value.subject, &host);
            Some(DiscoverSource::Dns(host, port))
        }
        Ok(BackendAddr::Ip(_)) => {
            let message = format!("{} is an address, which is nothing to look up", quoted(text));
            value.refuse(&message, "list it in `backends`");
            None
        }
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn srv(value: &Value<'_>) -> Option<DiscoverSource> {
    let text = value.text()?;
    if address::is_host(text) {
        pending::service(value.report, value.node.place, &value.subject, text);
        return Some(DiscoverSource::Srv(Arc::from(text)));
    }
    match text.rsplit_once(':') {
        Some((name, port)) if address::is_host(name) && port.parse::<u16>().is_ok() => {
            let message = format!("{} has a port, and SRV records bring their own", quoted(text));
            value.refuse(&message, &format!("write \"{name}\""));
        }
        _ => {
            let message = format!("{} is no name", quoted(text));
            value.refuse(&message, "write it as in \"_postgres._tcp.db.internal\"");
        }
    }
    None
}

/// The file may come later, and is read again whenever it changes: what is wrong with it now is no
/// more than a warning.
fn file(value: &Value<'_>, max_sessions: u32) -> Option<PathBuf> {
    let path = value.path()?;
    let Some(disk) = value.report.disk else { return Some(path) };
    pending::reread(value.report, value.node.place, &value.subject, &path);
    let until = "until then the pool has the backends that `backends` names, if any";
    match disk.read(&path) {
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            value.warn(&message, &format!("write a JSON list of backends there; {until}"));
        }
        Ok(text) => match members::listed(&path, &text, max_sessions) {
            Err(why) => {
                let message = format!("{} is of no use: {why}", path.display());
                value.warn(&message, &format!("correct it; {until}"));
            }
            Ok(found) if found.is_empty() => {
                let message = format!("{} lists no backend", path.display());
                value.warn(&message, &format!("name one there; {until}"));
            }
            Ok(_) => {}
        },
    }
    Some(path)
}
