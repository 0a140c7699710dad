//! What one configuration changes about another, in words.
//!
//! Both are compared as the file would write them, so that a key is called what the file calls it and
//! a pool is told by its name. Nothing here looks at the world but for the sessions of what goes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use crate::api::{Altered, Changes, Removed, Sorted};
use crate::config::{self, Closing, Config, Listener, Member, Pool, Protocol, units};

/// What takes effect with a restart only.
const RESTART: [&str; 4] = ["admin.bind", "process.group", "process.threads", "process.user"];

/// Longer values are not shown.
const SHORT: usize = 40;

/// Tables of which it is only said that they differ: what does would take a page.
const WHOLE: [&str; 3] = ["health.headers", "health.tls", "tls"];

/// Keys whose values may be secrets.
const UNSHOWN: [&str; 4] = ["health.command", "health.expect", "health.headers", "health.send"];

/// Keys of a pool that are written only if an http listener uses it.
const OF_REQUESTS: [&str; 4] = ["retry.on", "retry.non_idempotent", "retry.body", "retry.budget"];

/// Whose sessions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Those of the listener of this name.
    Listener(&'a str),
    /// Those of the backend of this name in the pool of that name: pool, backend.
    Backend(&'a str, &'a str),
}

/// What changes if `new` takes the place of `old`. `sessions` says how many somebody has now; it is
/// asked for those that go. Everything stands in the order of the new file, what goes in that of the
/// old one.
pub fn between(old: &Config, new: &Config, sessions: &dyn Fn(Whose<'_>) -> u64) -> Changes {
    let (before, after) = (config::effective_json(old), config::effective_json(new));
    let mut changes = Changes::default();
    program(&mut changes, &before, &after);
    listeners(&mut changes.listeners, (old, &before), (new, &after), sessions);
    pools(&mut changes, (old, &before), (new, &after), sessions);
    changes
}

/// `[process]`, `[log]` and `[admin]`.
fn program(changes: &mut Changes, before: &Value, after: &Value) {
    for section in ["process", "log", "admin"] {
        for difference in differences(section, child(before, section), child(after, section)) {
            if RESTART.contains(&difference.key.as_str()) {
                changes.restart.push(difference.key);
            } else {
                changes.settings.push(difference.in_words());
            }
        }
    }
    changes.restart.sort();
}

type Side<'a> = (&'a Config, &'a Value);

fn listeners(
    sorted: &mut Sorted,
    (old, before): Side<'_>,
    (new, after): Side<'_>,
    sessions: &dyn Fn(Whose<'_>) -> u64,
) {
    let pairs = paired(old, new);
    for (place, listener) in new.listeners.iter().enumerate() {
        let name = listener.name.to_string();
        let was = pairs.iter().find(|(_, after)| *after == place);
        let Some(was) = was.and_then(|(before, _)| old.listeners.get(*before)) else {
            sorted.added.push(name);
            continue;
        };
        let mut what = Vec::new();
        if was.name != listener.name {
            what.push(format!("was called {}", was.name));
        }
        what.extend(moves((old, was), (new, listener)));
        let table = |whole, name| child(child(whole, "listener"), name);
        let (was, is) = (table(before, &was.name), table(after, &listener.name));
        let differences = differences("", was, is);
        let other = differences.into_iter().filter(|one| one.key != "bind");
        what.extend(other.map(|one| one.in_words()));
        push(sorted, name, what);
    }
    for (place, listener) in old.listeners.iter().enumerate() {
        if pairs.iter().all(|(before, _)| *before != place) {
            sorted.removed.push(Removed {
                name: listener.name.to_string(),
                sessions: sessions(Whose::Listener(&listener.name)),
                then: "kept until the last one ends".to_owned(),
            });
        }
    }
}

fn push(sorted: &mut Sorted, name: String, what: Vec<String>) {
    if what.is_empty() {
        sorted.kept.push(name);
    } else {
        sorted.changed.push(Altered { name, what });
    }
}

/// Which listener of the old file is which one of the new file: by name, else by an address that both
/// have and nobody else of those that are left.
fn paired(old: &Config, new: &Config) -> Vec<(usize, usize)> {
    let has_name =
        |config: &Config, name: &str| config.listeners.iter().position(|one| *one.name == *name);
    let left = |config: &Config, other: &Config| -> Vec<usize> {
        let indices = config.listeners.iter().enumerate();
        let left = indices.filter(|(_, one)| has_name(other, &one.name).is_none());
        left.map(|(index, _)| index).collect()
    };
    let (gone, fresh) = (left(old, new), left(new, old));
    let meet = |before: usize, after: usize| {
        let both = old.listeners.get(before).zip(new.listeners.get(after));
        both.is_some_and(|(was, is)| seats(was).any(|seat| seats(is).any(|other| other == seat)))
    };
    let renamed = gone.iter().filter_map(|before| {
        let is_only = |met: &[usize]| met.len() == 1;
        let met: Vec<_> = fresh.iter().copied().filter(|after| meet(*before, *after)).collect();
        let after = *met.first()?;
        let back: Vec<_> = gone.iter().copied().filter(|other| meet(*other, after)).collect();
        (is_only(&met) && is_only(&back)).then_some((*before, after))
    });
    let named = old.listeners.iter().enumerate();
    let named = named.filter_map(|(index, one)| Some((index, has_name(new, &one.name)?)));
    named.chain(renamed).collect()
}

/// An address and whether it is one for datagrams.
type Seat = (SocketAddr, bool);

/// Addresses that are the same place in both files: port 0 is so only by its listener's name.
fn seats(listener: &Listener) -> impl Iterator<Item = Seat> + '_ {
    all_seats(listener).filter(|(address, _)| address.port() != 0)
}

fn all_seats(listener: &Listener) -> impl Iterator<Item = Seat> + '_ {
    let is_datagram = listener.protocol == Protocol::Udp;
    listener.bind.iter().map(move |address| (*address, is_datagram))
}

