//! Reads `balance`: a word, or a table for a policy that has settings.

use std::mem::discriminant;

use super::fields;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{HashKey, Policy};

pub(super) const KEYS: &[&str] = &["policy", "key", "bounded_load"];

/// Every policy with its settings at their defaults.
pub(super) const POLICIES: &[(&str, Policy)] = &[
    ("round-robin", Policy::RoundRobin),
    ("least-connections", Policy::LeastConnections),
    ("consistent-hash", Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: None }),
    ("random", Policy::Random),
    ("power-of-two", Policy::PowerOfTwo),
    ("least-latency", Policy::LeastLatency),
    ("first", Policy::First),
];

/// Those that are one word.
pub(super) const HASH_KEYS: &[(&str, HashKey)] = &[
    ("client-ip", HashKey::ClientIp),
    ("client-ip-port", HashKey::ClientIpPort),
    ("path", HashKey::Path),
];
const HEADER: &str = "header:";
const COOKIE: &str = "cookie:";

impl Policy {
    /// The word of the file.
    pub fn as_str(&self) -> &'static str {
        let is_it = |(_, policy): &&(&str, Self)| discriminant(policy) == discriminant(self);
        POLICIES.iter().find(is_it).map_or("", |(word, _)| word)
    }
}

pub(super) fn read(value: &Value<'_>) -> Option<Policy> {
    if !value.is_table() {
        return value.choice(POLICIES);
    }
    let section = value.as_section("balance").only(KEYS, &[]);
    let policy = section.required("policy", "\"least-connections\"")?.choice(POLICIES)?;
    if let Policy::ConsistentHash { key, .. } = policy {
        return Some(Policy::ConsistentHash {
            key: section.value("key").and_then(|value| hash_key(&value)).unwrap_or(key),
            bounded_load: section.value("bounded_load").and_then(|value| bounded_load(&value)),
        });
    }
    for key in ["key", "bounded_load"] {
        if let Some(value) = section.value(key) {
            value.refuse("belongs to \"consistent-hash\"", "remove it, or use that policy");
        }
    }
    Some(policy)
}

/// Also `header:NAME` and `cookie:NAME`, which stand for what a request brings.
fn hash_key(value: &Value<'_>) -> Option<HashKey> {
    let text = value.text()?;
    if let Some((_, key)) = HASH_KEYS.iter().find(|(word, _)| *word == text) {
        return Some(key.clone());
    }
    let refuse = |message: &str, way_out: &str| {
        value.refuse(message, way_out);
        None
    };
    if let Some(name) = text.strip_prefix(HEADER) {
        return match fields::name(name) {
            Ok(name) => Some(HashKey::Header(name)),
            Err((message, way_out)) => refuse(&message, way_out),
        };
    }
    if let Some(name) = text.strip_prefix(COOKIE) {
        if fields::is_token(name) {
            return Some(HashKey::Cookie(name.into()));
        }
        let message = format!("{} is not the name of a cookie", quoted(name));
        return refuse(&message, "use letters, digits, - and _");
    }
    let words = HASH_KEYS.iter().map(|(word, _)| *word).chain(["header:NAME", "cookie:NAME"]);
    let way_out = did_you_mean(text, "valid values", words);
    refuse(&format!("{} is not a valid value", quoted(text)), &way_out)
}

/// As the file writes it.
pub(super) fn write_key(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("{HEADER}{name}"),
        HashKey::Cookie(name) => format!("{COOKIE}{name}"),
        word => HASH_KEYS.iter().find(|(_, it)| it == word).map_or("", |(it, _)| it).to_owned(),
    }
}

fn bounded_load(value: &Value<'_>) -> Option<f64> {
    let factor = value.float()?;
    // Not a number fails both comparisons, so the test asks for what is right.
    if factor >= 1.0 && factor.is_finite() {
        return Some(factor);
    }
    value
        .refuse(&format!("{factor} is out of range"), "write a factor of at least 1.0, as in 1.25");
    None
}
