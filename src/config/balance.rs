//! Reads `balance`: a word, or a table for a policy that has settings.

use std::mem::discriminant;

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

pub(super) const HASH_KEYS: &[(&str, HashKey)] =
    &[("client-ip", HashKey::ClientIp), ("client-ip-port", HashKey::ClientIpPort)];

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

fn hash_key(value: &Value<'_>) -> Option<HashKey> {
    let text = value.text()?;
    if text == "path" || text.starts_with("header:") || text.starts_with("cookie:") {
        let message = format!("{} needs an http listener, which is not built yet", quoted(text));
        value.refuse(&message, "use \"client-ip\" or \"client-ip-port\"");
        return None;
    }
    let found = HASH_KEYS.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let way_out = did_you_mean(text, "valid values", HASH_KEYS.iter().map(|(word, _)| *word));
        value.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
    }
    found.map(|(_, key)| key.clone())
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