/// The addresses that a listener opens, closes, takes from another one, or leaves to one.
fn moves((old, was): (&Config, &Listener), (new, is): (&Config, &Listener)) -> Vec<String> {
    let has = |listener: &Listener, seat: Seat| all_seats(listener).any(|other| other == seat);
    let of = |config: &'_ Config, seat: Seat| {
        let known = |one: &&Listener| seats(one).any(|other| other == seat);
        config.listeners.iter().find(known).map(|one| one.name.to_string())
    };
    let opened = all_seats(is).filter(|seat| !has(was, *seat)).map(|seat| match of(old, seat) {
        Some(other) => format!("takes {} over from {other}", seat.0),
        None => format!("opens {}", seat.0),
    });
    let closed = all_seats(was).filter(|seat| !has(is, *seat)).map(|seat| match of(new, seat) {
        Some(other) => format!("leaves {} to {other}", seat.0),
        None => format!("closes {}", seat.0),
    });
    opened.chain(closed).collect()
}

fn pools(
    changes: &mut Changes,
    (old, before): Side<'_>,
    (new, after): Side<'_>,
    sessions: &dyn Fn(Whose<'_>) -> u64,
) {
    let table = |whole, name| child(child(whole, "pool"), name);
    let find =
        |config: &'_ Config, name: &str| config.pools.iter().position(|pool| *pool.name == *name);
    for pool in &new.pools {
        let was = find(old, &pool.name).and_then(|place| old.pools.get(place));
        let tables = (table(before, &pool.name), table(after, &pool.name));
        match was {
            None => changes.pools.added.push(pool.name.to_string()),
            Some(was) => {
                push(&mut changes.pools, pool.name.to_string(), of_pool((was, pool), tables));
            }
        }
        backends(&mut changes.backends, (was, Some(pool)), tables, sessions);
    }
    for pool in old.pools.iter().filter(|pool| find(new, &pool.name).is_none()) {
        let each = pool.members.iter();
        let each = each.map(|member| sessions(Whose::Backend(&pool.name, &member.name)));
        changes.pools.removed.push(Removed {
            name: pool.name.to_string(),
            sessions: each.sum(),
            then: then(pool),
        });
        let tables = (table(before, &pool.name), &Value::Null);
        backends(&mut changes.backends, (Some(pool), None), tables, sessions);
    }
}

/// What differs between two pools, their backends left aside.
fn of_pool((old, new): (&Pool, &Pool), (before, after): (&Value, &Value)) -> Vec<String> {
    let counts = |difference: &Difference<'_>| match difference.key.as_str() {
        "backends" => false,
        key if OF_REQUESTS.contains(&key) => old.retry.http != new.retry.http,
        key if key == "http" || key.starts_with("http.") => old.http != new.http,
        _ => true,
    };
    let differences = differences("", before, after);
    let mut what: Vec<_> =
        differences.into_iter().filter(counts).map(|one| one.in_words()).collect();
    let common = |of: &Pool, other: &Pool| -> Vec<_> {
        let both =
            of.members.iter().filter(|member| other.members.iter().any(|it| same(it, member)));
        both.map(|member| member.name.clone()).collect()
    };
    if common(old, new) != common(new, old) {
        what.push("order of backends".to_owned());
    }
    what
}

/// One backend over a reload: its name and its address, a host name's as it is written.
fn same(one: &Member, other: &Member) -> bool {
    one.name == other.name && one.address == other.address
}

fn backends(
    sorted: &mut Sorted,
    (old, new): (Option<&Pool>, Option<&Pool>),
    (before, after): (&Value, &Value),
    sessions: &dyn Fn(Whose<'_>) -> u64,
) {
    let members =
        |pool: Option<&'_ Pool>| pool.map(|pool| pool.members.clone()).unwrap_or_default();
    let (were, are) = (members(old), members(new));
    let Some(pool) = new.or(old) else { return };
    let name = |member: &Member| format!("{}/{}", pool.name, member.name);
    let table = |whole, place: usize| child(whole, "backends").get(place).unwrap_or(&Value::Null);
    for (place, member) in are.iter().enumerate() {
        match were.iter().position(|was| same(was, member)) {
            None => sorted.added.push(name(member)),
            Some(was) => {
                let what = differences("", table(before, was), table(after, place));
                let what = what.into_iter().map(|one| one.in_words()).collect();
                push(sorted, name(member), what);
            }
        }
    }
    for member in were.iter().filter(|was| !are.iter().any(|is| same(was, is))) {
        sorted.removed.push(Removed {
            name: name(member),
            sessions: sessions(Whose::Backend(&pool.name, &member.name)),
            then: then(pool),
        });
    }
}

/// What becomes of the sessions of a backend that goes from this pool.
fn then(pool: &Pool) -> String {
    match pool.close.removed {
        Closing::Keep => "kept until the last one ends".to_owned(),
        Closing::Now => "ended at once".to_owned(),
        Closing::Over(time) => {
            format!("ended over {}, idle ones first", units::write_duration(time))
        }
    }
}

/// A key with its two values; null = it is not there.
struct Difference<'a> {
    key: String,
    before: &'a Value,
    after: &'a Value,
}

impl Difference<'_> {
    fn in_words(&self) -> String {
        let Self { key, .. } = self;
        if UNSHOWN.contains(&key.as_str()) {
            return key.clone();
        }
        match (self.before, self.after) {
            (Value::Null, Value::Object(_)) => format!("{key} added"),
            (Value::Object(_), Value::Null) => format!("{key} removed"),
            (before, after) => match (short(before), short(after)) {
                (Some(before), Some(after)) => format!("{key} {before} -> {after}"),
                _ => key.clone(),
            },
        }
    }
}

/// A value for people, if there is room for it.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(short).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(_) => return None,
        plain => plain.to_string(),
    };
    let is_plain = text.chars().count() <= SHORT && !text.contains(char::is_control);
    is_plain.then_some(text)
}

/// The keys of two tables that differ, dotted, by name.
fn differences<'a>(path: &str, before: &'a Value, after: &'a Value) -> Vec<Difference<'a>> {
    let tables = [before, after].into_iter().filter_map(Value::as_object);
    let keys: BTreeSet<&String> = tables.flat_map(|table| table.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (before, after) = (child(before, key), child(after, key));
        if before == after {
            continue;
        }
        let key = match (path, key.as_str()) {
            ("", "route") => "routes".to_owned(),
            ("", key) => key.to_owned(),
            (path, key) => format!("{path}.{key}"),
        };
        if before.is_object() && after.is_object() && !WHOLE.contains(&key.as_str()) {
            found.extend(differences(&key, before, after));
        } else {
            found.push(Difference { key, before, after });
        }
    }
    found
}

fn child<'a>(table: &'a Value, key: &str) -> &'a Value {
    table.get(key).unwrap_or(&Value::Null)
}

/// How many of what, in one line.
pub fn summary(changes: &Changes) -> String {
    let kinds = [
        ("listener", &changes.listeners),
        ("pool", &changes.pools),
        ("backend", &changes.backends),
    ];
    let told = kinds.map(|(noun, sorted)| {
        let (added, changed, removed) =
            (sorted.added.len(), sorted.changed.len(), sorted.removed.len());
        format!(
            "{noun}s {added} added, {changed} changed, {removed} removed, {} kept",
            sorted.kept.len()
        )
    });
    told.join("; ")
}

#[cfg(test)]
mod tests;
